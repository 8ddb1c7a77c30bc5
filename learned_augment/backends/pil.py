"""Steps + one PIL image -> PIL image, by PIL's own calls: the DataLoader worker.

Where the compiled kernel is there and takes less time than the calls, it makes the same pixels.

Colour modes are RGB and L; alpha moves with geometry and is neither recoloured nor erased; palette
and CMYK images are worked on in RGB and converted back.
"""

from collections.abc import Sequence
from math import floor

from PIL import Image
from torchvision.transforms import InterpolationMode

from learned_augment.backends.groups import grey_levels
from learned_augment.backends.pixels import apply_pixels
from learned_augment.backends.shortcuts import degenerate, recoloured
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.op import GREY
from learned_augment.ops.region import centre_crop
from learned_augment.plan import Step

__all__ = ["MODES", "Fill", "apply_image"]

MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK")

Colour = int | tuple[int, ...]
Fill = tuple[float, ...] | None
"""One number, one for each colour channel, or None: 0, and the papers' grey for crop padding."""

_BICUBIC = Image.Resampling.BICUBIC
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

    Its ICC profile goes along, which says what colours the levels of that mode stand for.

    Args:
        image: The image; never written to.
        steps: What ``Policy.draw`` or ``Plan.steps`` returned.
        interpolation: For geometric ops.
        fill: Colour outside the image, 0 to 255.
        size: If given, resized crops come out at this side, and so does the result.
    """
    result = _applied(image, steps, interpolation, fill, size)
    # Of the ways through here some keep it and some do not.
    if "icc_profile" in image.info:
        result.info["icc_profile"] = image.info["icc_profile"]
    return result


def _applied(
    image: Image.Image,
    steps: Sequence[Step],
    interpolation: InterpolationMode,
    fill: Fill,
    size: int | None,
) -> Image.Image:
    if image.mode in ("RGB", "L") and size is None and interpolation == InterpolationMode.NEAREST:
        levels = None if fill is None else tuple(map(int, fill))
        result = apply_pixels(image, steps, levels)
        if result is not None:
            return result
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
    moved = _applied(image.convert(between), steps, interpolation, fill, size)
    return moved.quantize() if image.mode == "P" else moved.convert(image.mode)


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
            kind = step.op.kind
            if isinstance(kind, Geometric):
                image, alpha = self._move(image, alpha, step, kind)
            elif isinstance(kind, Pointwise):
                image = recoloured(image, step, kind)
            elif isinstance(kind, Blend):
                image = Image.blend(degenerate(image, step.op, kind), image, step.value)
            elif isinstance(kind, Erase):
                image = self._erase(image, step, kind)
            else:
                image, alpha = self._resample(image, alpha, step, kind)
        if self.size is not None and image.size != (self.size, self.size):
            box = centre_crop(*image.size, self.size)
            image, alpha = image.crop(box), alpha and alpha.crop(box)
        return image.copy() if image is given else image, alpha

    def _move(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, kind: Geometric
    ) -> tuple[Image.Image, Image.Image | None]:
        matrix = kind.matrix(step.value, step.noise, *image.size)
        colour = (
            paint(image.mode) if kind.fill == "grey" and self.fill is None else self._fill(image)
        )
        moved = _moved(image, matrix, self.resampling, colour)
        return moved, alpha and _moved(alpha, matrix, self.resampling, 0)

    def _fill(self, image: Image.Image) -> Colour:
        levels = tuple(int(level) for level in self.fill or (0,))
        if image.mode == "L":
            return levels[0]
        return levels if len(levels) == 3 else levels * 3

    def _erase(self, image: Image.Image, step: Step, kind: Erase) -> Image.Image:
        width, height = image.size
        box = kind.box(step.value, step.noise, width, height, self.size or min(width, height))
        image = image.copy()
        image.paste(paint(image.mode), tuple(int(edge) for edge in box))  # type: ignore[arg-type]
        return image

    def _resample(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, kind: Resample
    ) -> tuple[Image.Image, Image.Image | None]:
        width, height = image.size
        aspect = 1.0 if self.size else width / height
        edges = kind.box(step.value, step.noise, width, height, aspect)
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


def paint(mode: str) -> Colour:
    """Return the papers' grey for an RGB or L image."""
    if mode == "RGB":
        return GREY
    return int(grey_levels(1).item())
