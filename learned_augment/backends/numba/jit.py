"""How code is compiled, and kept on disk until what it was made of changes."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "Bytes",
    "bytes_at",
    "checksum",
    "compiled",
    "floats_at",
    "kept",
    "singles_at",
    "summing",
    "wholes_at",
]

Function = TypeVar("Function")
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

compiled: Callable[[Function], Function] = njit(nogil=True, error_model="numpy")
"""Compile a loop: no interpreter lock, no checks for division by zero."""

summing: Callable[[Function], Function] = njit(
    nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"}
)
"""Compile a loop whose sums may be added in any order, several at a time."""

kept: Callable[[Function], Function] = njit(nogil=True, error_model="numpy", cache=True)
"""Compile what Python calls, and keep it on disk; see ``checksum``."""


def checksum() -> int:
    """Return a checksum, not 0, of the sources that compiled code is made of.

    Numba's cache of compiled code notices changes of a function's own file and of what it encloses:
    a function that encloses this is compiled anew when one of the files has changed.
    """
    package = Path(__file__).parents[2]
    sources = sorted([*package.glob("backends/**/*.py"), *package.glob("ops/*.py")])
    return 1 + zlib.crc32(b"".join(source.read_bytes() for source in sources))


def _pointer(to: Any) -> Callable[[int], Any]:
    """Return what turns an address into a pointer to numbers of a type."""
    pointer = types.CPointer(to)

    @intrinsic  # type: ignore[untyped-decorator]
    def at(typing: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(types.int64), generate

    return at  # type: ignore[no-any-return]


bytes_at, singles_at = _pointer(types.uint8), _pointer(types.float32)
floats_at, wholes_at = _pointer(types.float64), _pointer(types.int64)
"""What turns addresses into pointers, for ``numba.carray``."""
