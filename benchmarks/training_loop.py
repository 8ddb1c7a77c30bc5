"""Run a training in pieces, from checkpoint to checkpoint, and end a command with its status."""

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.papers.trainer import PaperTrainer
from learned_augment.runtime.checkpoint import load_checkpoint, save_checkpoint
from learned_augment.runtime.distributed import agree, rank, world
from learned_augment.runtime.signals import interrupts

__all__ = ["OVER", "Stop", "add_training_options", "exit_status", "run_training"]

OVER, INTERRUPTED, WRONG = 3, 130, 2
# Torch has a class of its own for a GPU's memory only.
_NO_MEMORY = re.compile(
    "out of (shared )?memory|can('t|not) allocate memory|enough memory|killed by signal: K", re.I
)

Stop = Literal["finished", "interrupted", "time budget"]


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
    if checkpoint.exists():
        trainer.load_state_dict(load_checkpoint(checkpoint, config, "training"))

    def save() -> None:
        state = trainer.state_dict()
        if rank() == 0:
            save_checkpoint(checkpoint, config, state)

    start = saved = time.monotonic()
    with interrupts() as interrupted:
        while trainer.done < trainer.steps:
            try:
                trainer.step()
            except ValueError:  # an image that cannot be read, before anything was learned from it
                if world() == 1:
                    save()
                raise
            now = time.monotonic()
            if trainer.done % trainer.epoch_steps == 0:
                _check_finite(trainer, checkpoint)
                if rank() == 0:
                    on_epoch(trainer)
            wanted = (interrupted(), now - start > time_budget, now - saved >= save_every)
            if not agree(any(wanted), device):
                continue  # one question to all processes in nearly every step, not three
            save()
            saved = time.monotonic()
            if agree(wanted[0], device):
                return "interrupted"
            if agree(wanted[1], device) and trainer.done < trainer.steps:
                return "time budget"
    save()
    return "finished"


def _check_finite(trainer: PaperTrainer, checkpoint: Path) -> None:
    loss = trainer.losses[-1]
    if not math.isfinite(loss):
        kept = f"the last checkpoint is kept at {checkpoint}" if checkpoint.exists() else ""
        raise ArithmeticError(
            f"Epoch {trainer.epoch}: the training loss is {loss}, expected a finite number; "
            f"{kept or 'there is no checkpoint'}. Lower the learning rate, or look for broken "
            "images."
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
