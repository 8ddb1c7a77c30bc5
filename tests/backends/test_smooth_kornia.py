"""The float engine's own forms held to Kornia's functions, forward and backward."""

import kornia
import pytest
import torch
from kornia import enhance

from learned_augment.backends.fast import compiled_code
from learned_augment.backends.kornia_float import apply_smooth, warp
from learned_augment.backends.smooth_fast import apply_fast_smooth
from learned_augment.ops import OPS
from learned_augment.plan import Plan

NAMES = tuple(OPS)
ENGINES = [apply_smooth] if compiled_code() is None else [apply_smooth, apply_fast_smooth]


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KORNIA)
def test_factors_agree_with_kornia_forward_and_backward(name: str, engine) -> None:
    value, reference = KORNIA[name]
    ours, theirs = images().requires_grad_(), images().requires_grad_()
    out, expected = engine(ours, plan_of(name, value)), reference(theirs, value)
    torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)
    (out * weights(out)).sum().backward()
    (expected * weights(out)).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-3, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "value", "reference"),
    [
        ("Invert", 0.0, enhance.invert),
        ("Solarize", 128.0, lambda x: enhance.solarize(x, 128 / 255)),
        ("Posterize", 5.0, lambda x: enhance.posterize(x.float(), 5).double()),
    ],
)
def test_levels_agree_with_kornia(name: str, value: float, reference, engine) -> None:
    given = images()
    torch.testing.assert_close(
        engine(given, plan_of(name, value)), reference(given), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    "matrix", [(0.9, 0.2, 1.5, -0.1, 1.1, 0.5), (1.0, 0.3, -2.25, 0.0, 1.0, 0.75)]
)
def test_warp_agrees_with_kornia_forward_and_backward(matrix: tuple[float, ...]) -> None:
    ours, theirs = images().requires_grad_(), images().requires_grad_()
    side = ours.shape[-1]
    rows = torch.tensor(matrix, dtype=torch.float64).expand(len(ours), 6)
    out = warp(ours, rows, torch.zeros(len(ours), 3, 1, 1, dtype=torch.float64), "bilinear")
    # Kornia counts from pixel centres at whole numbers, and from input to output.
    a, b, c, d, e, f = matrix
    centred = [[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2], [0.0, 0.0, 1.0]]
    forward = torch.linalg.inv(torch.tensor(centred, dtype=torch.float64))[:2]
    expected = kornia.geometry.transform.warp_affine(
        theirs, forward.expand(len(theirs), 2, 3), (side, side), align_corners=True
    )
    # At the edge Kornia mixes with black; we show the nearest pixel or what lies outside.
    position = torch.arange(side, dtype=torch.float64) + 0.5
    x = a * position + b * position[:, None] + c
    y = d * position + e * position[:, None] + f
    inner = (x > 1) & (x < side - 1) & (y > 1) & (y < side - 1)
    assert inner.sum() > side
    torch.testing.assert_close(out[..., inner], expected[..., inner], atol=1e-9, rtol=0)
    (out[..., inner] ** 2).sum().backward()
    (expected[..., inner] ** 2).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=0)


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
        out = apply_smooth(given, plan)
        (out * weights(out)).sum().backward()
        results.append((out.detach(), given.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-12, rtol=0)


def test_the_result_shares_no_memory() -> None:
    for count in (1, 3):
        given = images(count)
        out = apply_smooth(given, plan_of("Rotate", 0.0, count))
        assert torch.equal(out, given)
        assert out.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()
