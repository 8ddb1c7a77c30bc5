"""Outlines become the masks that COCO means; average precision is COCO's."""

import numpy as np
import pytest

from benchmarks.detection.masks import outline_mask
from benchmarks.detection.score import Found, Scores, box_overlaps, mask_overlaps

NO = np.zeros(1, dtype=bool)


def test_a_polygon_holds_the_pixels_whose_centres_it_holds():
    mask = outline_mask([[2, 1, 6, 1, 6, 4, 2, 4]], 6, 8)
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    assert (mask == expected).all()
    # A triangle over half a square of 10: centres with x + y < 10.
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


def boxes(*rows):
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def found(detected, scores, true, crowd=None):
    crowd = np.zeros(len(true), dtype=bool) if crowd is None else np.array(crowd)
    areas = (detected[:, 2:] - detected[:, :2]).prod(1)
    true_areas = (true[:, 2:] - true[:, :2]).prod(1)
    overlaps = box_overlaps(detected, true, crowd)
    return Found(np.array(scores, dtype=np.float64), areas, overlaps, true_areas, crowd)


def test_a_perfect_detector_and_a_blind_one():
    perfect, blind = Scores(), Scores()
    true = boxes([0, 0, 40, 40], [50, 50, 60, 60])
    perfect.add(1, found(true, [0.9, 0.8], true))
    blind.add(1, found(boxes(), [], true))
    expected = {"AP": 100.0, "AP50": 100.0, "AP75": 100.0}
    sizes = {"AP small": 100.0, "AP medium": 100.0, "AP large": None}
    assert perfect.precision() == expected | sizes
    assert blind.precision()["AP"] == 0.0


def test_precision_worked_by_hand():
    # Overlap 0.6 passes 0.50, 0.55 and 0.60; a surer false alarm halves the precision.
    scores = Scores()
    true, near, far = boxes([0, 0, 10, 10]), [0, 0, 10, 6.001], [20, 20, 30, 30]
    scores.add(1, found(boxes(near, far), [0.5, 0.9], true))
    result = scores.precision()
    assert (result["AP50"], result["AP75"]) == (50.0, 0.0)
    assert result["AP"] == 15.0


def test_a_crowd_and_other_sizes_count_neither_way():
    scores = Scores()
    true = boxes([0, 0, 10, 10], [50, 50, 90, 90])
    hits = boxes([0, 0, 10, 10], [52, 52, 60, 60], [60, 60, 70, 70])
    scores.add(1, found(hits, [0.5, 0.9, 0.8], true, crowd=[False, True]))
    assert scores.precision()["AP"] == 100.0
    assert scores.precision()["AP medium"] is None


def random_scores(seed):
    """Three classes on 29 images, with crowds, misses and false alarms."""
    rng, scores = np.random.default_rng(seed), Scores()
    for _ in range(29):
        for label in (1, 2, 3):
            count = rng.integers(0, 6)
            corner, size = rng.uniform(0, 150, (count, 2)), rng.uniform(10, 150, (count, 2))
            crowd = rng.random(count) < 0.2
            detections = rng.integers(0, 12) if count else 0
            of = rng.integers(0, max(count, 1), detections)
            at = corner[of] + rng.normal(0, 6, (detections, 2))
            extent = np.abs(size[of] + rng.normal(0, 8, (detections, 2))) + 1
            each, true = np.hstack([at, at + extent]), np.hstack([corner, corner + size])
            if count:
                scores.add(label, found(each, rng.random(detections), true, crowd))
    return scores


# Computed with pycocotools 2.0.11 (COCOeval, "bbox") from the same boxes.
COCOEVAL = {
    0: [13.32, 31.05, 9.92, 1.79, 11.09, 34.62],
    1: [17.69, 37.55, 12.39, 2.79, 16.37, 41.35],
    2: [19.55, 46.77, 13.04, 0.54, 19.41, 36.42],
}


@pytest.mark.parametrize("seed", COCOEVAL)
def test_precision_is_that_of_coco(seed):
    assert list(random_scores(seed).precision().values()) == COCOEVAL[seed]


def test_masks_overlap_by_their_pixels():
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[0, :2], masks[1, 1:3] = True, True
    assert mask_overlaps(masks[:1], masks[1:], NO)[0, 0] == pytest.approx(4 / 12)
    assert mask_overlaps(masks[:1], masks[1:], ~NO)[0, 0] == pytest.approx(0.5)
    assert mask_overlaps(masks[:0], masks, np.zeros(2, dtype=bool)).shape == (0, 2)
