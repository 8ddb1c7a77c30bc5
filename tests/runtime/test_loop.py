"""The step loop: what it reports, when it stops, what a checkpoint restores."""

import math
import signal
import sys

import pytest
import torch

from learned_augment.runtime import loop, signals
from learned_augment.runtime.loop import run_steps

CPU = torch.device("cpu")


class Sum:
    """Adds random numbers: first "slow" steps, then "fast" ones."""

    def __init__(self, slow=2, fast=3):
        self.counts = {"slow": slow, "fast": fast}
        self.done, self.total = 0, 0.0

    @property
    def remaining(self):
        slow = max(0, self.counts["slow"] - self.done)
        return {"slow": slow, "fast": sum(self.counts.values()) - self.done - slow}

    def step(self):
        self.total += float(torch.rand(()))
        self.done += 1
        return {"total": self.total}

    def state_dict(self):
        return {"done": self.done, "total": self.total}

    def load_state_dict(self, state):
        self.done, self.total = state["done"], state["total"]


def run(job, **options):
    return run_steps(job, name="sum", config=options.pop("config", {}), device=CPU, **options)


def test_every_step_is_reported_with_its_phase():
    reports = []
    assert run(Sum(), on_step=reports.append) == "finished"
    assert [report.step for report in reports] == [1, 2, 3, 4, 5]
    assert [report.phase for report in reports] == ["slow"] * 2 + ["fast"] * 3
    assert {report.steps for report in reports} == {5}
    assert [report.all_phases_timed for report in reports] == [False] * 2 + [True] * 3
    assert reports[-1].seconds_left == 0
    assert reports[-1].metrics["total"] > reports[0].metrics["total"]


def test_a_finished_job_takes_no_step():
    job = Sum(0, 0)
    assert run(job) == "finished"
    assert job.done == 0


def test_a_finished_job_without_a_phase_left_is_resumed(tmp_path):
    class Phaseless(Sum):
        @property
        def remaining(self):
            return {phase: steps for phase, steps in super().remaining.items() if steps}

    path = tmp_path / "sum.pt"
    assert run(Phaseless(), checkpoint=path) == "finished"
    again = Phaseless()
    assert run(again, checkpoint=path) == "finished"
    assert again.done == 5


@pytest.mark.parametrize(("cut", "number"), [(1, "SIGTERM"), (2, "SIGHUP"), (4, "SIGTERM")])
def test_a_resumed_job_draws_the_same_numbers(tmp_path, cut, number):
    torch.manual_seed(7)
    whole = Sum()
    run(whole)
    path = tmp_path / "sum.pt"
    torch.manual_seed(7)

    def interrupt(report):
        if report.step == cut:
            signal.raise_signal(getattr(signal, number))

    assert run(Sum(), checkpoint=path, on_step=interrupt) == "interrupted"
    torch.manual_seed(99)
    second = Sum()
    assert run(second, checkpoint=path) == "finished"
    assert second.total == whole.total


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.interrupts() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_interrupt_is_answered_at_once_on_a_terminal(terminal, monkeypatch, capfd):
    monkeypatch.setattr(signals, "is_terminal", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    shown = []

    def interrupt(report):
        signal.raise_signal(signal.SIGINT)
        shown.append(capfd.readouterr().err)

    assert run(Sum(), on_step=interrupt) == "interrupted"
    assert ["The current step ends first. Ctrl-C again" in text for text in shown] == [terminal]


def test_no_time_takes_one_step_and_saves(tmp_path):
    path, job = tmp_path / "sum.pt", Sum()
    assert run(job, checkpoint=path, time_budget=0) == "time budget"
    assert job.done == 1
    second = Sum()
    assert run(second, checkpoint=path, time_budget=0) == "time budget"
    assert second.done == 2


def test_the_last_step_ends_the_job_whatever_was_asked():
    def interrupt(report):
        if report.step == report.steps:
            signal.raise_signal(signal.SIGINT)

    assert run(Sum(), on_step=interrupt) == "finished"
    assert run(Sum(0, 1), time_budget=0) == "finished"


def test_a_checkpoint_is_written_as_often_as_asked(tmp_path):
    path, sizes = tmp_path / "sum.pt", []
    run(Sum(), checkpoint=path, save_every=0, on_step=lambda report: sizes.append(path.exists()))
    assert sizes == [False, True, True, True, True]
    path.unlink()
    run(Sum(), checkpoint=path, save_every=1e9, on_step=lambda report: sizes.append(path.exists()))
    assert sizes[5:] == [False] * 5
    assert path.exists()


def test_the_last_checkpoint_is_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda *given: written.append(given))
    run(Sum(0, 1), checkpoint=tmp_path / "sum.pt", save_every=0, time_budget=0)
    assert len(written) == 1


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    path = tmp_path / "sum.pt"
    run(Sum(), checkpoint=path, config={"numbers": 5})
    with pytest.raises(ValueError, match="another sum: numbers is 5 there and 6 here"):
        run(Sum(), checkpoint=path, config={"numbers": 6})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_ends_the_job_and_keeps_the_checkpoint(tmp_path, value):
    class Breaks(Sum):
        def step(self):
            super().step()
            return {"total": value if self.done == 3 else self.total}

    path, reports = tmp_path / "sum.pt", []
    with pytest.raises(ArithmeticError, match=f"Step 3: total is {value}.*is kept at .*sum.pt"):
        run(Breaks(), checkpoint=path, save_every=0, on_step=reports.append)
    assert len(reports) == 2
    resumed = Sum()
    run(resumed, checkpoint=path, time_budget=0)
    assert resumed.done == 3
    with pytest.raises(ArithmeticError, match="there is no checkpoint"):
        run(Breaks())


def test_named_errors_save_the_state_before_the_step(tmp_path):
    class Unreadable(Sum):
        def step(self):
            if self.done == 2:
                raise ValueError("no image")
            return super().step()

    path = tmp_path / "sum.pt"
    with pytest.raises(ValueError, match="no image"):
        run(Unreadable(), checkpoint=path)
    assert not path.exists()
    with pytest.raises(ValueError, match="no image"):
        run(Unreadable(), checkpoint=path, save_before=(ValueError,))
    resumed = Sum()
    run(resumed, checkpoint=path, time_budget=0)
    assert resumed.done == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"save_every": -1}, "save_every in seconds from 0"),
        ({"save_every": math.nan}, "save_every in seconds from 0"),
        ({"time_budget": -1}, "time_budget in seconds from 0"),
    ],
)
def test_wrong_times_are_refused_before_the_first_step(wrong, message):
    job = Sum()
    with pytest.raises(ValueError, match=message):
        run(job, **wrong)
    assert job.done == 0
