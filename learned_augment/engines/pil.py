"""Steps + one PIL image -> PIL image, by PIL's own calls: the DataLoader worker.

Colour modes are RGB and L; alpha moves with geometry and is neither recoloured nor erased; palette
and CMYK images are worked on in RGB and converted back.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from math import floor

import numpy as np
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode

from learned_augment.ops import OPS, Blend, Erase, Geometric, Op, Pointwise, Resample
from learned_augment.ops.blend import luma
from learned_augment.ops.op import GREY
from learned_augment.ops.region import centre_crop
from learned_augment.plan import Step

__all__ = ["MODES", "Fill", "apply_image"]

MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK")

Colour = int | tuple[int, ...]
Fill = tuple[float, ...] | None
"""One number, one for each colour channel, or None: 0, and the papers' grey for crop padding."""

_BICUBIC = Image.Resampling.BICUBIC
LARGE = 1 << 13
"""Pixels from which sums of slices are faster than PIL's filter."""

_RESAMPLING = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}


def apply_image(
    image: Image.Image,
    steps: Sequence[Step],
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: Fill = None,
    size: int | None = None,
) -> Image.Image:
    """Apply the steps to one image of a mode in ``MODES``; a new image of the same mode.

    Args:
        image: The image; never written to.
        steps: What ``Policy.draw`` or ``Plan.steps`` returned.
        interpolation: For geometric ops.
        fill: Colour outside the image, 0 to 255.
        size: If given, resized crops come out at this side, and so does the result.
    """
    if not steps and size is None:
        return image.copy()
    if image.mode in ("RGB", "L"):
        return _Canvas(interpolation, fill, size).run(image, None, steps)[0]
    if image.mode in ("RGBA", "LA"):
        *bands, alpha = image.split()
        colour = bands[0] if len(bands) == 1 else Image.merge("RGB", bands)
        colour, moved = _Canvas(interpolation, fill, size).run(colour, alpha, steps)
        return Image.merge(image.mode, [*colour.split(), moved or alpha])
    between = "RGBA" if image.mode == "P" and "transparency" in image.info else "RGB"
    options = {"interpolation": interpolation, "fill": fill, "size": size}
    result = apply_image(image.convert(between), steps, **options)  # type: ignore[arg-type]
    return result.quantize() if image.mode == "P" else result.convert(image.mode)


class _Canvas:
    """Where the steps run: the settings that stay the same from step to step."""

    def __init__(self, interpolation: InterpolationMode, fill: Fill, size: int | None) -> None:
        self.resampling = _RESAMPLING[interpolation]
        self.fill = fill
        self.size = size

    def run(
        self, given: Image.Image, alpha: Image.Image | None, steps: Sequence[Step]
    ) -> tuple[Image.Image, Image.Image | None]:
        image = given
        for step in steps:
            law = step.op.law
            if isinstance(law, Geometric):
                image, alpha = self._move(image, alpha, step, law)
            elif isinstance(law, Pointwise):
                image = _recoloured(image, step, law)
            elif isinstance(law, Blend):
                image = Image.blend(_degenerate(image, step.op, law), image, step.value)
            elif isinstance(law, Erase):
                image = self._erase(image, step, law)
            else:
                image, alpha = self._resample(image, alpha, step, law)
        if self.size is not None and image.size != (self.size, self.size):
            box = centre_crop(*image.size, self.size)
            image, alpha = image.crop(box), alpha and alpha.crop(box)
        return image.copy() if image is given else image, alpha

    def _move(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, law: Geometric
    ) -> tuple[Image.Image, Image.Image | None]:
        matrix = law.matrix(step.value, step.noise, *image.size)
        colour = grey(image.mode) if law.fill == "grey" and self.fill is None else self._fill(image)
        moved = _moved(image, matrix, self.resampling, colour)
        return moved, alpha and _moved(alpha, matrix, self.resampling, 0)

    def _fill(self, image: Image.Image) -> Colour:
        levels = tuple(int(level) for level in self.fill or (0,))
        if image.mode == "L":
            return levels[0]
        return levels if len(levels) == 3 else levels * 3

    def _erase(self, image: Image.Image, step: Step, law: Erase) -> Image.Image:
        width, height = image.size
        box = law.box(step.value, step.noise, width, height, self.size or min(width, height))
        image = image.copy()
        image.paste(grey(image.mode), tuple(int(edge) for edge in box))  # type: ignore[arg-type]
        return image

    def _resample(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, law: Resample
    ) -> tuple[Image.Image, Image.Image | None]:
        width, height = image.size
        edges = law.box(step.value, step.noise, width, height, min(width, height))
        x0, y0, x1, y1 = (int(edge) for edge in edges)
        size = (self.size, self.size) if self.size else image.size

        def zoomed(picture: Image.Image) -> Image.Image:
            # Columns first, as Pillow did in one call until it chose the cheaper order by size.
            across = picture.crop((x0, y0, x1, y1)).resize((size[0], y1 - y0), _BICUBIC)
            return across.resize(size, _BICUBIC)

        return zoomed(image), alpha and zoomed(alpha)


def _moved(
    image: Image.Image, matrix: tuple[float, ...], resampling: Image.Resampling, outside: Colour
) -> Image.Image:
    a, b, c, d, e, f = matrix
    straight = b == 0 and d == 0 and e == 1
    if straight and a == 1 and c == 0 and f == 0:
        return image
    if straight and a == -1 and c == image.width and f == 0:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if straight and a == 1 and resampling == Image.Resampling.NEAREST and _clear(c) and _clear(f):
        out = Image.new(image.mode, image.size, outside)
        out.paste(image, (-floor(c + 0.5), -floor(f + 0.5)))
        return out
    exact = tuple(map(float, matrix))
    return image.transform(image.size, Image.Transform.AFFINE, exact, resampling, fillcolor=outside)


def _clear(offset: float) -> bool:
    """Say whether shifted pixel centres stay clear of pixel edges, however sums are rounded."""
    return 1e-4 < (offset + 0.5) % 1 < 1 - 1e-4


def grey(mode: str) -> Colour:
    """Return the papers' grey for an RGB or L image."""
    if mode == "RGB":
        return GREY
    return int(luma(np.array(GREY).reshape(3, 1, 1)).item())


def _recoloured(image: Image.Image, step: Step, law: Pointwise) -> Image.Image:
    levels = _levels(image, step, law)
    if levels == _stored("Identity", 0.0, len(image.mode)):
        return image
    try:
        # What Image.point calls in the end; on its way it rounds each level again, in Python.
        return image._new(image.im.point(levels, None))
    except (AttributeError, TypeError):
        return image.point(levels)


def _levels(image: Image.Image, step: Step, law: Pointwise) -> list[int]:
    """Return the levels of all channels in a row, as ``Image.point`` wants them."""
    channels = len(image.mode)
    if law.statistics == "none":
        return _stored(step.op.name, step.value, channels)
    if law.statistics == "mean luma":
        luma_image = np.asarray(image.convert("L"))
        mean = int(int(luma_image.sum()) / luma_image.size + 0.5)
        return _stored(step.op.name, step.value, channels, mean)
    measured = _MEASURED.get(step.op.name)
    if measured is not None:
        return measured(image)
    return _whole(law.table(step.value, np.array(image.histogram()).reshape(channels, 256)))


@lru_cache(maxsize=4096)
def _stored(name: str, value: float, channels: int, mean: int | None = None) -> list[int]:
    law = OPS[name].law
    assert isinstance(law, Pointwise)
    statistics = None if mean is None else np.float64(mean)
    return _whole(law.table(np.float64(value), statistics)) * channels


def _whole(table: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return table.reshape(-1).astype(int).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _stretched(*extrema: tuple[int, int]) -> list[int]:
    """Return AutoContrast's levels, which ask only for each channel's darkest and brightest."""
    law, counts = OPS["AutoContrast"].law, np.zeros((len(extrema), 256), np.int64)
    assert isinstance(law, Pointwise)
    np.put_along_axis(counts, np.array(extrema), 1, axis=1)
    return _whole(law.table(0.0, counts))


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


def _degenerate(image: Image.Image, op: Op, law: Blend) -> Image.Image:
    native = _NATIVE.get(op.name)
    if native is not None:
        return native(image)
    levels = np.asarray(image, dtype=np.int64).reshape(image.height, image.width, -1)
    degenerate = law.degenerate(levels.transpose(2, 0, 1))
    spread = np.broadcast_to(degenerate, (levels.shape[2], *degenerate.shape[1:]))
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
