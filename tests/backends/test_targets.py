"""Targets move as the pixels moved: checked against the pixels themselves."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from learned_augment.backends.dispatch import apply_batch
from learned_augment.backends.targets import move_boxes, move_key_points, move_mask
from learned_augment.ops import OPS, Geometric, Resample
from learned_augment.policy import Plan, Step
from tests.conftest import smooth_image

HEIGHT, WIDTH = 60, 80
NOISE = (0.3, 0.7, 0.4, 0.6)
MOVES = [
    ("ShearX", 0.2), ("ShearY", -0.15), ("TranslateX", 0.11), ("TranslateY", -0.2),
    ("Rotate", 25.0), ("Flip", 1.0), ("PadCrop", 0.1), ("ResizedCrop", 0.4),
]  # fmt: skip


def step(name, value, noise=NOISE):
    return Step(OPS[name], value, noise)


def as_plan(steps):
    op = torch.arange(len(steps))[None]
    value = torch.tensor([[s.value for s in steps]], dtype=torch.float64)
    return Plan(
        tuple(s.op.name for s in steps), op, value, torch.tensor([[s.noise for s in steps]])
    )


def boxes(rows, kind="XYXY", **options):
    return tv_tensors.BoundingBoxes(
        torch.tensor(rows), format=kind, canvas_size=(HEIGHT, WIDTH), **options
    )


def test_every_moving_op_is_covered():
    assert {name for name, _ in MOVES} == {
        op.name for op in OPS.values() if isinstance(op.kind, Geometric | Resample)
    }


@pytest.mark.parametrize("steps", [[m] for m in MOVES] + [MOVES[:3], MOVES[4:]], ids=str)
@pytest.mark.parametrize("size", [None, 50])
def test_boxes_and_key_points_find_their_pixels(steps, size):
    """A bright rectangle and its box stay together, to a pixel, under every op and in chains."""
    steps = [step(*s) for s in steps]
    image = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.uint8)
    image[..., 25:35, 30:44] = 255
    out = apply_batch(image, as_plan(steps), size=size)[0, 0]
    rows, columns = (out > 127).nonzero().unbind(1)
    moved = move_boxes(boxes([[30.0, 25.0, 44.0, 35.0]]), steps, size)
    assert moved.canvas_size == tuple(out.shape)
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    # A sheared or zoomed corner can lie a pixel or two off the pixels that show it.
    assert (moved[0] - found).abs().max() <= 2.5
    center = tv_tensors.KeyPoints(torch.tensor([[36.5, 29.5]]), canvas_size=(HEIGHT, WIDTH))
    point = move_key_points(center, steps, size)[0]
    expected = torch.stack([columns.double().mean(), rows.double().mean()])
    assert (point - expected).abs().max() < 1.2
    mask = tv_tensors.Mask((image[0] > 0).to(torch.int64) * 7)
    moved_mask = move_mask(mask, steps, size)
    assert moved_mask.shape == (1, *out.shape)
    disagree = ((moved_mask[0] == 7) != (out > 127)).double().mean()
    assert disagree < (0.01 if any(s.op.name == "ResizedCrop" for s in steps) else 1e-9)


def test_a_flip_is_exact():
    flip = [step("Flip", 1.0)]
    assert move_boxes(boxes([[10, 5, 30, 25]]), flip, None).tolist() == [[50, 5, 70, 25]]
    point = tv_tensors.KeyPoints([[[10.0, 5.0]]], canvas_size=(HEIGHT, WIDTH))
    assert move_key_points(point, flip, None).tolist() == [[[69.0, 5.0]]]
    mask = (smooth_image(HEIGHT, WIDTH) > 99)[0]
    assert torch.equal(move_mask(mask, flip, None), mask.flip(-1))


FORMS = {
    "XYXY": [30, 25, 44, 35],
    "XYWH": [30, 25, 14, 10],
    "CXCYWH": [37, 30, 14, 10],
    "XYWHR": [30, 25, 14, 10, 0],
    "CXCYWHR": [37, 30, 14, 10, 0],
    "XYXYXYXY": [30, 25, 44, 25, 44, 35, 30, 35],
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("name", ["TranslateX", "Flip", "Rotate"])
def test_every_box_format_says_the_same(kind, name):
    steps = [step(name, {"TranslateX": 0.1, "Flip": 1.0, "Rotate": 20.0}[name])]
    moved = move_boxes(boxes([[float(x) for x in FORMS[kind]]], kind), steps, None)
    assert moved.format == tv_tensors.BoundingBoxFormat(kind)
    rotated = tv_tensors.is_rotated_bounding_format(moved.format)
    between = "XYXYXYXY" if rotated else "XYXY"
    corners = functional.convert_bounding_box_format(moved, new_format=between).reshape(-1, 2)
    found = torch.cat([corners.amin(0), corners.amax(0)]).as_subclass(torch.Tensor)
    expected = move_boxes(boxes([[30.0, 25.0, 44.0, 35.0]]), steps, None)[0]
    torch.testing.assert_close(found, expected.as_subclass(torch.Tensor), atol=1e-3, rtol=0)


def test_boxes_are_clamped_and_integers_rounded():
    away = move_boxes(boxes([[60, 10, 78, 30]]), [step("TranslateX", -0.2)], None)
    assert away.tolist() == [[76, 10, 80, 30]]
    assert away.dtype == torch.int64
    point = tv_tensors.KeyPoints(torch.tensor([[78, 10]]), canvas_size=(HEIGHT, WIDTH))
    # Not clamped: a point of nothing in the image must not be taken for one on its border.
    assert move_key_points(point, [step("TranslateX", -0.2)], None).tolist() == [[94, 10]]


@pytest.mark.parametrize("kind", ["XYXY", "XYWH", "CXCYWH"])
def test_boxes_lose_what_left_the_image_between_two_ops(kind):
    there_and_back = [step("TranslateX", 0.5), step("TranslateX", -0.5)]
    given = functional.convert_bounding_box_format(
        boxes([[0.0, 10.0, 40.0, 30.0], [20.0, 10.0, 60.0, 30.0]]), new_format=kind
    )
    found = functional.convert_bounding_box_format(
        move_boxes(given, there_and_back, None), new_format="XYXY"
    )
    assert found.tolist() == [[40, 10, 40, 30], [40, 10, 60, 30]]  # the first one has no area left
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
    mask[:, 10:30, 20:60] = 1
    moved = move_mask(mask, there_and_back, None)
    assert moved.nonzero()[:, 2].unique().tolist() == list(range(40, 60))


def test_empty_targets_and_ops_that_do_not_move_pixels():
    still = [step("Invert", 0.0), step("Cutout", 0.2), step("Color", 1.5)]
    given = boxes([[1, 2, 3, 4]])
    moved = move_boxes(given, still, None)
    assert torch.equal(moved, given)
    assert moved.data_ptr() != given.data_ptr()
    empty = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(HEIGHT, WIDTH))
    assert move_boxes(empty, [step("Rotate", 10.0)], None).shape == (0, 4)
    mask = torch.ones(0, HEIGHT, WIDTH, dtype=torch.bool)
    assert move_mask(mask, [step("Rotate", 10.0)], None).shape == mask.shape


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_keep_their_labels_and_take_a_fill(dtype):
    mask = torch.ones(2, HEIGHT, WIDTH).to(dtype)
    moved = move_mask(mask, [step("TranslateX", 0.25)], None)
    assert moved.dtype == dtype
    assert moved[:, :, -20:].sum() == 0
    if dtype == torch.int64:
        ignored = move_mask(mask, [step("TranslateX", 0.25)], None, fill=255)
        assert ignored.unique().tolist() == [1, 255]
