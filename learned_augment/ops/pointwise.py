"""Rows that map grey levels: from a value and the image's statistics to a table of 256 levels.

Values have shape (...) and histograms (..., C, 256); tables come back as whole numbers 0 to 255 of
any dtype, shape (..., 256) or (..., C, 256). The arithmetic is PIL's, rounding included.
"""

from learned_augment.ops.blend import mix
from learned_augment.ops.op import Array, Op, Pointwise, namespace

__all__ = ["POINTWISE"]


def _levels(like: Array) -> Array:
    xp = namespace(like)
    return xp.arange(256, device=like.device) if hasattr(like, "device") else xp.arange(256)


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


POINTWISE = [
    Op(
        name="Identity",
        unit="",
        low=0.0,
        high=0.0,
        neutral=0.0,
        law=Pointwise(_unchanged),
    ),
    Op(
        name="AutoContrast",
        unit="",
        low=0.0,
        high=0.0,
        neutral=None,
        law=Pointwise(_auto_contrast, statistics="histogram"),
    ),
    Op(
        name="Invert",
        unit="",
        low=0.0,
        high=0.0,
        neutral=None,
        law=Pointwise(_invert),
    ),
    Op(
        name="Equalize",
        unit="",
        low=0.0,
        high=0.0,
        neutral=None,
        law=Pointwise(_equalize, statistics="histogram"),
    ),
    Op(
        name="Solarize",
        unit="threshold, levels from it on are inverted",
        low=0.0,
        high=256.0,
        neutral=256.0,
        law=Pointwise(_solarize),
    ),
    Op(
        name="Posterize",
        unit="bits kept, truncated",
        low=0.0,
        high=8.0,
        neutral=8.0,
        law=Pointwise(_posterize),
    ),
    Op(
        name="Contrast",
        unit="factor, 0 is flat",
        low=0.0,
        high=10.0,
        neutral=1.0,
        law=Pointwise(_contrast, statistics="mean luma"),
    ),
    Op(
        name="Brightness",
        unit="factor, 0 is black",
        low=0.0,
        high=10.0,
        neutral=1.0,
        law=Pointwise(_brightness),
    ),
]
