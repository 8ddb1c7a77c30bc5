"""Odd inputs are accepted in every draw or refused in every draw, as the page on limits says.

Each case runs through every op at both ends of its range. A refusal draws nothing.
"""

import warnings
from functools import cache

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from learned_augment import LearnedAugment
from learned_augment.builders import deep_trivial_augment, from_layers
from learned_augment.ops import OPS, Geometric, Resample

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
IMAGE_DTYPES = (torch.uint8, *FLOATS)
DTYPES = sorted({d for d in vars(torch).values() if isinstance(d, torch.dtype)}, key=str)
ACCEPTED_MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK")
OTHER_MODES = (
    *("1", "I", "F", "I;16", "I;16B", "I;16L", "I;16N", "HSV", "LAB", "YCbCr"),
    *("La", "PA", "RGBa", "RGBX"),
)
HEIGHT, WIDTH = 12, 16


@cache
def every_end(moving=False):
    """Return transforms of every op (or every moving op) at both ends of its range."""
    made = []
    for name, op in OPS.items():
        if not moving or isinstance(op.kind, Geometric | Resample) or name == "Invert":
            made += [from_layers([[(name, 1.0, v)]]) for v in dict.fromkeys((op.low, op.high))]
    resized = {"interpolation": "bicubic", "size": 5}
    return [
        *map(LearnedAugment, made),
        LearnedAugment(deep_trivial_augment(3), **resized),
        LearnedAugment(from_layers([[("Rotate", 1.0, 30.0)], [("ResizedCrop", 1.0, 0.3)]]), size=5),
    ]


def answer(*sample, check=lambda out, augment: None):
    """Return None if every draw accepts a sample, or the one message of its refusal."""
    answers, moving = set(), len(sample) > 1
    for augment in every_end(moving):
        before = torch.get_rng_state()
        try:
            out = augment(*sample)
        except (TypeError, ValueError) as refusal:
            assert torch.equal(torch.get_rng_state(), before)
            answers.add(str(refusal))
        else:
            check(out, augment)
            answers.add(None)
    assert len(answers) == 1, answers
    return answers.pop()


def levels(*shape, dtype=torch.uint8):
    whole = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return whole if dtype == torch.uint8 else (whole / 255).to(dtype)


def like(image):
    """Return a check that a result has the type, dtype, shape and range of an image tensor."""

    def check(out, augment):
        size = image.shape[-2:] if augment.size is None else (augment.size, augment.size)
        assert (type(out), out.dtype) == (type(image), image.dtype)
        assert out.shape == (*image.shape[:-2], *size)
        assert out.numel() == 0 or out.data_ptr() != image.data_ptr()
        assert not out.is_floating_point() or ((out > -0.01) & (out < 1.01)).all()

    return check


# Image tensors


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of quantized dtypes
        try:
            image = levels(3, 6, 7).to(dtype)
        except (RuntimeError, NotImplementedError):
            image = torch.empty(3, 6, 7, dtype=dtype)
    if dtype in IMAGE_DTYPES:
        image = levels(3, 6, 7, dtype=dtype)
        assert answer(image, check=like(image)) is None
    else:
        assert f"dtype uint8 or floating point in [0, 1], got {dtype}" in answer(image)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize(
    "shape",
    [(3, 1, 1), (1, 1, 1), (3, 2, 2), (3, 1, 900), (1, 900, 1), (0, 3, 6, 6), (2, 0, 3, 6, 6)],
    ids=str,
)
def test_small_thin_and_empty_shapes(shape, dtype):
    image = levels(*shape, dtype=dtype)
    assert answer(image, check=like(image)) is None


@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 5, 0), (2, 3, 0, 4), (0, 3, 0, 4)], ids=str)
def test_images_without_a_pixel(shape):
    for dtype in (torch.uint8, torch.float32):
        assert "at least one pixel" in answer(levels(*shape, dtype=dtype))


@pytest.mark.parametrize("channels", [0, 2, 4, 5])
def test_other_counts_of_channels(channels):
    for shape in ((channels, 6, 7), (2, channels, 6, 7)):
        for image in (levels(*shape), tv_tensors.Image(levels(*shape) / 255)):
            assert "with 1 or 3 channels" in answer(image)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.to_sparse(),
        lambda x: x[0].to_sparse_csr(),
        lambda x: x[None].to_mkldnn(),
        lambda x: x.to("meta"),
        lambda x: torch.nested.nested_tensor([x, x[:, 1:]]),
    ],
    ids=["sparse", "csr", "mkldnn", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore")  # prototypes of torch
def test_tensors_that_are_not_dense(make):
    assert "Expected a dense image tensor that holds its pixels" in answer(
        make(levels(3, 6, 7, dtype=torch.float32))
    )


def test_side_of_40000_pixels_has_the_pixels_of_pil():
    for shape in ((3, 2, 40000), (1, 40000, 2)):
        image = levels(*shape)
        plane = PIL.Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
        for augment in every_end(moving=True)[:-2]:
            params = augment.make_params([image])
            expected = np.asarray(augment.transform(plane, params))
            expected = expected.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
            assert np.array_equal(augment.transform(image, params), expected), augment


LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.movedim(-3, -1).contiguous().movedim(-1, -3),
    "strided": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "transposed": lambda x: x.mT.contiguous().mT,
    "inner part": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 1))[..., 3:-1, 1:-2],
    "expanded": lambda x: x[..., :1, :1].expand(x.shape),
    "negated view": lambda x: torch._neg_view(-x) if x.is_floating_point() else x,
    "inference": lambda x: inferred(x),
    "parameter": lambda x: torch.nn.Parameter(x, requires_grad=x.is_floating_point()),
}


def inferred(x):
    with torch.inference_mode():
        return x.clone()


CHAIN = LearnedAugment(deep_trivial_augment(3))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    dtype=st.sampled_from((*IMAGE_DTYPES, torch.int64, torch.bool)),
    layout=st.sampled_from(list(LAYOUTS)),
    lead=st.lists(st.integers(0, 2), max_size=2).map(tuple),
    channels=st.integers(1, 4),
    sides=st.tuples(st.sampled_from((1, 2, 5, 40)), st.sampled_from((1, 3, 8, 33))),
    seed=st.integers(0, 9),
)
def test_every_layout_of_every_shape_and_dtype(dtype, layout, lead, channels, sides, seed):
    whole = levels(*lead, channels, *sides)
    image = whole if dtype == torch.uint8 else (whole / 255).to(dtype)
    odd = LAYOUTS[layout](image)
    if dtype not in IMAGE_DTYPES or channels not in (1, 3):
        with pytest.raises((TypeError, ValueError), match="Expected an image tensor of"):
            CHAIN(odd)
        return
    torch.manual_seed(seed)
    found = CHAIN(odd)
    torch.manual_seed(seed)
    expected = CHAIN(odd.detach().clone(memory_format=torch.contiguous_format))
    assert found.shape == odd.shape
    assert torch.equal(found, expected)


# PIL images


def picture(mode, width=7, height=6):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    try:
        return PIL.Image.fromarray(pixels).convert(mode)
    except ValueError:  # Pillow does not convert to it
        return PIL.Image.new(mode, (width, height))


def like_picture(image):
    def check(out, augment):
        side = augment.size
        assert (out.mode, out.size) == (image.mode, (side, side) if side else image.size)

    return check


@pytest.mark.parametrize("mode", ACCEPTED_MODES + OTHER_MODES)
def test_pil_modes(mode):
    image = picture(mode)
    if mode in ACCEPTED_MODES:
        assert answer(image, check=like_picture(image)) is None
    else:
        assert f"got '{mode}'" in answer(image)


@pytest.mark.parametrize("mode", ACCEPTED_MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (300, 1), (1, 300)], ids=str)
def test_small_and_thin_pil_images(mode, size):
    image = picture(mode, *size)
    assert answer(image, check=like_picture(image)) is None
    assert "at least one pixel" in answer(PIL.Image.new(mode, (0, size[1])))


def with_transparency(value):
    image = picture("P")
    image.info["transparency"] = value
    return image


def rgba_palette():
    image = picture("P")
    image.putpalette(bytes([50, 90, 130, 0] * 256), "RGBA")
    return image


def short_palette():
    image = PIL.Image.new("P", (7, 6), 3)
    image.putpalette([1, 2, 3] * 2)
    return image


@pytest.mark.parametrize(
    "image",
    [
        with_transparency(3),
        with_transparency(b"\0\xff"),
        rgba_palette(),
        short_palette(),
        PIL.Image.new("P", (7, 6)),
    ],
    ids=["one transparent color", "alphas", "RGBA palette", "short palette", "no palette"],
)
def test_palettes(image):
    assert answer(image, check=like_picture(image)) is None


def test_a_palette_with_alpha_keeps_it():
    for op in ("Invert", "Flip"):
        out = LearnedAugment(from_layers([[(op, 1.0, OPS[op].high)]]))(rgba_palette())
        assert out.convert("RGBA").getchannel("A").getextrema() == (0, 0)


# Targets


def scene():
    return tv_tensors.Image(levels(3, HEIGHT, WIDTH))


BOXES = {
    "XYXY": [2, 3, 9, 8],
    "XYWH": [2, 3, 7, 5],
    "CXCYWH": [5, 5, 6, 4],
    "XYWHR": [2, 3, 7, 5, 30],
    "CXCYWHR": [5, 5, 6, 4, 30],
    "XYXYXYXY": [2, 3, 9, 3, 9, 8, 2, 8],
}
UPRIGHT = ("XYXY", "XYWH", "CXCYWH")


def boxes_like(boxes):
    def check(out, augment):
        moved, size = out[1], augment.size
        assert moved.canvas_size == ((size, size) if size else (HEIGHT, WIDTH))
        kept = ("format", "dtype", "shape", "clamping_mode")
        assert all(getattr(moved, name) == getattr(boxes, name) for name in kept)
        assert moved.isfinite().all() or not boxes.isfinite().all()

    return check


def boxes_of(rows, form, **options):
    return tv_tensors.BoundingBoxes(rows, format=form, canvas_size=(HEIGHT, WIDTH), **options)


@pytest.mark.parametrize("form", BOXES)
def test_boxes_of_every_format(form):
    row = torch.tensor([BOXES[form]]).float()
    dtypes = FLOATS if form not in UPRIGHT else (*FLOATS, torch.int64, torch.int16, torch.uint8)
    odd = [row.to(dtype) for dtype in dtypes]
    odd += [row[:0], 0 * row, row[0], row + 500, row - 500, row.flip(1), 1e30 * row]
    odd += [row + float("inf"), row * float("nan"), row.repeat_interleave(2, 1)[:, ::2]]
    odd += [row.repeat(1, 2)[:, ::2][:, : row.shape[1]]]  # of eight numbers, no rectangle
    for rows in odd:
        boxes = boxes_of(rows, form)
        assert answer(scene(), boxes, check=boxes_like(boxes)) is None
    for clamping in ("hard", "soft", None):
        boxes = boxes_of(row + 500, form, clamping_mode=clamping)
        assert answer(scene(), boxes, check=boxes_like(boxes)) is None
    learned = boxes_of(row.clone().requires_grad_(), form)
    if form in UPRIGHT:
        assert answer(scene(), learned) is None
    else:
        assert "Expected rotated boxes without a gradient" in answer(scene(), learned)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64], ids=str)
def test_whole_coordinates_outside_do_not_wrap_around(dtype):
    out = LearnedAugment(from_layers([[("TranslateX", 1.0, 0.5)]]))
    rows = torch.tensor([[2, 3, 9, 8]], dtype=dtype)
    assert out(scene(), boxes_of(rows, "XYXY"))[1].tolist() == [[0, 3, 1, 8]]
    points = tv_tensors.KeyPoints(torch.tensor([[2, 3]], dtype=dtype), canvas_size=(HEIGHT, WIDTH))
    lowest = 0 if dtype == torch.uint8 else -6
    assert out(scene(), points)[1].tolist() == [[lowest, 3]]


MASK_DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, *FLOATS),
)


@pytest.mark.parametrize("dtype", MASK_DTYPES, ids=str)
def test_masks_of_every_dtype_and_shape(dtype):
    for shape in ((HEIGHT, WIDTH), (0, HEIGHT, WIDTH), (2, 3, HEIGHT, WIDTH)):
        mask = tv_tensors.Mask((torch.arange(HEIGHT * WIDTH) % 3).view(HEIGHT, WIDTH).to(dtype))
        mask = tv_tensors.Mask(mask.expand(shape))

        def check(out, augment, mask=mask):
            side = (augment.size, augment.size) if augment.size else (HEIGHT, WIDTH)
            assert (out[1].shape, out[1].dtype) == ((*mask.shape[:-2], *side), mask.dtype)
            assert set(out[1].flatten().tolist()) <= {0, *mask.flatten().tolist()}

        assert answer(scene(), mask, check=check) is None


def test_labels_of_any_size_are_kept():
    mask = tv_tensors.Mask(torch.full((HEIGHT, WIDTH), 2**62 + 1))
    for augment in every_end(moving=True):
        assert set(augment(scene(), mask)[1].unique().tolist()) <= {0, 2**62 + 1}


def test_masks_that_are_refused():
    complex_mask = tv_tensors.Mask(torch.zeros(HEIGHT, WIDTH, dtype=torch.complex64))
    assert "Expected a mask of real numbers" in answer(scene(), complex_mask)
    flat = torch.ones(3).as_subclass(tv_tensors.Mask)
    assert "Expected Mask of (height, width)" in answer(scene(), flat)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (0, 2), (3, 4, 2)], ids=str)
def test_key_points_of_every_shape_and_place(shape):
    places = [0.0, 11.0, 12.0, 15.999, 16.0, -500.0, 1e6, float("inf"), float("nan")]
    for dtype in (*FLOATS, torch.int64, torch.uint8):
        for place in places if dtype.is_floating_point else places[:2]:
            given_points = torch.full(shape, place).to(dtype)
            points = tv_tensors.KeyPoints(given_points, canvas_size=(HEIGHT, WIDTH))

            def check(out, augment, points=points):
                assert (out[1].shape, out[1].dtype) == (points.shape, points.dtype)

            assert answer(scene(), points, check=check) is None


def test_targets_beside_videos_and_batches():
    clip = tv_tensors.Video(levels(4, 3, HEIGHT, WIDTH))
    none = tv_tensors.Video(levels(0, 3, HEIGHT, WIDTH))
    boxes = boxes_of([[2, 3, 9, 8]], "XYXY")
    points = tv_tensors.KeyPoints([[2.0, 3.0]], canvas_size=(HEIGHT, WIDTH))
    for target in (boxes, points):
        assert answer(clip, target) is None
        for batch in (none, tv_tensors.Image(none), tv_tensors.Image(clip)):
            assert "Expected one image or video beside" in answer(batch, target)
    assert answer(none, tv_tensors.Mask(torch.ones(0, HEIGHT, WIDTH))) is None
    assert "leading dimensions" in answer(clip, tv_tensors.Mask(torch.ones(HEIGHT, WIDTH)))
