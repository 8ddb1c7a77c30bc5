import math

import pytest
import torch
from torch import nn

from learned_augment.image_data import ImageData
from learned_augment.placement import place_policy
from learned_augment.training import Recipe, check_network, find_device, train_network

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
    contender = place_policy(policy, "crop")
    return train_network(data or made_data(), contender, network, Recipe(**settings), seed, CPU)


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
    same = train_network(
        made_data(), place_policy("identity", "nothing"), linear, Recipe(3, 16), 0, CPU
    )
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
    contender = place_policy(invert, "nothing")
    assert train_network(made_data(), contender, linear, Recipe(20, 16), 0, CPU).accuracy < 50


def test_images_reach_the_network_normalised_by_training_statistics():
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
    train_network(made_data(), place_policy("none", "crop"), linear, recipe, 0, CPU, epochs.append)
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


@pytest.mark.parametrize("name", ["cpux", "cuda:99", "meta0"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ValueError, match=f"Device '{name}' cannot be used"):
        find_device(name)


def test_a_device_is_found():
    assert find_device("cpu") == CPU
    assert find_device(None).type in {"cpu", "cuda"}


def test_a_network_for_other_classes_is_noticed():
    with pytest.raises(ValueError, match=r"Expected logits \(2, 3\).*returned \(2, 5\)"):
        check_network(linear(5), made_data(), CPU)


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
