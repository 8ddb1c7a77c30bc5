"""The only loop: steps, watchers, checkpoints and the reasons to stop, whatever the method is."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from learned_augment._io import check_output_path
from learned_augment.policy import Policy
from learned_augment.runtime.checkpoint import load_checkpoint, save_checkpoint
from learned_augment.runtime.distributed import agree, rank
from learned_augment.runtime.progress import Pace
from learned_augment.runtime.signals import interrupts
from learned_augment.search.method import Searcher

__all__ = ["StepReport", "Stop", "Watcher", "run_search"]

Stop = Literal["finished", "interrupted", "time budget"]


class StepReport(NamedTuple):
    """What a callback is told after every step.

    Attributes:
        step: Steps taken, from 1.
        steps: Steps of the whole search.
        seconds: Time since this run of the search started.
        phase: Of the method, that the step belongs to.
        left: Estimated seconds to the end.
        left_is_all: Whether ``left`` counts every phase; one that has not begun is not counted.
        metrics: The step's figures, by name.
        policy: Returns the best policy so far.
    """

    step: int
    steps: int
    seconds: float
    phase: str
    left: float
    left_is_all: bool
    metrics: dict[str, float]
    policy: Callable[[], Policy]


Watcher = Callable[[StepReport], None]


def run_search(
    searcher: Searcher,
    *,
    config: Mapping[str, Any],
    checkpoint: Path | None = None,
    save_every: float = 60.0,
    time_budget: float | None = None,
    watchers: Sequence[Watcher] = (),
    device: torch.device,
) -> Stop:
    """Step a searcher until it is done, interrupted, or out of time; say which.

    An existing checkpoint is resumed. One is written every ``save_every`` seconds and whenever the
    loop stops; process 0 writes, all read.

    Args:
        searcher: Any method.
        config: What a checkpoint must agree with.
        checkpoint: Where to write; None for nowhere.
        save_every: Seconds between checkpoints.
        time_budget: Seconds after which to stop; None for no limit.
        watchers: Called after every step, in process 0.
        device: Of the search.

    Raises:
        ArithmeticError: If a figure of a step is not finite; the last checkpoint is kept.
        ValueError: If the checkpoint is of another configuration or cannot be written, or a time is
            not one.
    """
    _check_running(checkpoint, save_every, time_budget)
    if checkpoint is not None and checkpoint.exists():
        _resume(searcher, checkpoint, config, device)

    def save() -> None:
        if checkpoint is not None and rank() == 0:
            save_checkpoint(checkpoint, config, _state(searcher, device))

    start = saved = time.monotonic()
    pace = Pace()
    with interrupts() as interrupted:
        while searcher.done < searcher.steps:
            phase = next(phase for phase, steps in searcher.ahead.items() if steps)
            metrics = searcher.step()
            pace.step(phase)
            now = time.monotonic()
            _check_finite(metrics, searcher.done, checkpoint)
            report = StepReport(
                searcher.done,
                searcher.steps,
                now - start,
                phase,
                *pace.left(searcher.ahead),
                metrics,
                searcher.policy,
            )
            for watcher in watchers if rank() == 0 else ():
                watcher(report)
            over = time_budget is not None and now - start + pace.seconds(phase) > time_budget
            if agree(interrupted(), device) and searcher.done < searcher.steps:
                save()
                return "interrupted"
            if agree(over, device) and searcher.done < searcher.steps:
                save()
                return "time budget"
            if now - saved >= save_every:
                save()
                saved = time.monotonic()
        save()
    return "finished"


def _check_running(checkpoint: Path | None, save_every: float, time_budget: float | None) -> None:
    if checkpoint is not None:
        check_output_path(checkpoint)
    if time_budget is not None and not time_budget >= 0:
        raise ValueError(f"Expected time_budget in seconds from 0, got {time_budget}.")
    if not save_every >= 0:
        raise ValueError(f"Expected save_every in seconds from 0, got {save_every}.")


def _state(searcher: Searcher, device: torch.device) -> dict[str, Any]:
    # Torch's global generators too: a user's network may use dropout.
    state = {"searcher": searcher.state_dict(), "torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _resume(
    searcher: Searcher, checkpoint: Path, config: Mapping[str, Any], device: torch.device
) -> None:
    state = load_checkpoint(checkpoint, config)
    searcher.load_state_dict(state["searcher"])
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


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
