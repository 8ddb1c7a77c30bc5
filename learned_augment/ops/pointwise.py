"""Rows that map grey levels: from a value and the image's statistics to a table of 256 levels.

Values have shape (...) and histograms (..., C, 256); tables come back as whole numbers 0 to 255 of
any dtype, shape (..., 256) or (..., C, 256). The arithmetic is PIL's, rounding included. Each row
has a float form beside its table: images (n, C, H, W) in [0, 1], values (n, 1, 1, 1), nothing
rounded unless the op itself rounds; where it does, the gradient passes through a smooth twin.
"""

import numpy as np
import torch
from torch import Tensor

from learned_augment.ops.blend import grey, mix, smooth_mix
from learned_augment.ops.op import Array, Op, Pointwise, namespace

__all__ = ["POINTWISE"]


def _levels(like: Array) -> Array:
    xp = namespace(like)
    return xp.arange(256) if xp is np else xp.arange(256, device=like.device)


def _last_axis(value: Array) -> Array:
    return namespace(value).asarray(value)[..., None]


def _unchanged(value: Array, statistics: Array) -> Array:
    return _levels(value) + 0 * _last_axis(value)


def _invert(value: Array, statistics: Array) -> Array:
    return 255 - _unchanged(value, statistics)


def _solarize(value: Array, statistics: Array) -> Array:
    levels = _levels(value)
    return namespace(value).where(levels < _last_axis(value), levels, 255 - levels)


def _posterize(value: Array, statistics: Array) -> Array:
    xp = namespace(value)
    step = 2 ** (8 - xp.floor(_last_axis(value)))
    return xp.floor(_levels(value) / step) * step


def _brightness(value: Array, statistics: Array) -> Array:
    return _contrast(value, 0 * namespace(value).asarray(value))


def _contrast(value: Array, statistics: Array) -> Array:
    xp = namespace(statistics)
    factor = xp.asarray(_last_axis(value), dtype=xp.float32)
    return mix(_last_axis(statistics), _levels(statistics), factor)


def _auto_contrast(value: Array, statistics: Array) -> Array:
    xp, levels = namespace(statistics), _levels(statistics)
    low = xp.amin(xp.where(statistics > 0, levels, 255), -1)[..., None]
    high = xp.amax(xp.where(statistics > 0, levels, 0), -1)[..., None]
    span = xp.asarray(xp.clip(high - low, 1, None), dtype=xp.float64)
    # Array by array on purpose: torch computes number / tensor as a rounded reciprocal.
    scale = xp.full_like(span, 255.0) / span
    stretched = xp.clip(xp.trunc(levels * scale - low * scale), 0, 255)
    return xp.where(high > low, stretched, levels + 0.0)


def _equalize(value: Array, statistics: Array) -> Array:
    xp, levels = namespace(statistics), _levels(statistics)
    last = xp.amax(levels * (statistics > 0), -1)[..., None]
    step = xp.sum(statistics * (levels != last), -1)[..., None] // 255
    below = xp.cumsum(statistics, -1) - statistics
    table = xp.clip((step // 2 + below) // xp.clip(step, 1, None), 0, 255)
    return xp.where(step > 0, table, levels)


def _smooth_unchanged(images: Tensor, value: Tensor) -> Tensor:
    return images


def _smooth_invert(images: Tensor, value: Tensor) -> Tensor:
    return 1 - images


def _smooth_solarize(images: Tensor, value: Tensor) -> Tensor:
    # The thousandth absorbs the rounding of levels stored as k / 255.
    out = torch.where(255 * images < value - 1e-3, images, 1 - images)
    if not value.requires_grad:
        return out
    still = images.detach()
    step = torch.sigmoid(255 * still - value)
    return _through(out, still + step * (1 - 2 * still))


def _smooth_posterize(images: Tensor, value: Tensor) -> Tensor:
    """Drop low bits; the twin darkens by what dropping them costs on average."""
    levels = (255 * images.detach()).round()
    step = 2 ** (8 - value.detach().floor())
    posterized = (levels / step).floor() * step / 255
    return _through(posterized, images - (2 ** (8 - value) - 1) / 510)


def _smooth_brightness(images: Tensor, value: Tensor) -> Tensor:
    return (value * images).clamp(0, 1)


def _smooth_contrast(images: Tensor, value: Tensor) -> Tensor:
    # The grey of the mean is the mean of the grey.
    mean = images.nan_to_num(nan=0.0).mean((2, 3), keepdim=True)
    return smooth_mix(grey(mean), images, value)


def _smooth_auto_contrast(images: Tensor, value: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / (high - low + flat))


def _smooth_equalize(images: Tensor, value: Tensor) -> Tensor:
    """Equalize in 256 levels; the gradient passes unchanged."""
    levels = (255 * images.detach()).nan_to_num(nan=0.0).round().clamp(0, 255).long().flatten(2)
    counts = torch.zeros(*images.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    table = _equalize(value, counts).to(images.dtype) / 255
    return _through(table.gather(2, levels).view_as(images), images)


def _through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the value of ``hard`` with the gradients of both."""
    return hard + (soft - soft.detach())


POINTWISE = [
    Op(
        name="Identity",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=0.0,
        kind=Pointwise(_unchanged, _smooth_unchanged),
    ),
    Op(
        name="AutoContrast",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(_auto_contrast, _smooth_auto_contrast, statistics="histogram"),
    ),
    Op(
        name="Invert",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(_invert, _smooth_invert),
    ),
    Op(
        name="Equalize",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(_equalize, _smooth_equalize, statistics="histogram"),
    ),
    Op(
        name="Solarize",
        unit="threshold, levels from it on are inverted",
        low=0.0,
        high=256.0,
        identity_value=256.0,
        kind=Pointwise(_solarize, _smooth_solarize),
    ),
    Op(
        name="Posterize",
        unit="bits kept, truncated",
        low=0.0,
        high=8.0,
        identity_value=8.0,
        kind=Pointwise(_posterize, _smooth_posterize),
    ),
    Op(
        name="Contrast",
        unit="factor, 0 is flat",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Pointwise(_contrast, _smooth_contrast, statistics="mean luma"),
    ),
    Op(
        name="Brightness",
        unit="factor, 0 is black",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Pointwise(_brightness, _smooth_brightness),
    ),
]
