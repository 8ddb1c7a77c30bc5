import io
import sys

import pytest

from learned_augment.runtime.progress import Pace, Progress


def test_a_pipe_sees_nothing(capsys):
    line = Progress(2)
    line.step("one")
    line.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_one_line_that_is_wiped_at_the_end(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = Progress(2)
    line.step("a long first text")
    line.step("short")
    line.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\n" not in err
    first, second, wiped, _ = err.split("\r")[1:]
    assert first.startswith("a long first text, ")
    assert second.startswith("short, 0 min 00 s left")
    assert len(second) == len(first)  # blanks cover the rest of the first
    assert wiped.strip() == ""
    assert len(wiped) >= len(second.rstrip())


def test_the_time_left_follows_from_the_time_spent(capsys, monkeypatch):
    clock(monkeypatch, 0.0, 100.0)
    Progress(41, shown=True).step("x")
    assert "x, 1 h 06 min left" in capsys.readouterr().err


def test_a_line_is_cut_to_the_terminal_and_keeps_its_time(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    Progress().show("step 3/20, " + 10 * "a long text ", 61.0)
    (line,) = capsys.readouterr().err.split("\r")[1:]
    assert len(line) == 39  # a line as wide as the terminal may wrap
    assert line.startswith("step 3/20, a long")
    assert line.endswith(", 1 min 01 s left")


def test_a_terminal_too_narrow_for_the_time_is_not_overrun(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    Progress().show("step 3/20", 61.0)
    (line,) = capsys.readouterr().err.split("\r")[1:]
    assert line == ", 1 min 0"


def test_each_phase_has_a_pace_of_its_own(monkeypatch):
    clock(monkeypatch, 0.0, 1.0, 4.0, 14.0)
    pace = Pace()
    pace.step("cheap")
    pace.step("cheap")
    assert pace.seconds("cheap") == 2.0
    assert pace.left({"cheap": 3, "dear": 5}) == (6.0, False)
    assert pace.left({"cheap": 3, "dear": 0}) == (6.0, True)
    pace.step("dear")
    assert pace.left({"cheap": 3, "dear": 5}) == (56.0, True)


class Gone(io.StringIO):
    """A terminal that was closed by whoever opened it."""

    def write(self, text):
        raise OSError(5, "Input/output error")

    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [lambda: None, closed, Gone], ids=["none", "closed", "gone"])
@pytest.mark.parametrize("shown", [None, True, False])
def test_without_a_stream_nothing_is_shown_and_nothing_fails(monkeypatch, stream, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    line = Progress(2, shown)
    line.step("one")
    monkeypatch.setattr(sys, "stderr", None)
    line.step("two")
    line.close()


def test_a_time_that_is_not_all_says_so(capsys):
    Progress(shown=True).show("x", 5.0, whole=False)
    assert "x, at least 0 min 05 s left" in capsys.readouterr().err


def clock(monkeypatch, *times):
    ticks = iter(times)
    monkeypatch.setattr("learned_augment.runtime.progress.time.monotonic", lambda: next(ticks))
