"""The papers' PIL calls, written independently of the package."""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from learned_augment import Policy

__all__ = ["PAPERS", "PaperCall", "papers_transform"]

GRAY = (125, 123, 114)
PaperCall = Callable[[Image.Image, float, tuple[float, ...]], Image.Image]
"""Takes an image of any size, a value in the op's unit and four uniform numbers."""


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Transform by a matrix from output to input, nearest neighbor, black outside."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _rectangle(image: Image.Image, box: tuple[float, ...]) -> Image.Image:
    """Paint a box, both ends included."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, GRAY)
    return image


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep some bits; PIL refuses to keep none, which its formula would turn black."""
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def _cutout(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Erase as AutoAugment's and DADA's code does."""
    width, height = image.size
    size = value * width
    x0 = int(max(0, noise[0] * width - size / 2))
    y0 = int(max(0, noise[1] * height - size / 2))
    return _rectangle(image, (x0, y0, min(width, x0 + size), min(height, y0 + size)))


def _cutout_clipped(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Erase as DeepAA's code does."""
    half = value * image.width / 2
    centers = (noise[0] * image.width, noise[1] * image.height)
    start = [int(max(0, center - half)) for center in centers]
    stop = [int(min(side, center + half)) for side, center in zip(image.size, centers, strict=True)]
    return _rectangle(image, (*start, *stop))


def _pad_crop(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Pad with gray, then cut out the size of the image."""
    pad = int(value * image.width + 0.5)
    x, y = int(noise[0] * (2 * pad + 1)), int(noise[1] * (2 * pad + 1))
    return ImageOps.expand(image, pad, GRAY).crop((x, y, x + image.width, y + image.height))


def _resized_crop(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Cut out a rectangle and resize it; one proposal, then the whole image, a square."""
    whole_width, whole_height = image.size
    area = (value + (1 - value) * noise[0]) * whole_width * whole_height
    aspect = math.exp((2 * noise[1] - 1) * math.log(4 / 3))
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    x, y = 0, 0
    if width <= whole_width and height <= whole_height:
        x, y = (
            int(noise[2] * (whole_width - width + 1)),
            int(noise[3] * (whole_height - height + 1)),
        )
    else:
        width, height = image.size
    # Two calls: resize(..., box=) would look at pixels outside the crop.
    return image.crop((x, y, x + width, y + height)).resize(image.size, Image.Resampling.BICUBIC)


PAPERS: dict[str, PaperCall] = {
    "Identity": lambda im, v, n: im,
    "ShearX": lambda im, v, n: _affine(im, 1, v, 0, 0, 1, 0),
    "ShearY": lambda im, v, n: _affine(im, 1, 0, 0, v, 1, 0),
    "TranslateX": lambda im, v, n: _affine(im, 1, 0, v * im.size[0], 0, 1, 0),
    "TranslateY": lambda im, v, n: _affine(im, 1, 0, 0, 0, 1, v * im.size[1]),
    "Rotate": lambda im, v, n: im.rotate(v),
    "AutoContrast": lambda im, v, n: ImageOps.autocontrast(im),
    "Invert": lambda im, v, n: ImageOps.invert(im),
    "Equalize": lambda im, v, n: ImageOps.equalize(im),
    "Solarize": lambda im, v, n: ImageOps.solarize(im, math.ceil(v)),
    "Posterize": lambda im, v, n: _posterize(im, int(v)),
    "Contrast": lambda im, v, n: ImageEnhance.Contrast(im).enhance(v),
    "Color": lambda im, v, n: ImageEnhance.Color(im).enhance(v),
    "Brightness": lambda im, v, n: ImageEnhance.Brightness(im).enhance(v),
    "Sharpness": lambda im, v, n: ImageEnhance.Sharpness(im).enhance(v),
    "Flip": lambda im, v, n: ImageOps.mirror(im) if n[0] < v else im,
    "Cutout": _cutout,
    "CutoutClipped": _cutout_clipped,
    "PadCrop": _pad_crop,
    "ResizedCrop": _resized_crop,
}
"""The papers' calls by the names of the ops."""


def papers_transform(policy: Policy, one_at_a_time: bool) -> Callable[[Image.Image], Image.Image]:
    """Return a transform that draws and applies layer by layer, as the papers' code does.

    Args:
        policy: What to draw from.
        one_at_a_time: Whether a draw walks through the candidates in Python, as DADA's code does,
            or calls NumPy, as DeepAA's does.
    """
    value, names = policy.value.tolist(), policy.ops
    op, weights = policy.op.tolist(), policy.weights.numpy()

    def draw(s: int, layer: int) -> int:
        if not one_at_a_time:
            return int(np.random.choice(weights.shape[2], p=weights[s, layer]))
        u, total = random.random(), 0.0
        for c, weight in enumerate(weights[s, layer].tolist()):
            total += weight
            if u < total:
                return c
        return 0

    def transform(image: Image.Image) -> Image.Image:
        s = random.randrange(len(op))
        for layer in range(len(op[s])):
            c = draw(s, layer)
            noise = (random.random(), random.random(), random.random(), random.random())
            # Their code hands each op a copy.
            image = PAPERS[names[op[s][layer][c]]](image.copy(), value[s][layer][c], noise)
        return image

    return transform
