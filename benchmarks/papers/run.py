"""The command line of ``train.py`` and the training that it describes."""

import argparse
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.papers.data import Placed, Source, place, sizes
from benchmarks.papers.presets import PRESETS, Preset
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.record import CHECKPOINTS
from benchmarks.training_loop import add_training_options
from learned_augment.evaluation.random_baseline import RANDOM
from learned_augment.training.recipe import PRECISIONS

__all__ = ["PaperRun", "parser", "preset_table", "read_run"]

_CHANGES = (
    "epochs",
    "batch_size",
    "learning_rate",
    "start",
    "weight_decay",
    "copies",
    "precision",
    "test_every",
)
_SWITCHES = ("channels_last", "compile")


def parser(about: str) -> argparse.ArgumentParser:
    """Return the command line of ``train.py``, which `about` describes."""
    found = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_training_options(found)
    found.set_defaults(workers=min(8, os.cpu_count() or 1))
    add = found.add_argument
    add("--list", action="store_true", help="show the presets")
    add("--preset", choices=PRESETS, metavar="NAME", help="DATASET-NETWORK, see --list")
    add("--policy", default="default", help="name or path")
    add("--data", help="cifar10:ROOT, cifar100:ROOT, svhn:ROOT, folder:PATH with train/ and test/")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--dry-run", action="store_true", help="say what would be trained; --data may be left out")
    add("--checkpoints", type=Path, metavar="FOLDER", default=CHECKPOINTS)
    add("--images", type=int, help="train on so many, every class in proportion")
    add("--classes", type=int, help="expect so many, instead of the preset's")
    add("--without-extra", action="store_true", help="SVHN: leave out the extra images")
    add("--augment", choices=("device", "workers"), help="else device; workers for ImageNet")
    add("--start", type=float, help="learning rate that warms up; else in the preset's proportion")
    add("--weight-decay", type=float)
    add("--copies", type=int, help="of each image in a step: batch augmentation")
    add("--test-every", type=int, metavar="EPOCHS")
    add("--precision", choices=PRECISIONS)
    add("--channels-last", action="store_true")
    add("--compile", action="store_true", help="the network, by torch.compile")
    return found


@dataclass(frozen=True)
class PaperRun:
    """Everything that decides the numbers, and where they go."""

    options: argparse.Namespace
    preset: Preset
    recipe: PaperRecipe
    name: str

    @property
    def augmented(self) -> str:
        """Place where images are augmented: "device" or "workers"."""
        usual = "workers" if self.preset.data == "imagenet" else "device"
        return str(self.options.augment or usual)

    @property
    def classes(self) -> int:
        """Classes that there must be."""
        return self.options.classes or self.preset.facts.classes

    def placed(self, seed: int) -> Placed:
        """Return the policy of one seed in its place."""
        return place(self.options.policy, self.preset, self.recipe, seed)

    def description(self, data: Source | None) -> str:
        """Return what would be trained, in words."""
        workers = f"in {self.options.workers} workers"
        where = workers if self.augmented == "workers" else "on the device"
        target = f"results/train-{self.name}.json; {self.options.checkpoints}/{self.name}-seedN.pt"
        placed = self.placed(self.options.seeds[0])
        return _description(self.preset, placed, data, self.classes, where, target)


def read_run(options: argparse.Namespace) -> PaperRun:
    """Return what the arguments ask for.

    Raises:
        ValueError: if they make no sense.
    """
    if options.preset is None:
        raise ValueError("Which preset? Give --preset NAME; --list shows the names.")
    if not options.time_budget > 0 or options.workers < 0:
        raise ValueError("Expected --time-budget above 0 and --workers of 0 or more.")
    if len(set(options.seeds)) < len(options.seeds) or min(options.seeds) < 0:
        raise ValueError(f"Expected different seeds from 0 up, got {options.seeds}.")
    if options.checkpoints.exists() and not options.checkpoints.is_dir():
        raise ValueError(f"Expected --checkpoints as a folder, got the file {options.checkpoints}.")
    preset = PRESETS[options.preset]
    name = options.name or f"{options.preset}-{_called(options.policy)}".replace(":", "-")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"A name has letters, digits, '.', '-' and '_' only, got {name!r}.")
    return PaperRun(options, preset, _changed(preset.recipe, options), name)


def _changed(recipe: PaperRecipe, options: argparse.Namespace) -> PaperRecipe:
    """Return the recipe as the arguments change it; the warm-up starts in proportion to its end."""
    changes = {key: getattr(options, key) for key in _CHANGES if getattr(options, key) is not None}
    changes |= {key: True for key in _SWITCHES if getattr(options, key)}
    rate = changes.get("learning_rate", recipe.learning_rate)
    start = recipe.start * (rate / recipe.learning_rate)
    return replace(recipe, **{"start": start} | changes)


def _called(policy: str) -> str:
    """Return what to call a policy in names of files: a path's last part, random or not."""
    if not policy.endswith(".safetensors"):
        return policy
    control = RANDOM if policy.startswith(RANDOM) else ""
    return control + Path(policy.removeprefix(RANDOM)).stem


def preset_table() -> str:
    """Return one line a preset."""
    lines = [f"{'preset':<31} {'parameters':>11} {'epochs':>6} {'batch':>6} {'rate':>6}  decay"]
    for name, preset in PRESETS.items():
        recipe, count = preset.recipe, _parameters(preset, preset.facts.classes)
        batch = f"{recipe.copies}x{recipe.batch_size}" if recipe.copies > 1 else recipe.batch_size
        lines.append(
            f"{name:<31} {count:>11,} {recipe.epochs:>6} {batch:>6} {recipe.learning_rate:>6g}"
            f"  {recipe.weight_decay:g}"
        )
    return "\n".join(lines)


def _parameters(preset: Preset, classes: int) -> int:
    """Count the weights of a preset's network, without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in preset.build(classes).parameters())


def _description(
    preset: Preset, placed: Placed, data: Source | None, classes: int, augmented: str, target: str
) -> str:
    """Return what would be trained.

    Args:
        preset: whose figures those are that the recipe does not hold.
        placed: policy and recipe.
        data: None takes the paper's number of images.
        classes: of the data.
        augmented: where, in words.
        target: where results and checkpoints go.
    """
    recipe, facts = placed.recipe, preset.facts
    train, test = sizes(data) if data else (facts.images, None)
    batch = min(recipe.batch_size, train)
    steps = train // batch
    name = data.name if data else preset.data
    tested = "" if test is None else f", {test:,} test images"
    rows = {
        "network": f"{preset.network}, {_parameters(preset, classes):,} parameters",
        "data": f"{name}: {train:,} training images{tested}, {classes} classes, {facts.side} px",
        "policy": f"{placed.named_policy.name}: {placed.named_policy.placement}",
        "augmented": augmented,
        "steps": f"{recipe.epochs} epochs of {steps:,} = {recipe.epochs * steps:,}",
        "batch": f"{batch} images" + (f", {recipe.copies} copies each" * (recipe.copies > 1)),
        "rate": _rates(recipe),
        "source": preset.source,
        "writes": target,
    }
    return "\n".join(f"{key:<10} {value}" for key, value in rows.items())


def _rates(recipe: PaperRecipe) -> str:
    warm = (
        f"{recipe.start:g} to {recipe.learning_rate:g} in {recipe.warm_up * recipe.epochs:g} epochs"
    )
    first = warm if recipe.warm_up else f"{recipe.learning_rate:g}"
    at = ", ".join(f"{share * recipe.epochs:g}" for share in recipe.milestones)
    falls = f"a tenth after epochs {at}" if at else "then cosine to 0"
    clip = f", clip {recipe.clip:g}" if recipe.clip else ""
    excluded = "" if recipe.decay_norms else " but for normalization"
    return f"{first}, {falls}; weight decay {recipe.weight_decay:g}{excluded}{clip}"
