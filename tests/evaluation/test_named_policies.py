import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import DEFAULTS, place_policy
from learned_augment.serialization import list_policies, load
from learned_augment.training.trainer import augment_batch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment(named_policy, images, source):
    return augment_batch(images, named_policy.policies, source)


@pytest.mark.parametrize(
    ("choice", "placement", "count"),
    [
        ("none", "nothing", 0),
        ("default", "crop-flip only", 1),
        ("deepaa-cifar10", "alone", 1),
        ("dada-cifar10", "after crop-flip", 2),
        ("trivialaugment", "after crop-flip", 2),
        ("randaugment", "after crop-flip", 2),
        ("identity", "after crop-flip", 2),
        ("cutout", "after crop-flip", 2),
        ("autoaugment", "after crop-flip", 2),
        ("deeptrivialaugment", "alone", 1),
        ("random:dada-cifar10", "after crop-flip", 2),
        ("random:deepaa-cifar10", "alone", 1),
        (AutoAugmentPolicy.CIFAR10, "after crop-flip", 2),
        (from_layers([[("Invert", 1.0, 0.0)]]), "after crop-flip", 2),
        (from_layers([[("Invert", 1.0, 0.0)]], {"placement": "replaces"}), "alone", 1),
    ],
    ids=str,
)
def test_policies_stand_where_they_say(choice, placement, count):
    named_policy = place_policy(choice, "crop-flip")
    assert named_policy.placement == placement
    assert len(named_policy.policies) == count
    if count == 2:
        assert named_policy.policies[0].name == "crop-flip"


@pytest.mark.parametrize("name", list_policies())
def test_every_shipped_policy_can_be_placed(name):
    placed = place_policy(name, "crop")
    replaces = load(name).about["placement"] == "replaces"
    assert placed.placement == ("alone" if replaces else "after crop")
    assert placed.name == name


def test_without_a_default_everything_stands_alone():
    assert place_policy("default", "nothing").placement == "nothing"
    assert place_policy("dada-cifar10", "nothing").placement == "alone"


def test_none_changes_nothing_and_default_crops_and_flips():
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(augment(place_policy("none", "crop-flip"), images, generator()), images)
    flipped = augment(place_policy("default", "crop-flip"), images, generator())
    # A crop by at most 2 of 16 pixels and perhaps a mirror: the centre still holds known columns.
    here = [image[:, 8, 8] for image in flipped]
    near = [torch.cat([i[:, 6:11, 6:11], i[:, 6:11, 5:10]], 2).flatten(1) for i in images]
    assert all(
        (pixel[:, None] == known).all(0).any() for pixel, known in zip(here, near, strict=True)
    )
    assert not torch.equal(flipped, images)


def test_crop_alone_never_mirrors():
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(32, 3, 32, 32)
    cropped = augment(place_policy("default", "crop"), ramp, generator())
    assert (cropped[:, :, 16, 20] > cropped[:, :, 16, 12]).all()


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_same_generator_gives_the_same_images(name):
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    named_policy = place_policy("trivialaugment", name)
    first, again, other = (augment(named_policy, images, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_trivialaugment_moves_by_at_most_32_pixels():
    policy = place_policy("trivialaugment", "nothing", image_size=64).policies[0]
    moves = policy.value[policy.op == policy.ops.index("TranslateX")]
    assert moves.max() == 0.5


def test_names():
    policy = from_layers([[("Invert", 1.0, 0.0)]], {"name": "mine"})
    assert place_policy(policy, "crop").name == "mine"
    assert place_policy(policy, "crop", name="other").name == "other"


@pytest.mark.parametrize("name", ["trivial", "dada", ""])
def test_unknown_policies_list_all_names(name):
    with pytest.raises(ValueError, match=r"none, default, .*trivialaugment, .*deepaa-cifar10"):
        place_policy(name, "crop")


def test_a_missing_file_and_other_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match="No policy file"):
        place_policy(str(tmp_path / "x.safetensors"), "crop")
    with pytest.raises(TypeError, match="got int"):
        place_policy(3, "crop")
    with pytest.raises(ValueError, match="Available: nothing, crop, crop-flip"):
        place_policy("none", "flop")


def test_a_control_follows_the_seed_and_nothing_else_does(tmp_path):
    path = str(load("dada-cifar10").save(tmp_path / "mine.safetensors"))
    for choice in ("random:dada-cifar10", f"random:{path}"):
        placed = [place_policy(choice, "crop", seed=seed) for seed in (0, 1)]
        assert placed[0].name == placed[1].name == choice
        assert placed[0].policies[1] != placed[1].policies[1]
    first, other = (place_policy("dada-cifar10", "crop", seed=seed) for seed in (0, 1))
    assert first.policies == other.policies


def test_cutout_is_a_square_of_half_the_side_that_may_stick_out():
    images = torch.full((200, 3, 32, 32), 255, dtype=torch.uint8)
    erased = augment(place_policy("cutout", "nothing"), images, generator()) != 255
    areas = erased[:, 0].sum((1, 2))
    assert areas.max() == 17 * 17  # both ends included, as the papers draw
    assert areas.min() < 200
