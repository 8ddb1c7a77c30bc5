"""Apply a plan in compiled code: uint8 batches, PIL images and float batches, on a CPU.

A plan runs in one pass an image, all layers while the image sits in the cache, several images at a
time. Pixels are those of ``torch_uint8`` and ``kornia_float``. Images that draw an op without
compiled arithmetic take these backends.
"""

from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.backends import kornia_float, pil, torch_uint8
from learned_augment.backends.lowering import Colors, Floats, Mask, colors, draws_any_of
from learned_augment.backends.numba import floats, uint8
from learned_augment.backends.numba.lowering import CODE, op_rows
from learned_augment.backends.numba.parallel import run_on_threads
from learned_augment.ops import Opcode
from learned_augment.policy import Plan

__all__ = ["apply_floats", "apply_to_pil", "apply_uint8"]

Fill = tuple[float, ...] | None


def apply_uint8(images: Tensor, plan: Plan, fill: Fill = None) -> Tensor:
    """Apply a plan to uint8 CPU images (..., C, H, W), nearest neighbor; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: One row an image.
        fill: 1 or C levels outside the image; None is 0, and gray for crop padding.
    """
    shape = images.shape[-3], images.shape[-2], images.shape[-1]
    source = np.ascontiguousarray(images.numpy())
    out = np.empty_like(source)
    batches = source.reshape(len(plan), -1), out.reshape(len(plan), -1)
    outside = _colors(shape[0], fill, "u1")
    run_on_threads(uint8.run, batches, *_plan_arrays(plan), shape, outside)
    result, rows = torch.from_numpy(out), _definition_rows(plan)
    if rows is not None:
        batch = images.reshape(-1, *shape)[rows]
        rest = torch_uint8.apply(batch, plan.rows(rows), fill=fill)
        result.view(-1, *shape)[rows] = rest
    return result


def apply_to_pil(image: Image.Image, plan: Plan, fill: Fill = None) -> Image.Image:
    """Apply a plan of one row to an image of mode RGB or L, nearest neighbor; a new image."""
    if _definition_rows(plan) is not None:
        return pil.apply(image, plan, fill=fill)
    channels, outside = len(image.mode), _colors(len(image.mode), fill, "u1")
    pixels = np.frombuffer(_encoded(image), np.uint8)[None]
    out, shape = np.empty_like(pixels), (channels, image.height, image.width)
    run_on_threads(uint8.run, (pixels, out), *_plan_arrays(plan), shape, outside)
    return _decoded(image.mode, image.size, out)


_LAYOUTS = {"RGB": "RGBX", "L": "L"}
"""PIL keeps RGB in four bytes a pixel; to pack and unpack them takes longer than to copy them."""


def _encoded(image: Image.Image) -> bytes:
    """Return ``image.tobytes("raw", layout)`` in one call of Pillow's encoder, where it has one."""
    layout, size = _LAYOUTS[image.mode], image.size
    image.load()
    try:
        encoder = Image.core.raw_encoder(image.mode, layout)  # type: ignore[attr-defined]
        encoder.setimage(image.im, (0, 0, *size))
        return encoder.encode(size[0] * size[1] * len(layout))[2]  # type: ignore[no-any-return]
    except (AttributeError, TypeError):
        return image.tobytes("raw", layout)


def _decoded(mode: str, size: tuple[int, int], pixels: Colors) -> Image.Image:
    """Return ``Image.frombytes`` of pixels, without painting the image first."""
    layout, data = _LAYOUTS[mode], pixels.data
    try:
        core = Image.core.new(mode, size)  # type: ignore[attr-defined]
        decoder = Image.core.raw_decoder(mode, layout)  # type: ignore[attr-defined]
        decoder.setimage(core, (0, 0, *size))
        decoder.decode(data)
        return Image.Image()._new(core)
    except (AttributeError, TypeError):
        return Image.frombytes(mode, size, data, "raw", layout)


def apply_floats(images: Tensor, plan: Plan, fill: Fill = None) -> Tensor:
    """Apply a plan to a float32 or float64 CPU batch (B, C, H, W); a new, differentiable tensor.

    Args:
        images: In [0, 1], never written to; any strides.
        plan: B rows; ``plan.value`` requires no gradient.
        fill: 1 or C numbers in [0, 1] outside the image; None is 0, and gray for crop padding.
    """

    def plain(images: Tensor, plan: Plan) -> Tensor:
        return kornia_float.apply(images, plan, fill=fill)

    outside = _colors(images.shape[1], fill, "f4" if images.dtype == torch.float32 else "f8")
    out = floats.run(images, _plan_arrays(plan), outside, lambda given: plain(given, plan))
    rows = _definition_rows(plan)
    if rows is None:
        return out
    return out.index_copy(0, rows, plain(images[rows], plan.rows(rows)))


def _definition_rows(plan: Plan) -> Tensor | None:
    """Return the images that draw an op without compiled arithmetic; None if none does."""
    only = _definition_ops(plan.ops)
    if only is None:
        return None
    rows = np.flatnonzero(draws_any_of(plan, only))
    return torch.from_numpy(rows) if len(rows) else None


@cache
def _definition_ops(ops: tuple[str, ...]) -> Mask | None:
    """Return which ops have no compiled arithmetic, (O,); None if all have."""
    only: Mask = op_rows(ops)[:, CODE] == Opcode.DEFINITION
    return only if only.any() else None


def _plan_arrays(plan: Plan) -> tuple[Any, ...]:
    """Return the arguments ``numbers`` to ``rows`` of ``lower`` for a plan."""
    if plan.draw is not None:
        numbers, tables = plan.draw
        mixture, weights, op, value, _ = tables
        return numbers, mixture, weights, op, value, op_rows(plan.ops)
    noise = plan.noise.numpy().reshape(len(plan), -1)
    numbers = np.empty((len(plan), 1 + plan.op.shape[1] + noise.shape[1]), np.float32)
    numbers[:, 1 + plan.op.shape[1] :] = noise
    op, value = plan.op.numpy().reshape(-1), plan.value.detach().numpy().reshape(-1)
    return numbers, _NONE, _NONE, op, value, op_rows(plan.ops)


_NONE: Floats = np.empty(0)


@lru_cache(maxsize=64)
def _colors(channels: int, fill: Fill, dtype: str) -> Colors:
    return colors(channels, fill, np.dtype(dtype))
