"""The step loop of every long job: resume, report each step, write checkpoints, stop cleanly."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from learned_augment._errors import is_out_of_memory
from learned_augment._io import check_output_path
from learned_augment._text import first_line
from learned_augment.runtime.checkpoint import load_checkpoint, save_checkpoint
from learned_augment.runtime.distributed import all_gather, any_process, rank, world_size
from learned_augment.runtime.progress import Pace
from learned_augment.runtime.signals import interrupts

__all__ = ["Job", "StepReport", "Stop", "check_schedule", "resume", "run_steps"]

Stop = Literal["finished", "interrupted", "time budget"]


class Job(Protocol):
    """A long job that proceeds in steps and can be saved between any two of them."""

    @property
    def done(self) -> int:
        """Number of steps taken."""
        ...

    @property
    def remaining(self) -> Mapping[str, int]:
        """Steps still to take, by phase in order; the steps of one phase take about as long."""
        ...

    def step(self) -> Mapping[str, float]:
        """Take one step and return its metrics; all of them must be finite."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that a step changes: tensors, numbers, strings, containers.

        It is written with `torch.save` and read with ``weights_only=True``.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        ...


@dataclass(frozen=True)
class StepReport:
    """Report of a step, which callbacks receive.

    Attributes:
        step: Steps taken, from 1.
        steps: Steps of the whole job.
        seconds: Time since this run of the job started.
        phase: The phase that the step belongs to.
        seconds_left: Estimated seconds to the end of all phases that have started.
        all_phases_timed: Whether all phases have started, so that ``seconds_left`` covers them.
        metrics: The metrics of the step, by name.
    """

    step: int
    steps: int
    seconds: float
    phase: str
    seconds_left: float
    all_phases_timed: bool
    metrics: Mapping[str, float]


def run_steps(
    job: Job,
    *,
    name: str,
    config: Mapping[str, Any],
    device: torch.device,
    checkpoint: Path | None = None,
    save_every: float = 60.0,
    time_budget: float | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    save_before: tuple[type[Exception], ...] = (),
) -> Stop:
    """Step a job until it is done, interrupted, or out of time; return which of these.

    The job continues from its checkpoint if there is one, with the state of torch's global random
    generators. A checkpoint is written every ``save_every`` seconds and whenever the loop stops.
    Process 0 writes, all processes read. Ctrl-C and SIGTERM end the loop after the current step.

    Args:
        job: The work.
        name: What error messages call the job.
        config: Everything that decides the result; a checkpoint of another configuration is
            refused.
        device: The device that the job runs on.
        checkpoint: Path to read and write; None for neither.
        save_every: Seconds between checkpoints.
        time_budget: Seconds after which to stop; None for no limit. The loop also stops when
            another step would take it past the limit. At least one step is taken.
        on_step: Called after every step, in process 0.
        save_before: Exceptions of a step that leave the job as it was before the step. A single
            process writes a checkpoint before it raises one of them.

    Raises:
        ArithmeticError: If a metric is not finite; the last checkpoint is kept.
        ValueError: If the checkpoint is broken, belongs to another configuration or cannot be
            written, or a number of seconds is negative or NaN.
    """
    check_schedule(checkpoint, save_every, time_budget)
    if checkpoint is not None and checkpoint.exists():
        resume(job, checkpoint, config, name, device)

    def save() -> None:
        if checkpoint is None:
            return
        state = _state(job, device)  # all processes take part in collecting it
        if rank() == 0:
            save_checkpoint(checkpoint, config, state)

    start = saved = time.monotonic()
    pace = Pace()
    with interrupts() as interrupted:
        while steps_left := sum(job.remaining.values()):
            phase = next(phase for phase, steps in job.remaining.items() if steps)
            try:
                metrics = job.step()
            except save_before:
                if world_size() == 1:
                    save()
                raise
            pace.step(phase)
            now = time.monotonic()
            _check_finite(metrics, job.done, checkpoint)
            steps_left = sum(job.remaining.values())
            if rank() == 0:
                on_step(
                    StepReport(
                        job.done,
                        job.done + steps_left,
                        now - start,
                        phase,
                        *pace.left(job.remaining),
                        metrics,
                    )
                )
            over = time_budget is not None and now - start + pace.seconds(phase) > time_budget
            wanted = interrupted(), over, now - saved >= save_every
            # Most steps need one exchange between processes, not three; the last step needs none.
            if not steps_left or not any_process(any(wanted), device):
                continue
            save()
            saved = time.monotonic()
            if any_process(wanted[0], device):
                return "interrupted"
            if any_process(wanted[1], device):
                return "time budget"
    save()
    return "finished"


def resume(
    job: Job, checkpoint: Path, config: Mapping[str, Any], name: str, device: torch.device
) -> None:
    """Put a job and torch's random generators into the state of a checkpoint; see `run_steps`.

    Raises:
        ValueError: If the file is broken, of another configuration, or holds no state of the job.
    """
    state = load_checkpoint(checkpoint, config, name)
    try:
        job.load_state_dict(state["job"])
        torch.set_rng_state(_own(state["cpu_rng"]))
        if device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(_own(state["cuda_rng"]), device)
        if not min([job.done, *job.remaining.values()]) >= 0:
            raise ValueError(f"{job.done} steps are done, {dict(job.remaining)} are left")
    except Exception as error:  # whatever a state of another form leads to
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"{checkpoint} holds no state of this {name} ({type(error).__name__}: "
            f"{first_line(error):.200})."
        ) from error


def check_schedule(checkpoint: Path | None, save_every: float, time_budget: float | None) -> None:
    """Raise ValueError if `run_steps` would refuse these arguments."""
    if checkpoint is not None:
        check_output_path(checkpoint)
    if time_budget is not None and not time_budget >= 0:
        raise ValueError(f"Expected time_budget in seconds from 0, got {time_budget}.")
    if not save_every >= 0:
        raise ValueError(f"Expected save_every in seconds from 0, got {save_every}.")


def _state(job: Job, device: torch.device) -> dict[str, Any]:
    state = {"job": job.state_dict(), "cpu_rng": all_gather(torch.get_rng_state(), device)}
    if device.type == "cuda":
        state["cuda_rng"] = all_gather(torch.cuda.get_rng_state(device), device)
    return state


def _own(states: list[Tensor]) -> Tensor:
    # A job may be resumed on another number of processes.
    return states[rank() % len(states)]


def _check_finite(metrics: Mapping[str, float], step: int, checkpoint: Path | None) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            kept = "there is no checkpoint"
            if checkpoint is not None and checkpoint.exists():
                kept = f"the last good checkpoint is kept at {checkpoint}"
            raise ArithmeticError(
                f"Step {step}: {name} is {value}, expected a finite number; {kept}. Lower the "
                "learning rate, or look for broken images."
            )
