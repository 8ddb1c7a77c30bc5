import sys

from learned_augment.jobs.progress import Progress


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
    times = iter([0.0, 100.0])
    monkeypatch.setattr("learned_augment.jobs.progress.time.monotonic", lambda: next(times))
    Progress(41, shown=True).step("x")
    assert "x, 1 h 06 min left" in capsys.readouterr().err
