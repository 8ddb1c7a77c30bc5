"""One PIL image through compiled code: the DataLoader worker.

Needs Numba, as ``fast``; without it ``pil`` does the same work.
"""

from collections.abc import Sequence
from threading import get_ident

import numpy as np
from PIL import Image

from learned_augment.backends.compiled import colours
from learned_augment.backends.fast import compiled_code
from learned_augment.backends.lowering import Floats, Levels, book
from learned_augment.ops import OPS
from learned_augment.plan import Step

__all__ = ["apply_pixels", "are_heavy", "run_program"]

ALL = tuple(OPS)


def apply_pixels(
    image: Image.Image, steps: Sequence[Step], fill: tuple[int, ...] | None = None
) -> Image.Image | None:
    """Apply the steps of one RGB or L image, nearest neighbour; a new image.

    Returns None where PIL's own calls are the way: for light steps of a larger image, for steps
    that the kernel does not know, and without a kernel.
    """
    if not are_heavy(steps) or 0 in image.size or compiled_code() is None:
        return None
    program = book(ALL, *image.size, get_ident()).image(steps)
    return None if program is None else run_program(image, *program, colours(len(image.mode), fill))


def run_program(image: Image.Image, steps: Floats, tables: Levels, colours: Levels) -> Image.Image:
    """Run a program that the kernel knows on an RGB or L image; a new image.

    Args:
        image: Never written to.
        steps: (1, L, 8).
        tables: (T, 256), which ``TABLE`` steps name.
        colours: (3, C), as ``compiled.colours`` returns them.
    """
    source, (width, height) = _pixels(image), image.size
    out, shape = np.empty(len(source), np.uint8), (len(image.mode), height, width)
    compiled_code().run_pixels(source, out, shape, steps, tables, colours)
    return _image(image, out)


HEAVY = 2
"""Weight from which the steps of a larger image repay its way to the kernel and back."""

_LIGHT = ("Identity", "TranslateX", "TranslateY", "Flip", "PadCrop", "Cutout", "CutoutClipped")
_SLOW = ("AutoContrast", "Equalize", "Contrast", "Color", "Sharpness")
_WEIGHT = dict.fromkeys(_LIGHT, 0.5) | dict.fromkeys(_SLOW, 2)
"""What PIL takes for a step: little more than a copy, several passes, or, unless named, one: 1."""


def are_heavy(steps: Sequence[Step]) -> bool:
    """Say whether steps repay the way to the kernel and back for an image of any size."""
    return sum([_WEIGHT.get(step.op.name, 1) for step in steps]) >= HEAVY


# PIL keeps RGB in four bytes a pixel: taken as they are, they cost a third of packed ones.
_LAYOUT = {"RGB": "RGBX", "L": "L"}


def _pixels(image: Image.Image) -> bytes:
    """Return what ``image.tobytes`` does, in one piece."""
    layout, (width, height) = _LAYOUT[image.mode], image.size
    if type(image) is not Image.Image:  # a file that may not be read yet
        image.load()
    try:
        encoder = Image.core.raw_encoder(image.mode, layout)  # type: ignore[attr-defined]
        encoder.setimage(image.im, (0, 0, width, height))
        return encoder.encode(width * height * len(layout))[2]  # type: ignore[no-any-return]
    except (AttributeError, TypeError):
        return image.tobytes("raw", layout)


def _image(like: Image.Image, pixels: Levels) -> Image.Image:
    """Return what ``Image.frombytes`` does, without painting the image first."""
    layout = _LAYOUT[like.mode]
    try:
        core = Image.core.new(like.mode, like.size)  # type: ignore[attr-defined]
        decoder = Image.core.raw_decoder(like.mode, layout)  # type: ignore[attr-defined]
        decoder.setimage(core, (0, 0, *like.size))
        decoder.decode(pixels.data)
        return like._new(core)
    except (AttributeError, TypeError):
        image = Image.frombytes(like.mode, like.size, pixels.data, "raw", layout)
        image.info = like.info.copy()
        return image
