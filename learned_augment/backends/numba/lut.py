"""Compiled: loops that count and map the gray levels of uint8 planes.

Arithmetic is PIL's: single precision where PIL's is, and nothing contracted or reordered. Levels go
through a table 64 at a time on processors that can: no compiler turns a loop over a table into
vector code, but x86 with AVX-512 VBMI has an instruction that looks up 64 levels in 128 entries.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

from learned_augment.backends.numba.jit import Bytes, compiled
from learned_augment.backends.numba.lowering import new_level
from learned_augment.ops import Opcode

__all__ = [
    "compose",
    "copy",
    "is_wide",
    "look_up",
    "look_up_each",
    "look_up_wide",
    "luma",
    "map_levels",
    "measure",
    "mix",
    "write_table",
]

Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

AUTO_CONTRAST, CONTRAST = float(Opcode.AUTO_CONTRAST), float(Opcode.CONTRAST)
EQUALIZE = float(Opcode.EQUALIZE)

LANES = 64
PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"


@intrinsic  # type: ignore[untyped-decorator]
def _look_up_64(
    typing: Any, source: Any, at: Any, target: Any, to: Any, table: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write target[to : to + 64] = table[source[at : at + 64]]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), LANES)

        def place(argument: int, offset: Any) -> Any:
            make = context.make_array(signature.args[argument])
            levels = make(context, builder, arguments[argument]).data
            return builder.bitcast(builder.gep(levels, [offset]), block.as_pointer())

        def load(argument: int, offset: Any) -> Any:
            return builder.load(place(argument, offset), align=1)

        kind = ir.FunctionType(block, (block,) * 3)
        permute = builder.module.declare_intrinsic(PERMUTE, (), kind)
        index = load(0, arguments[1])
        a, b, c, d = (load(4, ir.IntType(64)(LANES * part)) for part in range(4))
        lower, upper = (builder.call(permute, [p, index, q]) for p, q in ((a, b), (c, d)))
        in_upper = builder.icmp_signed("<", index, ir.Constant(block, [0] * LANES))
        levels = builder.select(in_upper, upper, lower)
        builder.store(levels, place(2, arguments[3]), align=1)
        return context.get_dummy_value()

    return types.void(source, at, target, to, table), generate


@compiled
def look_up_each(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map levels (n,) through a table (256,); ``target`` may be ``source``."""
    for k in range(source.size):
        target[k] = table[source[k]]


@compiled
def look_up_wide(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Do what ``look_up_each`` does, with AVX-512 VBMI."""
    whole = source.size // LANES * LANES
    for k in range(0, whole, LANES):
        _look_up_64(source, k, target, k, table)
    for k in range(whole, source.size):
        target[k] = table[source[k]]


def is_wide() -> bool:
    """Return whether this processor, and Numba as it is set up, know the instruction."""
    chosen = config.CPU_NAME or config.CPU_FEATURES
    return not chosen and bool(binding.get_host_cpu_features().get("avx512vbmi"))


map_levels = look_up_wide if is_wide() else look_up_each
"""The faster of the two on this processor."""


@compiled
def mix(low: Any, level: Any, factor: Any) -> Any:
    """Blend two levels, clipped to 0..255; all in single precision."""
    return min(max(low + factor * (level - low), np.float32(0)), np.float32(255))


@compiled
def luma(red: Any, green: Any, blue: Any) -> Any:
    """Return the luma of levels; whole numbers below 2**24 are exact in single precision."""
    total = np.float32(19595) * np.float32(red) + np.float32(38470) * np.float32(green)
    total += np.float32(7471) * np.float32(blue) + np.float32(32768)
    return np.floor(total * np.float32(1 / 65536))


@compiled
def copy(source: Bytes, target: Bytes) -> None:
    """Copy a row of levels."""
    for k in range(target.size):
        target[k] = source[k]


@compiled
def compose(table: Bytes, levels: Bytes) -> None:
    """Follow a table (256,) by another (256,)."""
    map_levels(table, table, levels)


@compiled
def look_up(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map an image (C * H * W,) through its tables (C, 256); ``target`` may be ``source``."""
    size = source.size // len(table)
    for c in range(len(table)):
        start = c * size
        map_levels(source[start : start + size], target[start : start + size], table[c])


@compiled
def write_table(code: float, value: float, statistics: float, table: Bytes) -> None:
    """Write the tables (C, 256) of an op, all alike, from its definition."""
    for k in range(256):
        table[0, k] = np.int32(new_level(code, value, np.float64(k), statistics))
    for c in range(1, len(table)):
        copy(table[0], table[c])


@compiled
def measure(image: Bytes, code: float, value: float, table: Bytes) -> None:
    """Write the tables (C, 256) of an op that maps levels of an image (C * H * W,).

    Args:
        image: The image, from which the op's statistics are taken.
        code: The opcode, of a pointwise op.
        value: Of the op.
        table: Where the tables go.
    """
    if code == EQUALIZE:
        _equalize(image, table)
    elif code == AUTO_CONTRAST:
        _auto_contrast(image, table)
    elif code == CONTRAST:
        write_table(code, value, _mean_luma(image, image.size // len(table)), table)
    else:
        write_table(code, value, 0.0, table)


@compiled
def _equalize(image: Bytes, table: Bytes) -> None:
    size, counts = image.size // len(table), np.empty((4, 256), np.int32)
    for c in range(len(table)):
        _count(image[c * size : c * size + size], counts)
        _equalize_plane(counts[0], size, table[c])


@compiled
def _auto_contrast(image: Bytes, table: Bytes) -> None:
    size = image.size // len(table)
    for c in range(len(table)):
        low, high = np.uint8(255), np.uint8(0)
        for level in image[c * size : c * size + size]:
            low, high = min(low, level), max(high, level)
        scale = 255.0 / (high - low) if high > low else 1.0
        shift = low * scale if high > low else 0.0
        for k in range(256):
            table[c, k] = np.int32(min(max(k * scale - shift, 0.0), 255.0))


@compiled
def _count(plane: Bytes, counts: Counts) -> None:
    """Count levels into the first of four rows (4, 256).

    The others let equal neighbours not wait for each other.
    """
    counts[:] = 0
    quarter = plane.size // 4
    first, second = plane[:quarter], plane[quarter : 2 * quarter]
    third, fourth = plane[2 * quarter : 3 * quarter], plane[3 * quarter :]
    for k in range(quarter):
        counts[0, first[k]] += 1
        counts[1, second[k]] += 1
        counts[2, third[k]] += 1
        counts[3, fourth[k]] += 1
    for k in range(quarter, fourth.size):
        counts[3, fourth[k]] += 1
    for k in range(256):
        counts[0, k] += counts[1, k] + counts[2, k] + counts[3, k]


@compiled
def _equalize_plane(counts: Counts, size: int, levels: Bytes) -> None:
    """Write the table (256,) for counts (256,) of ``size`` levels, which are written over."""
    last = 255
    while counts[last] == 0:
        last -= 1
    step = (size - counts[last]) // 255
    if step == 0:
        for k in range(256):
            levels[k] = k
        return
    before = np.int32(step // 2)
    for k in range(256):
        count = counts[k]
        counts[k] = before
        before += count
    inverse = 1 / step
    for k in range(256):
        # Half a level off the whole numbers, a rounded reciprocal divides exactly.
        levels[k] = np.int32(min((counts[k] + 0.5) * inverse, 255.0))


@compiled
def _mean_luma(image: Bytes, size: int) -> float:
    total: Any = 0
    if image.size == size:
        for k in range(size):
            total += np.int64(image[k])
    else:
        red, green, blue = image[:size], image[size : 2 * size], image[2 * size :]
        for k in range(size):
            total += np.int64(luma(red[k], green[k], blue[k]))
    mean: float = np.floor(total / size + 0.5)
    return mean
