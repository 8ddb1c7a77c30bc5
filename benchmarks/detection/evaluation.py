"""Measure a trained detector on validation images by COCO's average precision."""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from benchmarks.detection.coco import CocoSplit, Photo
from benchmarks.detection.training import photo_masks

__all__ = ["average_precision", "check_readable", "evaluate"]

Precision = dict[str, float | None]
NAMES = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
KINDS = {"boxes": "bbox", "masks": "segm"}


def check_readable(split: CocoSplit, *, masks: bool) -> None:
    """Read every image, and with ``masks`` every outline, to fail before hours of training.

    Raises:
        ValueError: As ``evaluate``.
    """
    for photo in split.photos:
        photo.pixels()
        if masks:
            photo_masks(photo, [item.outline for item in photo.items])


@torch.no_grad()
def evaluate(
    model: nn.Module, split: CocoSplit, *, masks: bool, device: torch.device
) -> dict[str, Precision]:
    """Return {"boxes": {"AP": ..., "AP50": ..., ...}}, and "masks" if the model has them.

    Percent, by COCO's definition; None where the ground truth has no object of that size.

    Raises:
        ValueError: If an image, or with ``masks`` an outline, cannot be read; names the file.
    """
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    model.to(device).eval()
    for number, photo in enumerate(split.photos):
        image = photo.pixels().to(device).float() / 255
        output = {name: value.cpu() for name, value in model([image])[0].items()}
        truth += _truth(photo, number, masks)
        found += _detections(output, number, masks)
    sizes = [(photo.height, photo.width) for photo in split.photos]
    kinds = KINDS if masks else ("boxes",)
    return {kind: average_precision(truth, found, sizes, kind) for kind in kinds}


def average_precision(
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    sizes: list[tuple[int, int]],
    kind: str = "boxes",
) -> Precision:
    """Return COCO's average precision in percent, over all and by size.

    Args:
        truth: Annotations in COCO's format; "image_id" counts the images from 0.
        found: Detections in COCO's format of results.
        sizes: (height, width) of each image.
        kind: "boxes" or "masks".
    """
    images = [{"id": k, "height": h, "width": w} for k, (h, w) in enumerate(sizes)]
    rows = [*truth, *found]
    categories = [{"id": label} for label in sorted({row["category_id"] for row in rows})]
    known = {"images": images, "categories": categories}
    with redirect_stdout(io.StringIO()):
        judged = COCOeval(_coco(known, truth), _coco(known, found), KINDS[kind])
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    # -1 stands for no object of that size.
    values = [None if value < 0 else round(100 * float(value), 2) for value in judged.stats]
    return dict(zip(NAMES, values, strict=False))


def _coco(known: dict[str, Any], rows: list[dict[str, Any]]) -> COCO:
    made = COCO()
    # pycocotools takes id 0 for no match.
    annotations = [{"id": number, **row} for number, row in enumerate(rows, 1)]
    made.dataset = {**known, "annotations": annotations}
    made.createIndex()
    return made


def _truth(photo: Photo, number: int, masks: bool) -> Iterator[dict[str, Any]]:
    outlines = photo_masks(photo, [item.outline for item in photo.items]) if masks else ()
    for k, item in enumerate(photo.items):
        row = {"image_id": number, "category_id": item.label, "area": item.area}
        row |= {"bbox": _corner_and_size(item.box), "iscrowd": int(item.crowd)}
        yield row | ({"segmentation": _code(outlines[k])} if masks else {})


def _detections(output: dict[str, Tensor], number: int, masks: bool) -> Iterator[dict[str, Any]]:
    for k, box in enumerate(output["boxes"].double().tolist()):
        bbox = _corner_and_size(box)
        row = {"image_id": number, "category_id": int(output["labels"][k])}
        row |= {"score": float(output["scores"][k]), "bbox": bbox, "iscrowd": 0}
        row["area"] = bbox[2] * bbox[3]
        if masks:
            row["segmentation"] = _code(output["masks"][k, 0] > 0.5)
        yield row


def _corner_and_size(box: Any) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _code(mask: Tensor) -> Any:
    return coco_masks.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
