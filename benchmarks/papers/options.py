"""The command line of ``train.py``, and what it asks for."""

import argparse
import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.papers.data import Placed, Source, place
from benchmarks.papers.description import description
from benchmarks.papers.presets import PRESETS, Preset
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.record import CHECKPOINTS
from learned_augment.evaluation.random_baseline import RANDOM
from learned_augment.training.recipe import PRECISIONS

__all__ = ["Job", "parser", "read_job"]

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
    add = found.add_argument
    add("--list", action="store_true", help="show the presets")
    add("--preset", choices=PRESETS, metavar="NAME", help="DATASET-NETWORK, see --list")
    add("--policy", default="default", help="name or path")
    add("--data", help="cifar10:ROOT, cifar100:ROOT, svhn:ROOT, folder:PATH with train/ and test/")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--name", help="of results and checkpoints; else PRESET-POLICY")
    add("--dry-run", action="store_true", help="say what would be trained; --data may be left out")
    add("--time-budget", type=float, metavar="MIN", default=math.inf, help="stop after so long")
    add("--checkpoints", type=Path, metavar="FOLDER", default=CHECKPOINTS)
    add("--images", type=int, help="train on so many, every class in proportion")
    add("--classes", type=int, help="expect so many, instead of the preset's")
    add("--without-extra", action="store_true", help="SVHN: leave out the extra images")
    add("--augment", choices=("device", "workers"), help="else device; workers for ImageNet")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="that augment, or decode")
    add("--device", help="cpu, cuda, ...")
    add("--epochs", type=int, help="fewer than the preset's keep the schedule's shape")
    add("--batch-size", type=int)
    add("--learning-rate", type=float, help="the highest one")
    add("--start", type=float, help="learning rate that warms up; else in the preset's proportion")
    add("--weight-decay", type=float)
    add("--copies", type=int, help="of each image in a step: batch augmentation")
    add("--test-every", type=int, metavar="EPOCHS")
    add("--precision", choices=PRECISIONS)
    add("--channels-last", action="store_true")
    add("--compile", action="store_true", help="the network, by torch.compile")
    return found


@dataclass(frozen=True)
class Job:
    """Everything that decides the numbers, and where they go."""

    options: argparse.Namespace
    preset: Preset
    recipe: PaperRecipe
    name: str

    @property
    def augmented(self) -> str:
        """Where images are augmented: "device" or "workers"."""
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
        return description(self.preset, placed, data, self.classes, where, target)


def read_job(options: argparse.Namespace) -> Job:
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
    return Job(options, preset, _changed(preset.recipe, options), name)


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
