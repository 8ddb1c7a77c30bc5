"""Run a training with checkpoints and a time budget; end a command with an exit status."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from learned_augment.commands import Exit
from learned_augment.runtime.loop import Job, StepReport, Stop, run_steps

__all__ = ["STATUS", "add_training_options", "exit_status", "run_training"]

STATUS: Mapping[Stop, int] = {
    "finished": Exit.DONE,
    "interrupted": Exit.INTERRUPTED,
    "time budget": 3,
}
"""Exit statuses of a training, by what stopped it."""
# Torch has a class of its own for a GPU's memory only.
_NO_MEMORY = re.compile(
    "out of (shared )?memory|can('t|not) allocate memory|enough memory|killed by signal: K", re.I
)


class EpochJob(Job, Protocol):
    """A training in epochs."""

    epoch_steps: int


_EpochJob = TypeVar("_EpochJob", bound=EpochJob)


def run_training(
    training: _EpochJob,
    checkpoint: Path,
    config: Mapping[str, Any],
    device: torch.device,
    *,
    time_budget: float = math.inf,
    save_every: float = 120.0,
    on_epoch: Callable[[_EpochJob], None] = lambda training: None,
) -> Stop:
    """Train until done, interrupted, or out of time; see `run_steps`.

    Args:
        training: built, and not stepped yet.
        checkpoint: where to read and write.
        config: what a checkpoint must agree with.
        device: of the training.
        time_budget: seconds after which to stop.
        save_every: seconds between checkpoints.
        on_epoch: called after every epoch, in process 0.

    Raises:
        ArithmeticError: if a loss is not finite; the last checkpoint is kept.
        ValueError: if the checkpoint is of another configuration, or an image cannot be read.
    """

    def on_step(report: StepReport) -> None:
        if report.step % training.epoch_steps == 0:
            on_epoch(training)

    return run_steps(
        training,
        name="training",
        config=config,
        device=device,
        checkpoint=checkpoint,
        save_every=save_every,
        time_budget=max(0.0, time_budget),
        on_step=on_step,
        save_before=(ValueError,),  # an image that cannot be read; nothing was learned from it
    )


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every training command has."""
    add = parser.add_argument
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--learning-rate", type=float)
    add("--workers", type=int, help="processes that read and augment images")
    add("--device", help="cpu, cuda, ...; else a GPU if there is one")
    add("--time-budget", type=float, metavar="MIN", default=math.inf, help="stop after so long")
    add("--name", help="of results and checkpoints")


def exit_status(work: Callable[[], int], smaller: str) -> int:
    """Run a command; turn what stops it into one sentence and an exit status.

    Args:
        work: Returns the status of a command that is not stopped.
        smaller: What to make smaller where memory has run out.
    """
    try:
        return work()
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from its checkpoint.", file=sys.stderr)
        return Exit.INTERRUPTED
    except (OSError, ValueError, ModuleNotFoundError, ArithmeticError) as error:
        text = str(error)
        # A worker's error carries its traceback; its last line is the message.
        print(f"error: {text.splitlines()[-1] if 'Traceback' in text else text}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        print(f"error: out of memory; give a smaller {smaller}.", file=sys.stderr)
    return Exit.MISTAKE
