"""Ways to write a policy, each against figures from its paper."""

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from learned_augment.builders import (
    as_policy,
    deep_trivial_augment,
    from_layers,
    from_sub_policies,
    from_torchvision,
    identity,
    in_sequence,
    mixture_of,
    rand_augment,
    trivial_augment,
)


def layer_of(policy, s=0, layer=0):
    rows = zip(policy.op[s, layer], policy.value[s, layer], policy.weights[s, layer], strict=True)
    return [(policy.ops[o], v.item(), w.item()) for o, v, w in rows if w > 0]


def test_a_triple_becomes_a_layer():
    policy = from_sub_policies([[("Posterize", 0.3, 5.0)]])
    assert layer_of(policy) == [("Posterize", 5.0, 0.3), ("Identity", 0.0, 0.7)]


def test_sub_policies_may_come_from_generators():
    rows = [[("Posterize", 0.3, 5.0)], [("Rotate", 0.5, 12.0), ("Invert", 1.0, 0.0)]]
    assert from_sub_policies((op for op in row) for row in rows) == from_sub_policies(rows)


def test_a_mirrored_triple_splits_about_the_identity_value():
    policy = from_sub_policies(
        [[("Rotate", 0.5, 12.0), ("Color", 1.0, 1.4)]], mirrored=["Rotate", "Color"]
    )
    assert layer_of(policy) == [
        ("Rotate", 12.0, 0.25),
        ("Rotate", -12.0, 0.25),
        ("Identity", 0, 0.5),
    ]
    assert layer_of(policy, 0, 1) == [("Color", 1.4, 0.5), ("Color", pytest.approx(0.6), 0.5)]


def test_layers_are_normalised_and_padded():
    policy = from_layers([[("Invert", 3, 0.0), ("Rotate", 1, 5.0)], [("Equalize", 2, 0.0)]])
    assert policy.weights.tolist() == [[[0.75, 0.25], [1.0, 0.0]]]
    ragged = from_sub_policies([[("Invert", 1, 0.0)], [("Invert", 1, 0.0), ("Equalize", 1, 0.0)]])
    assert layer_of(ragged, 0, 1) == [("Identity", 0.0, 1.0)]


HALF = [[("Rotate", 0.5, 20.0)]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: from_layers([]), "at least one sub-policy"),
        (lambda: from_layers([[]]), "at least one sub-policy"),
        (lambda: from_layers([[("Nope", 1, 0)]]), "Unknown op 'Nope'. Known ops"),
        (lambda: from_layers([[("Invert", 0, 0)]]), "not all 0"),
        (lambda: from_layers([[("Invert", -1, 0), ("Identity", 2, 0)]]), "not negative"),
        (lambda: from_layers([[("Rotate", 1, 1000)]]), "Rotate from -360 to 360"),
        (
            lambda: from_layers([[("Rotate", 1.0)]]),
            r"as \(op, weight, value\).*got \('Rotate', 1.0",
        ),
        (lambda: from_layers([[("Rotate", 1.0, "a")]]), r"as \(op, weight, value\)"),
        (lambda: from_layers([[(1.0, "Rotate", 1.0)]]), r"as \(op, weight, value\)"),
        (lambda: from_layers([("Rotate", 1.0, 2.0)]), r"as \(op, weight, value\).*got 'Rotate'"),
        (lambda: from_layers([{"Rotate": 1.0}]), "each layer as a list of candidates, got {'Rot"),
        (lambda: from_sub_policies([[("Invert", 1.2, 0)]]), r"probability in \[0, 1\] for Invert"),
        (lambda: from_sub_policies([[("Nope", 0.2, 0)]]), "Unknown op 'Nope'"),
        (
            lambda: from_sub_policies([[("Invert", 0.2)]]),
            r"as \(op, probability, value\).*got \('Invert', 0.2",
        ),
        (lambda: from_sub_policies([("Invert", 0.2, 0)]), r"probability, value\).*got 'Invert'"),
        (lambda: from_layers(None), "Expected layers as a list of layers, got None"),
        (lambda: from_layers("Rotate"), "Expected layers as a list of layers, got 'Rotate'"),
        (lambda: from_layers(layer for layer in [[]]), "Expected layers as a list of layers, got"),
        (lambda: from_layers([["Rotate"]]), r"as \(op, weight, value\).*got 'Rotate'"),
        (lambda: from_layers([[("Rotate", torch.ones(2), 1.0)]]), r"as \(op, weight, value\)"),
        (lambda: from_layers([[("Rotate", np.inf, 1.0)]]), r"finite sum, got \[inf\]"),
        (lambda: from_layers([[("Flip", 1e308, 0), ("Rotate", 1e308, 0)]]), "finite sum, got"),
        (lambda: from_sub_policies([[("Rotate", np.ones(2), 1.0)]]), "probability, value"),
        (lambda: from_sub_policies(HALF, "Rotate"), "mirrored as a list of op names, got 'Rot"),
        (lambda: from_sub_policies(HALF, None), "mirrored as a list of op names, got None"),
        (lambda: from_sub_policies(HALF, iter(["Rotate"])), "mirrored as a list of op names"),
        (lambda: in_sequence([]), "at least one policy"),
        (lambda: in_sequence(["dada-cifar10"]), "each policy as a Policy, got 'dada-cifar10'"),
        (lambda: in_sequence(iter([rand_augment()])), "policies as a list"),
        (lambda: mixture_of([]), "at least one policy"),
        (lambda: mixture_of([None]), "each policy as a Policy, got None"),
        (lambda: rand_augment(0), "n of at least 1"),
        (lambda: rand_augment(2.0), "n of at least 1, a whole number, got 2.0"),
        (lambda: rand_augment(True), "n of at least 1, a whole number, got True"),
        (lambda: rand_augment(2, 31), "from 0 to 30"),
        (lambda: rand_augment(2, "9"), "from 0 to 30, got '9'"),
        (lambda: trivial_augment("32"), "image_size of at least 1, a whole number, got '32'"),
        (lambda: trivial_augment(0), "image_size of at least 1"),
        (lambda: deep_trivial_augment(0), "depth of at least 1"),
        (lambda: deep_trivial_augment(2.0), "depth of at least 1, a whole number, got 2.0"),
        (lambda: deep_trivial_augment(2, "imagenet"), "No space of ops named 'imagenet'. Avail"),
        (lambda: from_torchvision("imagenet"), "Expected one of"),
    ],
)
def test_bad_figures_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_figures_of_numpy_and_torch_are_figures():
    policy = from_layers([[("Rotate", torch.tensor(1.0), np.float32(5))]])
    assert layer_of(policy) == [("Rotate", 5.0, 1.0)]
    assert rand_augment(np.int64(2)) == rand_augment(2)


@pytest.mark.parametrize("which", AutoAugmentPolicy)
def test_torchvisions_policies_keep_their_chances(which):
    policy, source = from_torchvision(which), AutoAugment(which).policies
    assert policy == as_policy(which)
    assert policy.weights.shape[:2] == (25, 2)
    for s, sub in enumerate(source):
        for layer, (op, p, _) in enumerate(sub):
            applied = sum(w for name, _, w in layer_of(policy, s, layer) if name == op)
            # Where both candidates are at the identity value the probability does not matter.
            assert applied == pytest.approx(p), (s, layer, op)


def test_a_mixture_draws_each_of_its_policies_equally_often():
    halves = from_sub_policies([[("Invert", 1, 0.0)], [("Flip", 1, 0.0), ("Equalize", 1, 0.0)]])
    policy = mixture_of([from_layers([[("Rotate", 1, 5.0)]]), halves])
    assert policy.mixture.tolist() == [0.5, 0.25, 0.25]
    assert layer_of(policy) == [("Rotate", 5.0, 1.0)]
    assert layer_of(policy, 0, 1) == [("Identity", 0.0, 1.0)]
    assert layer_of(policy, 2, 1) == [("Equalize", 0.0, 1.0)]
    assert mixture_of([policy]) == policy


def test_torchvisions_first_cifar_rows_in_units():
    policy = from_torchvision(AutoAugmentPolicy.CIFAR10)
    # ("Invert", 0.1, None), ("Contrast", 0.2, 6): 1 + 0.9 * 6/9 and its mirror about 1.
    assert layer_of(policy, 0, 0) == [("Invert", 0.0, 0.1), ("Identity", 0.0, 0.9)]
    assert layer_of(policy, 0, 1) == [
        ("Contrast", pytest.approx(1.6), 0.1),
        ("Contrast", pytest.approx(0.4), 0.1),
        ("Identity", 0.0, 0.8),
    ]
    # ("Rotate", 0.7, 2): 30 * 2/9 degrees either way.
    assert layer_of(policy, 1, 0)[:2] == [
        ("Rotate", pytest.approx(20 / 3), 0.35),
        ("Rotate", pytest.approx(-20 / 3), 0.35),
    ]


def test_uniform_policies():
    assert layer_of(identity()) == [("Identity", 0.0, 1.0)]
    for policy, count in [
        (trivial_augment(), 14),
        (rand_augment(), 14),
        (deep_trivial_augment(1), 18),
    ]:
        shares = torch.stack(list(policy.op_shares().values()))
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / count))
    assert rand_augment(3).depth == 3
    assert deep_trivial_augment(4).depth == 4


def test_rand_augment_magnitude_counts_to_30():
    values = {(op, v) for op, v, _ in layer_of(rand_augment(1, 15))}
    assert {("Rotate", 15.0), ("Rotate", -15.0), ("Posterize", 6.0)} <= values


def test_trivial_augment_translates_32_pixels():
    for size, reach in [(224, 32 / 224), (64, 0.5), (16, 1.0)]:
        values = [v for op, v, _ in layer_of(trivial_augment(size)) if op == "TranslateX"]
        assert max(values) == pytest.approx(reach)
