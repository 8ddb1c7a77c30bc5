"""Recipes of the papers: schedules, copies, clipping, Cutout and lighting."""

import math

import pytest
import torch
from torch import nn

from benchmarks.papers.build import optimizer
from benchmarks.papers.feeds import MemoryFeed
from benchmarks.papers.pixels import cut_out, light
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from learned_augment.training import Recipe, train_network
from tests.training.test_training import CPU, linear, made_data


def train(policy="none", network=linear, **recipe):
    settings = {"epochs": 3, "batch_size": 16} | recipe
    with isolated(0):
        feed = MemoryFeed(
            made_data(), named_policy(policy, "none" if policy == "none" else "crop"), CPU
        )
        trainer = PaperTrainer(feed, network, PaperRecipe(**settings), 0, CPU)
        for _ in range(trainer.steps):
            trainer.step()
        return trainer.result()


@pytest.mark.parametrize("policy", ["none", "trivialaugment"])
@pytest.mark.parametrize("network", [linear, "small-cnn"])
def test_without_what_the_papers_add_the_numbers_are_those_of_the_package(policy, network):
    policies = named_policy(policy, "none" if policy == "none" else "crop").policies
    plain = train_network(made_data(), policies, network, Recipe(3, 16), 0, CPU)
    assert train(policy, network) == plain


def test_the_papers_schedules_warm_up_then_fall():
    cosine = PaperRecipe(200, 512, 0.4, schedule="cosine after warm-up", start=0.1, warm_up=5 / 200)
    assert cosine.rate(0.0) == 0.1
    assert cosine.rate(0.0125) == pytest.approx(0.25)
    assert cosine.rate(0.025) == pytest.approx(0.4)
    assert cosine.rate(0.025 + 0.975 / 3) == pytest.approx(0.3)  # cos 60 degrees
    assert cosine.rate(1.0) == pytest.approx(0.0, abs=1e-12)


def test_steps_divide_the_rate_by_ten_at_the_milestones():
    shares = (90 / 270, 180 / 270, 240 / 270)
    steps = PaperRecipe(
        270, 1024, 0.4, schedule="steps", start=0.2, warm_up=3 / 270, milestones=shares
    )
    rates = [steps.rate((epoch + 0.5) / 270) for epoch in (0, 3, 89, 90, 179, 180, 239, 240, 269)]
    expected = [0.2 + 0.2 / 6, 0.4, 0.4, 0.04, 0.04, 0.004, 0.004, 0.0004, 0.0004]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"schedule": "steps"}, 'milestones belong to the schedule "steps"'),
        ({"milestones": (0.5,)}, 'milestones belong to the schedule "steps"'),
        ({"schedule": "steps", "milestones": (0.5, 0.3)}, "that rise"),
        ({"schedule": "steps", "milestones": (0.05,)}, "that rise"),
        ({"start": 0.2}, "start must be from 0 to the learning rate, 0.1, got 0.2"),
        ({"warm_up": 1.0}, "warm_up is a share"),
        ({"copies": 0}, "copies must be 1 or more"),
        ({"clip": -1.0}, "clip must be 0 or more"),
        ({"clip": math.nan}, "clip must be 0 or more"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PaperRecipe(**settings)


def test_two_equal_copies_of_a_batch_learn_what_one_does():
    once, twice = train(), train(copies=2)
    assert twice.losses == pytest.approx(once.losses, rel=1e-5)
    assert train("trivialaugment", copies=2).losses != train("trivialaugment").losses


def test_each_copy_of_a_batch_is_normalized_by_itself():
    sizes = []

    class Spy(nn.BatchNorm2d):
        def forward(self, x):
            sizes.append(len(x)) if self.training else None
            return super().forward(x)

    def network(classes):
        return nn.Sequential(Spy(3), linear(classes))

    train(network=network, epochs=1, copies=3)
    assert sizes == [16] * 9


def test_gradients_are_clipped_only_if_asked():
    free, held = train(epochs=1, clip=0), train(epochs=1, clip=0.01)
    assert train(epochs=1, clip=1e6) == free
    assert held.losses != free.losses


def test_scales_and_shifts_decay_only_if_asked():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(200, 3))
    every, excluded = (
        optimizer(network, PaperRecipe(weight_decay=0.5, decay_norms=decay))
        for decay in (True, False)
    )
    assert [group["weight_decay"] for group in every.param_groups] == [0.5]
    assert [(len(g["params"]), g["weight_decay"]) for g in excluded.param_groups] == [
        (4, 0.5),
        (2, 0),
    ]


def test_cutout_clears_a_square_around_its_center_that_may_reach_outside():
    images = torch.ones(2, 3, 8, 8)
    out = cut_out(images, 4, torch.tensor([[0.5, 0.5], [0.0, 0.99]]))
    expected = torch.ones(2, 8, 8)
    expected[0, 2:6, 2:6] = 0
    expected[1, 0:2, 5:8] = 0
    assert torch.equal(out, expected[:, None].expand_as(out))
    assert images.min() == 1


def test_light_adds_the_principal_colors_of_imagenet():
    deviation = torch.tensor([50.0, 100.0, 200.0])[:, None, None]
    out = light(torch.zeros(1, 3, 2, 2), torch.tensor([[2.0, 0.0, 0.0]]), deviation)
    # 2 deviations of the first direction, in levels, over the channels' deviations.
    levels = 2 * 0.2175 * 255 * torch.tensor([-0.5675, -0.5808, -0.5836])
    torch.testing.assert_close(out[0, :, 0, 0], levels / deviation[:, 0, 0])


def test_cutout_is_of_training_images_after_normalization():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = linear(3)

        def forward(self, x):
            seen.append((self.training, (x == 0).all(1).sum((1, 2))))
            return self.inner(x)

    train(network=lambda classes: Spy(), epochs=1, cutout=6)
    cleared = torch.cat([count for training, count in seen if training])
    assert cleared.max() == 36
    assert cleared.min() >= 9  # a quarter lies inside, whatever its center
    assert all((count == 0).all() for training, count in seen if not training)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    usual, compiled = (train(network="small-cnn", epochs=2, compile=c) for c in (False, True))
    assert compiled.losses == pytest.approx(usual.losses, rel=1e-3)
