"""Files that are written whole or not at all, and hashes of contents."""

import hashlib
import pickle
import secrets
from collections.abc import Iterable, Mapping, Sequence
from os import fsync
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = [
    "NOT_PICKLED",
    "PAGE_ENDINGS",
    "check_ending",
    "check_output_path",
    "check_outputs",
    "content_hash",
    "module_hash",
    "write_atomically",
]

PAGE_ENDINGS = (".html", ".htm")
"""Endings of the file of a page."""

NOT_PICKLED = (pickle.PicklingError, AttributeError, TypeError)
"""Errors of pickle for a lambda, an inner function, a lock, ..."""


def write_atomically(path: Path, data: bytes) -> Path:
    """Write ``data`` to a temporary file in the same folder and rename it to ``path``.

    If the process is killed meanwhile, ``path`` holds either the old or the new contents. The
    temporary file may be left.

    Raises:
        ValueError: If the folder of ``path`` does not exist, or ``path`` is a folder.
        OSError: If the file cannot be written; an old file at ``path`` is then still there.
    """
    _check_is_file(path)
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            fsync(file.fileno())
        return temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def check_output_path(path: Path) -> Path:
    """Return ``path`` if a file can be written there; an existing file stays as it is.

    Raises:
        ValueError: If its folder does not exist or takes no new file, or if a folder has its name.
    """
    _check_is_file(path)
    temporary = _temporary(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise ValueError(
            f"No file can be written to the folder {str(path.parent)!r} ({error.strerror}); "
            f"give another path for {path.name!r}."
        ) from None
    return path


def check_ending(path: str | Path, endings: Sequence[str], name: str = "a file") -> Path:
    """Return ``path`` if it has one of the endings, such as ".html".

    Args:
        path: The path.
        endings: All that are accepted.
        name: What the message calls the path.

    Raises:
        ValueError: If it has another one.
    """
    path = Path(path)
    if path.suffix not in endings:
        raise ValueError(f"Expected {name} ending in {', '.join(endings)}, got {str(path)!r}.")
    return path


def check_outputs(
    files: Mapping[str, Path | None], folders: Mapping[str, Path | None] | None = None
) -> None:
    """Check before any long work that every output can be written, and no two have one path.

    Raises:
        ValueError: If a path cannot be written, or two are the same.
    """
    seen: dict[str, Path] = {}
    for option, path in {**files, **(folders or {})}.items():
        if path is None:
            continue
        if option in files:
            check_output_path(path)
        for other, taken in seen.items():
            same = path.exists() and taken.exists() and path.samefile(taken)
            if same or path.resolve() == taken.resolve():
                raise ValueError(f"{other} and {option} are both {str(path)!r}; give two paths.")
        seen[option] = path


def content_hash(parts: Iterable[str | Tensor]) -> str:
    """Return a hash of texts, and of the types, shapes and bits of tensors: 32 hex digits."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            found.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(f"{part!r} ".encode())
    return found.hexdigest()[:32]


def module_hash(module: nn.Module) -> str:
    """Return a hash of a module's structure and state, without the code of ``forward``."""
    named = [part for name, state in module.state_dict().items() for part in (name, state)]
    return content_hash([repr(module), *named])


def _check_is_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"No folder {str(path.parent)!r} to write {path.name!r} into; create it.")
    if path.is_dir():
        raise ValueError(f"Expected a file to write, got the folder {str(path)!r}.")


def _temporary(path: Path) -> Path:
    # A file name has at most 255 bytes, a character at most 4.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.tmp")
