"""Rows that mix the image with a degenerate copy of itself, in PIL's integer arithmetic.

Images are integer arrays or tensors of grey levels 0 to 255, shape (..., C, H, W) with C = 1 or 3;
in the float forms tensors in [0, 1].
"""

from torch import Tensor
from torch.nn.functional import pad

from learned_augment.ops.op import Array, Blend, Op, namespace

__all__ = ["BLEND", "grey", "luma", "mix", "smooth_mix"]


def mix(degenerate: Array, image: Array, factor: Array) -> Array:
    """Blend as PIL does: single precision, clipped to 0..255, truncated to whole levels."""
    xp = namespace(image)
    low = xp.asarray(degenerate, dtype=xp.float32)
    blended = low + factor * (xp.asarray(image, dtype=xp.float32) - low)
    return xp.floor(xp.clip(blended, 0, 255))


def luma(image: Array) -> Array:
    """Return the luma image (..., 1, H, W): ITU-R 601 weights in 16-bit fixed point, rounded."""
    if image.shape[-3] == 1:
        return image
    red, green, blue = (image[..., c : c + 1, :, :] for c in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def smooth_mix(degenerate: Tensor, image: Tensor, factor: Tensor) -> Tensor:
    """Blend floats in [0, 1]: differentiable in all three, nothing rounded."""
    return (degenerate + factor * (image - degenerate)).clamp(0, 1)


def grey(image: Tensor) -> Tensor:
    """Return the grey version (..., 1, H, W) of floats; black where a channel is NaN.

    Otherwise the NaN of one channel would spread to the others.
    """
    # Imported here because it brings all of Kornia, which only floats need.
    from kornia.color import rgb_to_grayscale

    shades = image if image.shape[-3] == 1 else rgb_to_grayscale(image)
    return shades.nan_to_num(nan=0.0)


def _neighbours(image: Array) -> Array:
    """Return the weighted sum of the 3x3 neighbourhoods: centre 5, others 1, sum 13."""
    rows = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return total + 4 * image[..., 1:-1, 1:-1]


def _smoothed(image: Array) -> Array:
    """Return PIL's SMOOTH filter; the border of one pixel stays as it is."""
    out = image + 0
    if min(image.shape[-2:]) >= 3:
        out[..., 1:-1, 1:-1] = (_neighbours(image) + 6) // 13
    return out


def _smoothed_floats(image: Tensor) -> Tensor:
    if min(image.shape[-2:]) < 3:
        return image
    # Padding a difference keeps the backward pass free of slice assignments.
    return image + pad(_neighbours(image) / 13 - image[..., 1:-1, 1:-1], (1, 1, 1, 1))


BLEND = [
    Op(
        name="Color",
        unit="factor, 0 is grey",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Blend(luma, smooth=grey),
    ),
    Op(
        name="Sharpness",
        unit="factor, 0 is smoothed",
        low=0.0,
        high=10.0,
        identity_value=1.0,
        kind=Blend(_smoothed, smooth=_smoothed_floats),
    ),
]
