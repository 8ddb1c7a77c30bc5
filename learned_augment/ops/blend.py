"""Rows of ops that mix the image with a degenerate copy of itself, in PIL's arithmetic."""

from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import pad

from learned_augment.ops.array import Array, keep_nan, xp
from learned_augment.ops.op import Blend, Op, Opcode

__all__ = ["BLEND", "luma", "mix"]


def mix(degenerate: Array, image: Array, factor: Array) -> Array:
    """Blend gray levels 0 to 255 as PIL does: in single precision, clipped, truncated."""
    low = xp.float32(degenerate)
    blended = low + xp.float32(factor) * (xp.float32(image) - low)
    return xp.floor(xp.minimum(xp.maximum(blended, 0.0), 255.0))


def luma(image: Array) -> Array:
    """Return the luma image (..., 1, H, W) of integer levels (..., C, H, W) with C = 1 or 3.

    The weights are those of ITU-R 601 in 16-bit fixed point. The result is rounded.
    """
    if image.shape[-3] == 1:
        return image
    red, green, blue = (image[..., c : c + 1, :, :] for c in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _smoothed(image: Array) -> Array:
    """Return PIL's SMOOTH filter; the border of one pixel stays as it is."""
    out = image + 0
    if min(image.shape[-2:]) >= 3:
        rows = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
        total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        out[..., 1:-1, 1:-1] = (total + 4 * image[..., 1:-1, 1:-1] + 6) // 13
    return out


def _color_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_saturation_with_gray_subtraction

    if images.shape[-3] == 1:
        return images.clamp(0, 1)
    known = images.nan_to_num(nan=0.0)
    return keep_nan(adjust_saturation_with_gray_subtraction(known, value), images)


def _sharpness_floats(images: Tensor, value: Tensor) -> Tensor:
    from kornia.filters import laplacian

    smooth = images
    if min(images.shape[-2:]) >= 3:
        # The smooth image is a thirteenth of the Laplacian away, but for the border.
        difference = laplacian(images, 3, "constant", normalized=False)[..., 1:-1, 1:-1] / 13
        smooth = images + pad(difference, (1, 1, 1, 1))
    return (smooth + value * (images - smooth)).clamp(0, 1)


def _gray_image(image: Image.Image) -> Image.Image:
    return image.convert("L").convert(image.mode)


def _smooth_image(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.SMOOTH)


BLEND = [
    Op(
        name="Color",
        unit="factor, 0 is gray",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Blend(
            luma,
            floats=_color_floats,
            kornia="kornia.enhance.adjust_saturation_with_gray_subtraction",
            pil=_gray_image,
        ),
        opcode=Opcode.COLOR,
    ),
    Op(
        name="Sharpness",
        unit="factor, 0 is smoothed",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Blend(
            _smoothed,
            floats=_sharpness_floats,
            kornia="kornia.filters.laplacian",
            pil=_smooth_image,
        ),
        opcode=Opcode.SHARPNESS,
    ),
]
