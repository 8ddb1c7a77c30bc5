"""Average precision as COCO defines it, of boxes and of masks.

For each class and ten overlaps (intersection over union 0.50, 0.55, ... 0.95): detections take,
best first, the ground truth they overlap most; precision is read at 101 recalls. Detections on
crowds, or outside the class of size that is measured, count neither way. At most 100 detections of
a class count on an image.

Lin et al., Microsoft COCO, ECCV 2014, arXiv:1405.0312.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZES", "Found", "Scores", "box_overlaps", "mask_overlaps"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100
SIZES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Classes of size: smallest and largest area in square pixels."""


class Found(NamedTuple):
    """What was detected of one class on one image, and what is there.

    Attributes:
        scores: (D,) of the detections.
        areas: (D,) of the detections, in square pixels.
        overlaps: (D, G) with the ground truth.
        true_areas: (G,) of the ground truth.
        crowd: (G,) whether it stands for a group.
    """

    scores: Floats
    areas: Floats
    overlaps: Floats
    true_areas: Floats
    crowd: Flags


class _Judged(NamedTuple):
    scores: Floats  # (D,)
    right: Flags  # (10, D)
    ignored: Flags  # (10, D)
    wanted: int


class Scores:
    """Collects images and scores them together."""

    def __init__(self) -> None:
        self._judged: dict[str, dict[int, list[_Judged]]] = {s: defaultdict(list) for s in SIZES}

    def add(self, label: int, found: Found) -> None:
        """Add what was found of one class on one image, also when it is nothing."""
        order = np.argsort(-found.scores, kind="stable")[:MOST]
        found = found._replace(
            scores=found.scores[order], areas=found.areas[order], overlaps=found.overlaps[order]
        )
        for size, (low, high) in SIZES.items():
            self._judged[size][label].append(_judge(found, low, high))

    def precision(self) -> dict[str, float | None]:
        """Return AP, AP50, AP75 and AP by size, in percent; None where there is no ground truth."""
        table = {size: self._by_class(size) for size in SIZES}
        found = {"AP": table["all"], "AP50": table["all"][:, 0], "AP75": table["all"][:, 5]}
        found |= {f"AP {size}": table[size] for size in ("small", "medium", "large")}
        return {
            name: round(100 * float(each.mean()), 2) if each.size else None
            for name, each in found.items()
        }

    def _by_class(self, size: str) -> Floats:
        rows = [_averages(judged) for judged in self._judged[size].values()]
        return np.array([row for row in rows if row is not None]).reshape(-1, len(OVERLAPS))


def _judge(found: Found, low: float, high: float) -> _Judged:
    """Match the detections of one image with its ground truth, at all overlaps side by side."""
    aside = found.crowd | (found.true_areas < low) | (found.true_areas > high)
    free = np.ones((len(OVERLAPS), len(aside)), dtype=bool)
    right, ignored = (np.zeros((len(OVERLAPS), len(found.scores)), dtype=bool) for _ in range(2))
    at = np.arange(len(OVERLAPS))
    for detection, overlaps in enumerate(found.overlaps if len(aside) else ()):
        fits = free & (overlaps >= OVERLAPS[:, None])
        # What is measured goes first; what lies aside only catches the rest.
        for kind, result in ((~aside, right), (aside, ignored)):
            open_ = fits & kind & ~right[:, detection, None]
            taken = np.where(open_, overlaps, -1.0).argmax(axis=1)
            hit = open_[at, taken]
            result[hit, detection] = True
            free[at[hit], taken[hit]] = found.crowd[taken[hit]]
    outside = (found.areas < low) | (found.areas > high)
    ignored |= outside & ~right
    return _Judged(found.scores, right, ignored, int((~aside).sum()))


def _averages(judged: Iterable[_Judged]) -> Floats | None:
    """Return the average precision (10,) at each overlap; None without ground truth."""
    images = list(judged)
    wanted = sum(image.wanted for image in images)
    if wanted == 0:
        return None
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    right = np.concatenate([image.right for image in images], axis=1)[:, order]
    ignored = np.concatenate([image.ignored for image in images], axis=1)[:, order]
    hits = np.cumsum(right, axis=1)
    errors = np.cumsum(~right & ~ignored, axis=1)
    precision = hits / np.maximum(hits + errors, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([best, np.zeros((len(OVERLAPS), 1))], axis=1)
    means = [
        row[np.searchsorted(recall, RECALLS)].mean()
        for row, recall in zip(padded, hits / wanted, strict=True)
    ]
    return np.array(means)


def box_overlaps(boxes: Floats, truth: Floats, crowd: Flags) -> Floats:
    """Return intersection over union (D, G) of boxes (D, 4) and (G, 4).

    With a crowd it is the share of the detection that lies on it.
    """
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    return _overlaps(shared, _areas(boxes), _areas(truth), crowd)


def mask_overlaps(masks: Flags, truth: Flags, crowd: Flags) -> Floats:
    """Return intersection over union (D, G) of masks (D, H, W) and (G, H, W), as for boxes."""
    pixels = math.prod(masks.shape[1:])
    # Single precision counts exactly up to 16 million pixels.
    flat, true = (each.reshape(len(each), pixels).astype(np.float32) for each in (masks, truth))
    shared, areas, true_areas = (
        n.astype(np.float64) for n in (flat @ true.T, flat.sum(1), true.sum(1))
    )
    return _overlaps(shared, areas, true_areas, crowd)


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def _overlaps(shared: Floats, areas: Floats, true_areas: Floats, crowd: Flags) -> Floats:
    union = areas[:, None] + np.where(crowd, 0.0, true_areas - shared)
    return np.asarray(shared / np.maximum(union, 1e-12))
