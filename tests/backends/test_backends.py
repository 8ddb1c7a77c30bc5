"""One meaning, three engines: exact equals PIL bit for bit, smooth follows within a grey level."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd import gradcheck
from torchvision.transforms import InterpolationMode

from learned_augment.backends import apply_batch
from learned_augment.backends.kornia_float import apply_smooth
from learned_augment.backends.pil import MODES as PIL_MODES
from learned_augment.backends.pil import apply_image
from learned_augment.backends.shortcuts import _NATIVE
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.builders import uniform_layer
from learned_augment.ops import OPS, Geometric, Resample
from learned_augment.plan import Plan, Step
from learned_augment.search_spaces import SPACES
from tests.backends.plans import CHECKED, grad_image, single
from tests.conftest import TOLERANCE, noise_images, smooth_image

MODES = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
VALUES = {
    name: sorted(
        {v for space in SPACES.values() for op, _, v in uniform_layer(space) if op == name}
    )
    for name in OPS
}


def chains(count, depth, seed=0):
    """A plan of uniform ops at random values from every paper's space."""
    rng = np.random.default_rng(seed)
    names = tuple(OPS)
    op = torch.from_numpy(rng.integers(len(names), size=(count, depth)))
    value = [[rng.choice(VALUES[names[o]]) for o in row] for row in op.tolist()]
    noise = torch.rand(count, depth, 4, generator=torch.Generator().manual_seed(seed))
    return Plan(names, op, torch.tensor(value, dtype=torch.float64), noise)


def through_pil(images, plan, **options):
    out = []
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        result = np.array(apply_image(Image.fromarray(image.squeeze()), plan.steps(i), **options))
        out.append(torch.from_numpy(result.reshape(*result.shape[:2], -1)).permute(2, 0, 1))
    return torch.stack(out)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (3, 37, 22), (1, 21, 30)])
def test_exact_equals_pil_in_chains_of_six(mode, channels, height, width):
    images, plan = noise_images(60, height, width, channels), chains(60, 6)
    expected = through_pil(images, plan, interpolation=mode)
    assert torch.equal(apply_exact(images, plan, interpolation=mode), expected)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_exact_equals_pil_over_the_whole_range(op):
    images = noise_images(60, 24, 31)
    high = min(op.high, 360)
    values = np.linspace(op.low, high, 60) if op.low < op.high else [op.low] * 60
    plan = single(op.name, values)
    assert torch.equal(apply_batch(images, plan), through_pil(images, plan))


def test_exact_equals_pil_on_ties():
    # Half pixels, quarter turns, and sums that only PIL's order of adding gives.
    images = noise_images(16, 40, 40)
    for name, values in {
        "TranslateX": [k / 80 for k in range(-8, 8)],
        "TranslateY": [k * 0.0375 for k in range(-8, 8)],
        "Rotate": [k * 45.0 for k in range(-8, 8)],
        "ShearX": [k / 8 for k in range(-8, 8)],
        "ShearY": [k / 40 for k in range(-8, 8)],
    }.items():
        plan = single(name, values)
        assert torch.equal(apply_batch(images, plan), through_pil(images, plan)), name


@pytest.mark.parametrize("fill", [None, (9,), (200, 30, 77)])
def test_fill_shows_outside_and_replaces_crop_padding_only_when_given(fill):
    images = torch.full((2, 3, 20, 20), 128, dtype=torch.uint8)
    for name, value, default in [
        ("TranslateX", 0.45, (0, 0, 0)),
        ("PadCrop", 0.25, (125, 123, 114)),
    ]:
        plan = Plan(
            (name,),
            torch.zeros(2, 1).long(),
            torch.full((2, 1), value).double(),
            torch.full((2, 1, 4), 0.999),
        )
        expected = default if fill is None else tuple(fill) * (3 // len(fill))
        out = apply_batch(images, plan, fill=fill)
        assert out[0, :, 10, 19].tolist() == list(expected)
        assert torch.equal(out, through_pil(images, plan, fill=fill))
        floats = apply_batch(images / 255, plan, fill=fill and tuple(f / 255 for f in fill))
        torch.testing.assert_close(255 * floats[0, :, 10, 19], torch.tensor(expected).float())


@pytest.mark.parametrize("name", _NATIVE)
@pytest.mark.parametrize("channels", [1, 3])
def test_native_degenerates_equal_their_rows(name, channels):
    for array in noise_images(8, 17, 19, channels).permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(array.squeeze())
        expected = OPS[name].kind.degenerate(array.transpose(2, 0, 1).astype(np.int64))
        given = np.array(_NATIVE[name](image)).reshape(17, 19, -1).transpose(2, 0, 1)
        assert np.array_equal(given, np.broadcast_to(expected, given.shape))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_smooth_follows_exact_on_a_band_limited_image(op):
    image = smooth_image(64, 56)
    high = {"Rotate": 30, "ShearX": 0.3, "ShearY": 0.3}.get(op.name, min(op.high, 256))
    high = min(high, 1.9) if op.identity_value == 1.0 else high
    low = max(op.low, -high) if op.low < 0 else op.low
    values = np.linspace(low, high, 12) if low < high else [low] * 12
    images, plan = image.expand(12, -1, -1, -1), single(op.name, values)
    exact = apply_batch(images, plan).float()
    nearest = 255 * apply_batch(images / 255, plan)
    assert (nearest - exact).abs().mean() <= TOLERANCE["photometric"]
    if isinstance(op.kind, Geometric):
        assert (nearest - exact).abs().max() < 1e-3
        bilinear = apply_batch(images / 255, plan, interpolation=InterpolationMode.BILINEAR)
        assert (255 * bilinear - exact).abs().mean() <= TOLERANCE["geometric"]


STRAIGHT_THROUGH = {"Posterize", "Equalize"}


def test_every_op_is_gradchecked_or_straight_through():
    assert set(CHECKED) | STRAIGHT_THROUGH == set(OPS)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_gradcheck_in_the_image(name, mode):
    plan = single(name, [CHECKED[name]])
    assert gradcheck(lambda x: apply_smooth(x, plan, interpolation=mode), grad_image())


@pytest.mark.parametrize(
    "name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Contrast", "Color",
             "Brightness", "Sharpness"],
)  # fmt: skip
def test_gradcheck_in_the_value(name):
    drawn, image = single(name, [CHECKED[name]]), grad_image().detach()

    def augmented(value):
        plan = Plan(drawn.ops, drawn.op, value, drawn.noise)
        return apply_smooth(image, plan, interpolation=InterpolationMode.BILINEAR)

    assert gradcheck(augmented, drawn.value.clone().requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("name", ["ShearX", "TranslateY", "Rotate"])
def test_nearest_takes_its_value_gradient_from_the_bilinear_twin(name):
    drawn, image, push = single(name, [CHECKED[name]]), grad_image().detach(), torch.randn(3, 9, 8)

    def slope(mode):
        value = drawn.value.clone().requires_grad_()
        out = apply_smooth(image, Plan(drawn.ops, drawn.op, value, drawn.noise), interpolation=mode)
        (out * push).sum().backward()
        return out.detach(), value.grad.item()

    hard, hard_slope = slope(InterpolationMode.NEAREST)
    _, soft_slope = slope(InterpolationMode.BILINEAR)
    torch.testing.assert_close(hard, apply_smooth(image, drawn))  # the forward value stays hard
    assert hard_slope == pytest.approx(soft_slope)
    assert hard_slope != 0


@pytest.mark.parametrize("name", sorted(STRAIGHT_THROUGH))
def test_straight_through_passes_the_gradient_unchanged(name):
    image, push = grad_image(16, 16), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    out = apply_smooth(image, single(name, [5.0 if name == "Posterize" else 0.0]))
    assert (out - image).abs().max() > 1e-3  # it does something
    (out * push).sum().backward()
    torch.testing.assert_close(image.grad, push)


@pytest.mark.parametrize(
    ("name", "values", "darker"),
    [
        ("Posterize", [4.0, 5.5], True),
        ("Solarize", [60.0, 128.0], None),
        ("Cutout", [0.2, 0.3], None),
    ],
)
def test_thresholds_have_a_useful_value_gradient(name, values, darker):
    """The twin's slope has the sign of the true finite change of a mean over many levels."""
    image = torch.linspace(0, 0.6, 48 * 48, dtype=torch.float64).reshape(1, 1, 48, 48)
    drawn = single(name, values[:1])
    value = drawn.value.clone().requires_grad_()
    apply_smooth(image, Plan(drawn.ops, drawn.op, value, drawn.noise)).mean().backward()
    means = [
        apply_smooth(image, Plan(drawn.ops, drawn.op, torch.tensor([[v]]).double(), drawn.noise))
        .mean()
        .item()
        for v in values
    ]
    assert np.sign(value.grad.item()) == np.sign(means[1] - means[0])


def test_gradient_reaches_nearly_every_image():
    from learned_augment.serialization import list_policies, load

    for name in list_policies():
        images = torch.rand(200, 3, 16, 16, requires_grad=True)
        apply_smooth(images, load(name).sample(200)).sum(dim=(2, 3)).pow(2).sum().backward()
        assert (images.grad.flatten(1).abs().sum(1) > 0).double().mean() > 0.97, name


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_nan_stays_in_its_image_and_channel(op):
    images = torch.rand(3, 3, 12, 12)
    images[1, 0, 5, 5] = torch.nan
    value = CHECKED.get(op.name, 5.0 if op.name == "Posterize" else 0.0)
    out = apply_batch(images, single(op.name, [value] * 3))
    spoiled = out.isnan().flatten(2).any(2)
    assert not spoiled[[0, 2]].any()
    assert not spoiled[1, 1:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_equals_rounded_single_precision(dtype):
    images, plan = torch.rand(40, 3, 16, 16).to(dtype), chains(40, 3)
    assert torch.equal(apply_batch(images, plan), apply_batch(images.float(), plan).to(dtype))


def test_size_crops_like_pil_and_resizes_resized_crops():
    images, plan = noise_images(24, 40, 52), chains(24, 4, seed=2)
    resized = [any(isinstance(s.op.kind, Resample) for s in plan.steps(i)) for i in range(24)]
    assert any(resized)
    assert not all(resized)
    for size in (28, 48):
        out = apply_batch(images, plan, size=size)
        assert out.shape == (24, 3, size, size)
        assert torch.equal(out, through_pil(images, plan, size=size))
        assert apply_batch(images / 255, plan, size=size).shape == out.shape


def test_a_plan_of_another_length_is_refused():
    with pytest.raises(ValueError, match="plan of 3 rows"):
        apply_batch(noise_images(3), chains(2, 1))


@pytest.mark.parametrize("mode", PIL_MODES)
def test_a_colour_profile_goes_along_whatever_is_drawn(mode):
    image = Image.fromarray(noise_images(1)[0].permute(1, 2, 0).numpy()).convert(mode)
    image.info = {"icc_profile": b"profile"}
    for op in OPS.values():
        step = Step(op, op.high, (0.5, 0.5, 0.5, 0.5))
        for steps in ([], [step], [step] * 4):
            assert apply_image(image, steps).info.get("icc_profile") == b"profile", steps
            plain = Image.frombytes(mode, image.size, image.tobytes())
            assert "icc_profile" not in apply_image(plain, steps).info
    assert image.info == {"icc_profile": b"profile"}
