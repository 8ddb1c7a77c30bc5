"""Apply a plan to uint8 batches and PIL images in compiled code, on a CPU."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.backends.lowering import WIDTH, Colors, Floats, colors
from learned_augment.backends.numba.jit import Bytes, checksum, compiled, kept
from learned_augment.backends.numba.lowering import PlanArrays, lower, plan_arrays
from learned_augment.backends.numba.lut import (
    compose,
    copy,
    look_up_pixels,
    look_up_planes,
    luma,
    measure_pixels,
    measure_planes,
    mix,
)
from learned_augment.backends.numba.opcodes import (
    AFFINE,
    AUTO_CONTRAST,
    COLOR,
    CONTRAST,
    EQUALIZE,
    ERASE,
    IDENTITY,
    SHARPNESS,
)
from learned_augment.backends.numba.parallel import (
    Queue,
    call,
    mark_done,
    next_image,
    run_on_threads,
    wait_for_all,
)
from learned_augment.backends.numba.warp import Pixels, Shape, erase, move
from learned_augment.policy import Plan
from learned_augment.sampling import NOISE

__all__ = ["apply_to_pil", "apply_uint8", "maps_arrays"]

Fill: TypeAlias = tuple[float, ...] | None

_LEVELS = np.dtype(np.uint8)

LONG_ROW = 1024
"""Levels of a row that is long enough for a loop; sixteen-bit sums of them fit the first cache."""


def _coloring(pixel: int) -> Callable[[Bytes, Bytes, int, Any], None]:
    @compiled
    def color(source: Bytes, target: Bytes, size: int, factor: Any) -> None:
        """Blend an image of three channels with its luma."""
        channel = size if pixel == 1 else 1
        for k in range(size):
            red = np.uint64(pixel * k)
            green, blue = red + np.uint64(channel), red + np.uint64(2 * channel)
            r, g, b = np.float32(source[red]), np.float32(source[green]), np.float32(source[blue])
            low = luma(r, g, b)
            target[red] = np.int32(mix(low, r, factor))
            target[green] = np.int32(mix(low, g, factor))
            target[blue] = np.int32(mix(low, b, factor))
            if pixel == 4:
                target[red + np.uint64(3)] = source[red + np.uint64(3)]

    return color


# The compiler makes vector code of a loop whose stride it knows.
_color_planes, _color_pixels = _coloring(1), _coloring(4)


@compiled
def _sharpen(
    source: Bytes, target: Bytes, height: int, width: int, pixel: int, factor: Any
) -> None:
    """Blend an image with its smooth form; the border of one pixel stays as it is.

    One long row is faster than many short ones, so the loop takes several rows for one. This is
    wrong at the border, which is then restored.
    """
    copy(source, target)
    length = width * pixel
    most = max(LONG_ROW // length, 1)
    columns = np.empty(most * length, np.int16)
    for plane in range(0, source.size, height * length):
        for top in range(1, height - 1, most):
            rows = min(most, height - 1 - top)
            start = plane + top * length
            for x in range(rows * length):
                above, below = np.uint64(start - length + x), np.uint64(start + length + x)
                columns[x] = source[above] + source[np.uint64(start + x)] + source[below]
            for x in range(rows * length - 2 * pixel):
                k = np.uint64(start + pixel + x)
                level, right = source[k], columns[np.uint64(x + 2 * pixel)]
                around = columns[x] + columns[np.uint64(x + pixel)] + right
                total = np.float32(np.int16(around + 4 * np.int16(level)))
                # The half keeps the sum off whole numbers, where a rounded reciprocal errs.
                low = np.floor((total + np.float32(6.5)) * np.float32(1 / 13))
                target[k] = np.int32(mix(low, np.float32(level), factor))
            for left in range(start, start + rows * length, length):
                for edge in range(left, left + pixel):
                    other = edge + length - pixel
                    target[edge], target[other] = source[edge], source[other]


@compiled
def _rewrites(code: float) -> bool:
    """Return whether an instruction writes a new image; tables and erasing need none."""
    return code in (AFFINE, COLOR, SHARPNESS)


@compiled
def _count_rewrites(instructions: Floats) -> int:
    count = 0
    for code in instructions[:, 0]:
        count += _rewrites(code)
    return count


class Shared(NamedTuple):
    """Settings and working memory that the images of a batch share.

    Attributes:
        shape: C, H, W.
        outside: Colors outside a moved image, around a padded crop, in an erased box: (3, C) levels
            of planes, or (3, 1) pixels of four bytes, uint32.
        table: (C, 256), to work in.
        measured: (C, 256), to work in.
    """

    shape: Shape
    outside: Pixels
    table: Bytes
    measured: Bytes


@compiled
def _levels(image: Bytes) -> Pixels:
    return image


@compiled
def _words(image: Bytes) -> Pixels:
    return image.view(np.uint32)


def _image_runner(pixel: int) -> Callable[..., None]:
    """Return a function that runs the instructions of an image of planes (1) or PIL's pixels (4).

    Pixels are red, green, blue and a fourth byte. They are moved and erased whole, with one read
    for all channels.
    """
    color, measure, look_up, view = (
        (_color_planes, measure_planes, look_up_planes, _levels)
        if pixel == 1
        else (_color_pixels, measure_pixels, look_up_pixels, _words)
    )

    @compiled
    def run_image(
        image: Bytes,
        out: Bytes,
        spare: Bytes,
        owned: bool,
        instructions: Floats,
        rewrites: int,
        shared: Shared,
    ) -> None:
        """Run one image's instructions; the last of them writes to ``out``.

        All of them run one after the other, while the image is in the processor's cache. The image
        is flat: an array of another shape costs as much as a hundred pixels.

        Tables are composed in ``shared.table`` until an instruction needs the pixels that they
        give.

        Args:
            image: Planes (C * H * W,) or pixels (4 * H * W,).
            out: As large, for the result.
            spare: As large, to work in.
            owned: Whether ``image`` may be written to. It then is ``out`` if the number of rewrites
                is even, and ``spare`` if it is odd.
            instructions: (L, 8), as ``lower`` writes them.
            rewrites: How many of them write a new image.
            shared: The batch's.
        """
        (_, height, width), outside, table, measured = shared
        current, waiting, copied = image, False, owned
        for layer in range(len(instructions)):
            instruction = instructions[layer]
            code = instruction[0]
            if code == IDENTITY:
                continue
            target = out if rewrites % 2 == 0 else spare
            if not _rewrites(code) and code != ERASE:
                if waiting and code in (CONTRAST, EQUALIZE, AUTO_CONTRAST):
                    look_up(current, target, table)
                    current, waiting, copied = target, False, True
                measure(current, code, instruction[1], measured)
                if waiting:
                    for c in range(len(table)):
                        compose(table[c], measured[c])
                else:
                    for c in range(len(table)):
                        copy(measured[c], table[c])
                waiting = True
                continue
            if waiting:
                look_up(current, target, table)
                current, waiting, copied = target, False, True
            elif not copied and code in (AFFINE, ERASE):
                # Memory read along slanted lines waits at every pixel; a straight copy does not.
                copy(current, target)
                current, copied = target, True
            if code == ERASE:
                erase(view(target), height, width, instruction, outside[2])
                continue
            rewrites -= 1
            target = out if rewrites % 2 == 0 else spare
            if code == AFFINE:
                fill = outside[int(instruction[7])]
                move(view(current), view(target), height, width, instruction, fill)
            elif code == SHARPNESS:
                _sharpen(current, target, height, width, pixel, np.float32(instruction[1]))
            elif len(table) == 3:
                color(current, target, height * width, np.float32(instruction[1]))
            else:
                copy(current, target)
            current, copied = target, True
        if waiting:
            look_up(current, out, table)
        elif not copied:
            copy(image, out)

    return run_image


_run_planes, _run_pixels = _image_runner(1), _image_runner(4)


@compiled
def _split(pixels: Bytes, planes: Bytes, size: int) -> None:
    """Turn pixels of red, green and blue into planes."""
    red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
    for k in range(size):
        place = np.uint64(3 * k)
        red[k] = pixels[place]
        green[k] = pixels[place + np.uint64(1)]
        blue[k] = pixels[place + np.uint64(2)]


@compiled
def _room(plan: PlanArrays) -> Floats:
    """Return memory for the instructions of an image."""
    return np.empty((plan.numbers.shape[1] // (1 + NOISE), WIDTH))


def _planes_entry(version: int) -> Callable[..., None]:
    @kept
    def run(
        images: Bytes,
        out: Bytes,
        arrays: tuple[Any, ...],
        shape: Shape,
        side_by_side: bool,
        colors: Bytes,
        queue: Queue,
        stay: bool,
    ) -> None:
        """Apply a plan to the images of a batch that no other thread has taken.

        Args:
            images: (B, C * H * W) uint8, contiguous.
            out: As large, planes; shares no memory with ``images``.
            arrays: The fields of ``PlanArrays``.
            shape: C, H, W.
            side_by_side: Whether the three channels of a pixel lie side by side in ``images``.
            colors: (3, C) levels, as ``outside`` in ``Shared``.
            queue: See ``Queue``.
            stay: Whether to return only when all threads are done with their images.
        """
        if not version:  # never: so that it encloses the checksum, see `kept`
            return
        plan, (channels, height, width) = PlanArrays(*arrays), shape
        instructions, spare = _room(plan), np.empty(out.shape[1], np.uint8)
        table, measured = np.empty((channels, 256), np.uint8), np.empty((channels, 256), np.uint8)
        shared = Shared(shape, colors, table, measured)
        i = next_image(queue)
        while i < len(images):
            lower(plan, i, width, height, instructions)
            rewrites = _count_rewrites(instructions)
            image = images[i]
            if side_by_side:
                image = spare if rewrites % 2 else out[i]
                _split(images[i], image, height * width)
            _run_planes(image, out[i], spare, side_by_side, instructions, rewrites, shared)
            mark_done(queue)
            i = next_image(queue)
        if stay:
            wait_for_all(queue, len(images))

    return run


def _pixels_entry(version: int) -> Callable[..., bool]:
    @kept
    def run(
        pixels: Bytes, out: Bytes, arrays: tuple[Any, ...], height: int, width: int, colors: Bytes
    ) -> bool:
        """Apply a plan of one row to PIL's pixels of four bytes.

        Args:
            pixels: (4 * H * W,) uint8, which is written to.
            out: As large.
            arrays: The fields of ``PlanArrays``.
            height: H.
            width: W.
            colors: (3, 3) levels, in the order of ``outside`` in ``Shared``.

        Returns:
            Whether the result is in ``out``; else it is in ``pixels``.
        """
        if not version:  # never: so that it encloses the checksum, see `kept`
            return False
        plan = PlanArrays(*arrays)
        instructions = _room(plan)
        table, measured = np.empty((3, 256), np.uint8), np.empty((3, 256), np.uint8)
        words = np.full((3, 4), np.uint8(255))
        for k in range(3):
            # Assigning a whole array would compile its message on shapes, for seconds.
            for c in range(3):
                words[k, c] = colors[k, c]
        lower(plan, 0, width, height, instructions)
        rewrites = _count_rewrites(instructions)
        target, spare = (out, pixels) if rewrites % 2 else (pixels, out)
        shared = Shared((3, height, width), words.view(np.uint32), table, measured)
        _run_pixels(pixels, target, spare, True, instructions, rewrites, shared)
        return rewrites % 2 == 1

    return run


run_planes, run_pixels = _planes_entry(checksum()), _pixels_entry(checksum())
"""Compiled when first called, each for itself: most users have images of one kind only."""


def apply_uint8(images: Tensor, plan: Plan, fill: Fill = None) -> Tensor:
    """Apply a plan to uint8 CPU images (..., C, H, W), nearest neighbor; a new tensor.

    Pixels are those of ``torch_uint8``. Ops without compiled arithmetic are left out.

    Args:
        images: Never written to; any strides.
        plan: One row an image.
        fill: 1 or C levels outside the image; None is 0, and gray for crop padding.
    """
    source, side_by_side = images.numpy(), False
    shape, out = source.shape[-3:], np.empty(source.shape, np.uint8)
    if not source.flags.c_contiguous:
        # torchvision decodes an image to channels that lie side by side.
        pixels = source.transpose(*range(source.ndim - 3), -2, -1, -3)
        side_by_side = shape[0] == 3 and pixels.flags.c_contiguous
        source = pixels if side_by_side else np.ascontiguousarray(source)
    source = source.reshape(len(plan), -1)
    batches, outside = (source, out.reshape(len(plan), -1)), colors(shape[0], fill, _LEVELS)
    run_on_threads(run_planes, batches, plan_arrays(plan), shape, side_by_side, outside)
    return torch.from_numpy(out)


def apply_to_pil(image: Image.Image, plan: Plan, fill: Fill = None) -> Image.Image:
    """Apply a plan of one row to an image of mode RGB or L, nearest neighbor; a new image.

    Pixels are those of ``torch_uint8``. Ops without compiled arithmetic are left out.
    """
    image.load()
    (width, height), channels = image.size, len(image.mode)
    flat = (1, (4 if channels == 3 else 1) * height * width)
    pixels, out = np.empty(flat, np.uint8), np.empty(flat, np.uint8)
    copied = _mapped(pixels, image)
    copied.paste(image.im, (0, 0, width, height))
    arrays, outside = plan_arrays(plan), colors(channels, fill, _LEVELS)
    if channels == 1:
        run_on_threads(run_planes, (pixels, out), arrays, (1, height, width), False, outside)
    elif not call(run_pixels, pixels[0], out[0], arrays, height, width, outside):
        return image._new(copied)
    return image._new(_mapped(out, image))


def _mapped(pixels: Colors, image: Image.Image) -> Any:
    """Return the core of an image of the mode and size of another whose memory is an array.

    ``Image.frombuffer`` does so too, but not for RGB, which PIL keeps in four bytes a pixel.
    """
    return Image.core.map_buffer(pixels, image.size, "raw", 0, (image.mode, 0, 1))  # type: ignore[attr-defined]


@cache
def maps_arrays() -> bool:
    """Return whether this Pillow keeps RGB in an array: what is used of it is not public."""
    pixels, image = np.empty((1, 4), np.uint8), Image.new("RGB", (1, 1), (1, 2, 3))
    try:
        _mapped(pixels, image).paste(image.im, (0, 0, 1, 1))
    except (AttributeError, TypeError, ValueError):
        return False
    return pixels.tolist() == [[1, 2, 3, 255]]
