"""Compiled loops that count and map the gray levels of uint8 images."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

from learned_augment.backends.numba.jit import Bytes, compiled
from learned_augment.backends.numba.lowering import new_level
from learned_augment.backends.numba.opcodes import AUTO_CONTRAST, CONTRAST, EQUALIZE

__all__ = [
    "compose",
    "copy",
    "equalize_planes",
    "is_wide",
    "look_up_each",
    "look_up_pixels",
    "look_up_planes",
    "look_up_wide",
    "luma",
    "map_levels",
    "map_pixels_each",
    "map_pixels_wide",
    "measure_pixels",
    "measure_planes",
    "mix",
    "write_table",
]

Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

LANES = 64
"""Levels that one instruction of the processor looks up."""

PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"
"""The instruction of x86 with AVX-512 VBMI that looks up 64 levels in 128 entries.

No compiler turns a loop over a table into vector code, so it is named here.
"""


def _look_up_64(*served: tuple[int, ...]) -> Any:
    """Return a function that writes target[at : at + 64] = table[source[at : at + 64]].

    Args:
        served: For each of the tables (T, 256), the bytes of a pixel of four bytes that it maps.
            Bytes that no table maps stay as they are.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def look_up_64(
        typing: Any, source: Any, at: Any, target: Any, table: Any
    ) -> tuple[Any, Callable[..., Any]]:
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
            levels = index = load(0, arguments[1])
            in_upper = builder.icmp_signed("<", index, ir.Constant(block, [0] * LANES))
            for row, bytes_of_pixel in enumerate(served):
                parts = (ir.IntType(64)(256 * row + LANES * part) for part in range(4))
                a, b, c, d = (load(3, part) for part in parts)
                lower, upper = (builder.call(permute, [p, index, q]) for p, q in ((a, b), (c, d)))
                mapped = builder.select(in_upper, upper, lower)
                mask = [int(lane % 4 in bytes_of_pixel) for lane in range(LANES)]
                chosen = ir.Constant(ir.VectorType(ir.IntType(1), LANES), mask)
                levels = builder.select(chosen, mapped, levels)
            builder.store(levels, place(2, arguments[1]), align=1)
            return context.get_dummy_value()

        return types.void(source, at, target, table), generate

    return look_up_64


_look_up_levels = _look_up_64((0, 1, 2, 3))
_look_up_pixels, _look_up_pixels_alike = _look_up_64((0,), (1,), (2,)), _look_up_64((0, 1, 2))


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
        _look_up_levels(source, k, target, table)
    for k in range(whole, source.size):
        target[k] = table[source[k]]


@compiled
def map_pixels_each(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map pixels (4 * n,) through tables (3, 256); ``target`` may be ``source``."""
    _map_pixels_from(0, source, target, table)


@compiled
def map_pixels_wide(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Do what ``map_pixels_each`` does, with AVX-512 VBMI."""
    whole, other = source.size // LANES * LANES, np.uint8(0)
    for k in range(256):
        other |= (table[0, k] ^ table[1, k]) | (table[0, k] ^ table[2, k])
    if other:
        for k in range(0, whole, LANES):
            _look_up_pixels(source, k, target, table)
    else:
        for k in range(0, whole, LANES):
            _look_up_pixels_alike(source, k, target, table)
    _map_pixels_from(whole, source, target, table)


@compiled
def _map_pixels_from(start: int, source: Bytes, target: Bytes, table: Bytes) -> None:
    for k in range(start, source.size, 4):
        for c in range(3):
            target[k + c] = table[c, source[k + c]]
        target[k + 3] = source[k + 3]


def is_wide() -> bool:
    """Return whether this processor, and Numba as it is set up, know the instruction."""
    chosen = config.CPU_NAME or config.CPU_FEATURES
    return not chosen and bool(binding.get_host_cpu_features().get("avx512vbmi"))


map_levels = look_up_wide if is_wide() else look_up_each
"""``look_up_wide`` if the processor has its instruction, else ``look_up_each``."""

look_up_pixels = map_pixels_wide if is_wide() else map_pixels_each
"""Map PIL's pixels (4 * n,) through tables (3, 256); ``target`` may be ``source``."""


# The arithmetic is PIL's: single precision where PIL has it, and no sum contracted or reordered.


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
def look_up_planes(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map planes (C * n,) through tables (C, 256); ``target`` may be ``source``."""
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
def _auto_contrast_plane(low: int, high: int, levels: Bytes) -> None:
    """Write the table (256,) that stretches levels from ``low`` to ``high``."""
    scale = 255.0 / (high - low) if high > low else 1.0
    shift = low * scale if high > low else 0.0
    for k in range(256):
        levels[k] = np.int32(min(max(k * scale - shift, 0.0), 255.0))


@compiled
def _equalize_plane(counts: Counts, size: int, levels: Bytes) -> None:
    """Write the table (256,) for counts (256,) of ``size`` levels, which are written over."""
    last = 255
    while counts[last] == 0:
        last -= 1
    per_level = (size - counts[last]) // 255
    if per_level == 0:
        for k in range(256):
            levels[k] = k
        return
    before = np.int32(per_level // 2)
    for k in range(256):
        count = counts[k]
        counts[k] = before
        before += count
    inverse = 1 / per_level
    for k in range(256):
        # The half keeps the sum off whole numbers, where a rounded reciprocal errs.
        levels[k] = np.int32(min((counts[k] + 0.5) * inverse, 255.0))


def _measuring(pixel: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return two functions that write tables (C, 256): of Equalize, and of any pointwise op.

    They take an image from which they measure what an op needs, such as its mean. It is planes (1),
    one for each channel, or PIL's pixels (4): red, green, blue and a fourth byte.

    The compiler makes vector code of a loop whose stride it knows.
    """

    @compiled
    def place(channel: int, k: int, size: int) -> Any:
        return np.uint64(channel * size + k) if pixel == 1 else np.uint64(pixel * k + channel)

    @compiled
    def count(image: Bytes, channel: int, size: int, counts: Counts) -> None:
        """Count a channel's levels into the first of four rows (4, 256).

        With four rows, equal neighbors add to different counters and need not wait for each other.
        """
        counts[:] = 0
        quarter = size // 4
        for k in range(quarter):
            for row in range(4):
                counts[row, image[place(channel, row * quarter + k, size)]] += 1
        for k in range(4 * quarter, size):
            counts[3, image[place(channel, k, size)]] += 1
        for k in range(256):
            counts[0, k] += counts[1, k] + counts[2, k] + counts[3, k]

    @compiled
    def extremes(image: Bytes, channel: int, size: int) -> tuple[Any, Any]:
        low, high = np.uint8(255), np.uint8(0)
        for k in range(size):
            level = image[place(channel, k, size)]
            low, high = min(low, level), max(high, level)
        return low, high

    @compiled
    def mean_luma(image: Bytes, size: int, channels: int) -> float:
        total: Any = 0
        if channels == 1:
            for level in image:
                total += np.int64(level)
        else:
            for k in range(size):
                red, green, blue = place(0, k, size), place(1, k, size), place(2, k, size)
                total += np.int64(luma(image[red], image[green], image[blue]))
        mean: float = np.floor(total / size + 0.5)
        return mean

    @compiled
    def equalize(image: Bytes, size: int, table: Bytes) -> None:
        counts = np.empty((4, 256), np.int32)
        for c in range(len(table)):
            count(image, c, size, counts)
            _equalize_plane(counts[0], size, table[c])

    @compiled
    def measure(image: Bytes, code: float, value: float, table: Bytes) -> None:
        if code not in (EQUALIZE, AUTO_CONTRAST, CONTRAST):
            write_table(code, value, 0.0, table)
            return
        channels = len(table)
        size = image.size // (channels if pixel == 1 else pixel)
        if code == EQUALIZE:
            equalize(image, size, table)
        elif code == AUTO_CONTRAST:
            for c in range(channels):
                low, high = extremes(image, c, size)
                _auto_contrast_plane(low, high, table[c])
        else:
            write_table(code, value, mean_luma(image, size, channels), table)

    return equalize, measure


equalize_planes, measure_planes = _measuring(1)
_, measure_pixels = _measuring(4)
