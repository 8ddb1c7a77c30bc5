"""Outlines as COCO writes them -> masks: polygons, and run-length codes plain or compressed.

A mask is (height, width) of booleans. A pixel belongs to a polygon if its centre lies inside.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["outline_mask"]

Mask = NDArray[np.bool_]


def outline_mask(outline: Any, height: int, width: int) -> Mask:
    """Return the mask of an outline.

    Args:
        outline: A list of polygons [x0, y0, x1, y1, ...], or {"size": [height, width], "counts":
            lengths of runs by column, outside first, as a list or in COCO's letters}.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Raises:
        ValueError: If it is neither, or does not fit the image.
    """
    if isinstance(outline, Mapping):
        return _runs(outline, height, width)
    if not isinstance(outline, Sequence) or isinstance(outline, str) or not outline:
        raise ValueError(
            f"expected an outline as polygons or a run-length code, got {outline!r:.60}; without "
            "outlines train 'retinanet' or 'fasterrcnn'."
        )
    mask = np.zeros((height, width), dtype=bool)
    for polygon in outline:
        mask |= _inside(polygon, height, width)
    return mask


def _inside(polygon: Any, height: int, width: int) -> Mask:
    """Return which pixel centres a ray from the left reaches over an odd number of edges."""
    flat = np.asarray(polygon, dtype=np.float64)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise ValueError(
            f"expected a polygon as 3 or more pairs x, y of finite numbers, got {polygon!r:.60}."
        )
    (x0, y0), (x1, y1) = flat.reshape(-1, 2).T, np.roll(flat.reshape(-1, 2), -1, axis=0).T
    rows = np.arange(height)[:, None] + 0.5
    row, edge = np.nonzero((y0 <= rows) != (y1 <= rows))
    share = (row + 0.5 - y0[edge]) / (y1 - y0)[edge]
    column = np.ceil(x0[edge] + share * (x1 - x0)[edge] - 0.5).clip(0, width).astype(np.int64)
    crossed = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(crossed, (row, column), 1)
    return crossed.cumsum(axis=1)[:, :width] % 2 == 1


def _runs(code: Mapping[str, Any], height: int, width: int) -> Mask:
    counts = code.get("counts")
    lengths = _unpacked(counts) if isinstance(counts, str) else list(counts or ())
    size, total = list(code.get("size", ())), sum(lengths)
    if size != [height, width] or total != height * width or min(lengths) < 0:
        raise ValueError(
            f"expected a run-length code of {height}x{width} pixels, got one of size {size} with "
            f"{total} pixels."
        )
    values = [value for value, _ in zip(cycle((False, True)), lengths, strict=False)]
    return np.repeat(values, lengths).reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Return the lengths in COCO's letters: 5 bits each from '0' on, differences from the third."""
    lengths: list[int] = []
    number = shift = 0
    for letter in text.encode():
        bits = letter - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    return lengths
