"""Triton: a program of steps + uint8 images on a GPU -> uint8 images, all layers in one launch.

A block of threads takes an image through all of its steps, so that between the layers it stays in
the device's cache. A step is eight float64 as ``program`` lays them out; arithmetic is that of
``moves`` and ``kernels``, to the bit.
"""

import triton
import triton.language as tl

from learned_augment.backends import lowering as program
from learned_augment.backends.triton.levels import follow, level_at, luma_at, measure, mix, reset

__all__ = ["run"]

TABLE = tl.constexpr(program.TABLE)
MOVE = tl.constexpr(program.MOVE)
COLOUR = tl.constexpr(program.COLOUR)
SHARPEN = tl.constexpr(program.SHARPEN)
WIDTH = tl.constexpr(program.WIDTH)


@triton.jit
def _fixed(value):
    return tl.floor(value * 65536.0 + 0.5).to(tl.int64)


@triton.jit
def _positions(axis, offset, step, limit):
    """Write the source of each position of an axis, -1 outside: a running sum, as PIL's is."""
    position = offset + step * 0.5
    for k in range(limit):
        source = tl.floor(position).to(tl.int64)  # below 0 wherever the position is
        tl.store(axis + k, tl.minimum(tl.maximum(source, -1), limit).to(tl.int32))
        position += step


@triton.jit
def _move(
    image, target, table, axes, row, colours, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    size = height * width
    outside = colours + tl.load(row + 7).to(tl.int32) * CHANNELS
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
    image, target, table, row, grey, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
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
            level = tl.where(inside, tl.load(grey + channel).to(tl.int32), level)
            tl.store(target + channel * size + pixel, level.to(tl.uint8), mask=mask)


@triton.jit
def _colour(image, target, table, factor, size, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
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
def _redraw(
    image, target, table, axes, row, colours, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run a step that writes a new image."""
    kind, factor = tl.load(row).to(tl.int32), tl.load(row + 1).to(tl.float32)
    if kind == MOVE:
        _move(image, target, table, axes, row, colours, height, width, CHANNELS, BLOCK)
    elif kind == COLOUR:
        _colour(image, target, table, factor, height * width, CHANNELS, BLOCK)
    elif kind == SHARPEN:
        _sharpen(image, target, table, factor, height, width, CHANNELS, BLOCK)
    else:
        grey = colours + 2 * CHANNELS
        _erase(image, target, table, row, grey, height, width, CHANNELS, BLOCK)
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


# Neither decides how memory is read: compiled once, whatever the last batch of an epoch holds.
@triton.jit(do_not_specialize=["count", "layers"])
def run(
    images, out, spare, spare_tables, axes, steps, tables, colours,
    count, layers, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run the images of a batch; steps (B, L, 8), tables (T, 256), colours (3, C)."""
    block, size = tl.program_id(0), height * width
    table = spare_tables + block * 2 * CHANNELS * 256
    axes += block * (height + width)
    spare += tl.cast(block, tl.int64) * CHANNELS * size
    for i in range(block, count, tl.num_programs(0)):
        start = tl.cast(i, tl.int64) * CHANNELS * size
        image, row = images + start, steps + i * layers * WIDTH
        left, waiting = 0, True
        for layer in range(layers):
            left += (tl.load(row + layer * WIDTH) >= MOVE).to(tl.int32)
        reset(table, CHANNELS)
        for _ in range(layers):
            kind = tl.load(row).to(tl.int32)
            if kind == TABLE:
                follow(table, tables + tl.load(row + 1).to(tl.int32) * 256, CHANNELS)
                waiting = True
            elif kind >= MOVE:
                left -= 1
                target = out + start
                if left % 2 == 1:
                    target = spare
                _redraw(image, target, table, axes, row, colours, height, width, CHANNELS, BLOCK)
                reset(table, CHANNELS)
                image, waiting = target, False
            elif kind > 0:
                value = tl.load(row + 1)
                measure(image, table, table + CHANNELS * 256, size, kind, value, CHANNELS, BLOCK)
                waiting = True
            row += WIDTH
        if waiting:
            _write(image, out + start, table, size, CHANNELS, BLOCK)
        tl.debug_barrier()
