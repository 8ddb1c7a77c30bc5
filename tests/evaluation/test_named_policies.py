import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import from_layers, rand_augment
from learned_augment.evaluation.named_policies import (
    BASE_AUGMENTATIONS,
    baseline_name,
    named_policy,
    names_base,
)
from learned_augment.policy import Policy
from learned_augment.serialization import list_policies
from learned_augment.training.trainer import augment_batch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment(choice, images, source, **options):
    return augment_batch(images, named_policy(choice, **options).policies, source)


INVERT = from_layers([[("Invert", 1.0, 0.0)]])
REPLACING = from_layers([[("Invert", 1.0, 0.0)]], {"placement": "replaces"})


@pytest.mark.parametrize(
    ("choice", "placement", "names"),
    [
        ("none", "nothing", []),
        ("crop", "crop only", ["crop"]),
        ("crop-flip", "crop-flip only", ["crop-flip"]),
        ("deepaa-cifar10", "alone", ["deepaa-cifar10"]),
        ("trivialaugment", "alone", ["trivialaugment"]),
        ("none+trivialaugment", "alone", ["trivialaugment"]),
        ("crop-flip+dada-cifar10", "after crop-flip", ["crop-flip", "dada-cifar10"]),
        ("crop+trivialaugment", "after crop", ["crop", "trivialaugment"]),
        ("flip+randaugment", "after flip", ["flip", "randaugment"]),
        ("crop-flip+identity", "after crop-flip", ["crop-flip", "identity"]),
        ("crop-flip+cutout", "after crop-flip", ["crop-flip", "cutout"]),
        ("crop-flip+deepaa-cifar10", "after crop-flip", ["crop-flip", "deepaa-cifar10"]),
        ("resized-crop-flip+autoaugment", "after resized-crop-flip", ["resized-crop-flip", None]),
        ("deeptrivialaugment", "alone", ["deepta-6"]),
        ("random:deepaa-cifar10", "alone", ["random:deepaa-cifar10"]),
        ("crop+random:dada-cifar10", "after crop", ["crop", "random:dada-cifar10"]),
    ],
)
def test_a_name_says_all_that_is_applied(choice, placement, names):
    found = named_policy(choice)
    assert found.placement == placement
    assert len(found.policies) == len(names)
    for policy, name in zip(found.policies, names, strict=True):
        assert name in (None, policy.name)
    assert found.name == choice.removeprefix("none+")


@pytest.mark.parametrize(
    ("choice", "name"), [(AutoAugmentPolicy.CIFAR10, "autoaugment-cifar10"), (INVERT, "policy")]
)
def test_policies_themselves_may_come_after_a_base_augmentation(choice, name):
    both = named_policy(choice, "crop")
    assert (both.name, both.placement) == (f"crop+{both.policies[1].name}", "after crop")
    assert both.policies[1] == named_policy(choice).policies[0]


@pytest.mark.parametrize(
    ("choice", "may"),
    [
        ("none", False),
        ("crop", False),
        ("trivialaugment", True),
        ("crop+trivialaugment", False),
        ("deepaa-cifar10", False),
        ("random:deepaa-cifar10", False),
        ("random:dada-cifar10", True),
        (INVERT, True),
        (REPLACING, False),
    ],
    ids=str,
)
def test_a_policy_that_replaces_or_has_a_base_augmentation_does_not_follow_one(choice, may):
    assert named_policy(choice).may_follow_base == may


@pytest.mark.parametrize("name", list_policies())
def test_every_shipped_policy_has_a_name(name):
    replaces = Policy.load(name).about["placement"] == "replaces"
    assert named_policy(name).may_follow_base != replaces
    assert named_policy(f"crop+{name}").policies[1] == Policy.load(name)


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [("randaugment", 2, 9), ("randaugment-2-9", 2, 9), ("randaugment-1-14.5", 1, 14.5)],
)
def test_randaugment_takes_its_numbers_from_its_name(name, n, m):
    assert named_policy(name).policies == (rand_augment(n, m),)
    assert named_policy(f"crop+{name}").name == f"crop+{name}"


@pytest.mark.parametrize("name", ["randaugment-2", "randaugment-2-", "randaugment--1-9"])
def test_half_a_randaugment_is_no_name(name):
    with pytest.raises(ValueError, match=r"No policy named .*randaugment-N-M"):
        named_policy(name)
    with pytest.raises(ValueError, match="magnitude m from 0 to 30, got 31"):
        named_policy("randaugment-2-31")


def test_names_of_random_baselines():
    assert baseline_name("dada-cifar10") == "random:dada-cifar10"
    assert baseline_name("crop-flip+dada-cifar10") == "crop-flip+random:dada-cifar10"
    assert baseline_name("found/a+b.safetensors") == "random:found/a+b.safetensors"


def test_a_choice_may_name_its_base_augmentation():
    named = ["crop", "crop-flip+dada-cifar10", "none+cutout"]
    unnamed = ["none", "cutout", "random:dada-cifar10", "a+b.safetensors", INVERT]
    assert all(map(names_base, named))
    assert not any(map(names_base, unnamed))


def test_none_changes_nothing_and_the_base_augmentation_crops_and_flips():
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(augment("none", images, generator()), images)
    flipped = augment("crop-flip", images, generator())
    # A crop by at most 2 of 16 pixels and perhaps a mirror: the center still holds known columns.
    here = [image[:, 8, 8] for image in flipped]
    near = [torch.cat([i[:, 6:11, 6:11], i[:, 6:11, 5:10]], 2).flatten(1) for i in images]
    assert all(
        (pixel[:, None] == known).all(0).any() for pixel, known in zip(here, near, strict=True)
    )
    assert not torch.equal(flipped, images)


def test_flip_mirrors_half_of_the_images():
    images = torch.randint(0, 256, (200, 3, 16, 16), dtype=torch.uint8)
    flipped = augment("flip", images, generator())
    kept = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_crop_alone_never_mirrors():
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(32, 3, 32, 32)
    cropped = augment("crop", ramp, generator())
    assert (cropped[:, :, 16, 20] > cropped[:, :, 16, 12]).all()


@pytest.mark.parametrize("name", BASE_AUGMENTATIONS)
def test_the_same_generator_gives_the_same_images(name):
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    choice = f"{name}+trivialaugment"
    first, again, other = (augment(choice, images, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_trivialaugment_moves_by_at_most_32_pixels():
    policy = named_policy("trivialaugment", image_size=64).policies[0]
    moves = policy.value[policy.op == policy.ops.index("TranslateX")]
    assert moves.max() == 0.5


def test_names():
    policy = from_layers([[("Invert", 1.0, 0.0)]], {"name": "mine"})
    assert named_policy(policy).name == "mine"
    assert named_policy(policy, "crop").name == "crop+mine"
    assert named_policy(policy, "crop", name="other").name == "other"
    assert named_policy("crop", name="other").name == "other"


@pytest.mark.parametrize("name", ["trivial", "dada", "", "crop+", "mirror+cutout"])
def test_unknown_policies_list_all_names(name):
    with pytest.raises(ValueError, match=r"none, crop, .*trivialaugment, .*deepaa-cifar10"):
        named_policy(name)


@pytest.mark.parametrize("name", ["crop+none", "crop+flip", "random:flip"])
def test_a_base_augmentation_in_the_place_of_a_policy_is_refused(name):
    with pytest.raises(ValueError, match=r"is a base augmentation: .* together are crop-flip"):
        named_policy(name)


def test_a_missing_file_and_other_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match="No policy file"):
        named_policy(str(tmp_path / "x.safetensors"))
    with pytest.raises(TypeError, match="got int"):
        named_policy(3)
    with pytest.raises(
        ValueError, match=r"No base augmentation named 'flop'\. Available: none, cr"
    ):
        named_policy("cutout", "flop")
    with pytest.raises(ValueError, match=r"'crop\+cutout' names its base augmentation; 'flip' is"):
        named_policy("crop+cutout", "flip")


def test_a_random_baseline_follows_the_seed_and_nothing_else_does(tmp_path):
    path = str(Policy.load("dada-cifar10").save(tmp_path / "mine.safetensors"))
    for choice in ("crop+random:dada-cifar10", f"crop+random:{path}"):
        placed = [named_policy(choice, seed=seed) for seed in (0, 1)]
        assert placed[0].name == placed[1].name == choice
        assert placed[0].policies[1] != placed[1].policies[1]
    first, other = (named_policy("crop+dada-cifar10", seed=seed) for seed in (0, 1))
    assert first.policies == other.policies


def test_cutout_is_a_square_of_half_the_side_that_may_stick_out():
    images = torch.full((200, 3, 32, 32), 255, dtype=torch.uint8)
    erased = augment("cutout", images, generator()) != 255
    areas = erased[:, 0].sum((1, 2))
    assert areas.max() == 17 * 17  # both ends included, as the papers draw
    assert areas.min() < 200
