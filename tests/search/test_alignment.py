import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.func import functional_call

from benchmarks.papers.networks import ShakeDrop, ShakeShake
from learned_augment.search.alignment import (
    directional_difference,
    directional_exact,
    gradient,
    look_ahead,
    mixed_difference,
    mixed_exact,
    momentum_step,
    norm,
)

# torch's own forward mode builds its decompositions with a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

BATCH = 6
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture
def world():
    """A smooth network with batch normalization in training mode, in float64."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.Tanh(),
        nn.Conv2d(5, 4, 3),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).double()
    weights = {n: p.detach() for n, p in network.named_parameters()}
    tangent = {n: torch.randn_like(w) for n, w in weights.items()}
    return problem(network, weights, tangent)


def problem(network, weights, tangent):
    device = next(iter(weights.values())).device
    images = torch.rand(BATCH, 3, 8, 8, dtype=torch.float64, device=device)
    labels = torch.randint(3, (BATCH,), device=device)

    def losses(w, x):
        buffers = {n: b.clone() for n, b in network.named_buffers()}
        return F.cross_entropy(
            functional_call(network, (w, buffers), (x,)), labels, reduction="none"
        )

    return losses, weights, tangent, images


def by_double_backward(losses, weights, tangent, images):
    """The reference: reverse over reverse, with the graph of the graph."""
    live = {n: w.clone().requires_grad_() for n, w in weights.items()}
    x = images.clone().requires_grad_()
    values = losses(live, x)
    derivatives = []
    for value in values:
        grads = torch.autograd.grad(value, list(live.values()), create_graph=True)
        derivatives.append(sum((g * t).sum() for g, t in zip(grads, tangent.values(), strict=True)))
    derivatives = torch.stack(derivatives)
    return derivatives.detach(), torch.autograd.grad(derivatives.sum(), x)[0]


def test_derivatives_by_forward_mode_and_by_difference_are_the_per_image_gradients(world):
    losses, weights, tangent, images = world
    expected, _ = by_double_backward(losses, weights, tangent, images)
    exact = directional_exact(lambda w: losses(w, images), weights, tangent)
    torch.testing.assert_close(exact, expected, rtol=1e-9, atol=1e-12)
    near = directional_difference(lambda w: losses(w, images), weights, tangent, length=1e-4)
    torch.testing.assert_close(near, expected, rtol=1e-6, atol=1e-8)


def test_mean_derivative_is_the_batch_gradient_along_the_tangent(world):
    losses, weights, tangent, images = world
    slope, values = gradient(lambda w: losses(w, images), weights)
    inner = sum((slope[n] * tangent[n]).sum() for n in slope)
    total = directional_exact(lambda w: losses(w, images), weights, tangent).sum()
    torch.testing.assert_close(total, inner, rtol=1e-9, atol=1e-12)
    assert values.shape == (BATCH,)


def test_derivatives_depend_on_the_length_of_the_step_only_by_curvature(world):
    losses, weights, tangent, images = world
    ten = {n: 10 * t for n, t in tangent.items()}
    one = directional_difference(lambda w: losses(w, images), weights, tangent)
    many = directional_difference(lambda w: losses(w, images), weights, ten)
    torch.testing.assert_close(many, 10 * one)


@pytest.mark.parametrize(("mixed", "rtol"), [(mixed_exact, 1e-8), (mixed_difference, 1e-4)])
def test_mixed_derivative_agrees_with_double_backward(world, mixed, rtol):
    losses, weights, tangent, images = world
    derivatives, pixels = by_double_backward(losses, weights, tangent, images)
    options = {} if mixed is mixed_exact else {"length": 1e-3}
    found_slopes, found_pixels = mixed(losses, weights, tangent, images, **options)
    torch.testing.assert_close(found_slopes, derivatives, rtol=rtol, atol=rtol * 1e-2)
    torch.testing.assert_close(found_pixels, pixels, rtol=rtol, atol=rtol * pixels.abs().max())


@pytest.mark.filterwarnings("error")
def test_forward_mode_is_silent(world):
    losses, weights, tangent, images = world
    mixed_exact(losses, weights, tangent, images)
    directional_exact(lambda w: losses(w, images), weights, tangent)


def test_running_statistics_are_untouched_by_every_pass(world):
    losses, weights, tangent, images = world
    first = losses(weights, images)
    mixed_exact(losses, weights, tangent, images)
    torch.testing.assert_close(losses(weights, images), first, rtol=0, atol=0)


class Shaken(nn.Module):
    """Two branches mixed by Shake-Shake, and a third that ShakeDrop scales."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(3, 5, 3) for _ in range(3))
        self.mix, self.drop = ShakeShake(), ShakeDrop(0.5)

    def forward(self, x):
        first, second, third = (branch(x) for branch in self.branches)
        return torch.tanh(self.mix(first, second) + self.drop(third))


def random_problem(first, device="cpu"):
    network = nn.Sequential(
        first, nn.BatchNorm2d(5), nn.Tanh(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(5 * 36, 3)
    )
    network = network.double().to(device)
    weights = {n: p.detach() for n, p in network.named_parameters()}
    return problem(network, weights, {n: torch.randn_like(w) for n, w in weights.items()})


def with_masks_of(seed, function, *args, **options):
    """Call; return the result and what the global generators draw next."""
    torch.manual_seed(seed)
    result = function(*args, **options)
    return result, [torch.rand(3, device=device).tolist() for device in DEVICES]


@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_through_dropout_use_one_mask(device):
    losses, weights, tangent, images = random_problem(nn.Conv2d(3, 5, 3), device)
    exact, after = with_masks_of(1, mixed_exact, losses, weights, tangent, images)
    near, near_after = with_masks_of(1, mixed_difference, losses, weights, tangent, images)
    for found, expected in zip(near, exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max())

    def of_weights(w):
        return losses(w, images)

    alone, alone_after = with_masks_of(1, directional_difference, of_weights, weights, tangent)
    forward, forward_after = with_masks_of(1, directional_exact, of_weights, weights, tangent)
    torch.testing.assert_close(forward, exact[0])
    torch.testing.assert_close(alone, near[0])
    # The next draws are new ones, the same for every form.
    for rest in (near_after, alone_after, forward_after):
        assert rest == after
    assert after != with_masks_of(1, int)[1]


@pytest.mark.parametrize("seed", range(3))
def test_differences_through_shakes_use_one_set_of_factors(seed):
    losses, weights, tangent, images = random_problem(Shaken())
    wide, _ = with_masks_of(seed, mixed_difference, losses, weights, tangent, images)
    narrow, _ = with_masks_of(seed, mixed_difference, losses, weights, tangent, images, length=1e-4)
    for found, expected in zip(wide, narrow, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    alone, _ = with_masks_of(
        seed, directional_difference, lambda w: losses(w, images), weights, tangent
    )
    torch.testing.assert_close(alone, wide[0])


def test_look_ahead_is_the_step_of_sgd_with_momentum():
    torch.manual_seed(1)
    layer = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    weights = {n: p.detach().clone() for n, p in layer.named_parameters()}
    velocity = {n: torch.zeros_like(w) for n, w in weights.items()}
    for _ in range(3):
        x = torch.randn(5, 4)
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
        slope, _ = gradient(
            lambda w, x=x: functional_call(layer, w, (x,)).square().mean(-1) / len(x), weights
        )
        velocity = momentum_step(weights, slope, velocity, 0.9, 0.01)
        weights = look_ahead(weights, velocity, 0.1)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(weights[name], parameter.detach())


def test_norm_counts_all_entries_in_double_precision():
    assert norm({"a": torch.full((3,), 2.0), "b": torch.tensor(2.0)}) == 4.0
    assert norm({"a": torch.ones(2)}).dtype == torch.float64
