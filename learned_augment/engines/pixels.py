"""One PIL image through compiled code: the DataLoader worker.

Needs Numba, as ``fast``; without it ``pil`` does the same work.
"""

from collections.abc import Sequence
from threading import get_ident
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from learned_augment.engines.compiled import colours
from learned_augment.engines.fast import compiled_code
from learned_augment.engines.hand import Hand, drawn
from learned_augment.engines.program import KEEP, Floats, Levels, book
from learned_augment.ops import OPS
from learned_augment.plan import Step
from learned_augment.policy import Policy

__all__ = ["Steps", "apply_pixels", "draw_steps", "listed"]

ALL = tuple(OPS)

Steps: TypeAlias = Sequence[Step] | Hand
"""What happens to one image: steps one by one, or what was drawn in compiled code."""


def draw_steps(policy: Policy, generator: torch.Generator | None, width: int, height: int) -> Steps:
    """Draw the steps of one PIL image of a size.

    See ``Hand`` for how long the result is good.
    """
    if compiled_code() is None:
        return policy.draw(generator)
    return drawn(policy, generator, 1, width, height)


def apply_pixels(
    image: Image.Image, steps: Steps, fill: tuple[int, ...] | None = None
) -> Image.Image | None:
    """Apply the steps of one RGB or L image, nearest neighbour; a new image.

    Returns None where PIL's own calls are the way: for light steps of a larger image, for steps
    that the kernel does not know, and without a kernel.
    """
    width, height = image.size
    ready = isinstance(steps, Hand) and width * height <= SMALL
    if not ready and sum([_WEIGHT.get(step.op.name, 1) for step in listed(steps)]) < HEAVY:
        return None
    program = None if 0 in image.size else _program(steps, width, height)
    if program is None:
        return None
    if isinstance(steps, Hand) and steps.highest == KEEP:
        return image.copy()
    channels, source = len(image.mode), _pixels(image)
    out, shape = np.empty(len(source), np.uint8), (channels, height, width)
    compiled_code().run_pixels(source, out, shape, *program, colours(channels, fill))
    return _image(image, out)


SMALL = 128 * 128
"""Pixels up to which compiled code is the way for all steps that were drawn in compiled code."""

HEAVY = 2
"""Weight from which the steps of a larger image repay its way to the kernel and back."""

_LIGHT = ("Identity", "TranslateX", "TranslateY", "Flip", "PadCrop", "Cutout", "CutoutClipped")
_SLOW = ("AutoContrast", "Equalize", "Contrast", "Color", "Sharpness")
_WEIGHT = dict.fromkeys(_LIGHT, 0.5) | dict.fromkeys(_SLOW, 2)
"""What PIL takes for a step: little more than a copy, several passes, or, unless named, one: 1."""

# PIL keeps RGB in four bytes a pixel: taken as they are, they cost a third of packed ones.
_LAYOUT = {"RGB": "RGBX", "L": "L"}


def _pixels(image: Image.Image) -> bytes:
    """Return what ``image.tobytes`` does, in one piece."""
    layout, (width, height) = _LAYOUT[image.mode], image.size
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
        return Image.frombytes(like.mode, like.size, pixels.data, "raw", layout)


def _program(steps: Steps, width: int, height: int) -> tuple[Floats, Levels] | None:
    """Return one image's program, or None: no kernel, or a step that it does not know."""
    if isinstance(steps, Hand):
        return steps.program()
    return None if compiled_code() is None else book(ALL, width, height, get_ident()).image(steps)


def listed(steps: Steps) -> Sequence[Step]:
    """Return steps one by one."""
    return steps.steps if isinstance(steps, Hand) else steps
