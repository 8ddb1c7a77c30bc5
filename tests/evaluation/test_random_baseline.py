import dataclasses

import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import (
    from_layers,
    from_sub_policies,
    from_torchvision,
    rand_augment,
    trivial_augment,
)
from learned_augment.evaluation.random_baseline import random_baseline
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search_spaces import SPACES, mirror
from learned_augment.serialization import list_policies

STRENGTHLESS = {"AutoContrast", "Invert", "Equalize"}


def strength(op, value, space):
    """Written again from the definition: distance from the identity value over that to the end."""
    span, identity_value = SPACES[space][op], OPS[op].identity_value
    ends = {span.low, span.high}
    ends |= {mirror(op, end) for end in ends} if span.mirrored else set()
    reach = (max(ends) if value > identity_value else min(ends)) - identity_value
    return 0.0 if value == identity_value else abs((value - identity_value) / reach)


def drawn(policy):
    """Return (op, value, weight) of every candidate that can be drawn, in order."""
    rows = zip(
        policy.op.flatten().tolist(), policy.value.flatten(), policy.weights.flatten(), strict=True
    )
    return [(policy.ops[o], v.item(), w.item()) for o, v, w in rows]


LEARNED = [Policy.load(name) for name in list_policies()] + [
    *map(from_torchvision, AutoAugmentPolicy)
]


@pytest.mark.parametrize("policy", LEARNED, ids=lambda policy: policy.name)
def test_shape_weights_and_strength_of_every_learned_policy_stay(policy):
    baseline = random_baseline(policy, seed=3)
    assert torch.equal(baseline.weights, policy.weights)
    assert torch.equal(baseline.mixture, policy.mixture)
    assert baseline.about["placement"] == policy.about["placement"]
    space = policy.about["space"]
    for (op, value, weight), (new, moved, _) in zip(drawn(policy), drawn(baseline), strict=True):
        assert (new == "Identity") == (op == "Identity")
        assert (new in STRENGTHLESS) == (op in STRENGTHLESS)
        if (
            weight
            and op != "Identity"
            and None not in (OPS[op].identity_value, OPS[new].identity_value)
        ):
            expected, given = strength(op, value, space), strength(new, moved, space)
            # Whole numbers of bits come no closer than half a bit.
            span = SPACES[space][new]
            rounding = 0.5 / abs(span.high - span.low) if span.whole else 1e-9
            assert given == pytest.approx(expected, abs=rounding)


def test_a_value_keeps_its_side_where_both_ops_have_two():
    two_sided = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
    two_sided |= {"Color", "Contrast", "Brightness", "Sharpness"}
    policy = Policy.load("deepaa-cifar10")
    signs = [
        (value > OPS[op].identity_value) == (moved > OPS[new].identity_value)
        for (op, value, _), (new, moved, _) in zip(
            drawn(policy), drawn(random_baseline(policy)), strict=True
        )
        if op in two_sided and new in two_sided
    ]
    assert len(signs) > 100
    assert all(signs)


def test_ops_of_a_layer_stay_apart_and_twins_stay_together():
    policy = Policy.load("deepaa-cifar10")
    baseline = random_baseline(policy, seed=1)
    for layer in range(policy.depth):
        pairs = set(zip(policy.op[0, layer].tolist(), baseline.op[0, layer].tolist(), strict=True))
        assert len(pairs) == len({new for _, new in pairs}) == len(policy.ops)


def test_each_layer_and_seed_has_its_own_choice_and_a_seed_repeats():
    policy = Policy.load("dada-cifar10")
    first, again, other = (random_baseline(policy, seed) for seed in (0, 0, 1))
    assert first == again
    assert not torch.equal(first.op, other.op)
    assert not torch.equal(first.op[0], first.op[1])


def test_every_op_is_as_likely():
    triples = [[("Rotate", 1.0, 15.0)]] * 4000
    about = {"space": "dada", "name": "rotations"}
    names = ("Solarize", "Color", "Cutout", "Invert")
    rare = [(name, 1e-9, OPS[name].identity_value or 0.0) for name in names]
    policy = from_sub_policies([*triples, rare], about=about)
    shares = random_baseline(policy).op_shares()
    for name in ("Rotate", "Solarize", "Color", "Cutout"):
        assert float(shares[name].sum()) == pytest.approx(0.25, abs=0.03)
    assert float(shares["Invert"].sum()) < 1e-6


def test_one_sided_ops_become_either_side():
    policy = from_layers(
        [[("Posterize", 1.0, 6.0), ("Rotate", 0.0, 3.0)]], {"space": "dada", "name": "p"}
    )
    found = {drawn(random_baseline(policy, seed))[0][:2] for seed in range(40)}
    assert found == {("Posterize", 6.0), ("Rotate", 15.0), ("Rotate", -15.0)}


def test_a_baseline_is_named_after_its_policy():
    baseline = random_baseline(Policy.load("dada-cifar10"), seed=2)
    assert baseline.name == "random:dada-cifar10"
    assert baseline.about["seed"] == "2"


def test_without_ranges_there_is_no_strength():
    with pytest.raises(ValueError, match=r"about\['space'\] to be one of dada, .* got None"):
        random_baseline(trivial_augment())
    with pytest.raises(ValueError, match="uniformly, such as trivialaugment, are random already"):
        random_baseline(trivial_augment())
    assert random_baseline(rand_augment()).name == "random:randaugment"


def test_an_op_beyond_the_space_has_its_usual_range():
    layers = [[("CutoutClipped", 1.0, 0.25), ("Rotate", 0.0, 3.0)]]
    policy = from_layers(layers, {"space": "dada", "name": "mine"})
    found = {drawn(random_baseline(policy, seed))[0][:2] for seed in range(40)}
    assert found == {("CutoutClipped", 0.25), ("Rotate", 15.0), ("Rotate", -15.0)}


def test_whole_values_stay_whole():
    whole = dataclasses.replace(
        from_layers([[("Posterize", 1.0, 5.0), ("Color", 1.0, 1.3)]]),
        about={"space": "autoaugment"},
    )
    for seed in range(8):
        values = [value for op, value, _ in drawn(random_baseline(whole, seed)) if op != "Color"]
        assert values == [round(value) for value in values]
