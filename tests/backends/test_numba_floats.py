"""Floats in compiled code, held to Kornia forward and backward."""

import threading

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from learned_augment.backends import kornia_float
from learned_augment.backends.dispatch import apply_batch
from learned_augment.ops import OPS, Geometric
from learned_augment.policy import Plan
from tests.backends.plans import (
    CHECKED,
    LAYOUTS,
    NAMES,
    SIZES,
    grad_image,
    images,
    laid_out,
    random_plan,
    single,
)

pytest.importorskip("numba")

from learned_augment.backends.numba import parallel

TYPES = [torch.float32, torch.float64]
STEADY = tuple(name for name in NAMES if name not in ("Posterize", "Solarize", "Equalize"))
"""Ops that never make much of a difference in the last bit."""


def floats(batch: int, channels: int, height: int, width: int, dtype=torch.float64) -> Tensor:
    """Levels with ties and a little noise: some below 0, some above 1, none 0 or 1.

    There versions of torch disagree on the gradient of a clamp.
    """
    levels = images(batch, channels, height, width).to(dtype) / 256 + 1 / 512
    noise = torch.rand(levels.shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return levels + (noise - 0.5) * 0.01 * (torch.arange(batch) % 3 > 0).view(-1, 1, 1, 1)


def forward_and_back(backend, given: Tensor, plan: Plan, **options) -> tuple[Tensor, Tensor]:
    given = given.detach().requires_grad_()
    out = backend(given, plan, **options)
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    assert given.grad is not None
    return out.detach(), given.grad


def assert_same(given: Tensor, plan: Plan, fill: tuple[float, ...] | None = None) -> None:
    expected, slopes = forward_and_back(kornia_float.apply, given, plan, fill=fill)
    out, ours = forward_and_back(apply_batch, given, plan, fill=fill)
    loose = given.dtype == torch.float32
    torch.testing.assert_close(out, expected, atol=2e-6 if loose else 1e-13, rtol=0)
    # Gradients of AutoContrast are divided by the span, which can be a thousandth.
    atol, rtol = (1e-5, 1e-4) if loose else (1e-12, 1e-10)
    torch.testing.assert_close(ours, slopes, atol=atol, rtol=rtol)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_op_follows_kornia(name: str, size: tuple[int, int, int]) -> None:
    for dtype in TYPES:
        assert_same(floats(48, *size, dtype), random_plan(48, 1, (name,), seed=size[2]))


@pytest.mark.parametrize("size", [(3, 21, 30), (1, 18, 18)], ids=str)
@pytest.mark.parametrize("fill", [None, (0.3,), (0.1, 0.5, 0.9)], ids=str)
def test_chains_follow_kornia(size: tuple[int, int, int], fill) -> None:
    fill = fill[: size[0]] if fill else fill
    assert_same(floats(64, *size), random_plan(64, 5, STEADY), fill)


def test_chains_with_thresholds_follow_it_in_nearly_all_pixels() -> None:
    given, plan = floats(64, 3, 24, 24), random_plan(64, 4)
    expected, slopes = forward_and_back(kornia_float.apply, given, plan)
    out, ours = forward_and_back(apply_batch, given, plan)
    for a, b in ((out, expected), (ours, slopes)):
        assert ((a - b).abs() > 1e-9).double().mean() < 0.02


@pytest.mark.parametrize("name", CHECKED)
def test_gradients_are_slopes_of_the_values(name: str) -> None:
    plan, image = single(name, [CHECKED[name]]), grad_image()
    assert gradcheck(lambda x: apply_batch(x, plan), image)
    if not isinstance(OPS[name].kind, Geometric):  # remap has no second derivative
        assert gradgradcheck(lambda x: apply_batch(x, plan), grad_image(6, 5))


def test_the_ends_of_autocontrast_share_their_gradient() -> None:
    """Levels (low, low, x, high) become (x - low) / (high - low); derived by hand."""
    image = torch.tensor([0.2, 0.2, 0.4, 0.6], dtype=torch.float64).view(1, 1, 1, 4)
    given = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    image.requires_grad_()
    out = apply_batch(image, single("AutoContrast", [0.0])).flatten()
    torch.testing.assert_close(out, torch.tensor([0, 0, 0.5, 1], dtype=torch.float64))
    out.backward(given)
    # d out / d low = (x - high) / span**2 in every pixel, d out / d high = -(x - low) / span**2.
    low = (-0.4 * 1 - 0.4 * 2 - 0.2 * 3) / 0.16
    high = (-0.2 * 3 - 0.4 * 4) / 0.16
    expected = torch.tensor([1 / 0.4 + low / 2, 2 / 0.4 + low / 2, 3 / 0.4, 4 / 0.4 + high])
    torch.testing.assert_close(image.grad.flatten(), expected.double())


@pytest.mark.parametrize(("level", "factor"), [(0.0, 0.5), (0.5, 2.0)])
def test_black_and_white_keep_their_gradient(level: float, factor: float) -> None:
    given = torch.full((1, 3, 4, 4), level, requires_grad=True)
    apply_batch(given, single("Brightness", [factor])).sum().backward()
    assert given.grad is not None
    assert (given.grad == factor).all()


@pytest.mark.parametrize("name", ["Posterize", "Equalize"])
def test_what_rounds_passes_the_gradient_unchanged(name: str) -> None:
    given = floats(4, 3, 16, 16)
    plan = single(name, [5.0 if name == "Posterize" else 0.0] * 4)
    out, slopes = forward_and_back(apply_batch, given, plan)
    assert (out - given).abs().max() > 1e-3
    pushed = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).view_as(out)
    torch.testing.assert_close(slopes, pushed)


@pytest.mark.parametrize("name", NAMES)
def test_nan_spoils_what_it_spoils_in_kornia(name: str) -> None:
    given = floats(3, 3, 12, 12)
    given[1, 0, 5, 5] = torch.nan
    plan = single(name, [CHECKED.get(name, 5.0 if name == "Posterize" else 0.0)] * 3)
    out, expected = (backend(given, plan) for backend in (apply_batch, kornia_float.apply))
    torch.testing.assert_close(out, expected, equal_nan=True, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter(layout: str) -> None:
    batch = floats(12, 3, 24, 40)
    strided = laid_out(batch, layout)
    plan, before = random_plan(len(strided), 4, STEADY), strided.clone()
    out = apply_batch(strided, plan)
    torch.testing.assert_close(out, kornia_float.apply(before, plan) if len(strided) else before)
    assert torch.equal(strided, before)


def test_a_gradient_of_any_strides_comes_back() -> None:
    plan, given = random_plan(6, 2, STEADY), floats(6, 3, 10, 10).requires_grad_()
    (whole,) = torch.autograd.grad(apply_batch(given, plan).sum(), given)
    ones = torch.ones(6, 10, 10, 3, dtype=torch.float64).permute(0, 3, 1, 2)
    (strided,) = torch.autograd.grad(apply_batch(given, plan), given, ones)
    assert torch.equal(whole, strided)


@pytest.mark.parametrize("op", ["Identity", "Invert"])
def test_the_result_is_new_and_may_be_written_to(op: str) -> None:
    given = floats(2, 3, 8, 8).requires_grad_()
    out = apply_batch(given, single(op, [0.0, 0.0]))
    before = given.detach().clone()
    out.mul_(2).sum().backward()
    assert torch.equal(given, before)
    assert given.grad is not None
    torch.testing.assert_close(given.grad.abs(), torch.full_like(given, 2.0))


def test_threads_and_callers_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    before, given, plan = torch.get_num_threads(), floats(40, 3, 20, 20), random_plan(40, 3)
    torch.set_num_threads(1)
    expected = forward_and_back(apply_batch, given, plan)
    monkeypatch.setattr(parallel, "SMALL", 0)
    torch.set_num_threads(2)
    results: list[tuple[Tensor, Tensor]] = []

    def call() -> None:
        results.extend(forward_and_back(apply_batch, given, plan) for _ in range(3))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    torch.set_num_threads(before)
    assert len(results) == 9
    for result in results:
        assert all(map(torch.equal, result, expected))
