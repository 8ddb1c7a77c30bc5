"""Rows of ops that move pixels, each defined by the matrix from an output to an input pixel."""

import math

from learned_augment.ops.array import Array, Noise, xp
from learned_augment.ops.op import Geometric, Op, Opcode

__all__ = ["GEOMETRIC"]

# The definitions use plain arithmetic and ``xp`` alone, so that they also compile.


def _shear_x(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, value, 0.0, 0.0, 1.0, 0.0


def _shear_y(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, 0.0, value, 1.0, 0.0


def _translate_x(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, value * width, 0.0, 1.0, 0.0


def _translate_y(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
    return 1.0, 0.0, 0.0, 0.0, 1.0, value * height


def _rotate(value: Array, noise: Noise, width: int, height: int) -> tuple[Array, ...]:
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
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="ShearY",
        unit="slope, pixels down per pixel right",
        low=-2.0,
        high=2.0,
        identity_value=0.0,
        kind=Geometric(_shear_y),
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="TranslateX",
        unit="fraction of the width, content moves left",
        low=-1.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_translate_x),
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="TranslateY",
        unit="fraction of the height, content moves up",
        low=-1.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_translate_y),
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="Rotate",
        unit="degrees, counter-clockwise",
        low=-360.0,
        high=360.0,
        identity_value=0.0,
        kind=Geometric(_rotate),
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="Flip",
        unit="probability of mirroring left-right",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_flip),
        random=True,
        opcode=Opcode.AFFINE,
    ),
    Op(
        name="PadCrop",
        unit="padding, fraction of the side",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Geometric(_pad_crop, fill="gray"),
        random=True,
        opcode=Opcode.AFFINE,
    ),
]
