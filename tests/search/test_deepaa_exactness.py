"""DeepAA's steps, held to the paper's definitions: autograd through the cosine, in float64."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from learned_augment.datasets.load import load_images
from learned_augment.search import search
from learned_augment.search.batches import NetworkInput
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.gram_rewards import Grams
from learned_augment.search.deepaa.pretraining import Pretraining
from learned_augment.search.presets import PRESETS
from tests.search.test_deepaa import STEADY, prepared, run

OPS = ["Rotate", "Invert", "Brightness", "ShearX"]  # none of them draws
EXACT = {"pairs": 3, "prefixes": 2, "copies": 1, "levels": 3, "pretrain": False}
METHODS = pytest.mark.parametrize("rewards", ["gram", "forward"])


def exact(rewards, **options):
    """A search in float64, and a list of the pairs that it has drawn last."""
    method = prepared({**EXACT, "rewards": rewards, **options}, ops=OPS).method
    pairs, drawn = method.rewards.pairs, []
    pairs.normalize = lambda images: method.normalize(images).double()
    sample = pairs.normalize(method.split.train_images[:2])
    method.frozen = FrozenNetwork(method.pretraining.trained().double(), sample, 2**30)
    draw = pairs.draw

    def keep(count):
        drawn[:] = draw(count)
        return drawn

    pairs.draw = keep
    return method, drawn


def one_hot(candidates, op):
    """All probability on the first candidate of an op."""
    number = candidates.op.tolist().index(candidates.ops.index(op))
    return F.one_hot(torch.tensor(number), len(candidates)).double()


def loss_gradient(network, images, label):
    weighted = (nn.Conv2d, nn.Linear)
    weights = [w for m in network.modules() if isinstance(m, weighted) for w in m.parameters()]
    loss = F.cross_entropy(network(images), torch.full((len(images),), label))
    return torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, weights)])


def applied(candidates, image, probabilities):
    """The image under the one candidate that has all probability."""
    return candidates.apply(image, probabilities.argmax().view(1, 1), torch.zeros(1, 1, 4))


def by_autograd(method, pair, layers, probabilities):
    """The cosine of <v, G p>, and its gradient by p: one image at a time."""
    candidates, network = method.candidates, method.freeze().network
    split, normalize = method.split, method.rewards.pairs.normalize
    image = split.train_images[pair.train_index][None]
    for layer in layers:
        image = applied(candidates, image, layer)
    every = torch.eye(len(candidates))
    each = [normalize(applied(candidates, image, one)) for one in every]
    each = torch.stack([loss_gradient(network, one, pair.label) for one in each])
    val_indices = split.val_labels == pair.label if pair.val_indices is None else pair.val_indices
    v = loss_gradient(network, normalize(split.val_images[val_indices]), pair.label)
    p = probabilities.clone().requires_grad_()
    g = p @ each
    cosine = g @ v / (g.norm() * v.norm())
    return cosine.detach(), torch.autograd.grad(cosine, p)[0]


def measured(method, layers, probabilities):
    """Cosines (P,) and rewards (P, N) as the search finds them."""
    if method.options.rewards == "gram":
        grams = method.rewards.measure(method.freeze(), layers)
        return grams.cosines(probabilities), grams.rewards(probabilities)
    rewards, cosines = method.rewards.measure(method.freeze(), layers, probabilities)
    return cosines, rewards


@METHODS
@pytest.mark.parametrize("val_batch", [0, 3])
@pytest.mark.parametrize("before", [(), ("Invert",), ("Invert", "Rotate")])
def test_rewards_are_the_gradient_of_the_cosine_by_the_probabilities(rewards, val_batch, before):
    method, drawn = exact(rewards, val_batch=val_batch)
    layers = [one_hot(method.candidates, op) for op in before]
    probabilities = torch.softmax(torch.randn(len(method.candidates), dtype=torch.float64), 0)
    if layers and rewards == "forward":  # g is drawn from the layer too: without chance, exact
        probabilities = one_hot(method.candidates, "Brightness")
    cosines, found = measured(method, layers, probabilities)
    assert len(drawn) == 3
    for pair, cosine, mine in zip(drawn, cosines, found, strict=True):
        expected, derivatives = by_autograd(method, pair, layers, probabilities)
        torch.testing.assert_close(cosine, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            mine, derivatives, rtol=1e-7, atol=1e-9 * derivatives.abs().max().item()
        )


@pytest.mark.parametrize("val_batch", [0, 3])
def test_validation_images_of_a_pair_are_of_its_class(val_batch):
    method, drawn = exact("gram", val_batch=val_batch)
    method.rewards.pairs.draw(20)
    split = method.split
    for pair in drawn:
        assert split.train_labels[pair.train_index] == pair.label
        assert pair.val_indices is None or (split.val_labels[pair.val_indices] == pair.label).all()
    assert {pair.label for pair in drawn} == {0, 1, 2}


@METHODS
@pytest.mark.parametrize("before", [(), ("Invert",)], ids=["first", "later"])
def test_a_step_climbs_the_mean_less_the_deviation_over_pairs_from_layer_two_on(rewards, before):
    method, _ = exact(rewards, penalty=0.7, updates=1)
    layers = [one_hot(method.candidates, op) for op in before]
    logits, kept = method.layer, []
    logits.theta = torch.randn(len(logits.theta), dtype=torch.float64)
    measure, p = method.rewards.measure, logits.probabilities()

    def keep(*args):
        kept.append(measure(*args))
        return kept[-1]

    method.rewards.measure = keep
    method.rewards.step(method.freeze(), layers, logits)
    found = kept[0].rewards(p) if isinstance(kept[0], Grams) else kept[0][0]
    reward = found.mean(0) - (0.7 * found.std(0, correction=0) if layers else 0.0)
    # What multiplies the gradient, which Adam sees down the hill: in the spec's "forward" only.
    scale = 1.0 if rewards == "gram" else 3.0 if layers else 0.25
    downhill = -scale * p * (reward - p @ reward)
    torch.testing.assert_close(logits.mean, 0.1 * downhill, rtol=1e-9, atol=1e-15)


def test_depth_auto_drops_the_layer_that_becomes_identity():
    def toward_identity(frozen, layers, logits):
        if layers:
            logits.improve(F.one_hot(torch.tensor(0), len(logits.theta)).double())
        return {"cosine": 1.0}

    method = prepared({**EXACT, "depth": "auto", "steps": 2}, ops=OPS).method
    method.rewards.step = toward_identity
    method.layer.theta.zero_()
    run(method)
    (layer,) = method.policy().weights[0]
    assert method.done == method.steps == 4
    assert layer.double() == pytest.approx(1 / len(method.candidates), rel=1e-4)


@pytest.mark.parametrize("loud", [False, True], ids=["short", "clipped"])
def test_the_network_is_trained_by_nesterovs_sgd_with_a_cosine_and_clipping(loud):
    network, images = STEADY(3), torch.randint(256, (12, 3, 16, 16)).to(torch.uint8)
    labels, normalize = torch.arange(3).repeat(4), NetworkInput(images)
    if loud:
        network[-1].weight.data *= 30
    preset = replace(
        PRESETS["quick"],
        base="none",
        epochs=4,
        batch_size=12,
        learning_rate=0.05,
        weight_decay=0.01,
    )
    reference = deepcopy(network).train()
    norms, others = list(reference[1].parameters()), [*reference[0].parameters()]
    others += reference[-1].parameters()
    groups = [{"params": others, "weight_decay": 0.0}, {"params": norms}]
    sgd = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 4, eta_min=1e-7)
    generator = torch.Generator().manual_seed(0)
    training = Pretraining(network, images, labels, normalize, preset, generator)
    lengths = []
    for _ in range(4):
        training.step()
        sgd.zero_grad()
        # As published: the decay is a term of the loss, so clipping sees it.
        decay = sum(w.square().sum() for w in others) * 0.01 / 2
        (F.cross_entropy(reference(normalize(images)), labels) + decay).backward()
        lengths.append(torch.nn.utils.clip_grad_norm_(reference.parameters(), 5.0))
        sgd.step()
        cosine.step()
    assert (max(lengths) > 5.0) == loud
    found = training.trained().state_dict()
    for name, expected in reference.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def tiny(classes):
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(6 * 7 * 7, classes)),
    )


def share_of_invert(data, val, rewards):
    policy = search(
        data,
        val=replace(data, train_images=val),
        method="deepaa",
        network=tiny,
        epochs=3,
        batch_size=50,
        ops=OPS,
        options={
            "rewards": rewards,
            "steps": 5 if rewards == "gram" else 40,
            "depth": 1,
            "policy_rate": 0.1,
            "levels": 5,
        },
        progress=False,
    )
    return policy.op_shares()["Invert"].item()


@METHODS
@pytest.mark.filterwarnings("ignore:.*images of the data too")  # as they are here, unchanged
def test_a_change_of_the_validation_images_is_found(rewards):
    pytest.importorskip("sklearn")
    data = load_images("digits").subset(200)
    planted = share_of_invert(data, 255 - data.train_images, rewards)
    # Of 14 candidates; other seeds find 0.13 to 0.2, and at most 0.02 where nothing was done.
    assert planted > 0.1
    assert planted > 5 * share_of_invert(data, data.train_images, rewards)
