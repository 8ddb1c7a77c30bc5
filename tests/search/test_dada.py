import math
from copy import deepcopy
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from learned_augment.backends.dispatch import apply_batch
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search import prepare
from learned_augment.search.dada import estimators
from learned_augment.search.dada.options import DADAOptions
from learned_augment.search.dada.space import RawParameters, StrengthParameters, choose_pairs
from learned_augment.search_spaces import SPACES
from learned_augment.serialization import list_policies
from tests.search.test_methods import SMALL_DADA, images, smooth_network

# torch's own forward mode builds its decompositions with a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def method(**options):
    settings = {**SMALL_DADA, "network": smooth_network, "base": "none"}
    return prepare(images(), **settings, options=options).method


def test_there_are_105_pairs_in_order_without_repeats_and_525_policy_numbers():
    pairs = choose_pairs()
    assert len(pairs) == 105
    assert pairs.ops == tuple(SPACES["dada"])
    assert (pairs.index[:, 0] < pairs.index[:, 1]).all()
    assert len({tuple(row) for row in pairs.index.tolist()}) == 105
    for parameters in (RawParameters(pairs), StrengthParameters(pairs, torch.Generator())):
        assert sum(t.numel() for t in parameters.tensors().values()) == 525
    phi = estimators.new_surrogate(105, 2, None)
    assert sum(t.numel() for t in phi.values()) == 31_701


def test_published_policies_are_pairs_of_this_space():
    pairs = {tuple(choose_pairs().name(pair).split(" + ")) for pair in range(105)}
    published = [Policy.load(name) for name in list_policies() if name.startswith("dada")]
    assert published
    for policy in published:
        for sub in range(len(policy.mixture)):
            ops = [
                {policy.ops[o] for o in policy.op[sub, layer].tolist()} - {"Identity"}
                for layer in range(2)
            ]
            found = tuple(next(iter(names)) for names in ops)
            assert found in pairs or found[::-1] in pairs


def test_the_released_start_is_the_identity_for_nine_ops():
    pairs = choose_pairs()
    values = dict(
        zip(
            pairs.index.flatten().tolist(),
            pairs.values(RawParameters(pairs).magnitude()).flatten().tolist(),
            strict=True,
        )
    )
    identity = [
        name
        for index, name in enumerate(pairs.ops)
        if OPS[name].unit and values[index] == pytest.approx(OPS[name].identity_value)
    ]
    assert identity == [
        *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
        *("Contrast", "Color", "Brightness", "Sharpness"),
    ]


def test_the_corrected_start_is_away_from_every_identity_and_on_both_sides():
    pairs = choose_pairs()
    start = StrengthParameters(pairs, torch.Generator().manual_seed(0))
    magnitude = start.magnitude().detach()
    assert (magnitude[pairs.mirrored] == 0.75).all()
    brightness = magnitude[pairs.index == pairs.ops.index("Brightness")]
    assert len(brightness) == 14
    expected = torch.tensor([0.15] * 7 + [0.85] * 7, dtype=torch.float64)
    torch.testing.assert_close(brightness.sort().values, expected)
    torch.testing.assert_close(
        torch.sigmoid(start.apply_logits().detach()), torch.full((105, 2), 0.5).double()
    )


def test_plans_apply_what_was_drawn_and_only_that():
    pairs = choose_pairs(["ShearX", "Invert", "Brightness"])
    choice = torch.tensor([0, 1, 2, 0])
    bits = torch.tensor([[1.0, 1], [0, 1], [1, 0], [0, 0]])
    plan = pairs.plan(choice, bits, torch.full((3, 2), 0.75), torch.Generator().manual_seed(0))
    names = [[plan.ops[o] for o in row] for row in plan.op.tolist()]
    assert names == [
        ["ShearX", "Invert"],
        ["Identity", "Brightness"],
        ["Invert", "Identity"],
        ["Identity", "Identity"],
    ]
    assert abs(plan.value[0, 0].item()) == pytest.approx(0.15)
    assert plan.value[1, 1].item() == pytest.approx(0.1 + 0.75 * 1.8)
    assert plan.value[2].tolist() == [0.0, 0.0]


def test_mirrored_ops_take_both_sides_equally_often():
    pairs = choose_pairs(["Rotate", "Color"])
    plan = pairs.plan(
        torch.zeros(4000, dtype=torch.int64),
        torch.ones(4000, 2),
        torch.full((1, 2), 1.0),
        torch.Generator().manual_seed(0),
    )
    assert plan.value[:, 0].unique().tolist() == [-30.0, 30.0]
    assert abs(plan.value[:, 0].mean().item()) < 1.5
    assert plan.value[:, 1].unique().tolist() == [1.9]


@pytest.mark.parametrize("estimator", ["loo", "relax", "gumbel", "none"])
@pytest.mark.parametrize("magnitude", ["true", "one", "none"])
def test_every_estimator_runs_with_every_magnitude_gradient(estimator, magnitude):
    one = method(estimator=estimator, magnitude=magnitude)
    before = {n: t.detach().clone() for n, t in one.parameters.tensors().items()}
    one.step()
    moved = {n for n, t in one.parameters.tensors().items() if not torch.equal(t, before[n])}
    assert moved == {"alpha", "logit"} | ({"strength"} if magnitude != "none" else set())


def test_exact_and_difference_give_the_same_first_step():
    def first(**options):
        one = method(**options)
        seen = {}
        learn = one._learn

        def record(drawn, cost, image_term, magnitude, by_magnitude):
            seen.update(cost=cost, by_magnitude=by_magnitude.detach())
            learn(drawn, cost, image_term, magnitude, by_magnitude)

        one._learn = record
        one.step()
        return seen

    near, exact = first(derivative="difference"), first(derivative="exact")
    torch.testing.assert_close(near["cost"], exact["cost"], rtol=5e-3, atol=1e-4)
    scale = exact["by_magnitude"].abs().max().item()
    torch.testing.assert_close(
        near["by_magnitude"], exact["by_magnitude"], rtol=1e-2, atol=1e-2 * scale
    )


def test_mean_cost_is_minus_the_inner_product_of_both_gradients():
    one = method(magnitude="none", derivative="exact", memory=0.0)
    proxy, seen = one.proxy, {}
    train = proxy.train

    def record(x, labels, *, by_pixel):
        slope, _ = proxy.network.gradient(proxy.network.weights, x, labels, len(x))
        found = train(x, labels, by_pixel=by_pixel)
        inner = sum((slope[n] * t).sum() for n, t in proxy.tangent.items())
        seen.update(mean=found.derivatives.mean(), inner=inner)
        return found

    proxy.train = record
    one.step()
    torch.testing.assert_close(seen["mean"], seen["inner"], rtol=1e-4, atol=1e-6)


def test_straight_through_magnitude_is_the_sum_over_the_finished_input():
    one = method(magnitude="one")
    seen = {}
    train, learn = one.proxy.train, one._learn

    def record(x, labels, *, by_pixel):
        seen["by_pixel"] = (found := train(x, labels, by_pixel=by_pixel)).by_pixel
        return found

    def record_learning(drawn, cost, image_term, magnitude, by_magnitude):
        seen.update(drawn=drawn, by_magnitude=by_magnitude)
        learn(drawn, cost, image_term, magnitude, by_magnitude)

    one.proxy.train, one._learn = record, record_learning
    one.step()
    expected = torch.zeros(105, 2, dtype=torch.float64)
    bits = seen["drawn"].chosen_bits()
    for image, pair in enumerate(seen["drawn"].choice.tolist()):
        # The cost is minus the slope, averaged over the batch.
        total = -seen["by_pixel"][image].double().sum() / len(bits)
        expected[pair] += bits[image] * total
    torch.testing.assert_close(seen["by_magnitude"], expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 0


def images_seen(**options):
    """Return what the first step shows the network."""
    one, seen = method(**options), []
    train = one.proxy.train

    def record(x, labels, *, by_pixel):
        seen.append(x)
        return train(x, labels, by_pixel=by_pixel)

    one.proxy.train = record
    one.step()
    return seen[0]


def test_straight_through_magnitudes_leave_the_images_as_they_are():
    one, none = images_seen(magnitude="one"), images_seen(magnitude="none")
    assert not one.requires_grad
    assert torch.equal(one, none)


def test_true_magnitude_gradients_follow_the_op_and_leave_unused_pairs_alone():
    one = method(magnitude="true")
    seen = {}
    learn = one._learn

    def record_learning(drawn, cost, image_term, magnitude, by_magnitude):
        seen.update(drawn=drawn, by_magnitude=by_magnitude)
        learn(drawn, cost, image_term, magnitude, by_magnitude)

    one._learn = record_learning
    one.step()
    used = torch.zeros(105, 2, dtype=torch.bool)
    bits = seen["drawn"].chosen_bits() > 0
    for image, pair in enumerate(seen["drawn"].choice.tolist()):
        used[pair] |= bits[image]
    assert (seen["by_magnitude"][~used] == 0).all()
    ends = [one.pairs.values(torch.full((105, 2), end)) for end in (0.0, 1.0)]
    has_magnitude = ends[0] != ends[1]
    assert (seen["by_magnitude"][used & has_magnitude] != 0).any()
    assert (seen["by_magnitude"][~has_magnitude] == 0).all()


def test_the_graph_of_the_magnitudes_does_not_change_the_images():
    pairs = choose_pairs()
    magnitude = torch.full((105, 2), 0.7, dtype=torch.float64)
    pixels = torch.rand(105, 3, 16, 16)
    plans = [
        pairs.plan(torch.arange(105), torch.ones(105, 2), m, torch.Generator().manual_seed(1))
        for m in (magnitude, magnitude.clone().requires_grad_())
    ]
    plain, live = (apply_batch(pixels, plan) for plan in plans)
    assert live.requires_grad
    torch.testing.assert_close(live.detach(), plain, rtol=0, atol=1e-6)


def test_released_mode_has_the_released_settings():
    one = method(mode="released")
    assert one.options == DADAOptions(
        mode="released",
        estimator="released",
        magnitude="one",
        draw="batch",
        validation="train",
        memory=0.0,
        policy_rate=5e-3,
    )
    assert one.steps == 2 * (SMALL_DADA["epochs"] - 1)
    assert isinstance(one.parameters, RawParameters)
    taken = []
    gather = one.proxy.split.val_images
    validation = one.proxy._validation_gradient

    def record(weights):
        found = validation(weights)
        taken.append(found[1])
        return found

    one.proxy._validation_gradient = record
    first = one.step()
    assert len(gather) == 12
    assert one.proxy.validation.left.numel() == 0  # no fresh batch is ever taken
    rate = (
        1e-3
        + (SMALL_DADA["learning_rate"] - 1e-3) * (1 + math.cos(math.pi / SMALL_DADA["epochs"])) / 2
    )
    assert first["learning_rate"] == pytest.approx(rate)
    policy = one.policy()
    assert policy.weights.shape[:2] == (25, 2)


def test_raw_probabilities_have_no_gradient_outside_their_bounds_and_logits_do():
    pairs = choose_pairs()
    raw, logits = RawParameters(pairs), StrengthParameters(pairs, torch.Generator())
    with torch.no_grad():
        raw.beta[0, 0] = 1.2
        logits.logit[0, 0] = 20.0
    for parameters, name, alive in ((raw, "beta", False), (logits, "logit", True)):
        leaf = parameters.tensors()[name]
        (slope,) = torch.autograd.grad(parameters.apply_logits().sum(), leaf)
        assert (slope[0, 0] != 0) == alive


def test_the_policy_is_the_best_quarter_drawn_uniformly_with_what_made_it():
    one = method(keep=10)
    with torch.no_grad():
        one.parameters.alpha[[3, 70]] = torch.tensor([2.0, 3.0], dtype=torch.float64)
        one.parameters.logit[70] = torch.tensor([1.0, -1.0], dtype=torch.float64)
    policy = one.policy()
    torch.testing.assert_close(policy.mixture, torch.full((10,), 0.1, dtype=torch.float64))
    made = policy.about["parameters"]
    assert made["pairs"][70] == one.pairs.name(70)
    assert made["alpha"][70] == 3.0
    applied = 1 - sum(
        policy.weights[0, :, c]
        * torch.tensor([policy.ops[o] == "Identity" for o in policy.op[0, :, c]])
        for c in range(policy.weights.shape[2])
    )
    torch.testing.assert_close(applied, torch.sigmoid(torch.tensor([1.0, -1.0])).double())
    assert (
        len(
            prepare(images(), **SMALL_DADA, ops=["Rotate", "Color", "Flip"]).method.policy().mixture
        )
        == 1
    )


def test_pairs_that_tie_are_kept_in_an_order_of_the_seed_alone():
    def kept(one):
        policy = one.policy()
        return [{policy.ops[o] for o in row.flatten().tolist()} - {"Identity"} for row in policy.op]

    def seeded(seed):
        return prepare(images(), **SMALL_DADA, seed=seed).method

    one = seeded(3)
    first = kept(one)
    assert sum("ShearX" in pair for pair in first) < 14  # all of ShearX's pairs come first
    assert first == kept(seeded(3)) != kept(seeded(4))
    one.generator.manual_seed(9)
    one.load_state_dict(seeded(3).state_dict())
    before = one.generator.get_state()
    assert kept(one) == first
    assert torch.equal(one.generator.get_state(), before)
    with torch.no_grad():
        one.parameters.alpha[[100, 7]] += torch.tensor([1.0, 2.0], dtype=torch.float64)
    best = [set(one.pairs.name(pair).split(" + ")) for pair in (7, 100)]
    assert kept(one) == (best + [pair for pair in first if pair not in best])[: len(first)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "adam"}, "Expected estimator to be one of loo, relax"),
        ({"mode": "released", "magnitude": "true"}, "leave magnitude out"),
        ({"draw": "batch"}, "has one; choose estimator"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"memory": 1.0}, "memory must be in"),
        ({"keep": "many"}, "Expected keep as int, got 'many'"),
    ],
)
def test_wrong_options_are_refused_with_the_way_out(options, message):
    with pytest.raises(ValueError, match=message):
        DADAOptions.read(options)


def test_options_may_come_as_text():
    assert DADAOptions.read({"memory": "0.5", "keep": "5", "estimator": "relax"}) == DADAOptions(
        memory=0.5, keep=5, estimator="relax"
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mode": "released"},
        {"mode": "released", "policy_rate": 0.01},
        {"estimator": "none", "draw": "batch", "memory": 0.0},
        {"keep": "5", "temperature": 1},
    ],
)
def test_options_are_the_same_whether_read_or_built(given):
    built = DADAOptions(**given)
    assert built == DADAOptions.read(given) == replace(built)
    assert [type(value) for value in asdict(built).values() if value is not None] == [
        type(value) for value in asdict(DADAOptions.read(given)).values() if value is not None
    ]
    default = DADAOptions()
    assert (default.estimator, default.magnitude, default.memory) == ("loo", "true", 0.9)
    for name, value in (("magnitude", "true"), ("estimator", "loo"), ("memory", 0.9)):
        with pytest.raises(ValueError, match=f"leave {name} out"):
            DADAOptions(mode="released", **{name: value})
    with pytest.raises(ValueError, match=r"Expected keep as int, got 2\.5"):
        DADAOptions(keep=2.5)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_validation_images_use_the_network_in_the_mode_of_the_option(mode):
    one = method(validation=mode)
    for _ in range(3):
        one.step()
    learner, split = one.proxy.network, one.proxy.split
    index = deepcopy(one.proxy.validation).take(one.proxy.val_batch)
    found, loss = one.proxy._validation_gradient(learner.weights)

    network = deepcopy(learner.network)
    network.load_state_dict({**learner.weights, **learner.buffers})
    network.train(mode == "train")
    logits = network(one.proxy.normalize(split.val_images[index]))
    expected = nn.functional.cross_entropy(logits, split.val_labels[index])
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)
    assert all(module.training for module in learner.network.modules())


def test_validation_images_are_normalized_by_the_steps_own_training_batch():
    one = method()
    seen, train = [], one.proxy.train

    def record(images, labels, **options):
        seen.append(images)
        return train(images, labels, **options)

    one.proxy.train = record
    for _ in range(2):
        first = one.proxy.network.weights
        one.step()
    features = nn.functional.conv2d(seen[-1], first["0.weight"], first["0.bias"], stride=2)
    mean = one.proxy.network.buffers["1.running_mean"]
    torch.testing.assert_close(mean, features.mean((0, 2, 3)))
    assert one.proxy.network.network[1].momentum == 0.1


def test_a_longer_search_moves_the_policy_by_less_a_step():
    options = {}, {"policy_rate": "0.1"}, {"mode": "released"}
    default, own, released = map(DADAOptions.read, options)
    assert default.rate(1) == default.rate(200) == 0.03
    assert default.rate(800) * 800 == pytest.approx(default.rate(200) * 200)
    assert (own.rate(10), own.rate(10_000)) == (0.1, 0.1)
    assert released.rate(10_000) == 5e-3


class Flops(TorchDispatchMode):
    """Counts the multiply-adds of convolutions and matrix products."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 10),
        ({"magnitude": "none"}, 8),
        ({"mode": "released"}, 10),
        ({"tangent": "here"}, 10),
        ({"derivative": "exact"}, 12),
        ({"derivative": "exact", "magnitude": "none"}, 9),
    ],
)
def test_a_step_costs_no_more_forwards_than_it_says(options, limit):
    one = method(**options)
    one.step()
    learner, proxy = one.proxy.network, one.proxy
    pixels = proxy.normalize(proxy.split.train_images[: proxy.batch])
    with Flops() as forward:
        learner.losses(learner.weights, pixels, proxy.split.train_labels[: proxy.batch])
    with Flops() as step:
        one.step()
    assert limit - 3 < step.total / forward.total <= limit
