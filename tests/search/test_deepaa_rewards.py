"""DeepAA's rewards, held to what they are defined as: gradients of a cosine, in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from learned_augment.search.alignment import cosine_and_tangent, inner_product, norm
from learned_augment.search.deepaa import per_image_gradients
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.gram_rewards import Grams, products
from learned_augment.search.deepaa.layer import LayerDistribution, penalized

# Sums in float64 in another order; the issue is the formula, not the last bits.
RELATIVE = 1e-6


def smooth_network(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 6, 3, groups=2, bias=False, dilation=2),
        nn.BatchNorm2d(6),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    ).double()
    network(torch.randn(32, 3, 16, 16, dtype=torch.float64))  # running statistics
    return network


def world(count=7):
    frozen = FrozenNetwork(smooth_network(), torch.randn(2, 3, 16, 16, dtype=torch.float64), 2**30)
    images = torch.randn(count, 3, 16, 16, dtype=torch.float64)
    labels = torch.full((count,), 3)
    clean = torch.randn(9, 3, 16, 16, dtype=torch.float64)
    return frozen, images, labels, frozen.gradient(clean, torch.full((9,), 3))


def own_gradients(frozen, images, labels):
    """One backward pass an image, weights and biases in one vector, in the order of weights."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        live = {n: w.clone().requires_grad_() for n, w in frozen.weights.items()}
        slope = torch.autograd.grad(
            frozen.losses(live, image[None], label[None]).sum(), list(live.values())
        )
        rows.append(torch.cat([s.flatten() for s in slope]))
    return torch.stack(rows)


def vector(tensors):
    return torch.cat([t.flatten() for t in tensors.values()])


def test_a_reward_is_an_images_own_gradient_times_the_tangent():
    frozen, images, labels, target = world()
    p = torch.softmax(torch.randn(7, dtype=torch.float64), 0)
    _, tangent = cosine_and_tangent(target, frozen.gradient(images, labels, p))
    rewards = frozen.directional(images, labels, tangent)
    own = own_gradients(frozen, images, labels) @ vector(tangent)
    torch.testing.assert_close(rewards, own, rtol=RELATIVE, atol=1e-12)


def test_rewards_are_the_gradient_of_the_cosine_by_the_logits():
    frozen, images, labels, target = world()
    theta = torch.randn(7, dtype=torch.float64, requires_grad=True)
    each, v = own_gradients(frozen, images, labels), vector(target)
    p = torch.softmax(theta, 0)
    g = p @ each
    cosine = (g @ v) / (g.norm() * v.norm())
    (expected,) = torch.autograd.grad(cosine, theta)
    p = p.detach()
    found, tangent = cosine_and_tangent(target, frozen.gradient(images, labels, p))
    rewards = frozen.directional(images, labels, tangent)
    assert found == pytest.approx(cosine.item(), rel=RELATIVE)
    torch.testing.assert_close(
        p * (rewards - p @ rewards), expected, rtol=RELATIVE, atol=RELATIVE * expected.abs().max()
    )


def test_the_mean_reward_under_the_policy_is_zero():
    frozen, images, labels, target = world()
    for seed in range(3):
        torch.manual_seed(seed)
        p = torch.softmax(3 * torch.randn(7, dtype=torch.float64), 0)
        _, tangent = cosine_and_tangent(target, frozen.gradient(images, labels, p))
        rewards = frozen.directional(images, labels, tangent)
        assert abs(p @ rewards) < 1e-12 * rewards.abs().max()


def test_rewards_stay_bounded_for_an_almost_zero_gradient():
    target = {"w": torch.tensor([3.0, 4.0])}
    cosine, tangent = cosine_and_tangent(target, {"w": torch.tensor([1e-9, 0.0])}, floor=0.005)
    assert norm(tangent) <= 1 / 0.005 * 1.001
    assert abs(cosine) < 1e-3
    exact, _ = cosine_and_tangent(target, {"w": torch.tensor([1e-9, 0.0])})
    assert exact == pytest.approx(0.6)


def test_inner_products_are_summed_in_float64():
    big = {"a": torch.tensor([1e8, 1.0, -1e8])}
    assert inner_product(big, {"a": torch.ones(3)}) == 1.0


def by_image(frozen, images, labels):
    """Every image's gradients in one vector, put together from the blocks."""
    whole = {n: m.new_zeros(len(images), *m.shape) for n, m in frozen.rows(frozen.weights).items()}
    for name, rows, gradients in frozen.per_image_gradients(images, labels):
        whole[name][:, rows] += gradients
    return torch.cat([m.flatten(1) for m in whole.values()], 1)


def in_rows(frozen, gradients):
    """The same from one vector an image in the order of weights."""
    parts = gradients.split([w.numel() for w in frozen.weights.values()], 1)
    rows = []
    for parts_of_image in zip(*parts, strict=True):
        tensors = {
            n: part.view_as(w)
            for (n, w), part in zip(frozen.weights.items(), parts_of_image, strict=True)
        }
        rows.append(vector(frozen.rows(tensors)))
    return torch.stack(rows)


@pytest.mark.parametrize("block", [1, 2**21])
def test_gradients_of_a_batch_are_the_images_own(block, monkeypatch):
    monkeypatch.setattr(per_image_gradients, "BLOCK", block)
    frozen, images, labels, _ = world()
    labels = labels.clone()
    labels[2:4] = 1
    found = by_image(frozen, images, labels)
    expected = in_rows(frozen, own_gradients(frozen, images, labels))
    torch.testing.assert_close(found, expected)
    assert found.shape == (7, 112 + 108 + 485)


def test_a_layer_used_twice_and_a_sequence_count_every_use():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)
            self.mix = nn.Linear(8, 8)
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            x = self.mix(torch.tanh(self.norm(self.same(torch.tanh(self.same(x))))))
            return self.head(x.mean((2, 3)))

    network = Twice().double()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    frozen = FrozenNetwork(network, images[:2], 2**30)
    labels = torch.tensor([0, 1, 1, 0])
    expected = in_rows(frozen, own_gradients(frozen, images, labels))
    torch.testing.assert_close(by_image(frozen, images, labels), expected)


def test_a_layer_may_return_several_tensors():
    class Halves(nn.Module):
        def forward(self, x):
            return {"all": x.chunk(2, 1)}

    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.halves = nn.Conv2d(3, 4, 3, padding=1), Halves()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            a, b = self.halves(torch.tanh(self.conv(x)))["all"]
            return self.head(torch.cat([a, 2 * b], 1).mean((2, 3)))

    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    frozen = FrozenNetwork(Split().double(), images[:2], 2**30)
    assert frozen.results == 8 * (4 * 64 + 4 * 64 + 2)
    expected = in_rows(frozen, own_gradients(frozen, images, labels))
    torch.testing.assert_close(by_image(frozen, images, labels), expected)


def test_chunks_change_nothing():
    frozen, images, labels, target = world()
    whole = frozen.gradient(images, labels), frozen.directional(images, labels, target)
    each = by_image(frozen, images, labels)
    frozen.chunk = 2
    torch.testing.assert_close(frozen.gradient(images, labels), whole[0])
    torch.testing.assert_close(frozen.directional(images, labels, target), whole[1])
    torch.testing.assert_close(by_image(frozen, images, labels), each)


def test_scale_and_shift_of_normalizations_are_constants():
    frozen, *_ = world()
    assert set(frozen.weights) == {"0.weight", "0.bias", "3.weight", "7.weight", "7.bias"}


def grams_of(each, v):
    """Pairs of exact gradients (P, N, D), all judged by v."""
    size = each.square().sum(2).mean(1)
    means = each @ each.mT / size[:, None, None]
    return Grams(means, means.sum(0), each @ v / (v.norm() * size.sqrt()[:, None]))


def test_all_rewards_follow_from_inner_products():
    frozen, images, labels, target = world()
    grams = grams_of(own_gradients(frozen, images, labels)[None], vector(target))
    for seed in range(3):
        torch.manual_seed(seed)
        p = torch.softmax(2 * torch.randn(7, dtype=torch.float64), 0)
        cosine, tangent = cosine_and_tangent(target, frozen.gradient(images, labels, p))
        assert grams.cosines(p).item() == pytest.approx(cosine, rel=RELATIVE)
        rewards = frozen.directional(images, labels, tangent)
        torch.testing.assert_close(grams.rewards(p)[0], rewards, rtol=RELATIVE, atol=1e-10)


def test_rewards_are_the_gradient_of_the_cosine_also_after_noise_correction():
    draws = torch.randn(6, 5, 40, dtype=torch.float64) + torch.randn(1, 5, 40)
    draws = draws.unflatten(0, (3, 2)) + torch.randn(40)
    parts = [products(pair) for pair in draws]
    means, crossed = (torch.stack(part) for part in zip(*parts, strict=True))
    grams = Grams(means, crossed.sum(0), torch.randn(3, 5, dtype=torch.float64))
    p = torch.softmax(torch.randn(5, dtype=torch.float64), 0).requires_grad_()
    (expected,) = torch.autograd.grad(grams.cosines(p).mean(), p)
    p = p.detach()
    found = grams.rewards(p).mean(0)
    torch.testing.assert_close(found, expected)
    assert abs(p @ found) < 1e-12
    assert (grams.cosines(p) != grams_without_noise(grams).cosines(p)).all()


def grams_without_noise(grams):
    return Grams(grams.means, grams.means.sum(0), grams.with_target)


@pytest.mark.parametrize("draws", [2, 3, 4])
def test_products_of_different_draws_average_over_all_pairs_of_them(draws):
    each = torch.randn(draws, 5, 11, dtype=torch.float64)
    pairs = list(itertools.permutations(range(draws), 2))
    expected = sum(each[a] @ each[b].T for a, b in pairs) / len(pairs)
    means, crossed = products(each)
    torch.testing.assert_close(crossed, expected)
    torch.testing.assert_close(means, each.mean(0) @ each.mean(0).T)
    for part in products(each[:1]):
        torch.testing.assert_close(part, each[0] @ each[0].T)


def test_noise_adds_no_length_to_products_of_different_draws():
    true = torch.randn(3, 50, dtype=torch.float64)
    trials = [products(true + 2 * torch.randn(2, 3, 50).double())[1] for _ in range(4000)]
    found = torch.stack(trials)
    error = (found.mean(0) - true @ true.T).abs() / (found.std(0) / len(trials) ** 0.5)
    assert error.max() < 4


def test_the_penalty_lowers_a_noisy_candidate():
    steady = torch.tensor([0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    noisy = torch.tensor([0.5, -0.3, 0.5, -0.3], dtype=torch.float64)
    rewards = torch.stack([steady, noisy], 1)
    torch.testing.assert_close(penalized(rewards, 0.0), rewards.mean(0))
    found = penalized(rewards, 1.0)
    # Population deviation: 0.4 for the noisy one.
    torch.testing.assert_close(found, torch.tensor([0.1, 0.1 - 0.4], dtype=torch.float64))


def test_a_random_subset_with_importance_weights_is_unbiased():
    rewards = torch.randn(2, 4, dtype=torch.float64)
    found = []
    for one, two in itertools.product(itertools.combinations(range(4), 2), repeat=2):
        seen = torch.full_like(rewards, torch.nan)
        seen[0, list(one)], seen[1, list(two)] = rewards[0, list(one)], rewards[1, list(two)]
        found.append(penalized(seen, 0.0, probability=0.5))
    torch.testing.assert_close(torch.stack(found).mean(0), rewards.mean(0))


def test_logits_start_at_identity_and_climb():
    logits = LayerDistribution(139, 8.0, 0.025)
    start = logits.probabilities()
    assert start[0].item() == pytest.approx(0.9557, abs=1e-4)
    assert start[1].item() == pytest.approx(3.2e-4, rel=0.01)
    rewards = torch.zeros(139, dtype=torch.float64)
    rewards[5] = 1.0
    theta = logits.theta.clone()
    logits.improve(rewards)
    slope = start[5] * (1 - start[5])
    # Keras's first step of Adam: the rate, but for the epsilon beside the raw deviation.
    step = 0.025 * slope / (slope + 1e-7 / (1 - 0.999) ** 0.5)
    assert (logits.theta - theta)[5].item() == pytest.approx(step.item(), rel=1e-9)
    for _ in range(600):
        logits.improve(rewards)
    assert logits.probabilities()[5] > 0.9


def test_equal_rewards_keep_equal_probabilities_bit_for_bit():
    logits = LayerDistribution(6, 8.0, 0.025)
    for _ in range(50):
        rewards = torch.randn(6, dtype=torch.float64)
        rewards[3] = rewards[4] = rewards[2]
        logits.improve(rewards)
    p = logits.probabilities()
    assert p[2] == p[3] == p[4]
    assert p[1] != p[2]


def test_cross_entropy_is_what_is_differentiated():
    frozen, images, labels, _ = world()
    with torch.no_grad():
        logits = frozen.network(images)
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(frozen.losses(frozen.weights, images, labels), expected)
