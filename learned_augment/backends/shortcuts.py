"""Tables and degenerate images of PIL images, each by the shortest way to the exact levels.

Where Pillow's own wrappers spend their time in Python, an op has a form of its own here, beside its
row's formula and held to it by tests; an op without one takes its row's formula.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

import numpy as np
from PIL import Image, ImageFilter

from learned_augment.ops import OPS, Blend, Op, Pointwise
from learned_augment.plan import Step

__all__ = ["degenerate", "recoloured"]

LARGE = 1 << 13
"""Pixels from which sums of slices are faster than PIL's filter."""


def recoloured(image: Image.Image, step: Step, kind: Pointwise) -> Image.Image:
    """Map an RGB or L image through a pointwise op's table; maybe the image itself."""
    levels = _levels(image, step, kind)
    if levels == _stored("Identity", 0.0, len(image.mode)):
        return image
    try:
        # What Image.point calls in the end; on its way it rounds each level again, in Python.
        return image._new(image.im.point(levels, None))
    except (AttributeError, TypeError):
        return image.point(levels)


def _levels(image: Image.Image, step: Step, kind: Pointwise) -> list[int]:
    """Return the levels of all channels in a row, as ``Image.point`` wants them."""
    channels = len(image.mode)
    if kind.statistics == "none":
        return _stored(step.op.name, step.value, channels)
    if kind.statistics == "mean luma":
        luma_image = np.asarray(image.convert("L"))
        mean = int(int(luma_image.sum()) / luma_image.size + 0.5)
        return _stored(step.op.name, step.value, channels, mean)
    measured = _MEASURED.get(step.op.name)
    if measured is not None:
        return measured(image)
    return _whole(kind.table(step.value, np.array(image.histogram()).reshape(channels, 256)))


@lru_cache(maxsize=4096)
def _stored(name: str, value: float, channels: int, mean: int | None = None) -> list[int]:
    kind = OPS[name].kind
    assert isinstance(kind, Pointwise)
    statistics = None if mean is None else np.float64(mean)
    return _whole(kind.table(np.float64(value), statistics)) * channels


def _whole(table: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return table.reshape(-1).astype(int).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _stretched(*extrema: tuple[int, int]) -> list[int]:
    """Return AutoContrast's levels, which ask only for each channel's darkest and brightest."""
    kind, counts = OPS["AutoContrast"].kind, np.zeros((len(extrema), 256), np.int64)
    assert isinstance(kind, Pointwise)
    np.put_along_axis(counts, np.array(extrema), 1, axis=1)
    return _whole(kind.table(0.0, counts))


def _extrema(image: Image.Image) -> tuple[tuple[int, int], ...]:
    pairs = image.getextrema()
    return pairs if isinstance(pairs[0], tuple) else (pairs,)  # type: ignore[return-value]


def _equalized(image: Image.Image) -> list[int]:
    """Return Equalize's levels by running sums in Python's integers."""
    counts, pixels = image.histogram(), image.width * image.height
    levels: list[int] = []
    for start in range(0, len(counts), 256):
        channel = counts[start : start + 256]
        last = next(filter(None, reversed(channel)))
        step = (pixels - last) // 255
        below = accumulate(channel[:-1], initial=step // 2)
        levels += range(256) if step == 0 else [count // step for count in below]
    return levels


_MEASURED: dict[str, Callable[[Image.Image], list[int]]] = {
    "AutoContrast": lambda image: _stretched(*_extrema(image)),
    "Equalize": _equalized,
}
"""Faster forms of some tables; an op without one takes its row's formula."""


def degenerate(image: Image.Image, op: Op, kind: Blend) -> Image.Image:
    """Return what a blending op mixes an RGB or L image with, in the image's mode."""
    native = _NATIVE.get(op.name)
    if native is not None:
        return native(image)
    levels = np.asarray(image, dtype=np.int64).reshape(image.height, image.width, -1)
    dull = kind.degenerate(levels.transpose(2, 0, 1))
    spread = np.broadcast_to(dull, (levels.shape[2], *dull.shape[1:]))
    return Image.fromarray(spread.transpose(1, 2, 0).astype(np.uint8).squeeze())


def _smoothed(image: Image.Image) -> Image.Image:
    """Return PIL's SMOOTH filter; for larger images by sums of slices, as exact and faster."""
    channels, (width, height) = len(image.mode), image.size
    if width * height < LARGE or min(width, height) < 3:
        return image.filter(ImageFilter.SMOOTH)
    levels = np.array(image)
    # Rows of all channels side by side: a neighbour in x is ``channels`` numbers away.
    flat = levels.reshape(height, -1).astype(np.uint16)
    rows = flat[:-2] + flat[1:-1]
    rows += flat[2:]
    total = rows[:, : -2 * channels] + rows[:, channels:-channels]
    total += rows[:, 2 * channels :]
    total += 4 * flat[1:-1, channels:-channels]
    total += 6
    # Whole numbers below 4096 divided by 13, by multiplication.
    total = ((total * np.uint32(20165)) >> 18).astype(np.uint8)
    levels.reshape(height, -1)[1:-1, channels:-channels] = total
    return Image.fromarray(levels)


_NATIVE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "Color": lambda image: image.convert("L").convert(image.mode),
    "Sharpness": lambda image: _smoothed(image),
}
"""Faster PIL forms of some degenerate images; an op without one takes its row's formula."""
