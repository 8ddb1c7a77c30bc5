"""Steps + one PIL image -> PIL image, by PIL's own calls: the DataLoader worker.

Colour modes are RGB and L; alpha moves with geometry and is neither recoloured nor erased; palette
and CMYK images are worked on in RGB and converted back.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

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
        self, image: Image.Image, alpha: Image.Image | None, steps: Sequence[Step]
    ) -> tuple[Image.Image, Image.Image | None]:
        for step in steps:
            law = step.op.law
            if isinstance(law, Geometric):
                image, alpha = self._move(image, alpha, step, law)
            elif isinstance(law, Pointwise):
                image = image.point(_table(image, step, law))
            elif isinstance(law, Blend):
                image = Image.blend(_degenerate(image, step.op, law), image, step.value)
            elif isinstance(law, Erase):
                image = self._erase(image, step, law)
            else:
                image, alpha = self._resample(image, alpha, step, law)
        if self.size is not None and image.size != (self.size, self.size):
            box = centre_crop(*image.size, self.size)
            image, alpha = image.crop(box), alpha and alpha.crop(box)
        return image, alpha

    def _move(
        self, image: Image.Image, alpha: Image.Image | None, step: Step, law: Geometric
    ) -> tuple[Image.Image, Image.Image | None]:
        matrix = tuple(float(c) for c in law.matrix(step.value, step.noise, *image.size))
        colour = grey(image.mode) if law.fill == "grey" and self.fill is None else self._fill(image)

        def moved(picture: Image.Image, outside: int | tuple[int, ...]) -> Image.Image:
            return picture.transform(
                picture.size, Image.Transform.AFFINE, matrix, self.resampling, fillcolor=outside
            )

        return moved(image, colour), alpha and moved(alpha, 0)

    def _fill(self, image: Image.Image) -> int | tuple[int, ...]:
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


def grey(mode: str) -> int | tuple[int, ...]:
    """Return the papers' grey for an RGB or L image."""
    if mode == "RGB":
        return GREY
    return int(luma(np.array(GREY).reshape(3, 1, 1)).item())


def _table(image: Image.Image, step: Step, law: Pointwise) -> list[int]:
    """Return the levels of all channels in a row, as ``Image.point`` wants them."""
    channels = len(image.mode)
    if law.statistics == "none":
        return _stored_table(step.op.name, step.value, channels)
    if law.statistics == "histogram":
        histogram = np.array(image.histogram()).reshape(channels, 256)
        return _whole(law.table(step.value, histogram))
    levels = np.array(image.convert("L").histogram())
    mean = int((levels * np.arange(256)).sum()) / (image.width * image.height)
    return _whole(law.table(step.value, np.float64(int(mean + 0.5)))) * channels


@lru_cache(maxsize=4096)
def _stored_table(name: str, value: float, channels: int) -> list[int]:
    law = OPS[name].law
    assert isinstance(law, Pointwise)
    return _whole(law.table(np.float64(value), None)) * channels


def _whole(table: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return [int(level) for level in table.reshape(-1).tolist()]


def _degenerate(image: Image.Image, op: Op, law: Blend) -> Image.Image:
    native = _NATIVE.get(op.name)
    if native is not None:
        return native(image)
    levels = np.asarray(image, dtype=np.int64).reshape(image.height, image.width, -1)
    degenerate = law.degenerate(levels.transpose(2, 0, 1))
    spread = np.broadcast_to(degenerate, (levels.shape[2], *degenerate.shape[1:]))
    return Image.fromarray(spread.transpose(1, 2, 0).astype(np.uint8).squeeze())


_NATIVE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "Color": lambda image: image.convert("L").convert(image.mode),
    "Sharpness": lambda image: image.filter(ImageFilter.SMOOTH),
}
"""Faster PIL forms of some degenerate images; an op without one takes its row's formula."""
