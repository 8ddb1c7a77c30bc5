import math

import pytest
import torch
from torch import nn

from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import place_policy
from learned_augment.training import Recipe, check_network, find_device, train_network
from learned_augment.training.build import optimiser
from learned_augment.training.pixels import cut_out, light

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
    named_policy = place_policy(policy, "crop")
    return train_network(data or made_data(), named_policy, network, Recipe(**settings), seed, CPU)


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
    named_policy = place_policy(invert, "nothing")
    assert train_network(made_data(), named_policy, linear, Recipe(20, 16), 0, CPU).accuracy < 50


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

    with pytest.raises(ValueError, match="failed on them: RuntimeError"):
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


def test_the_papers_schedules_warm_up_then_fall():
    cosine = Recipe(200, 512, 0.4, schedule="cosine after warm-up", start=0.1, warm_up=5 / 200)
    assert cosine.rate(0.0) == 0.1
    assert cosine.rate(0.0125) == pytest.approx(0.25)
    assert cosine.rate(0.025) == pytest.approx(0.4)
    assert cosine.rate(0.025 + 0.975 / 3) == pytest.approx(0.3)  # cos 60 degrees
    assert cosine.rate(1.0) == pytest.approx(0.0, abs=1e-12)


def test_steps_divide_the_rate_by_ten_at_the_milestones():
    shares = (90 / 270, 180 / 270, 240 / 270)
    steps = Recipe(270, 1024, 0.4, schedule="steps", start=0.2, warm_up=3 / 270, milestones=shares)
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
        Recipe(**settings)


def test_two_equal_copies_of_a_batch_learn_what_one_does():
    once, twice = train(), train(copies=2)
    assert twice.losses == pytest.approx(once.losses, rel=1e-5)
    assert train("trivialaugment", copies=2).losses != train("trivialaugment").losses


def test_each_copy_of_a_batch_is_normalised_by_itself():
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
    every, spared = (
        optimiser(network, Recipe(weight_decay=0.5, decay_norms=decay)) for decay in (True, False)
    )
    assert [group["weight_decay"] for group in every.param_groups] == [0.5]
    assert [(len(g["params"]), g["weight_decay"]) for g in spared.param_groups] == [
        (4, 0.5),
        (2, 0),
    ]


def test_cutout_clears_a_square_around_its_centre_that_may_reach_outside():
    images = torch.ones(2, 3, 8, 8)
    out = cut_out(images, 4, torch.tensor([[0.5, 0.5], [0.0, 0.99]]))
    expected = torch.ones(2, 8, 8)
    expected[0, 2:6, 2:6] = 0
    expected[1, 0:2, 5:8] = 0
    assert torch.equal(out, expected[:, None].expand_as(out))
    assert images.min() == 1


def test_light_adds_the_principal_colours_of_imagenet():
    deviation = torch.tensor([50.0, 100.0, 200.0])[:, None, None]
    out = light(torch.zeros(1, 3, 2, 2), torch.tensor([[2.0, 0.0, 0.0]]), deviation)
    # 2 deviations of the first direction, in levels, over the channels' deviations.
    levels = 2 * 0.2175 * 255 * torch.tensor([-0.5675, -0.5808, -0.5836])
    torch.testing.assert_close(out[0, :, 0, 0], levels / deviation[:, 0, 0])


def test_cutout_is_of_training_images_after_normalisation():
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
    assert cleared.min() >= 9  # a quarter lies inside, whatever its centre
    assert all((count == 0).all() for training, count in seen if not training)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    usual, compiled = (train(network="small-cnn", epochs=2, compile=c) for c in (False, True))
    assert compiled.losses == pytest.approx(usual.losses, rel=1e-3)
