"""Floats: they follow uint8, are differentiable, and are Kornia's functions."""

import importlib

import numpy as np
import pytest
import torch
from kornia import enhance
from torch.autograd import gradcheck
from torchvision.transforms import InterpolationMode

from learned_augment.backends import kornia_float
from learned_augment.backends.dispatch import apply_batch
from learned_augment.ops import OPS, Geometric, Resample
from learned_augment.policy import Plan, Policy
from learned_augment.serialization import list_policies
from tests.backends.plans import CHECKED, chains, grad_image, random_plan, single
from tests.conftest import TOLERANCE, smooth_image

NAMES = tuple(OPS)
MODES = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
BACKENDS = ["kornia_float", "numba.floats"]


def backend_of(name):
    """Return a backend's function on floats, or skip where it is not there."""
    if name == "kornia_float":
        return kornia_float.apply
    pytest.importorskip("numba")
    return apply_batch


def images(count: int = 4, side: int = 24) -> torch.Tensor:
    """Smooth images in whole levels of 255, away from 0 and 1, in float64."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator, dtype=torch.float64)
    fine = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0.1, 0.9)
    return (fine * 255).round() / 255


def plan_of(name: str, value: float, count: int = 4) -> Plan:
    op = torch.full((count, 1), NAMES.index(name))
    values = torch.full((count, 1), value, dtype=torch.float64)
    return Plan(NAMES, op, values, torch.full((count, 1, 4), 0.25))


def weights(images: torch.Tensor) -> torch.Tensor:
    return torch.linspace(0.5, 1.5, images.numel(), dtype=images.dtype).view_as(images)


KORNIA = {
    "Brightness": (1.3, enhance.adjust_brightness_accumulative),
    "Contrast": (0.6, enhance.adjust_contrast_with_mean_subtraction),
    "Color": (0.4, enhance.adjust_saturation_with_gray_subtraction),
    "Sharpness": (1.4, enhance.sharpness),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", KORNIA)
def test_factors_agree_with_kornia_forward_and_backward(name: str, backend) -> None:
    value, reference = KORNIA[name]
    ours, theirs = images().requires_grad_(), images().requires_grad_()
    out, expected = backend_of(backend)(ours, plan_of(name, value)), reference(theirs, value)
    torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)
    (out * weights(out)).sum().backward()
    (expected * weights(out)).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-3, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "value", "reference"),
    [
        ("Invert", 0.0, enhance.invert),
        ("Solarize", 128.0, lambda x: enhance.solarize(x, 128 / 255)),
        ("Posterize", 5.0, lambda x: enhance.posterize(x.float(), 5).double()),
    ],
)
def test_levels_agree_with_kornia(name: str, value: float, reference, backend) -> None:
    given = images()
    torch.testing.assert_close(
        backend_of(backend)(given, plan_of(name, value)), reference(given), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_floats_follow_uint8_on_a_band_limited_image(op):
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


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (mode, name)
        for mode in MODES
        for name in CHECKED
        if mode == MODES[0] or isinstance(OPS[name].kind, Geometric | Resample)  # others have none
    ],
    ids=lambda value: getattr(value, "value", value),
)
def test_gradcheck_in_the_image(name, mode):
    plan, image = single(name, [CHECKED[name]]), grad_image(6, 5)
    assert gradcheck(lambda x: kornia_float.apply(x, plan, interpolation=mode), image)


@pytest.mark.parametrize(
    "name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Contrast", "Color",
             "Brightness", "Sharpness"],
)  # fmt: skip
def test_gradcheck_in_the_value(name):
    drawn, image = single(name, [CHECKED[name]]), grad_image().detach()

    def augmented(value):
        plan = Plan(drawn.ops, drawn.op, value, drawn.noise)
        return kornia_float.apply(image, plan, interpolation=InterpolationMode.BILINEAR)

    assert gradcheck(augmented, drawn.value.clone().requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("name", ["ShearX", "TranslateY", "Rotate"])
def test_nearest_takes_its_value_gradient_from_the_bilinear_twin(name):
    drawn, image, push = single(name, [CHECKED[name]]), grad_image().detach(), torch.randn(3, 9, 8)

    def slope(mode):
        value = drawn.value.clone().requires_grad_()
        out = kornia_float.apply(
            image, Plan(drawn.ops, drawn.op, value, drawn.noise), interpolation=mode
        )
        (out * push).sum().backward()
        return out.detach(), value.grad.item()

    hard, hard_slope = slope(InterpolationMode.NEAREST)
    _, soft_slope = slope(InterpolationMode.BILINEAR)
    torch.testing.assert_close(
        hard, kornia_float.apply(image, drawn)
    )  # the forward value stays hard
    assert hard_slope == pytest.approx(soft_slope)
    assert hard_slope != 0


@pytest.mark.parametrize("name", sorted(STRAIGHT_THROUGH))
def test_straight_through_passes_the_gradient_unchanged(name):
    image, push = grad_image(16, 16), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    out = kornia_float.apply(image, single(name, [5.0 if name == "Posterize" else 0.0]))
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
    kornia_float.apply(image, Plan(drawn.ops, drawn.op, value, drawn.noise)).mean().backward()
    means = [
        kornia_float.apply(
            image, Plan(drawn.ops, drawn.op, torch.tensor([[v]]).double(), drawn.noise)
        )
        .mean()
        .item()
        for v in values
    ]
    assert np.sign(value.grad.item()) == np.sign(means[1] - means[0])


def test_gradient_reaches_nearly_every_image():
    for name in list_policies():
        images = torch.rand(200, 3, 16, 16, requires_grad=True)
        kornia_float.apply(images, Policy.load(name).sample(200)).sum(dim=(2, 3)).pow(
            2
        ).sum().backward()
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


def test_chunks_do_not_change_values_or_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    names = tuple(name for name in NAMES if name != "ResizedCrop")
    op = torch.randint(len(names), (9, 3), generator=generator)
    low, high = (torch.tensor([getattr(OPS[n], end) for n in names]) for end in ("low", "high"))
    value = low[op] + torch.rand(9, 3, generator=generator) * (high[op].clamp(max=256) - low[op])
    plan = Plan(names, op, value.double(), torch.rand(9, 3, 4, generator=generator))
    results = []
    for chunk in (1, 1 << 30):
        monkeypatch.setattr("learned_augment.backends.kornia_float.CHUNK", chunk)
        given = images(9).requires_grad_()
        out = kornia_float.apply(given, plan)
        (out * weights(out)).sum().backward()
        results.append((out.detach(), given.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [None, 20])
def test_a_resized_crop_of_noise_is_that_of_pil(size):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    noise = torch.rand(40, 1, 4, generator=generator)
    op, value = torch.zeros(40, 1, dtype=torch.long), torch.full((40, 1), 0.08)
    plan = Plan(("ResizedCrop",), op, value, noise)
    floats = apply_batch(levels.double() / 255, plan, size=size) * 255
    # Bicubic weights overshoot noise by far: PIL clips between the two directions.
    assert (floats - apply_batch(levels, plan, size=size)).abs().max() < 1.5


def test_the_result_shares_no_memory() -> None:
    for count in (1, 3):
        given = images(count)
        out = kornia_float.apply(given, plan_of("Rotate", 0.0, count))
        assert torch.equal(out, given)
        assert out.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_every_row_reaches_its_kornia_function(op, monkeypatch):
    if not op.kind.kornia:
        assert op.name in ("Identity", "ResizedCrop")  # why: docs, the page on ops
        return
    module_name, _, function = op.kind.kornia.rpartition(".")
    module, calls = importlib.import_module(module_name), []
    original = getattr(module, function)

    def spy(*given, **options):
        calls.append(given)
        return original(*given, **options)

    monkeypatch.setattr(module, function, spy)
    value = CHECKED.get(op.name, 5.0 if op.name == "Posterize" else 0.0)
    kornia_float.apply(images(), plan_of(op.name, value))
    assert len(calls) == 1, "one call for all images of a layer"


def test_geometric_ops_of_a_layer_are_one_remap_and_one_for_the_values(monkeypatch):
    import kornia.geometry.transform as module

    calls, original = [], module.remap
    monkeypatch.setattr(module, "remap", lambda *a, **k: calls.append(a) or original(*a, **k))
    geometric = tuple(name for name, op in OPS.items() if isinstance(op.kind, Geometric))
    plan = random_plan(32, 1, geometric)
    kornia_float.apply(images(32), plan)
    assert len(calls) == 1
    value = plan.value.clone().requires_grad_()
    kornia_float.apply(images(32), Plan(plan.ops, plan.op, value, plan.noise))
    assert len(calls) == 3


@pytest.mark.parametrize("bits", range(9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_posterize_keeps_the_top_bits_of_every_level(bits, dtype):
    levels = torch.arange(256, dtype=dtype).view(1, 1, 16, 16)
    out = kornia_float.apply(levels / 255, single("Posterize", [float(bits)]))
    expected = (levels.long() >> (8 - bits)) << (8 - bits)
    torch.testing.assert_close(255 * out, expected.to(dtype), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["Posterize", "Equalize"])
def test_levels_outside_of_the_range_are_clamped(name):
    given = torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.3, 0.9]).view(1, 1, 2, 3)
    plan = single(name, [4.0 if name == "Posterize" else 0.0])
    for backend in BACKENDS:
        out = backend_of(backend)(given, plan)
        torch.testing.assert_close(out, backend_of(backend)(given.clamp(0, 1), plan))


def test_a_nan_channel_counts_as_0_in_the_gray_of_color():
    given = torch.full((1, 3, 4, 4), 0.5)
    given[0, 2] = torch.nan
    for backend in BACKENDS:
        out = backend_of(backend)(given, single("Color", [0.0]))
        torch.testing.assert_close(out[0, 0, 0, 0], torch.tensor(0.5 * (0.299 + 0.587)))
        assert out[0, 2].isnan().all()
