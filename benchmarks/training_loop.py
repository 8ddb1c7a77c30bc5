"""Run a training with checkpoints and a time budget; end a command with an exit status."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.papers.trainer import PaperTrainer
from learned_augment.runtime.loop import StepReport, Stop, run_steps

__all__ = ["OVER", "Stop", "add_training_options", "exit_status", "run_training"]

OVER, INTERRUPTED, WRONG = 3, 130, 2
# Torch has a class of its own for a GPU's memory only.
_NO_MEMORY = re.compile(
    "out of (shared )?memory|can('t|not) allocate memory|enough memory|killed by signal: K", re.I
)


def run_training(
    trainer: PaperTrainer,
    checkpoint: Path,
    config: Mapping[str, Any],
    device: torch.device,
    *,
    time_budget: float = math.inf,
    save_every: float = 120.0,
    on_epoch: Callable[[PaperTrainer], None] = lambda trainer: None,
) -> Stop:
    """Train until done, interrupted, or out of time; say which.

    An existing checkpoint is resumed. One is written every `save_every` seconds and whenever the
    training stops; process 0 writes, all read.

    Args:
        trainer: built, and not stepped yet.
        checkpoint: where to read and write.
        config: what a checkpoint must agree with.
        device: of the training.
        time_budget: seconds after which to stop.
        save_every: seconds between checkpoints.
        on_epoch: called after every epoch, in process 0.

    Raises:
        ArithmeticError: if the loss of an epoch is not finite; the last checkpoint is kept.
        ValueError: if the checkpoint is of another configuration, or an image cannot be read.
    """
    job = _Epochs(trainer)

    def report(step: StepReport) -> None:
        if step.metrics:
            on_epoch(trainer)

    return run_steps(
        job,
        name="training",
        config=config,
        device=device,
        checkpoint=checkpoint,
        save_every=save_every,
        time_budget=max(0.0, time_budget),
        on_step=report,
        save_before=(ValueError,),  # an image that cannot be read
    )


class _Epochs:
    """A trainer as a `Job`, whose metrics are those of an epoch that has just ended."""

    def __init__(self, trainer: PaperTrainer) -> None:
        self._trainer = trainer
        self.state_dict, self.load_state_dict = trainer.state_dict, trainer.load_state_dict

    @property
    def done(self) -> int:
        return self._trainer.done

    @property
    def remaining(self) -> dict[str, int]:
        return {"training": self._trainer.steps - self._trainer.done}

    def step(self) -> dict[str, float]:
        self._trainer.step()
        if self._trainer.done % self._trainer.epoch_steps:
            return {}
        return {"train_loss": self._trainer.losses[-1]}


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
        return INTERRUPTED
    except (OSError, ValueError, ModuleNotFoundError, ArithmeticError) as error:
        text = str(error)
        # A worker's error carries its traceback; its last line is the message.
        print(f"error: {text.splitlines()[-1] if 'Traceback' in text else text}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        print(f"error: out of memory; give a smaller {smaller}.", file=sys.stderr)
    return WRONG
