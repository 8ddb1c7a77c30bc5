import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from learned_augment.training import Recipe, Trainer, check_network, find_device, train_network

CPU = torch.device("cpu")


def linear(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))


def made_data(count=48, test=20, classes=3, noise=60):
    """Noisy squares: the class says which third of the image is bright."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.arange(count + test) % classes
    images = torch.randint(0, noise, (count + test, 3, 12, 12), generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 100
    images = images.to(torch.uint8)
    parts = (images[:count], labels[:count], images[count:], labels[count:])
    return ImageData("made", tuple("abcdefg"[:classes]), *parts)


def train(policy="none", seed=0, network=linear, data=None, **recipe):
    settings = {"epochs": 3, "batch_size": 16} | recipe
    policies = named_policy(policy, "none" if policy == "none" else "crop").policies
    return train_network(data or made_data(), policies, network, Recipe(**settings), seed, CPU)


def test_training_learns():
    assert train(epochs=10).accuracy == 100
    assert train(epochs=10).loss < 0.2


def test_the_same_seed_gives_the_same_numbers_whatever_was_drawn_before():
    first = train("trivialaugment")
    torch.rand(5)
    assert train("trivialaugment") == first
    assert train("trivialaugment", seed=1) != first


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train()
    assert torch.equal(torch.rand(4), expected)


def test_policies_at_one_seed_share_weights_and_order():
    # Identity draws from the augmentation's generator and from no other.
    identity = named_policy("identity").policies
    same = train_network(made_data(), identity, linear, Recipe(3, 16), 0, CPU)
    assert same == train("none")


def test_dropout_is_seeded_too():
    def network(classes):
        return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(432, classes))

    assert train(network=network) == train(network=network)


def test_a_module_is_not_changed_by_training():
    module = linear(3)
    before = module[2].weight.clone()
    assert train(network=module) == train(network=module)
    assert torch.equal(module[2].weight, before)


def test_only_training_images_are_augmented():
    # Inverting every training image turns the classes' evidence upside down for clean test images.
    from learned_augment.builders import from_layers

    invert = from_layers([[("Invert", 1.0, 0.0)]], {"placement": "replaces"})
    assert train_network(made_data(), (invert,), linear, Recipe(20, 16), 0, CPU).accuracy < 50


def test_images_reach_the_network_normalized_by_training_statistics():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = linear(3)

        def forward(self, x):
            if self.training:
                seen.append(x)
            return self.inner(x)

    train(network=lambda classes: Spy(), epochs=1)
    pixels = torch.cat(seen)  # every training image once: 48 is a multiple of 16
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        pixels.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0
    )


def test_every_epoch_is_reported_and_a_batch_may_exceed_the_data():
    epochs = []
    recipe = Recipe(3, batch_size=1000)
    train_network(made_data(), (), linear, recipe, 0, CPU, epochs.append)
    assert epochs == [1, 2, 3]


def test_the_learning_rate_rises_then_falls_to_zero():
    recipe = Recipe(learning_rate=0.4)
    assert recipe.rate(0.05) == pytest.approx(0.2, rel=0.01)
    assert recipe.rate(0.5) == pytest.approx(0.2)
    assert recipe.rate(1.0) == pytest.approx(0.0, abs=1e-12)
    assert max(recipe.rate(i / 100) for i in range(101)) <= 0.4


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"precision": "float16"},
        {"test_every": -1},
    ],
)
def test_recipes_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Recipe(**settings)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "test_every"])
def test_recipes_count_in_whole_numbers(name):
    with pytest.raises(TypeError, match=f"Expected {name} as a whole number, got 2.5"):
        Recipe(**{name: 2.5})
    with pytest.raises(TypeError, match=f"Expected {name} as a whole number, got None"):
        Recipe(**{name: None})


@pytest.mark.parametrize("name", ["cpux", "cuda:99", "meta0", "meta"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ValueError, match=f"Device '{name}' cannot be used"):
        find_device(name)


def test_a_device_is_found():
    assert find_device("cpu") == CPU
    assert find_device(None).type in {"cpu", "cuda"}


def test_a_network_for_other_classes_is_noticed():
    with pytest.raises(ValueError, match=r"Expected logits \(2, 3\).*returned \(2, 5\)"):
        check_network(linear(5), made_data(), CPU)


def test_a_network_that_returns_something_else_or_takes_other_images_is_noticed():
    class Two(torch.nn.Flatten):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(ValueError, match=r"Expected logits \(2, 3\).*returned a tuple"):
        check_network(Two(), made_data(), CPU)
    with pytest.raises(ValueError, match=r"takes images \(2, 3, .*but it failed on them: "):
        check_network(torch.nn.Conv2d(7, 3, 3), made_data(), CPU)

    class Mute(torch.nn.Flatten):
        def forward(self, x):
            raise RuntimeError

    with pytest.raises(ValueError, match=r"failed on them: RuntimeError\.$"):
        check_network(Mute(), made_data(), CPU)


def test_epochs_are_tested_where_asked_and_the_best_is_reported_beside_the_last():
    trained = train(epochs=7, test_every=3)
    assert [epoch for epoch, _ in trained.accuracies] == [3, 6, 7]
    assert trained.accuracy == trained.accuracies[-1][1]
    assert trained.best == max(accuracy for _, accuracy in trained.accuracies)
    assert len(trained.losses) == 7
    assert trained.loss == trained.losses[-1]


def test_testing_more_often_changes_no_number():
    often, once = train(epochs=4, test_every=1), train(epochs=4)
    assert (often.accuracy, often.losses) == (once.accuracy, once.losses)


def test_lower_precision_and_another_layout_learn_the_same():
    usual = train(network="small-cnn", epochs=2)
    last = train(network="small-cnn", epochs=2, channels_last=True)
    low = train(network="small-cnn", epochs=2, precision="bfloat16")
    # Sums in another order; bfloat16 keeps three digits.
    assert last.losses == pytest.approx(usual.losses, rel=1e-3)
    assert low.losses == pytest.approx(usual.losses, rel=0.05)
    assert low.losses != usual.losses


def test_every_epoch_has_its_own_order_of_the_same_images():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.append(x)
            return super().forward(x.flatten(1))

    train(network=Spy(432, 3))
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, 9, 3)]
    for one, two in pairwise(epochs):
        assert not torch.equal(one, two)
        torch.testing.assert_close(one.sum(0), two.sum(0), atol=1e-3, rtol=0)


def test_a_trainer_shows_its_network_and_its_test_logits_in_order():
    data = made_data()
    with isolated(0):
        trainer = Trainer(data, (), linear, Recipe(1, 16), 0, CPU)
        assert trainer.steps == 3
        with pytest.raises(ValueError, match="No epoch has been tested after 0 of 3"):
            trainer.result()
        for _ in range(trainer.steps):
            trainer.step()
        logits, labels = (torch.cat(part) for part in zip(*trainer.test_logits(), strict=True))
    assert torch.equal(labels, data.test_labels)
    levels = data.train_images.float()
    mean, deviation = (f((0, 2, 3), keepdim=True) for f in (levels.mean, levels.std))
    with torch.no_grad():
        expected = trainer.network((data.test_images - mean) / deviation)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_a_frozen_network_is_refused_and_a_partly_frozen_one_trains():
    frozen = linear(3).requires_grad_(False)
    with pytest.raises(ValueError, match=r"none of its parameters requires a gradient; set"):
        check_network(frozen, made_data(), CPU)
    with pytest.raises(ValueError, match="none of its parameters"):
        check_network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), made_data(), CPU)
    frozen.append(nn.Linear(3, 3))
    check_network(frozen, made_data(), CPU)
    assert train(network=frozen).losses != ()
    assert all(not weight.requires_grad for weight in frozen[2].parameters())


def test_a_network_without_a_gradient_is_refused():
    class Cut(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)).detach()

    with pytest.raises(ValueError, match="depend on no weight that requires a gradient"):
        check_network(Cut(432, 3), made_data(), CPU)


@pytest.mark.parametrize("lazy", [nn.LazyLinear(3), nn.LazyBatchNorm1d()])
def test_a_network_with_weights_that_are_not_initialized_is_refused(lazy):
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 3), lazy)
    with pytest.raises(ValueError, match=r"but 2\.\w+.* are not; run it on a batch"):
        check_network(network, made_data(), CPU)
    network(torch.zeros(4, 3, 12, 12))
    check_network(network, made_data(), CPU)
