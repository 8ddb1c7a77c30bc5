"""One uint8 image or PIL image through compiled code: the DataLoader worker.

At 32 pixels a side the calls on the way take longer than the pixels: each is the shortest there is.
Needs Numba, as ``fast``; without it ``exact`` and ``pil`` do the same work.
"""

from collections.abc import Sequence
from threading import get_ident
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.engines.compiled import colours
from learned_augment.engines.exact import apply_exact
from learned_augment.engines.fast import compiled_code
from learned_augment.engines.hand import Hand, drawn
from learned_augment.engines.program import KEEP, Floats, Levels, book
from learned_augment.ops import OPS
from learned_augment.plan import HOST, Plan, Step
from learned_augment.policy import Policy

__all__ = ["Steps", "apply_pixels", "apply_steps", "draw_steps", "listed"]

ALL = tuple(OPS)

Steps: TypeAlias = Sequence[Step] | Hand
"""What happens to one image: steps one by one, or what was drawn in compiled code."""


def draw_steps(policy: Policy, generator: torch.Generator | None, width: int, height: int) -> Steps:
    """Draw the steps of one image of a size for ``apply_steps`` or ``apply_pixels``.

    The result is good until the same thread's next call.
    """
    if compiled_code() is None:
        return policy.draw(generator)
    return drawn(policy, generator, 1, width, height)


def apply_steps(image: Tensor, steps: Steps, fill: tuple[int, ...] | None = None) -> Tensor:
    """Apply the steps of one uint8 CPU image (C, H, W), nearest neighbour; a new tensor."""
    channels, height, width = shape = image.shape
    program = None if 0 in shape else _program(steps, width, height)
    if program is None:
        outside = None if fill is None else torch.tensor(fill, dtype=torch.uint8, device=HOST)
        return apply_exact(image[None], _plan(listed(steps)), fill=outside)[0]
    source, out = image.contiguous(), np.empty(shape, np.uint8)
    compiled_code().run_one(source.data_ptr(), out, *program, colours(channels, fill))
    return torch.from_numpy(out)


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


def _plan(steps: Sequence[Step]) -> Plan:
    op = np.array([[ALL.index(step.op.name) for step in steps]], np.int64)
    value = np.array([[step.value for step in steps]], np.float64)
    noise = np.array([step.noise for step in steps], np.float32).reshape(1, len(steps), 4)
    return Plan(ALL, *map(torch.from_numpy, (op, value, noise)))
