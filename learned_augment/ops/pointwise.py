"""Rows of ops that map gray levels, by the value and the image's statistics."""

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from learned_augment.ops.array import Array, keep_nan, whole_levels, with_gradients, xp
from learned_augment.ops.blend import mix
from learned_augment.ops.op import Op, Opcode, Pointwise

__all__ = ["POINTWISE"]


def _identity(value: Array, level: Array, statistics: Array) -> Array:
    return level + 0 * value


def _invert(value: Array, level: Array, statistics: Array) -> Array:
    return 255 - level + 0 * value


def _solarize(value: Array, level: Array, statistics: Array) -> Array:
    return level + (255 - 2 * level) * (level >= value)


def _posterize(value: Array, level: Array, statistics: Array) -> Array:
    width = 2 ** (8 - xp.floor(value))  # levels that become one
    return xp.floor(level / width) * width


def _brightness(value: Array, level: Array, statistics: Array) -> Array:
    return mix(0.0 * level, level, value)


def _contrast(value: Array, level: Array, statistics: Array) -> Array:
    return mix(statistics + 0 * level, level, value)


def _auto_contrast(value: Array, level: Array, statistics: Array) -> Array:
    occupied = statistics > 0
    low = _amin(xp.where(occupied, level, 0 * level + 255))
    high = _amax(level * occupied)
    # Array by array on purpose: torch computes number / tensor as a rounded reciprocal.
    scale = (0 * high + 255) / xp.maximum(high - low, 1)
    stretched = xp.floor(xp.minimum(xp.maximum(level * scale - low * scale, 0), 255))
    return xp.where(high > low, stretched, level + 0 * high)


def _equalize(value: Array, level: Array, statistics: Array) -> Array:
    last = _amax(level * (statistics > 0))
    per_level = (statistics * (level != last)).sum(-1)[..., None] // 255
    below = statistics.cumsum(-1) - statistics
    mapped = xp.minimum((per_level // 2 + below) // xp.maximum(per_level, 1), 255)
    return xp.where(per_level > 0, mapped + 0 * level, level + 0 * mapped)


def _amin(array: Array) -> Array:
    return array.amin(-1, keepdim=True) if isinstance(array, Tensor) else array.min(-1)[..., None]


def _amax(array: Array) -> Array:
    return array.amax(-1, keepdim=True) if isinstance(array, Tensor) else array.max(-1)[..., None]


def _identity_floats(images: Tensor, value: Tensor) -> Tensor:
    return images


def _invert_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import invert

    # Without a maximum of its own, Kornia copies one to the device and waits for it.
    return invert(images, images.new_ones(()))  # type: ignore[no-any-return]


def _solarize_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import solarize

    # The thousandth of a level absorbs the rounding of levels stored as k / 255.
    threshold = (value.detach().flatten() - 1e-3) / 255
    out = solarize(images, threshold)
    if not value.requires_grad:
        return out  # type: ignore[no-any-return]
    still = images.detach()
    inverted = torch.sigmoid(255 * still - value)
    return with_gradients(out, still + inverted * (1 - 2 * still))


def _posterize_floats(images: Tensor, value: Tensor) -> Tensor:
    """Drop low bits; the gradient is that of darkening by the mean of the dropped bits."""
    from kornia.enhance import posterize

    # Kornia truncates: a quarter above whole levels, every level stays itself.
    bits = value.detach().flatten().floor().long()
    posterized = posterize((whole_levels(images) + 0.25) / 255, bits)
    posterized = (255 * posterized + 0.25).floor() / 255
    return with_gradients(keep_nan(posterized, images), images - (2 ** (8 - value) - 1) / 510)


def _brightness_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_brightness_accumulative

    return adjust_brightness_accumulative(images, value)  # type: ignore[no-any-return]


def _contrast_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_contrast_with_mean_subtraction

    known = images.nan_to_num(nan=0.0)
    return keep_nan(adjust_contrast_with_mean_subtraction(known, value), images)


def _auto_contrast_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import normalize

    low, high = images.amin((2, 3)), images.amax((2, 3))
    flat = high <= low
    return normalize(images, low.masked_fill(flat, 0), (high - low).masked_fill(flat, 1))  # type: ignore[no-any-return]


def _equalize_floats(images: Tensor, value: Tensor) -> Tensor:
    """Equalize in 256 levels; the gradient passes unchanged."""
    from kornia.enhance import equalize

    return with_gradients(keep_nan(equalize(whole_levels(images) / 255), images), images)


def _pil_invert(image: Image.Image, value: float) -> Image.Image:
    return ImageOps.invert(image)


def _pil_solarize(image: Image.Image, value: float) -> Image.Image:
    return ImageOps.solarize(image, value)  # type: ignore[arg-type]


def _pil_posterize(image: Image.Image, value: float) -> Image.Image:
    # Pillow refuses to keep no bit at all.
    return ImageOps.posterize(image, int(value)) if value >= 1 else image.point(lambda level: 0)


def _pil_brightness(image: Image.Image, value: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(value)


def _pil_contrast(image: Image.Image, value: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(value)


def _pil_auto_contrast(image: Image.Image, value: float) -> Image.Image:
    return ImageOps.autocontrast(image)


def _pil_equalize(image: Image.Image, value: float) -> Image.Image:
    return ImageOps.equalize(image)


POINTWISE = [
    Op(
        name="Identity",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=0.0,
        kind=Pointwise(_identity, floats=_identity_floats),
        opcode=Opcode.IDENTITY,
    ),
    Op(
        name="AutoContrast",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(
            _auto_contrast,
            statistics="histogram",
            floats=_auto_contrast_floats,
            kornia="kornia.enhance.normalize",
            pil=_pil_auto_contrast,
        ),
        opcode=Opcode.AUTO_CONTRAST,
    ),
    Op(
        name="Invert",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(
            _invert, floats=_invert_floats, kornia="kornia.enhance.invert", pil=_pil_invert
        ),
        opcode=Opcode.INVERT,
    ),
    Op(
        name="Equalize",
        unit="",
        low=0.0,
        high=0.0,
        identity_value=None,
        kind=Pointwise(
            _equalize,
            statistics="histogram",
            floats=_equalize_floats,
            kornia="kornia.enhance.equalize",
            pil=_pil_equalize,
        ),
        opcode=Opcode.EQUALIZE,
    ),
    Op(
        name="Solarize",
        unit="threshold, levels from it on are inverted",
        low=0.0,
        high=256.0,
        identity_value=256.0,
        kind=Pointwise(
            _solarize, floats=_solarize_floats, kornia="kornia.enhance.solarize", pil=_pil_solarize
        ),
        opcode=Opcode.SOLARIZE,
    ),
    Op(
        name="Posterize",
        unit="bits kept, truncated",
        low=0.0,
        high=8.0,
        identity_value=8.0,
        kind=Pointwise(
            _posterize,
            floats=_posterize_floats,
            kornia="kornia.enhance.posterize",
            pil=_pil_posterize,
        ),
        opcode=Opcode.POSTERIZE,
    ),
    Op(
        name="Contrast",
        unit="factor, 0 is flat",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Pointwise(
            _contrast,
            statistics="mean luma",
            floats=_contrast_floats,
            kornia="kornia.enhance.adjust_contrast_with_mean_subtraction",
            pil=_pil_contrast,
        ),
        opcode=Opcode.CONTRAST,
    ),
    Op(
        name="Brightness",
        unit="factor, 0 is black",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Pointwise(
            _brightness,
            floats=_brightness_floats,
            kornia="kornia.enhance.adjust_brightness_accumulative",
            pil=_pil_brightness,
        ),
        opcode=Opcode.BRIGHTNESS,
    ),
]
"""The rows. Their arithmetic on levels is PIL's, rounding included.

On floats only Posterize and Equalize round, because rounding is what they do. The gradient of an op
that rounds or has a threshold is that of a smooth approximation.
"""
