import itertools

import pytest
import torch

from learned_augment.search.dada.estimators import (
    ESTIMATORS,
    Measurement,
    PairDraws,
    conditional,
    draw,
    new_surrogate,
    relaxed,
)

PAIRS, SLOTS = 3, 2
ALPHA = torch.tensor([0.3, -0.4, 0.1], dtype=torch.float64)
CHANCE = torch.tensor([[0.2, -0.5], [1.0, 0.3], [-0.8, 0.4]], dtype=torch.float64)
# An arbitrary cost of every outcome: pair, first bit, second bit.
COST = torch.tensor(
    [[[1.0, -0.5], [0.7, 2.0]], [[0.1, 0.4], [-1.2, 0.9]], [[0.6, -0.3], [1.5, 0.2]]],
    dtype=torch.float64,
)


def cost_of(drawn):
    bits = drawn.chosen_bits().long()
    return COST[drawn.choice, bits[:, 0], bits[:, 1]]


def enumerated():
    """The gradient of the expected cost, by adding up all outcomes."""
    alpha, beta = ALPHA.clone().requires_grad_(), CHANCE.clone().requires_grad_()
    pi, p = torch.softmax(alpha, 0), torch.sigmoid(beta)
    expected = sum(
        pi[c] * (p[c, 0] if i else 1 - p[c, 0]) * (p[c, 1] if j else 1 - p[c, 1]) * COST[c, i, j]
        for c, i, j in itertools.product(range(PAIRS), (0, 1), (0, 1))
    )
    return torch.autograd.grad(expected, (alpha, beta))


def trained_surrogate(steps):
    generator = torch.Generator().manual_seed(5)
    phi = new_surrogate(PAIRS, SLOTS, generator, torch.float64)
    leaves = {n: w.requires_grad_() for n, w in phi.items()}
    adam = torch.optim.Adam(leaves.values(), lr=0.02)
    for _ in range(steps):
        drawn = draw(ALPHA, CHANCE, 256, generator)
        measured = Measurement(cost_of(drawn), surrogate=leaves)
        adam.zero_grad()
        ESTIMATORS["relax"](ALPHA, CHANCE, drawn, measured).variance.backward()
        adam.step()
    return {n: w.detach() for n, w in leaves.items()}


@pytest.fixture(scope="module")
def surrogates():
    return {"untrained": trained_surrogate(0), "trained": trained_surrogate(150)}


def estimate(name, surrogate=None, count=40_000):
    drawn = draw(ALPHA, CHANCE, count, torch.Generator().manual_seed(11))
    found = ESTIMATORS[name](ALPHA, CHANCE, drawn, Measurement(cost_of(drawn), surrogate=surrogate))
    return torch.cat([found.alpha, found.beta.flatten(1)], -1)


@pytest.mark.parametrize(
    ("name", "state"),
    [("none", None), ("loo", None), ("relax", "untrained"), ("relax", "trained")],
)
def test_estimators_agree_with_the_enumerated_gradient(name, state, surrogates):
    each = estimate(name, surrogates.get(state))
    expected = torch.cat([enumerated()[0], enumerated()[1].flatten()])
    error = (each.mean(0) - expected) / (each.std(0) / len(each) ** 0.5)
    assert error.abs().max() < 4


def test_baselines_lower_the_variance_and_training_the_surrogate_lowers_it_more(surrogates):
    variance = {
        "none": estimate("none").var(0).sum(),
        "loo": estimate("loo").var(0).sum(),
        "untrained": estimate("relax", surrogates["untrained"]).var(0).sum(),
        "trained": estimate("relax", surrogates["trained"]).var(0).sum(),
    }
    assert variance["loo"] < variance["none"]
    assert variance["trained"] < variance["untrained"]
    assert variance["trained"] < variance["none"]


def test_scoring_the_bits_of_unchosen_pairs_only_adds_variance():
    released = estimate("released")
    expected = enumerated()[1].flatten()
    bits, masked = released[:, PAIRS:], estimate("none")[:, PAIRS:]
    assert ((bits.mean(0) - expected) / (bits.std(0) / len(bits) ** 0.5)).abs().max() < 4
    assert bits.var(0).sum() > 2 * masked.var(0).sum()


def test_released_counts_the_score_of_the_choice_once_for_every_bit():
    released, plain = estimate("released"), estimate("none")
    torch.testing.assert_close(released[:, :PAIRS], PAIRS * SLOTS * plain[:, :PAIRS])


def test_the_control_variate_cancels_when_two_costs_share_draw_and_noise(surrogates):
    drawn = draw(ALPHA, CHANCE, 500, torch.Generator().manual_seed(3))
    ahead, behind = cost_of(drawn) + 0.3, cost_of(drawn) * 0.5
    relax = [
        ESTIMATORS["relax"](ALPHA, CHANCE, drawn, Measurement(c, surrogate=surrogates["trained"]))
        for c in (ahead, behind)
    ]
    plain = ESTIMATORS["none"](ALPHA, CHANCE, drawn, Measurement(ahead - behind))
    torch.testing.assert_close(relax[0].alpha - relax[1].alpha, plain.alpha)
    torch.testing.assert_close(relax[0].beta - relax[1].beta, plain.beta)


def test_conditional_samples_always_lead_back_to_their_draw():
    drawn = draw(ALPHA, CHANCE, 20_000, torch.Generator().manual_seed(0))
    choice, bits = conditional(ALPHA, CHANCE, drawn)
    assert torch.equal(choice.argmax(-1), drawn.choice)
    assert torch.equal((bits > 0).double(), drawn.bits)


def test_conditional_samples_have_the_distribution_of_unconditional_ones():
    drawn = draw(ALPHA, CHANCE, 100_000, torch.Generator().manual_seed(1))
    free = torch.cat([t.flatten(1) for t in relaxed(ALPHA, CHANCE, *drawn[2:4])], -1)
    given = torch.cat([t.flatten(1) for t in conditional(ALPHA, CHANCE, drawn)], -1)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    expected, found = free.quantile(levels, dim=0), given.quantile(levels, dim=0)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)
    torch.testing.assert_close(given.T.cov(), free.T.cov(), rtol=0.05, atol=0.05)


def test_draws_have_the_probabilities_of_their_parameters():
    drawn = draw(ALPHA, CHANCE, 50_000, torch.Generator().manual_seed(2))
    share = torch.bincount(drawn.choice, minlength=PAIRS) / 50_000
    torch.testing.assert_close(share.double(), torch.softmax(ALPHA, 0), rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.bits.mean(0), torch.sigmoid(CHANCE), rtol=0, atol=0.01)


def test_gumbel_moves_towards_lower_cost_and_needs_the_gradient_by_the_image():
    drawn = draw(ALPHA, CHANCE, 4_000, torch.Generator().manual_seed(2))
    image_term = (drawn.choice == 1).double()
    found = ESTIMATORS["gumbel"](ALPHA, CHANCE, drawn, Measurement(image_term, image_term))
    assert found.alpha.mean(0).argmax() == 1
    with pytest.raises(ValueError, match="gradient of the cost by the image"):
        ESTIMATORS["gumbel"](ALPHA, CHANCE, drawn, Measurement(image_term))


def test_gumbel_is_the_gradient_through_a_mixture_whose_other_images_are_ones():
    drawn = draw(ALPHA, CHANCE, 1, torch.Generator().manual_seed(4))
    image, slope = torch.randn(7).double(), torch.randn(7).double()
    alpha, beta = ALPHA.clone().requires_grad_(), CHANCE.clone().requires_grad_()
    z, y = relaxed(alpha, beta, drawn.choice_noise, drawn.bit_noise)
    soft, on = torch.softmax(z[0] / 0.5, -1), torch.sigmoid(y[0] / 0.5)
    hot = torch.zeros(PAIRS).double().index_fill(0, drawn.choice, 1.0)
    weight, bit = hot - soft.detach() + soft, drawn.bits[0] - on.detach() + on
    mixture = 0.0
    for c, i, j in itertools.product(range(PAIRS), (0, 1), (0, 1)):
        first = bit[c, 0] if i else 1 - bit[c, 0]
        second = bit[c, 1] if j else 1 - bit[c, 1]
        drawn_one = c == int(drawn.choice) and [i, j] == drawn.bits[0, c].tolist()
        mixture = mixture + weight[c] * first * second * (image if drawn_one else 1.0)
    torch.testing.assert_close(mixture.detach(), image)
    expected = torch.autograd.grad((mixture * slope).sum(), (alpha, beta))
    image_term = (slope * (image - 1)).sum()[None]
    found = ESTIMATORS["gumbel"](ALPHA, CHANCE, drawn, Measurement(image_term, image_term))
    torch.testing.assert_close(found.alpha[0], expected[0])
    torch.testing.assert_close(found.beta[0], expected[1])


def test_relax_without_surrogate_names_the_function_that_makes_one():
    drawn = draw(ALPHA, CHANCE, 2, None)
    assert isinstance(drawn, PairDraws)
    with pytest.raises(ValueError, match="new_surrogate"):
        ESTIMATORS["relax"](ALPHA, CHANCE, drawn, Measurement(cost_of(drawn)))
