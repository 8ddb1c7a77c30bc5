"""A trained detector on the validation images: average precision of its boxes and masks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.detection.coco import Photo, Split
from benchmarks.detection.score import Found, Scores, box_overlaps, mask_overlaps
from benchmarks.detection.training import photo_masks

__all__ = ["check_readable", "evaluate"]

Result = dict[str, dict[str, float | None]]


class _Shapes(NamedTuple):
    """Boxes or masks of one image, detected and true, and how to compare them."""

    found: NDArray[np.generic]
    true: NDArray[np.generic]
    areas: NDArray[np.float64]
    overlaps: Callable[..., NDArray[np.float64]]


def check_readable(split: Split, *, masks: bool) -> None:
    """Read every image, and with ``masks`` every outline, to fail before hours of training.

    Raises:
        ValueError: As ``evaluate``.
    """
    for photo in split.photos:
        photo.pixels()
        if masks:
            photo_masks(photo, [item.outline for item in photo.items])


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, *, masks: bool, device: torch.device) -> Result:
    """Return {"boxes": {"AP": ..., "AP50": ..., ...}}, and "masks" if the model has them.

    Percent, by COCO's definition; None where the ground truth has no object of that size.

    Raises:
        ValueError: If an image, or with ``masks`` an outline, cannot be read; names the file.
    """
    kinds = ("boxes", "masks") if masks else ("boxes",)
    scores = {kind: Scores() for kind in kinds}
    model.to(device).eval()
    for photo in split.photos:
        image = photo.pixels().to(device).float() / 255
        output = {name: value.cpu() for name, value in model([image])[0].items()}
        for kind in kinds:
            shapes = _boxes(photo, output) if kind == "boxes" else _masks(photo, output)
            _add(scores[kind], photo, output, shapes)
    return {kind: each.precision() for kind, each in scores.items()}


def _add(scores: Scores, photo: Photo, output: dict[str, Tensor], shapes: _Shapes) -> None:
    labels, sure = output["labels"].numpy(), output["scores"].double().numpy()
    true_labels = np.array([item.label for item in photo.items], dtype=np.int64)
    crowd = np.array([item.crowd for item in photo.items], dtype=bool)
    true_areas = np.array([item.area for item in photo.items], dtype=np.float64)
    for label in {*labels.tolist(), *true_labels.tolist()}:
        ours, theirs = labels == label, true_labels == label
        overlaps = shapes.overlaps(shapes.found[ours], shapes.true[theirs], crowd[theirs])
        found = Found(sure[ours], shapes.areas[ours], overlaps, true_areas[theirs], crowd[theirs])
        scores.add(label, found)


def _boxes(photo: Photo, output: dict[str, Tensor]) -> _Shapes:
    found = output["boxes"].double().numpy()
    true = np.array([item.box for item in photo.items], dtype=np.float64).reshape(-1, 4)
    return _Shapes(found, true, (found[:, 2:] - found[:, :2]).prod(axis=1), box_overlaps)


def _masks(photo: Photo, output: dict[str, Tensor]) -> _Shapes:
    found = (output["masks"][:, 0] > 0.5).numpy()
    true = photo_masks(photo, [item.outline for item in photo.items]).numpy() > 0
    return _Shapes(found, true, found.sum(axis=(1, 2), dtype=np.float64), mask_overlaps)
