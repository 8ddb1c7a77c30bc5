"""Rows that mix the image with a degenerate copy of itself, in PIL's integer arithmetic.

Images are integer arrays or tensors of grey levels 0 to 255, shape (..., C, H, W) with C = 1 or 3.
"""

from learned_augment.ops.op import Array, Blend, Op, namespace

__all__ = ["BLEND", "luma", "mix"]


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


def _smooth(image: Array) -> Array:
    """Return PIL's SMOOTH filter: centre 5, neighbours 1, sum 13; the border stays as it is."""
    out = image + 0
    if min(image.shape[-2:]) < 3:
        return out
    rows = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    out[..., 1:-1, 1:-1] = (total + 4 * image[..., 1:-1, 1:-1] + 6) // 13
    return out


BLEND = [
    Op(
        name="Color",
        unit="factor, 0 is grey",
        low=0.0,
        high=10.0,
        neutral=1.0,
        law=Blend(luma),
    ),
    Op(
        name="Sharpness",
        unit="factor, 0 is smoothed",
        low=0.0,
        high=10.0,
        neutral=1.0,
        law=Blend(_smooth),
    ),
]
