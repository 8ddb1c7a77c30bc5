"""papers/train.py: where policies stand among crop, flip, jitter, lighting and Cutout."""

import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from benchmarks.papers import data as train_data
from benchmarks.papers.feeds import RandomSource
from benchmarks.papers.pictures import read_folders
from benchmarks.papers.presets import PRESETS
from benchmarks.papers.workers import Augment
from learned_augment.backends.dispatch import apply_image
from learned_augment.policy import Policy
from learned_augment.serialization import list_policies
from tests.conftest import noise_images


@pytest.mark.parametrize(
    ("policy", "placement", "cutout"),
    [
        ("none", "nothing", 0),
        ("default", "crop-flip only", 0),
        ("cutout", "crop-flip only, then Cutout 16", 16),
        ("dada-cifar10", "after crop-flip, then Cutout 16", 16),
        ("random:dada-cifar10", "after crop-flip, then Cutout 16", 16),
        ("trivialaugment", "after crop-flip, then Cutout 16", 16),
        ("fastaa-cifar10", "before crop-flip, then Cutout 16", 16),
        ("random:fastaa-cifar10", "before crop-flip, then Cutout 16", 16),
        ("autoaugment", "before crop-flip, then Cutout 16", 16),
        ("deepaa-cifar10", "alone", 0),
    ],
)
def test_policies_stand_where_the_papers_put_them(policy, placement, cutout):
    placed = train_data.place(
        policy, PRESETS["cifar10-wrn-40-2"], PRESETS["cifar10-wrn-40-2"].recipe, 0
    )
    assert (placed.named_policy.placement, placed.recipe.cutout) == (placement, cutout)


@pytest.mark.parametrize("policy", [name for name in list_policies() if "deepaa" not in name])
def test_published_policies_stand_where_their_files_say(policy):
    data = Policy.load(policy).about["dataset"].lower().replace("-", "")
    preset = next(preset for preset in PRESETS.values() if preset.data == data)
    words = train_data.place(policy, preset, preset.recipe, 0).named_policy.placement
    first = Policy.load(policy).about["evaluation_order"][0] == "policy"
    assert words.startswith("before" if first else "after")


@pytest.mark.parametrize("preset", [name for name in sorted(PRESETS) if "deepaa" in name])
def test_deepaas_recipes_put_policies_before_the_default_augmentation(preset):
    figures = PRESETS[preset]
    for policy in ("dada-cifar10", "trivialaugment", "autoaugment"):
        placed = train_data.place(policy, figures, figures.recipe, 0)
        assert placed.named_policy.placement.startswith(f"before {figures.facts.default}")
        assert [one.name for one in placed.named_policy.policies][1] == figures.facts.default
    for policy, words in (
        ("deepaa-cifar10", "alone"),
        ("default", f"{figures.facts.default} only"),
    ):
        placed = train_data.place(policy, figures, figures.recipe, 0)
        assert placed.named_policy.placement == words


@pytest.mark.parametrize("on_device", [False, True])
def test_what_stands_before_the_crop_sees_the_image_as_it_is_stored(tmp_path, on_device):
    preset = PRESETS["imagenet-resnet50"]
    placed = train_data.place("fastaa-imagenet", preset, preset.recipe, 0)
    assert placed.named_policy.placement.startswith("before resized-crop-flip, then jitter 0.4")
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        image = to_pil_image(noise_images(1, height=40)[0])
        image.save(tmp_path / place / "0.png")
    data = read_folders(tmp_path)
    feed = train_data.make_feed(data, placed, 24, 0, on_device, torch.device("cpu"))
    draws = RandomSource(torch.Generator(), 0)
    images, _ = next(feed.batches(torch.tensor([[0, 1]]), 1, 0, draws))
    assert images.shape == (2, 3, 24, 24)
    # All but the jitter, which comes last.
    generator = torch.Generator().manual_seed(5)
    expected = data.train.image(0)
    for policy, size in zip(placed.named_policy.policies[:2], (None, 24), strict=True):
        expected = apply_image(expected, policy.sample(1, generator), size=size)
    prepare = Augment(placed.named_policy.policies[:2], 24, placed.first)
    found = prepare(data.train.image(0), torch.Generator().manual_seed(5))
    assert found.tobytes() == expected.tobytes()


def test_on_imagenet_jitter_and_lighting_come_after_the_policy():
    preset = PRESETS["imagenet-resnet50"]
    placed = train_data.place("dada-imagenet", preset, preset.recipe, 0)
    assert (
        placed.named_policy.placement
        == "after resized-crop-flip, then jitter 0.4, then lighting 0.1"
    )
    assert [policy.name for policy in placed.named_policy.policies][1:] == [
        "dada-imagenet",
        "jitter",
    ]
    alone = train_data.place("deepaa-imagenet", preset, preset.recipe, 0)
    assert (alone.named_policy.placement, alone.recipe.lighting) == ("alone", 0)
    assert len(alone.named_policy.policies) == 1
    with pytest.raises(ValueError, match="imagenet has no Cutout"):
        train_data.place("cutout", preset, preset.recipe, 0)


def test_jitter_changes_all_three_in_any_order_within_its_reach():
    preset = PRESETS["imagenet-resnet50"]
    jitter = train_data.place("default", preset, preset.recipe, 0).named_policy.policies[-1]
    plan = jitter.sample(600)
    assert sorted({tuple(row) for row in plan.op.tolist()}) == sorted(
        {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}
    )
    assert plan.value.min() == pytest.approx(0.6)
    assert plan.value.max() == pytest.approx(1.4)
    assert plan.value.mean() == pytest.approx(1, abs=0.02)
