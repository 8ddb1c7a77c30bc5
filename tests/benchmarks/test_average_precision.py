"""Outlines become the masks that COCO means; detections get COCO's average precision."""

import numpy as np
import pytest

from benchmarks.detection.evaluation import average_precision
from benchmarks.detection.masks import outline_mask


def test_a_polygon_holds_the_pixels_whose_centers_it_holds():
    mask = outline_mask([[2, 1, 6, 1, 6, 4, 2, 4]], 6, 8)
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    assert (mask == expected).all()
    # A triangle over half a square of 10: centers with x + y < 10.
    y, x = np.mgrid[:10, :10] + 0.5
    assert (outline_mask([[0, 0, 10, 0, 0, 10]], 10, 10) == (x + y < 10)).mean() > 0.89
    assert outline_mask([[0, 0, 10, 0, 0, 10]], 10, 10).sum() in range(45, 56)


def test_a_polygon_may_reach_outside_and_several_make_one_object():
    outside = outline_mask([[-5, -5, 3, -5, 3, 3, -5, 3]], 6, 8)
    assert outside.sum() == 9
    assert outside[:3, :3].all()
    two = outline_mask([[0, 0, 2, 0, 2, 2, 0, 2], [5, 3, 7, 3, 7, 6, 5, 6]], 6, 8)
    assert two.sum() == 4 + 6


def test_runs_go_down_the_columns():
    mask = outline_mask({"size": [3, 4], "counts": [1, 2, 3, 1, 5]}, 3, 4)
    assert mask.T.ravel().tolist() == [False, True, True, *[False] * 3, True, *[False] * 5]


def test_runs_in_letters():
    # As pycocotools 2.0.11 writes two rectangles, 40 by 50.
    counts = "f45S1" + "0" * 11 + "WO" + "?KA5" * 19 + "?KAn" + "0" * 30 + "Z5"
    mask = outline_mask({"size": [40, 50], "counts": counts}, 40, 50)
    expected = np.zeros((40, 50), dtype=bool)
    expected[5:25, 10:30] = True
    expected[30:35, 3:45] = True
    assert (mask == expected).all()


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        "polygon",
        [[0, 0, 1, 1]],
        [[0, 0, 1, 1, 2]],
        [[0, 0, 1, float("nan"), 2, 2]],
        {"size": [3, 4], "counts": [1, 2]},
        {"size": [4, 3], "counts": [12]},
        {"size": [3, 4], "counts": [14, -2]},
        {"counts": "0"},
    ],
    ids=str,
)
def test_other_outlines_are_refused(outline):
    with pytest.raises(ValueError, match="expected a"):
        outline_mask(outline, 3, 4)


def truth(image, *boxes, crowd=(), label=1):
    rows = []
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        row = {"image_id": image, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        rows.append(row | {"area": (x1 - x0) * (y1 - y0), "iscrowd": int(k in crowd)})
    return rows


def found(image, boxes, scores, label=1):
    rows = truth(image, *boxes, label=label)
    return [row | {"score": score} for row, score in zip(rows, scores, strict=True)]


SIZES = [(200, 200)]


def test_a_perfect_detector_and_a_blind_one():
    boxes = [(0, 0, 40, 40), (50, 50, 60, 60)]
    expected = {"AP": 100.0, "AP50": 100.0, "AP75": 100.0}
    expected |= {"AP small": 100.0, "AP medium": 100.0, "AP large": None}
    perfect = average_precision(truth(0, *boxes), found(0, boxes, [0.9, 0.8]), SIZES)
    assert perfect == expected
    assert average_precision(truth(0, *boxes), [], SIZES)["AP"] == 0.0


def test_precision_worked_by_hand():
    # Overlap 0.6 passes 0.50, 0.55 and 0.60; a false alarm of a higher score halves precision.
    boxes = [(0, 0, 10, 6.001), (20, 20, 30, 30)]
    result = average_precision(truth(0, (0, 0, 10, 10)), found(0, boxes, [0.5, 0.9]), SIZES)
    assert (result["AP50"], result["AP75"], result["AP"]) == (50.0, 0.0, 15.0)


def test_a_crowd_and_other_sizes_count_neither_way():
    there = truth(0, (0, 0, 10, 10), (50, 50, 90, 90), crowd=(1,))
    boxes = [(0, 0, 10, 10), (52, 52, 60, 60), (60, 60, 70, 70)]
    result = average_precision(there, found(0, boxes, [0.5, 0.9, 0.8]), SIZES)
    assert (result["AP"], result["AP medium"]) == (100.0, None)


def test_classes_and_images_are_kept_apart():
    there = truth(0, (0, 0, 50, 50)) + truth(1, (0, 0, 50, 50), label=2)
    right = found(0, [(0, 0, 50, 50)], [0.9]) + found(1, [(0, 0, 50, 50)], [0.9], label=2)
    assert average_precision(there, right, SIZES * 2)["AP"] == 100.0
    wrong = found(1, [(0, 0, 50, 50)], [0.9]) + found(0, [(0, 0, 50, 50)], [0.9], label=2)
    assert average_precision(there, wrong, SIZES * 2)["AP"] == 0.0
