"""Triton: what counts and maps the grey levels of an image on a GPU.

Tables wait: whatever reads levels reads them through the waiting tables (C, 256), so that ops which
only map levels cost no pass over the image. Arithmetic is that of ``levels``, to the bit.
"""

import triton
import triton.language as tl

from learned_augment.backends import lowering as program

__all__ = ["follow", "level_at", "luma_at", "measure", "mix", "reset"]

AUTO_CONTRAST = tl.constexpr(program.AUTO_CONTRAST)
CONTRAST = tl.constexpr(program.CONTRAST)


@triton.jit
def level_at(image, table, channel, pixel, size, mask):
    """Read levels through the waiting table, as int32."""
    raw = tl.load(image + channel * size + pixel, mask=mask, other=0).to(tl.int32)
    return tl.load(table + channel * 256 + raw).to(tl.int32)


@triton.jit
def luma_at(image, table, pixel, size, mask, CHANNELS: tl.constexpr):
    """Read the luma of pixels through the waiting tables, as int32."""
    luma = level_at(image, table, 0, pixel, size, mask)
    if CHANNELS == 3:
        green = level_at(image, table, 1, pixel, size, mask)
        blue = level_at(image, table, 2, pixel, size, mask)
        luma = (19595 * luma + 38470 * green + 7471 * blue + 32768) >> 16
    return luma


@triton.jit
def mix(low, level, factor):
    """Blend two levels, clipped to 0..255 and cut off, in single precision."""
    low, level = low.to(tl.float32), level.to(tl.float32)
    mixed = low + factor * (level - low)
    return tl.minimum(tl.maximum(mixed, 0.0), 255.0).to(tl.int32)


@triton.jit
def _mean_luma(image, table, size, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.int64)
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        total += tl.where(mask, luma_at(image, table, pixel, size, mask, CHANNELS), 0)
    return tl.floor(tl.sum(total).to(tl.float64) / size + 0.5)


@triton.jit
def _stretched(image, table, channel, size, level, BLOCK: tl.constexpr):
    """Return ``level`` (256,) after AutoContrast of a channel."""
    low, high = tl.full([BLOCK], 255, tl.int32), tl.full([BLOCK], 0, tl.int32)
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        here = level_at(image, table, channel, pixel, size, mask)
        low = tl.minimum(low, tl.where(mask, here, 255))
        high = tl.maximum(high, tl.where(mask, here, 0))
    darkest, brightest = tl.min(low), tl.max(high)
    span = tl.maximum(brightest - darkest, 1).to(tl.float64)
    scale = tl.where(brightest > darkest, 255.0 / span, 1.0)
    shift = tl.where(brightest > darkest, darkest.to(tl.float64) * scale, 0.0)
    moved = level.to(tl.float64) * scale - shift
    return tl.minimum(tl.maximum(moved, 0.0), 255.0).to(tl.int32)


@triton.jit
def _equal(image, table, channel, size, BLOCK: tl.constexpr):
    """Return the table (256,) of Equalize of a channel."""
    counts, levels = tl.zeros([256], tl.int32), tl.arange(0, 256)
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        here = tl.where(mask, level_at(image, table, channel, pixel, size, mask), 0)
        padding = tl.sum((pixel >= size).to(tl.int32))
        counts += tl.histogram(here, 256) - tl.where(levels == 0, padding, 0)
    last = tl.max(tl.where(counts > 0, levels, 0))
    step = (size - tl.sum(tl.where(levels == last, counts, 0))) // 255
    before = tl.cumsum(counts) - counts
    equal = tl.minimum((step // 2 + before) // tl.maximum(step, 1), 255)
    return tl.where(step == 0, levels, equal)


@triton.jit
def measure(image, table, spare, size, kind, value, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Let the waiting tables be followed by those of an op that asks what is in the image."""
    levels = tl.arange(0, 256)
    if kind == CONTRAST:
        mean = _mean_luma(image, table, size, CHANNELS, BLOCK)
        for channel in range(CHANNELS):
            level = tl.load(table + channel * 256 + levels).to(tl.int32)
            mixed = mix(mean, level, value.to(tl.float32))
            tl.store(spare + channel * 256 + levels, mixed.to(tl.uint8))
    elif kind == AUTO_CONTRAST:
        for channel in range(CHANNELS):
            level = tl.load(table + channel * 256 + levels).to(tl.int32)
            moved = _stretched(image, table, channel, size, level, BLOCK)
            tl.store(spare + channel * 256 + levels, moved.to(tl.uint8))
    else:
        for channel in range(CHANNELS):
            equal = _equal(image, table, channel, size, BLOCK)
            tl.store(spare + channel * 256 + levels, equal.to(tl.uint8))
        tl.debug_barrier()
        for channel in range(CHANNELS):
            level = tl.load(table + channel * 256 + levels).to(tl.int32)
            equal = tl.load(spare + channel * 256 + level).to(tl.int32)
            tl.debug_barrier()
            tl.store(spare + channel * 256 + levels, equal.to(tl.uint8))
    tl.debug_barrier()
    for channel in range(CHANNELS):
        level = tl.load(spare + channel * 256 + levels).to(tl.int32)
        tl.store(table + channel * 256 + levels, level.to(tl.uint8))
    tl.debug_barrier()


@triton.jit
def follow(table, levels, CHANNELS: tl.constexpr):
    """Let every waiting table be followed by another one (256,)."""
    at = tl.arange(0, 256)
    for channel in range(CHANNELS):
        level = tl.load(table + channel * 256 + at).to(tl.int32)
        tl.store(table + channel * 256 + at, tl.load(levels + level))
    tl.debug_barrier()


@triton.jit
def reset(table, CHANNELS: tl.constexpr):
    """Let nothing wait."""
    levels = tl.arange(0, 256)
    for channel in range(CHANNELS):
        tl.store(table + channel * 256 + levels, levels.to(tl.uint8))
    tl.debug_barrier()
