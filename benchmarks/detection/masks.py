"""Turn outlines in COCO's format, polygons or run-length codes, into masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_masks

__all__ = ["outline_mask"]


def outline_mask(outline: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return the mask (height, width) of an outline: 1 inside, 0 outside.

    Args:
        outline: A list of polygons [x0, y0, x1, y1, ...], or {"size": [height, width], "counts":
            lengths of runs by column, outside first, as a list or in COCO's letters}.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Raises:
        ValueError: If it is neither, or does not fit the image.
    """
    # pycocotools trusts what it gets: it takes 4 numbers for a box, and reads where runs say.
    if isinstance(outline, Mapping):
        return _runs(outline, height, width)
    if not isinstance(outline, Sequence) or isinstance(outline, str) or not outline:
        raise ValueError(
            f"expected an outline as polygons or a run-length code, got {outline!r:.60}; without "
            "outlines train 'retinanet' or 'fasterrcnn'."
        )
    polygons = [_checked(polygon) for polygon in outline]
    code = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
    return np.asarray(coco_masks.decode(code))


def _checked(polygon: Any) -> list[float]:
    flat = np.asarray(polygon, dtype=np.float64)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise ValueError(
            f"expected a polygon as 3 or more pairs x, y of finite numbers, got {polygon!r:.60}."
        )
    return flat.tolist()


def _runs(code: Mapping[str, Any], height: int, width: int) -> NDArray[np.uint8]:
    counts, size = code.get("counts") or (), list(code.get("size", ()))
    letters = isinstance(counts, str)
    full = letters or (sum(counts) == height * width and min(counts) >= 0)
    if full and size == [height, width]:
        try:
            packed = dict(code) if letters else coco_masks.frPyObjects(dict(code), height, width)
            return np.asarray(coco_masks.decode(packed))
        except ValueError:  # letters that do not fill the image
            pass
    raise ValueError(
        f"expected a run-length code of {height}x{width} pixels, got one of size {size} whose "
        "runs do not fill it."
    )
