"""Checkpoints of long jobs: written whole or not at all, and read back only by the same job."""

import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learned_augment._io import content_hash, write_atomically
from learned_augment._text import first_line

__all__ = ["differences", "encode", "load_checkpoint", "read", "save_checkpoint"]

FORMAT = 10
"""Version of the contents of a state. A checkpoint of another version is refused, not misread."""


def encode(contents: Mapping[str, Any]) -> bytes:
    """Return tensors, numbers, texts and containers as the bytes of a file, with a hash."""
    buffer = io.BytesIO()
    torch.save({**contents, "sha256": content_hash(_parts(contents))}, buffer)
    return buffer.getvalue()


def read(path: Path, *names: str) -> tuple[Any, ...]:
    """Return the named contents of a file that `encode` wrote, tensors on the CPU.

    Nothing in the file is executed.

    Raises:
        ValueError: If any bit of the file is wrong, or a name is missing.
    """
    try:
        # Torch chooses a format by the file's name if it is given one; a file may have any name.
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > size:
                    raise ValueError("its parts are larger than the file")
            file.seek(0)
            contents = torch.load(file, map_location="cpu", weights_only=True)
        given = contents.pop("sha256")
        parts = list(_parts(contents))
        if any(isinstance(part, Tensor) and part.nbytes > size for part in parts):
            raise ValueError("a tensor is larger than the file")
        if content_hash(parts) != given:
            raise ValueError("its contents do not match its hash")
        return tuple(contents[name] for name in names)
    except Exception as error:  # torch.load raises whatever the broken bytes lead to
        raise ValueError(f"{type(error).__name__}: {first_line(error)}") from error


def _parts(value: Any) -> Iterator[str | Tensor]:
    """Yield all that nested contents hold, in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield f"mapping of {len(value)}"
        for key, item in value.items():
            yield from _parts(key)
            yield from _parts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield f"sequence of {len(value)}"
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value)


def save_checkpoint(path: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Write a checkpoint; return whether it was written.

    If that fails, the old file is still there, and a warning gives the reason: a full disk must not
    end a job of hours.
    """
    data = encode({"format": FORMAT, "config": dict(config), "state": dict(state)})
    try:
        write_atomically(path, data)
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
        config: The configuration of the present call.
        job: The name of the job in messages.

    Raises:
        ValueError: If the file is no checkpoint, or of another configuration; the message lists the
            differences.
    """
    try:
        version, saved, state = read(path, "format", "config", "state")
        plain = not any(isinstance(part, Tensor) for part in _parts(saved))
        if not (plain and isinstance(saved, dict) and isinstance(state, dict)):
            raise ValueError("its configuration or its state is no mapping")
    except ValueError as error:
        raise ValueError(
            f"{path} is not a checkpoint of a {job} ({error!s:.200}). Give another path; delete "
            "it only if it is a checkpoint that has broken."
        ) from error
    if type(version) is not int or version != FORMAT:
        raise ValueError(f"{path}: expected checkpoint format {FORMAT}, got {version!r:.100}.")
    if found := differences(saved, config):
        raise ValueError(
            f"{path} belongs to another {job}: {'; '.join(found)}. Give the same settings, "
            "or another checkpoint path."
        )
    return dict(state)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each setting that has changed, also for those inside of others."""
    found = []
    for name in [*saved, *(name for name in now if name not in saved)]:
        before, after = saved.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += [f"{name}.{inside}" for inside in differences(before, after)]
        elif before != after:
            found.append(f"{name} is {before!r:.100} there and {after!r:.100} here")
    return found
