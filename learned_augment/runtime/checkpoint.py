"""Checkpoints of long jobs: written whole or not at all, and read back only by the same job."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from learned_augment._io import write_atomically

__all__ = ["differences", "load_checkpoint", "save_checkpoint"]

FORMAT = 3
"""Counts the changes of what a state holds, so that an older one is refused, not misread."""


def save_checkpoint(path: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Write a checkpoint; return whether it was written.

    If the disk refuses, the old file is still there, and a warning gives the reason: a full disk
    must not end a job of hours.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config": dict(config), "state": dict(state)}, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        kept = "the one before it is still good" if path.exists() else "there is none to resume"
        warnings.warn(
            f"The checkpoint {path} could not be written ({error}); the work goes on, and {kept}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def load_checkpoint(path: Path, config: Mapping[str, Any], job: str = "search") -> dict[str, Any]:
    """Return the state that was saved under the same configuration, its tensors on the CPU.

    Args:
        path: An existing file.
        config: What the job is called with now.
        job: The name of the job in messages.

    Raises:
        ValueError: If the file is no checkpoint, or of another configuration; the message lists the
            differences.
    """
    try:
        # Torch chooses a format by the file's name if it is given one; a checkpoint may have any
        # name. Weights only: a file from elsewhere must not execute anything.
        with path.open("rb") as file:
            read = torch.load(file, map_location="cpu", weights_only=True)
        version, saved, state = read["format"], read["config"], read["state"]
    except Exception as error:  # torch.load raises whatever the broken bytes lead to
        raise ValueError(
            f"{path} is not a checkpoint of a {job} ({type(error).__name__}); delete it, or give "
            "another path."
        ) from error
    if version != FORMAT:
        raise ValueError(f"{path}: expected checkpoint format {FORMAT}, got {version!r}.")
    if found := differences(saved, config):
        raise ValueError(
            f"{path} belongs to another {job}: {'; '.join(found)}. Give the same settings, "
            "or another checkpoint path."
        )
    return dict(state)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each setting that is another now."""
    names = [*saved, *(name for name in now if name not in saved)]
    return [
        f"{name} is {saved.get(name)!r:.100} there and {now.get(name)!r:.100} here"
        for name in names
        if saved.get(name) != now.get(name)
    ]
