"""Compilation with Numba: decorators for loops and entries, and compiled definitions of ops."""

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit

__all__ = [
    "Bytes",
    "checksum",
    "compile_definition",
    "compiled",
    "kept",
    "not_kept",
    "sources",
    "summing",
]

Function = TypeVar("Function")
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

_OPTIONS = {"nogil": True, "error_model": "numpy"}

_INNER = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

compiled: Callable[[Function], Function] = njit(**_INNER)
"""Compile a loop: no interpreter lock, no checks for division by zero.

Only compiled code can call it: an entry point from Python for each loop would take a fifth of the
time of compilation. ``kept`` makes entry points.
"""

summing: Callable[[Function], Function] = njit(**_INNER, fastmath={"reassoc", "nsz"})
"""Compile a loop, as ``compiled`` does, whose sums may be added in any order, several at a time."""


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an entry point that Python calls, and keep it on disk.

    Enclose ``checksum()`` in it, so that it is compiled anew when the sources change. A call
    raises OSError if there is no room on the disk, see ``not_kept``.
    """
    try:
        return njit(**_OPTIONS, cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder for the cache
        return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


@cache
def not_kept(entry: Any) -> Callable[..., Any]:
    """Return an entry point that is compiled without keeping it on disk."""
    return njit(**_OPTIONS)(entry.py_func)  # type: ignore[no-any-return]


def checksum() -> int:
    """Return a checksum, not 0, of the sources that compiled code is made of.

    Numba compiles a kept function anew if its own file or a value that it encloses has changed. So
    a function that encloses this checksum is compiled anew when one of the files has changed.
    """
    return 1 + zlib.crc32(b"".join(source.read_bytes() for source in sources()))


def sources() -> list[Path]:
    """Return the files that hold functions which are compiled, or what these functions use."""
    package, parts = Path(__file__).parents[2], ("sampling.py", "backends/**/*.py", "ops/*.py")
    return sorted(source for part in parts for source in package.glob(part))


def compile_definition(function: FunctionType) -> Callable[..., Any]:
    """Compile a definition of an op as it stands in its row, with NumPy in the place of ``xp``.

    The functions of the package that it calls are compiled with it.
    """
    names = function.__code__.co_names
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, value in used.items():
        if name == "xp":
            used[name] = np
        elif isinstance(value, FunctionType):
            used[name] = compile_definition(value)
    used["__name__"] = function.__module__  # the cache on disk looks the module up
    return compiled(FunctionType(function.__code__, used, function.__name__))
