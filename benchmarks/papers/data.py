"""Load the images of a recipe and place the policy among its other augmentations."""

import hashlib
import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path

import torch
from torchvision import datasets as torchvision_datasets

from benchmarks.papers.feeds import Feed, MemoryFeed
from benchmarks.papers.pictures import ImageFolders, in_memory, read_folders
from benchmarks.papers.pixels import IMAGENET
from benchmarks.papers.presets import Preset
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.workers import Augment, Center, Whole, WorkerFeed, WorkerSettings
from learned_augment import Policy
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import NamedPolicy, named_policy
from learned_augment.training.normalize import level_statistics

__all__ = ["Placed", "Source", "fingerprint", "load_source", "make_feed", "place", "sizes"]

Source = ImageData | ImageFolders


@dataclass(frozen=True)
class Placed:
    """A policy in its place among everything else that a recipe does to training images.

    Attributes:
        named_policy: what is applied to the levels; its placement says all of it, in words.
        recipe: with cutout and lighting as they go with this policy.
    """

    named_policy: NamedPolicy
    recipe: PaperRecipe

    @property
    def first(self) -> int:
        """Number of its policies that come before the base augmentation, on images as stored."""
        return int(self.named_policy.placement.startswith("before"))

    @property
    def sha256(self) -> str:
        """Hash of every figure of its policies."""
        digest = hashlib.sha256()
        for policy in self.named_policy.policies:
            digest.update(replace(policy, about={}).encode())
        return digest.hexdigest()[:16]


def place(policy: str, preset: Preset, recipe: PaperRecipe, seed: int) -> Placed:
    """Put a policy where the papers' code does.

    Of the policies that stand beside the default augmentation, Fast AutoAugment's code puts
    AutoAugment's and its own before it; DADA's, which the same code trains, and all others come
    after it. DeepAA's code puts all of them before it. A random baseline stands where its policy
    does. Jitter, lighting and Cutout come last; "cutout" is all of this without a policy, "default"
    leaves Cutout out as well. A policy that replaces the default augmentation, and "none", stand
    alone.

    Args:
        policy: a name or a path, as `named_policies.named_policy` takes it.
        preset: whose default augmentation it meets.
        recipe: the preset's, perhaps changed.
        seed: chooses a random baseline.

    Raises:
        ValueError: if there is no such policy, or no Cutout in the preset.
    """
    facts, bare = preset.facts, replace(recipe, cutout=0, lighting=0.0)
    if policy == "cutout" and not recipe.cutout:
        raise ValueError(f"The recipe of {preset.data} has no Cutout; the policy is 'default'.")
    choice = facts.default if policy in ("cutout", "default") else policy
    named = partial(named_policy, name=policy, image_size=facts.side, seed=seed)
    found = named(choice)
    if found.may_follow_base and facts.default != "none":
        found = named(choice, facts.default)
    if found.placement in ("alone", "nothing"):
        return Placed(found, bare)
    if found.placement == f"after {facts.default}" and _goes_first(found.policies[-1], preset):
        found = NamedPolicy(policy, f"before {facts.default}", found.policies[::-1])
    shown = replace(recipe, cutout=0) if policy == "default" else recipe
    after = [f"jitter {preset.jitter}"] if preset.jitter else []
    after += [f"lighting {shown.lighting}"] if shown.lighting else []
    after += [f"Cutout {shown.cutout}"] if shown.cutout else []
    words = ", then ".join([found.placement, *after])
    policies = (*found.policies, *([_jitter(preset.jitter)] if preset.jitter else []))
    return Placed(NamedPolicy(policy, words, policies), shown)


def _goes_first(policy: Policy, preset: Preset) -> bool:
    of_theirs = policy.about.get("space") in ("autoaugment", "fast-autoaugment")
    return preset.policy_first or of_theirs or policy.about.get("method") == "AutoAugment"


def _jitter(reach: float) -> Policy:
    """Return brightness, contrast and color in any order, each by a factor within ``reach`` of 1.

    Factors are uniform over 81 values, finer than a gray level in most pixels.
    """
    factors = torch.linspace(1 - reach, 1 + reach, 81, dtype=torch.float64)
    op = torch.tensor(list(permutations(range(3))))  # (6, 3)
    shape = (6, 3, len(factors))
    return Policy(
        ops=("Brightness", "Contrast", "Color"),
        mixture=torch.full((6,), 1 / 6, dtype=torch.float64),
        weights=torch.full(shape, 1 / len(factors), dtype=torch.float64),
        op=op[:, :, None].expand(shape),
        value=factors.expand(shape),
        about={"name": "jitter"},
    )


def load_source(source: str, preset: Preset, *, classes: int, extra: bool) -> Source:
    """Load what a preset is trained and tested on, or list its files.

    Args:
        source: the preset's data as `datasets.load_images` takes them, or folder:PATH of any data
            with a test part.
        preset: says which data, whether the images fit in memory, and how large they are.
        classes: how many there must be.
        extra: whether SVHN's training images include the extra ones, as in the papers.

    Raises:
        ValueError: if data, classes or sizes are not those of the preset.
        FileNotFoundError: if a part is missing.
    """
    kind, _, where = source.partition(":")
    if kind == "folder":
        folders = read_folders(Path(where).expanduser())
        _check_classes(folders.name, len(folders.classes), classes, preset)
        if preset.data == "imagenet":
            return folders
    elif preset.data == "imagenet":
        raise ValueError(
            f"ImageNet comes as folder:PATH with train/ and test/ or val/, got {source!r}."
        )
    elif kind != preset.data:
        raise ValueError(
            f"Expected {preset.data}:ROOT, which the preset is for, or folder:PATH, got "
            f"{source!r}; --list shows the presets of other data."
        )
    try:
        data = load_images(source)
    except ValueError as error:
        raise ValueError(_without_arguments(str(error))) from None
    _check_classes(data.name, len(data.classes), classes, preset)
    side = preset.facts.side
    if data.train_images.shape[2:] != (side, side):
        raise ValueError(
            f"{data.name}: {preset.data} has images of {side} x {side} pixels, these have "
            f"{data.train_images.shape[3]} x {data.train_images.shape[2]}; resize them first."
        )
    return _with_extra(data, Path(where).expanduser()) if kind == "svhn" and extra else data


def _without_arguments(message: str) -> str:
    """Return a message of `load_images` without the ways out that ``train.py`` does not have."""
    message = message.replace(
        ", or leave them out with skip_unreadable=True (--skip-unreadable)", ""
    )
    return re.sub(r"(Give|Use a smaller) image_size=.*", "Resize the images first.", message)


def _check_classes(name: str, found: int, expected: int, preset: Preset) -> None:
    if found != expected:
        raise ValueError(
            f"{name}: expected {expected} classes, got {found}; {preset.data} has "
            f"{preset.facts.classes}. Choose another preset, or say --classes {found}."
        )


def _with_extra(data: ImageData, root: Path) -> ImageData:
    try:
        extra = torchvision_datasets.SVHN(root, split="extra")
    except (RuntimeError, OSError):
        raise FileNotFoundError(
            f"svhn:{root}: extra_32x32.mat is missing or damaged; the papers train on it too. "
            "torchvision.datasets.SVHN(root, 'extra', download=True) stores it; --without-extra "
            "does without."
        ) from None
    images = torch.cat([data.train_images, torch.from_numpy(extra.data)])
    labels = torch.cat([data.train_labels, torch.from_numpy(extra.labels).long()])
    return replace(data, train_images=images, train_labels=labels)


def make_feed(
    data: Source, placed: Placed, side: int, workers: int, on_device: bool, device: torch.device
) -> Feed:
    """Return the way of the images to the network.

    Args:
        data: what is trained and tested on.
        placed: the policy in its place.
        side: pixels that the network is trained on.
        workers: processes that decode and augment, 0 for this one.
        on_device: whether to augment there instead.
        device: where to train.

    Raises:
        ValueError: if images of many sizes were to be augmented on the device.
    """
    policies = placed.named_policy.policies
    if isinstance(data, ImageData):
        if on_device:
            return MemoryFeed(data, placed.named_policy, device)
        train, test = in_memory(data)
        levels = level_statistics(data.train_images)
        settings = WorkerSettings(Augment(policies), Whole(), (), levels, workers)
        return WorkerFeed(train, test, len(data.classes), settings, device)
    inside, after = _parted(placed) if on_device else (policies, ())
    prepare = Augment(inside, side, placed.first) if inside else Center(side)
    settings = WorkerSettings(prepare, Center(side), after, IMAGENET, workers)
    return WorkerFeed(data.train, data.test, len(data.classes), settings, device)


def _parted(placed: Placed) -> tuple[tuple[Policy, ...], tuple[Policy, ...]]:
    """Return what workers do, which brings all images to one size, and what the device does."""
    policies = placed.named_policy.policies
    if placed.named_policy.placement == "alone":
        raise ValueError(
            f"{placed.named_policy.name} crops by itself, from images of any size, which make no "
            "batch for the device: augment in workers."
        )
    return policies[: placed.first + 1], policies[placed.first + 1 :]


def sizes(data: Source) -> tuple[int, int]:
    """Return the numbers of training and test images."""
    if isinstance(data, ImageData):
        return len(data.train_labels), len(data.test_labels)
    return len(data.train.labels), len(data.test.labels)


def fingerprint(data: Source) -> str:
    """Return a hash that tells whether two trainings saw the same images."""
    digest = hashlib.sha256()
    if isinstance(data, ImageData):
        for tensor in (data.train_images, data.train_labels, data.test_images, data.test_labels):
            digest.update(tensor.contiguous().numpy().tobytes())
    else:
        for part in (data.train, data.test):
            digest.update("\n".join(path.name for path in part.paths).encode())
            digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()[:16]
