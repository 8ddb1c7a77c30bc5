"""Rows that move pixels: from a value to the matrix that leads an output pixel to its input pixel.

Coefficients (a, b, c, d, e, f) follow ``PIL.Image.transform``: pixel centres at +0.5, the origin
at the top-left corner of the image.
"""

import math

from learned_augment.ops.op import Array, Geometric, Noise, Op, namespace

__all__ = ["GEOMETRIC"]


def _shear_x(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, value, 0.0, 0.0, 1.0, 0.0


def _shear_y(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, 0.0, value, 1.0, 0.0


def _translate_x(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, value * width, 0.0, 1.0, 0.0


def _translate_y(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, 0.0, 0.0, 1.0, value * height


def _rotate(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    xp = namespace(value)
    angle = value * (math.pi / 180)
    cos, sin = _snap(xp.cos(angle)), _snap(xp.sin(angle))
    x, y = width / 2, height / 2
    return cos, -sin, (sin * y - cos * x) + x, sin, cos, (-sin * x - cos * y) + y


def _snap(coefficient: Array) -> Array:
    """Make quarter turns exact: rounding noise around zero becomes zero."""
    return coefficient * (abs(coefficient) > 1e-15)


def _flip(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    mirrored = 1.0 * (noise[0] < value)
    return 1.0 - 2.0 * mirrored, 0.0, mirrored * width, 0.0, 1.0, 0.0


def _pad_crop(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, _offset(value * width, noise[0]), 0.0, 1.0, _offset(value * height, noise[1])


def _offset(padding: Array, noise: Array) -> Array:
    """Draw a whole number from -p to p, where p is the padding rounded to whole pixels."""
    xp = namespace(padding)
    pixels = xp.floor(padding + 0.5)
    return xp.floor(noise * (2 * pixels + 1)) - pixels


GEOMETRIC = [
    Op(
        name="ShearX",
        unit="slope, pixels right per pixel down",
        low=-2.0,
        high=2.0,
        identity_value=0.0,
        kind=Geometric(_shear_x),
    ),
    Op(
        name="ShearY",
        unit="slope, pixels down per pixel right",
        low=-2.0,
        high=2.0,
        identity_value=0.0,
        kind=Geometric(_shear_y),
    ),
    Op(
        name="TranslateX",
        unit="fraction of the width, content moves left",
        low=-1.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_translate_x),
    ),
    Op(
        name="TranslateY",
        unit="fraction of the height, content moves up",
        low=-1.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_translate_y),
    ),
    Op(
        name="Rotate",
        unit="degrees, counter-clockwise",
        low=-360.0,
        high=360.0,
        identity_value=0.0,
        kind=Geometric(_rotate),
    ),
    Op(
        name="Flip",
        unit="probability of mirroring left-right",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_flip),
        random=True,
    ),
    Op(
        name="PadCrop",
        unit="padding, fraction of the side",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_pad_crop, fill="grey"),
        random=True,
    ),
]
