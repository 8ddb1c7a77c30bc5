"""The policy as a value, and the one sampling rule."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_augment.backends.dispatch import apply_batch
from learned_augment.builders import deep_trivial_augment, from_layers, from_sub_policies
from learned_augment.policy import Plan, Policy
from learned_augment.sampling import Draw
from learned_augment.serialization import list_policies

RIGHT = {
    "ops": ("Identity", "Rotate"),
    "mixture": torch.tensor([0.25, 0.75]),
    "weights": torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]),
    "op": torch.tensor([[[0, 1]], [[1, 0]]]),
    "value": torch.tensor([[[0.0, 20.0]], [[-5.0, 0.0]]]),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ops": ("Identity", "Rotatee")}, "Unknown op 'Rotatee'. Known ops: Identity"),
        ({"ops": ("Rotate", "Rotate")}, "distinct op names"),
        ({"ops": ()}, "at least one"),
        ({"mixture": torch.tensor([0.5, 0.6])}, "mixture to sum to 1, got 1.1"),
        ({"mixture": torch.tensor([1.0])}, r"mixture of shape \(2,\)"),
        ({"mixture": torch.tensor([-0.5, 1.5])}, "finite and not negative, got -0.5"),
        ({"mixture": torch.tensor([math.nan, 1.0])}, "finite and not negative, got nan"),
        ({"weights": torch.ones(2, 2)}, r"weights of shape \(S, L, C\)"),
        ({"weights": torch.ones(0, 1, 1)}, "none of them 0"),
        ({"weights": torch.tensor([[[0.5, 0.4]], [[1.0, 0.0]]])}, "weights to sum to 1, got 0.9"),
        ({"op": torch.tensor([[[0, 2]], [[1, 0]]])}, "positions in ops, 0 to 1"),
        ({"op": torch.tensor([[[0, -1]], [[1, 0]]])}, "positions in ops, 0 to 1"),
        ({"value": torch.tensor([[[0.0, 400.0]], [[0.0, 0.0]]])}, "Rotate from -360 to 360"),
        ({"value": torch.tensor([[[0.0, math.nan]], [[0.0, 0.0]]])}, "got nan at"),
        ({"about": {"x": object()}}, "plain JSON data in about"),
    ],
)
def test_what_is_not_a_policy_is_refused(change, message):
    Policy(**RIGHT)
    with pytest.raises(ValueError, match=message):
        Policy(**{**RIGHT, **change})


def test_a_policy_is_an_immutable_value():
    figures = {name: f.clone() if torch.is_tensor(f) else f for name, f in RIGHT.items()}
    about = {"name": "x", "list": [1]}
    policy = Policy(**figures, about=about)
    figures["value"].zero_()
    about["name"] = "y"
    assert policy.value[0, 0, 1] == 20
    assert policy.name == "x"
    with pytest.raises(AttributeError):
        policy.ops = ()
    with pytest.raises(TypeError):
        policy.about["name"] = "z"
    for twin in (
        copy.deepcopy(policy),
        pickle.loads(pickle.dumps(policy)),
        Policy(**RIGHT, about=policy.about),
    ):
        assert twin == policy
        assert hash(twin) == hash(policy)
    assert policy != Policy(**RIGHT)
    assert policy != "x"


def test_repr_is_one_useful_line():
    assert repr(Policy.load("dada-cifar10")) == (
        "Policy('dada-cifar10', 25 sub-policies of 2 layers, up to 3 candidates, 16 ops)"
    )
    assert "1 sub-policy of 1 layer," in repr(from_layers([[("Identity", 1, 0)]]))


def test_sampling_draws_from_torchs_global_generator_or_a_given_one():
    policy = Policy.load("deepaa-cifar10")
    torch.manual_seed(4)
    first = policy.sample(5)
    torch.manual_seed(4)
    again = policy.sample(5)
    given_one = policy.sample(5, torch.Generator().manual_seed(4))
    for plan in (again, given_one):
        for name in ("op", "value", "noise"):
            assert torch.equal(getattr(plan, name), getattr(first, name))
    state = torch.get_rng_state()
    policy.sample(3, torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_plan_shapes_and_dtypes():
    plan = deep_trivial_augment(3).sample(7)
    assert (plan.op.shape, plan.op.dtype) == ((7, 3), torch.int64)
    assert (plan.value.shape, plan.value.dtype) == ((7, 3), torch.float64)
    assert (plan.noise.shape, plan.noise.dtype) == ((7, 3, 4), torch.float32)
    assert len(plan) == 7
    assert len(plan.rows([6, 0])) == 2
    assert torch.equal(plan.rows([6, 0]).op[0], plan.op[6])
    assert len(Policy.load("dada-svhn").sample(0)) == 0


@pytest.mark.parametrize("name", list_policies())
def test_drawing_takes_the_numbers_that_torch_rand_takes(name):
    policy = Policy.load(name)
    for count in (1, 5, 64):
        torch.manual_seed(count)
        numbers, after = torch.rand(count, 1 + 5 * policy.depth), torch.get_rng_state()
        torch.manual_seed(count)
        plan = policy.sample(count)
        assert torch.equal(torch.get_rng_state(), after)
        assert torch.equal(plan.noise.flatten(1), numbers[:, 1 + policy.depth :])


def test_a_batch_draws_what_its_images_draw_one_by_one():
    policy, generator = Policy.load("deepaa-cifar10"), torch.Generator().manual_seed(0)
    state = generator.get_state()
    steps = [policy.sample(1, generator).steps(0) for _ in range(200)]
    generator.set_state(state)
    numbers = torch.rand(200 * (1 + 5 * policy.depth), generator=generator)
    for row, expected in zip(numbers.view(200, -1), steps, strict=True):
        drawn = Draw(row[None].numpy(), policy._tables)
        assert Plan.drawn(policy.ops, drawn).steps(0) == expected


def chi_square(counts, expected):
    """Pearson's statistic over the cells with an expected count of 5 or more, others pooled."""
    big = expected >= 5
    statistic = ((counts - expected)[big] ** 2 / expected[big]).sum().item()
    rest, rest_counts = expected[~big].sum(), counts[~big].sum()
    if rest >= 5:
        statistic += ((rest_counts - rest) ** 2 / rest).item()
    return statistic, int(big.sum()) + int(rest >= 5) - 1


@pytest.mark.parametrize("name", list_policies())
def test_draws_follow_the_table(name):
    policy, n = Policy.load(name), 40_000
    plan = policy.sample(n, torch.Generator().manual_seed(11))
    width = len(policy.ops)
    for layer in range(policy.depth):
        counts = torch.bincount(plan.op[:, layer], minlength=width).double()
        expected = n * torch.stack([s[layer] for s in policy.op_shares().values()])
        statistic, freedom = chi_square(counts, expected)
        # Mean + 5 standard deviations of a chi-square: one false alarm in a million.
        assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 5, (layer, statistic, freedom)


def test_draws_of_single_candidates_follow_their_weights():
    layer = [("Rotate", 0.5, -20.0), ("Rotate", 0.2, 10.0), ("Invert", 0.3, 0.0)]
    plan = from_layers([layer, layer]).sample(60_000, torch.Generator().manual_seed(1))
    for layer_values in plan.value.unbind(1):
        counts = torch.stack([(layer_values == v).sum() for v in (-20.0, 10.0, 0.0)]).double()
        statistic, _ = chi_square(counts, 60_000 * torch.tensor([0.5, 0.2, 0.3]).double())
        assert statistic < 24
    both = ((plan.value == -20).all(1)).double().mean()
    assert both == pytest.approx(0.25, abs=0.01)  # layers are drawn independently


def test_candidates_of_weight_zero_are_never_drawn():
    layer = [("Invert", 0.0, 0.0), ("Identity", 1.0, 0.0), ("Equalize", 0.0, 0.0)]
    policy = from_layers([layer])
    plan = policy.sample(10_000)
    assert {policy.ops[i] for i in plan.op.unique().tolist()} == {"Identity"}


def test_noise_is_uniform_and_independent_of_the_choice():
    plan = deep_trivial_augment(2).sample(50_000, torch.Generator().manual_seed(2))
    assert plan.noise.min() >= 0
    assert plan.noise.max() < 1
    columns = torch.cat([plan.noise.flatten(1), plan.op.float()], 1).T
    correlation = torch.corrcoef(columns) - torch.eye(len(columns))
    assert correlation.abs().max() < 0.025
    torch.testing.assert_close(plan.noise.mean((0, 1)), torch.full((4,), 0.5), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ops": ("Identity", "Rotatee")}, "Unknown op 'Rotatee'. Known ops: Identity"),
        ({"op": torch.tensor([[0], [2]])}, "positions in ops, 0 to 1, got 2"),
        ({"op": torch.tensor([[0], [-1]])}, "positions in ops, 0 to 1"),
        ({"op": torch.zeros(3, 1, dtype=torch.int64)}, r"got \(3, 1\), \(2, 1\) and \(2, 1, 4\)"),
        ({"value": torch.zeros(2, 2)}, r"got \(2, 1\), \(2, 2\) and"),
        ({"noise": torch.zeros(2, 1, 2)}, r"noise of shape \(B, L, 4\), got"),
        ({"op": torch.zeros(2), "value": torch.zeros(2)}, r"got \(2,\), \(2,\) and"),
    ],
)
def test_what_is_not_a_plan_is_refused(change, message):
    # Compiled code would read what lies beside the arrays.
    right = {"op": torch.tensor([[0], [1]]), "value": torch.zeros(2, 1)}
    right |= {"ops": ("Identity", "Rotate"), "noise": torch.zeros(2, 1, 4)}
    assert Plan(**right).value.dtype == torch.float64
    with pytest.raises(ValueError, match=message):
        Plan(**(right | change))


def test_a_drawn_plan_follows_changes_of_its_tensors():
    policy = from_layers([[("TranslateX", 1.0, 0.5)], [("Identity", 1.0, 0.0)]])
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    for images in (image, image / 255):
        changed, given = policy.sample(1), policy.sample(1)
        changed.value[:] = -0.25
        given = Plan(given.ops, given.op, changed.value, given.noise)
        assert torch.equal(apply_batch(images, changed), apply_batch(images, given))
    plan = policy.sample(1)
    plan.value.requires_grad_()
    assert plan.requires_grad
    assert apply_batch(image / 255, plan).requires_grad


def test_steps_leave_out_what_changes_nothing():
    policy = from_layers([[("Rotate", 1, 0.0)], [("Color", 1, 1.0)], [("Invert", 1, 0.0)]])
    assert [step.op.name for step in policy.sample(1).steps(0)] == ["Invert"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["Rotate", "ShearX", "Invert", "Color", "Solarize"]),
                st.floats(0, 1),
                st.floats(0, 1),
            ),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_sub_policies_make_a_valid_policy_that_can_be_drawn(sub_policies):
    sub_policies = [
        [(op, p, 0.0 if op == "Invert" else value) for op, p, value in sub] for sub in sub_policies
    ]
    policy = from_sub_policies(sub_policies, mirrored=["Rotate", "ShearX", "Color"])
    assert policy.mixture.sum().item() == pytest.approx(1)
    assert torch.allclose(policy.weights.sum(-1), torch.ones(1, dtype=torch.float64))
    plan = policy.sample(20, torch.Generator().manual_seed(0))
    drawn = {policy.ops[i] for i in plan.op.flatten().tolist()}
    assert drawn <= {op for sub in sub_policies for op, _, _ in sub} | {"Identity"}
