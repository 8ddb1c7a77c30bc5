"""Opcodes as the numbers that stand in instructions, which compiled code compares."""

from learned_augment.ops import Opcode

__all__ = [
    "AFFINE",
    "AUTO_CONTRAST",
    "BRIGHTNESS",
    "COLOR",
    "CONTRAST",
    "EQUALIZE",
    "ERASE",
    "IDENTITY",
    "INVERT",
    "POSTERIZE",
    "SHARPNESS",
    "SOLARIZE",
]

IDENTITY = float(Opcode.IDENTITY)
AFFINE = float(Opcode.AFFINE)
ERASE = float(Opcode.ERASE)
INVERT = float(Opcode.INVERT)
SOLARIZE = float(Opcode.SOLARIZE)
POSTERIZE = float(Opcode.POSTERIZE)
BRIGHTNESS = float(Opcode.BRIGHTNESS)
CONTRAST = float(Opcode.CONTRAST)
AUTO_CONTRAST = float(Opcode.AUTO_CONTRAST)
EQUALIZE = float(Opcode.EQUALIZE)
COLOR = float(Opcode.COLOR)
SHARPNESS = float(Opcode.SHARPNESS)
