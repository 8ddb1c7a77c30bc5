"""Apply a plan to one PIL image by PIL's own calls."""

from collections.abc import Sequence
from math import floor
from typing import TypeAlias

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode

from learned_augment.backends.lowering import gray_levels, level_table, rectangle
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.blend import mix
from learned_augment.ops.op import GRAY
from learned_augment.ops.region import center_crop
from learned_augment.policy import Plan, Step

__all__ = ["MODES", "apply", "resized"]

MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK")

Color: TypeAlias = int | tuple[int, ...]
Box: TypeAlias = tuple[int, int, int, int]

_BICUBIC = Image.Resampling.BICUBIC
_RESAMPLING = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}


def apply(
    image: Image.Image,
    plan: Plan,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: tuple[float, ...] | None = None,
    size: int | None = None,
) -> Image.Image:
    """Apply a plan of one row to an image of a mode in ``MODES``; a new image of the same mode.

    Ops act on RGB and L. Geometric ops and resized crops move alpha too; other ops leave it as it
    is. Palette and CMYK images are converted to RGB and back.

    Args:
        image: Never written to.
        plan: One row.
        interpolation: For geometric ops: nearest, bilinear or bicubic.
        fill: Levels 0 to 255 outside the image: one, one for each color channel, or one more for
            alpha; None is 0, and gray for crop padding.
        size: If given, resized crops come out at this side, and so does the result.
    """
    image.load()  # what Image.open returns is not read yet, and some of PIL's calls need it
    steps = plan.steps(0)
    if not steps and size is None:
        return image.copy()
    canvas = _Canvas(_RESAMPLING[interpolation], fill, size)
    if image.mode in ("RGB", "L"):
        return canvas.run(image, None, steps)[0]
    if image.mode in ("RGBA", "LA"):
        return _apply_with_alpha(image, steps, canvas)
    between = "RGBA" if image.mode == "P" and _has_alpha(image) else "RGB"
    converted = image.convert(between)
    if between == "RGBA":
        moved = _apply_with_alpha(converted, steps, canvas)
    else:
        moved = canvas.run(converted, None, steps)[0]
    return moved.quantize() if image.mode == "P" else moved.convert(image.mode)


def _has_alpha(image: Image.Image) -> bool:
    """Return whether a palette image has transparent colors."""
    palette = image.palette
    return "transparency" in image.info or (palette is not None and palette.mode == "RGBA")


def _apply_with_alpha(image: Image.Image, steps: Sequence[Step], canvas: "_Canvas") -> Image.Image:
    *bands, alpha = image.split()
    color = bands[0] if len(bands) == 1 else Image.merge("RGB", bands)
    color, moved = canvas.run(color, alpha, steps)
    return Image.merge(image.mode, [*color.split(), moved or alpha])


class _Canvas:
    """Applies ops to an RGB or L image and its alpha, with the settings that all ops share."""

    def __init__(
        self, resampling: Image.Resampling, fill: tuple[float, ...] | None, size: int | None
    ) -> None:
        self.resampling, self.fill, self.size = resampling, fill, size

    def run(
        self, given: Image.Image, alpha: Image.Image | None, steps: Sequence[Step]
    ) -> tuple[Image.Image, Image.Image | None]:
        image = given
        for step in steps:
            kind = step.op.kind
            if isinstance(kind, Geometric):
                image, alpha = self._move(image, alpha, step, kind)
            elif isinstance(kind, Pointwise):
                image = _map_levels(image, step.value, kind)
            elif isinstance(kind, Blend):
                image = _blended(image, step.value, kind)
            elif isinstance(kind, Erase):
                image = self._erase(image, step, kind)
            else:
                image, alpha = self._resample(image, alpha, step, kind)
        if self.size is not None and image.size != (self.size, self.size):
            box = center_crop(*image.size, self.size)
            image, alpha = image.crop(box), alpha and alpha.crop(box)
        return image.copy() if image is given else image, alpha

    def _move(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, kind: Geometric
    ) -> tuple[Image.Image, Image.Image | None]:
        matrix = tuple(map(float, kind.matrix(step.value, step.noise, *image.size)))
        gray = kind.fill == "gray" and self.fill is None
        outside = _gray(image.mode) if gray else self._fill(image.mode)
        moved = _moved(image, matrix, self.resampling, outside)
        return moved, alpha and _moved(alpha, matrix, self.resampling, self._alpha_fill())

    def _fill(self, mode: str) -> Color:
        levels = tuple(int(level) for level in self.fill or (0,))
        if mode == "L":
            return levels[0]
        return levels[:3] if len(levels) >= 3 else levels[:1] * 3

    def _alpha_fill(self) -> int:
        return int(self.fill[-1]) if self.fill is not None and len(self.fill) in (2, 4) else 0

    def _erase(self, image: Image.Image, step: Step, kind: Erase) -> Image.Image:
        width, height = image.size
        box = rectangle(kind, step.value, step.noise, width, height, self.size)
        image = image.copy()
        x0, y0, x1, y1 = (int(edge) for edge in box)
        image.paste(_gray(image.mode), (x0, y0, x1, y1))
        return image

    def _resample(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, kind: Resample
    ) -> tuple[Image.Image, Image.Image | None]:
        width, height = image.size
        edges = rectangle(kind, step.value, step.noise, width, height, self.size)
        x0, y0, x1, y1 = map(int, edges)
        target = (self.size, self.size) if self.size else image.size
        box = (x0, y0, x1, y1)
        return resized(image, box, target), alpha and resized(alpha, box, target)


def resized(image: Image.Image, box: Box, target: tuple[int, int]) -> Image.Image:
    """Return a rectangle of an image, resized bicubically to a width and height."""
    # Columns first, as Pillow did in one call until it chose the cheaper order by size.
    _, y0, _, y1 = box
    return image.crop(box).resize((target[0], y1 - y0), _BICUBIC).resize(target, _BICUBIC)


def _map_levels(image: Image.Image, value: float, kind: Pointwise) -> Image.Image:
    """Apply a pointwise op by PIL's own call, or by its definition."""
    if kind.pil is not None:
        return kind.pil(image, value)
    channels, statistics = len(image.mode), None
    if kind.statistics == "histogram":
        statistics = np.array(image.histogram()).reshape(channels, 256)
    elif kind.statistics == "mean luma":
        statistics = np.floor(np.asarray(image.convert("L")).mean() + 0.5)[None]
    table = level_table(kind, np.array([value]), statistics)
    return image.point(np.broadcast_to(table, (channels, 256)).reshape(-1).tolist())


def _blended(image: Image.Image, value: float, kind: Blend) -> Image.Image:
    """Apply a blending op by PIL's own calls, or by its definition."""
    if kind.pil is not None:
        return Image.blend(kind.pil(image), image, value)
    levels = np.asarray(image, dtype=np.int64).reshape(image.height, image.width, -1)
    levels = levels.transpose(2, 0, 1)
    bands = mix(kind.degenerate(levels), levels, value).astype(np.uint8)
    return Image.merge(image.mode, [Image.fromarray(band) for band in bands])


def _moved(
    image: Image.Image, matrix: tuple[float, ...], resampling: Image.Resampling, outside: Color
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
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=outside
    )


def _clear(offset: float) -> bool:
    """Say whether shifted pixel centers stay clear of pixel edges, however sums are rounded."""
    return 1e-4 < (offset + 0.5) % 1 < 1 - 1e-4


def _gray(mode: str) -> Color:
    """Return the papers' gray for an RGB or L image."""
    return GRAY if mode == "RGB" else int(gray_levels(1).item())
