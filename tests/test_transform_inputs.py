"""Unusual input, settings and subclasses of LearnedAugment: refused, or the same pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from learned_augment import LearnedAugment, Policy
from learned_augment.builders import from_layers, from_sub_policies

TURN = from_layers([[("Rotate", 1.0, 20.0)]])
SHIFT = from_layers([[("TranslateX", 1.0, 0.5)]])
CROP = from_layers([[("ResizedCrop", 1.0, 0.08)]])


def photo(side=20):
    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def levels(side=20):
    return v2.functional.pil_to_tensor(photo(side))


@pytest.mark.parametrize("fill", [300, -5, (0, 0, 256)])
def test_a_fill_that_is_no_level_is_refused_for_every_image_of_levels(fill):
    augment = LearnedAugment("deepaa-cifar10", fill=fill)
    for image in (photo(), levels(), levels().expand(2, -1, -1, -1)):
        with pytest.raises(ValueError, match="fill from 0 to 255"):
            augment(image)
    assert augment(levels() / 255).shape == (3, 20, 20)


@pytest.mark.parametrize("fill", [float("nan"), (0.0, float("inf"), 0.0)])
def test_a_fill_that_is_not_finite_is_refused(fill):
    with pytest.raises(ValueError, match="finite numbers in fill"):
        LearnedAugment(fill=fill)


@pytest.mark.parametrize("fill", [255, (255,)])
def test_the_fill_of_masks_is_one_number_however_it_is_written(fill):
    mask = tv_tensors.Mask(torch.ones(1, 20, 20, dtype=torch.uint8))
    _, moved = LearnedAugment(SHIFT, fill={tv_tensors.Mask: fill, "others": 9})(photo(), mask)
    assert moved.unique().tolist() == [1, 255]


@pytest.mark.parametrize("fill", [(1, 2, 3), 300, 0.5])
def test_a_fill_that_a_mask_cannot_hold_is_refused_before_anything_is_drawn(fill):
    mask = tv_tensors.Mask(torch.ones(1, 20, 20, dtype=torch.uint8))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"one number that torch\.uint8 can hold as the fill"):
        LearnedAugment(SHIFT, fill={tv_tensors.Mask: fill})(photo(), mask)
    assert torch.equal(torch.get_rng_state(), before)


def test_several_clips_with_boxes_are_refused():
    clips = tv_tensors.Video(torch.zeros(2, 4, 3, 20, 20, dtype=torch.uint8))
    boxes = tv_tensors.BoundingBoxes([[2, 4, 6, 8]], format="XYXY", canvas_size=(20, 20))
    with pytest.raises(ValueError, match="one image or video beside BoundingBoxes"):
        LearnedAugment(SHIFT)(clips, boxes)
    assert LearnedAugment(SHIFT)(tv_tensors.Video(clips[0]), boxes)[0].shape == (4, 3, 20, 20)


def test_images_without_a_pixel_are_refused_and_batches_without_an_image_pass():
    augment = LearnedAugment("deepaa-cifar10")
    for image in (Image.new("RGB", (0, 5)), levels()[:, :0], levels()[:, :, :0] / 255):
        with pytest.raises(ValueError, match="at least one pixel"):
            augment(image)
    images = tv_tensors.Image(torch.zeros(0, 3, 20, 20, dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.zeros(0, 1, 20, 20, dtype=torch.uint8))
    shapes = [tuple(out.shape) for out in LearnedAugment(TURN, size=8)(images, mask)]
    assert shapes == [(0, 3, 8, 8), (0, 1, 8, 8)]


def test_masks_of_nested_batches_follow_their_own_image():
    images = tv_tensors.Image(levels().expand(2, 3, -1, -1, -1))
    mask = tv_tensors.Mask(images[:, :, 0].clone())
    augment = LearnedAugment("deepaa-cifar10")
    params = augment.make_params([images])
    moved = augment.transform(mask, params)
    assert moved.shape == mask.shape
    alone = {"plan": params["plan"].rows([4])}
    assert torch.equal(moved[1, 1], augment.transform(tv_tensors.Mask(mask[1, 1]), alone))


@pytest.mark.parametrize("generator", [0, "cpu", torch.Generator])
def test_a_generator_of_another_kind_is_refused(generator):
    with pytest.raises(TypeError, match=r"a torch\.Generator on the CPU"):
        LearnedAugment(generator=generator)


@pytest.mark.parametrize("same_on_batch", ["false", 0, None])
def test_same_on_batch_is_a_truth_value(same_on_batch):
    with pytest.raises(TypeError, match="same_on_batch to be True or False, got"):
        LearnedAugment(same_on_batch=same_on_batch)


def test_make_params_needs_a_list_with_an_image():
    augment = LearnedAugment(TURN)
    for given in (photo(), levels(), levels()[None]):
        with pytest.raises(TypeError, match=r"as make_params\(\[image\]\), got \w+\."):
            augment.make_params(given)
    with pytest.raises(TypeError, match="got list without an image"):
        augment.make_params([3])
    assert len(augment.make_params([3, levels()])["plan"]) == 1


def test_an_array_is_no_interpolation():
    with pytest.raises(ValueError, match="Expected an interpolation of 'nearest'"):
        LearnedAugment(interpolation=np.array([0, 2]))


def test_a_truth_value_is_no_interpolation():
    with pytest.raises(ValueError, match="Expected an interpolation"):
        LearnedAugment(interpolation=False)


def test_what_a_subclass_overrides_sees_every_input():
    class Told(LearnedAugment):
        calls = 0

        def transform(self, inpt, params):
            self.calls += 1
            return super().transform(inpt, params)

    told = Told(TURN)
    for image in (photo(), levels(), levels() / 255, levels().expand(2, -1, -1, -1)):
        told(image)
    assert told.calls == 4
    torch.manual_seed(1)
    expected = LearnedAugment("dada-cifar10")(photo())
    torch.manual_seed(1)
    assert Told("dada-cifar10")(photo()).tobytes() == expected.tobytes()


PIXELS = levels()


def results(pixels):
    made = []
    for options in ({}, {"interpolation": "bilinear"}, {"fill": 3.0, "size": 12}):
        augment = LearnedAugment("deepaa-cifar10", **options)
        torch.manual_seed(0)
        batch = pixels.expand(4, -1, -1, -1)
        made.append(torch.from_numpy(np.array(augment(photo()))))
        made += [augment(image) for image in (pixels, batch, pixels.double(), batch.double() / 255)]
    return made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_default_dtype_changes_nothing(dtype):
    expected = results(PIXELS)
    try:
        torch.set_default_dtype(dtype)
        found = results(PIXELS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_default_device_changes_nothing():
    expected = results(PIXELS)
    with torch.device("meta"):
        found = results(PIXELS)
        assert Policy.load("dada-cifar10") == Policy.load("dada-cifar10")
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_autocast_takes_no_levels_away():
    images = levels(32).expand(4, -1, -1, -1) / 255
    augment = LearnedAugment(CROP)
    params = augment.make_params([images])
    expected = augment.transform(images, params)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment.transform(images, params), expected)


def test_a_compiled_call_runs_outside_the_graph_with_the_same_result():
    augment = LearnedAugment("dada-cifar10")
    images = levels(16).expand(4, -1, -1, -1) / 255
    torch.manual_seed(0)
    expected = augment(images)
    torch.manual_seed(0)
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    assert torch.equal(torch.compile(augment, backend=backend)(images), expected)
    assert not seen


def test_misspelt_mirrored_ops_are_refused():
    with pytest.raises(ValueError, match="Unknown op 'rotate'"):
        from_sub_policies([[("Rotate", 1.0, 30.0)]], mirrored=["rotate"])


def test_equal_policies_have_equal_hashes():
    plus, minus = (from_layers([[("Rotate", 1.0, value)]]) for value in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


def test_key_points_of_any_dtype_stay_where_nothing_moves():
    points = tv_tensors.KeyPoints(torch.tensor([[0.1, 0.7]]).double(), canvas_size=(20, 20))
    _, same = LearnedAugment(from_layers([[("Invert", 1.0, 0.0)]]))(photo(), points)
    assert torch.equal(same, points)
    assert same.data_ptr() != points.data_ptr()
