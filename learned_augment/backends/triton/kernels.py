"""Triton kernel that runs the instructions of uint8 images on a GPU, with PIL's arithmetic."""

import triton
import triton.language as tl

from learned_augment.backends import lowering
from learned_augment.ops import Opcode

__all__ = ["run"]

WIDTH = tl.constexpr(lowering.WIDTH)
TABLE = tl.constexpr(int(Opcode.TABLE))
AFFINE = tl.constexpr(int(Opcode.AFFINE))
ERASE = tl.constexpr(int(Opcode.ERASE))
COLOR = tl.constexpr(int(Opcode.COLOR))
SHARPNESS = tl.constexpr(int(Opcode.SHARPNESS))
AUTO_CONTRAST = tl.constexpr(int(Opcode.AUTO_CONTRAST))
CONTRAST = tl.constexpr(int(Opcode.CONTRAST))
EQUALIZE = tl.constexpr(int(Opcode.EQUALIZE))


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
    """Blend two levels, clipped to 0..255 and truncated, in single precision."""
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
    per_level = (size - tl.sum(tl.where(levels == last, counts, 0))) // 255
    before = tl.cumsum(counts) - counts
    equal = tl.minimum((per_level // 2 + before) // tl.maximum(per_level, 1), 255)
    return tl.where(per_level == 0, levels, equal)


@triton.jit
def measure(image, table, spare, size, code, value, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Follow the waiting tables by those of an op that needs statistics of the image."""
    levels = tl.arange(0, 256)
    if code == CONTRAST:
        mean = _mean_luma(image, table, size, CHANNELS, BLOCK)
        for channel in range(CHANNELS):
            level = tl.load(table + channel * 256 + levels).to(tl.int32)
            mixed = mix(mean, level, value.to(tl.float32))
            tl.store(spare + channel * 256 + levels, mixed.to(tl.uint8))
    elif code == AUTO_CONTRAST:
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
    """Follow every waiting table by another one (256,)."""
    at = tl.arange(0, 256)
    for channel in range(CHANNELS):
        level = tl.load(table + channel * 256 + at).to(tl.int32)
        tl.store(table + channel * 256 + at, tl.load(levels + level))
    tl.debug_barrier()


@triton.jit
def reset(table, CHANNELS: tl.constexpr):
    """Make every waiting table the one that changes nothing."""
    levels = tl.arange(0, 256)
    for channel in range(CHANNELS):
        tl.store(table + channel * 256 + levels, levels.to(tl.uint8))
    tl.debug_barrier()


@triton.jit
def _fixed(value):
    return tl.floor(value * 65536.0 + 0.5).to(tl.int64)


@triton.jit
def _positions(axis, offset, increment, limit):
    """Write the source of each position of an axis, -1 outside: a running sum, as PIL's is."""
    position = offset + increment * 0.5
    for k in range(limit):
        source = tl.floor(position).to(tl.int64)  # below 0 wherever the position is
        tl.store(axis + k, tl.minimum(tl.maximum(source, -1), limit).to(tl.int32))
        position += increment


@triton.jit
def _move(
    image, target, table, axes, row, colors, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    size = height * width
    outside = colors + tl.load(row + 7).to(tl.int32) * CHANNELS
    a, b, c = tl.load(row + 1), tl.load(row + 2), tl.load(row + 3)
    d, e, f = tl.load(row + 4), tl.load(row + 5), tl.load(row + 6)
    straight = (b == 0) & (d == 0)
    x0, y0 = _fixed(c + a * 0.5 + b * 0.5), _fixed(f + d * 0.5 + e * 0.5)
    dx, dy, down_x, down_y = _fixed(a), _fixed(d), _fixed(b), _fixed(e)
    if straight:
        _positions(axes, c, a, width)
        _positions(axes + width, f, e, height)
        tl.debug_barrier()
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        column, line = pixel % width, tl.minimum(pixel // width, height - 1)
        if straight:
            x, y = tl.load(axes + column), tl.load(axes + width + line)
        else:
            x = ((x0 + dx * column + down_x * line) >> 16).to(tl.int32)
            y = ((y0 + dy * column + down_y * line) >> 16).to(tl.int32)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        for channel in range(CHANNELS):
            level = level_at(image, table, channel, tl.where(inside, y * width + x, 0), size, mask)
            level = tl.where(inside, level, tl.load(outside + channel).to(tl.int32))
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


@triton.jit
def _erase(
    image, target, table, row, gray, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    size = height * width
    left, top = tl.load(row + 1).to(tl.int32), tl.load(row + 2).to(tl.int32)
    right, bottom = tl.load(row + 3).to(tl.int32), tl.load(row + 4).to(tl.int32)
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        column, line = pixel % width, pixel // width
        inside = (column >= left) & (column < right) & (line >= top) & (line < bottom)
        for channel in range(CHANNELS):
            level = level_at(image, table, channel, pixel, size, mask)
            level = tl.where(inside, tl.load(gray + channel).to(tl.int32), level)
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


@triton.jit
def _color(image, target, table, factor, size, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        low = luma_at(image, table, pixel, size, mask, CHANNELS)
        for channel in range(CHANNELS):
            level = mix(low, level_at(image, table, channel, pixel, size, mask), factor)
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


@triton.jit
def _sharpen(
    image, target, table, factor, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """Blend with the smooth form; the border of one pixel stays as it is."""
    size = height * width
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        column, line = pixel % width, pixel // width
        inner = mask & (column > 0) & (column < width - 1) & (line > 0) & (line < height - 1)
        for channel in range(CHANNELS):
            level = level_at(image, table, channel, pixel, size, mask)
            total = 4 * level + 6
            for y in tl.static_range(-1, 2):
                for x in tl.static_range(-1, 2):
                    total += level_at(image, table, channel, pixel + y * width + x, size, inner)
            level = tl.where(inner, mix(total // 13, level, factor), level)
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


@triton.jit
def _rewrites(code):
    """Return whether an instruction writes a new image."""
    return (code == AFFINE) | (code == ERASE) | (code == COLOR) | (code == SHARPNESS)


@triton.jit
def _rewrite(
    image, target, table, axes, row, colors, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run an instruction that writes a new image."""
    code, factor = tl.load(row).to(tl.int32), tl.load(row + 1).to(tl.float32)
    if code == AFFINE:
        _move(image, target, table, axes, row, colors, height, width, CHANNELS, BLOCK)
    elif code == COLOR:
        _color(image, target, table, factor, height * width, CHANNELS, BLOCK)
    elif code == SHARPNESS:
        _sharpen(image, target, table, factor, height, width, CHANNELS, BLOCK)
    else:
        gray = colors + 2 * CHANNELS
        _erase(image, target, table, row, gray, height, width, CHANNELS, BLOCK)
    tl.debug_barrier()


@triton.jit
def _write(image, target, table, size, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Write the image through the waiting tables; ``target`` may be ``image``."""
    for start in range(0, size, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        mask = pixel < size
        for channel in range(CHANNELS):
            level = level_at(image, table, channel, pixel, size, mask)
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


# Neither of the two named here decides how memory is read: compiled once, whatever the last batch
# of an epoch holds.
@triton.jit(do_not_specialize=["count", "layers"])
def run(
    images, out, memory, lowered, count, layers, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run the images of a batch.

    ``memory`` is what blocks work in: an image each, two tables a channel each, and the source of
    each column and row. ``lowered`` is a lowered plan: instructions (B, L, 8), tables (T, 256) and
    colors (3, C).

    A block of threads takes an image through all of its instructions, so that it stays in the
    device's cache between them. An op that only maps levels costs no pass over the image: it
    changes the waiting tables (C, 256), and every later read of a level goes through them.
    """
    spare, spare_tables, axes = memory
    instructions, tables, colors = lowered
    block, size = tl.program_id(0), height * width
    table = spare_tables + block * 2 * CHANNELS * 256
    axes += block * (height + width)
    spare += tl.cast(block, tl.int64) * CHANNELS * size
    for i in range(block, count, tl.num_programs(0)):
        start = tl.cast(i, tl.int64) * CHANNELS * size
        image, row = images + start, instructions + i * layers * WIDTH
        left, waiting = 0, True
        for layer in range(layers):
            left += _rewrites(tl.load(row + layer * WIDTH).to(tl.int32)).to(tl.int32)
        reset(table, CHANNELS)
        for _ in range(layers):
            code = tl.load(row).to(tl.int32)
            if code == TABLE:
                follow(table, tables + tl.load(row + 1).to(tl.int32) * 256, CHANNELS)
                waiting = True
            elif _rewrites(code):
                left -= 1
                target = out + start
                if left % 2 == 1:
                    target = spare
                _rewrite(image, target, table, axes, row, colors, height, width, CHANNELS, BLOCK)
                reset(table, CHANNELS)
                image, waiting = target, False
            elif (code == CONTRAST) | (code == AUTO_CONTRAST) | (code == EQUALIZE):
                value = tl.load(row + 1)
                measure(image, table, table + CHANNELS * 256, size, code, value, CHANNELS, BLOCK)
                waiting = True
            row += WIDTH
        if waiting:
            _write(image, out + start, table, size, CHANNELS, BLOCK)
        tl.debug_barrier()
