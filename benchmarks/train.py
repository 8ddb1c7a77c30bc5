"""The papers' evaluation: train a network of their tables under a policy, and test it.

    python benchmarks/train.py --list
    python benchmarks/train.py --preset cifar10-wrn-40-2 --policy dada-cifar10 --data cifar10:ROOT
    python benchmarks/train.py ... --dry-run              what would be trained, and how long it is
    python benchmarks/train.py ... --time-budget 10       stops after ten minutes; again goes on
    torchrun --nproc-per-node 8 benchmarks/train.py ...   the processes share out every batch

Policies: "default" (crop and flip alone), "cutout" (with Cutout), "none", a shipped name, a path.
Results: results/train-NAME.json after every seed, last and best epoch. Exit status: 0 all seeds
are finished, 3 the time budget is over, 130 interrupted, 2 wrong arguments or data. Under torchrun
a stop is 0 too, since torchrun calls every other status a failure.
"""

import argparse
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from train_data import Placed, Source, fingerprint, load_source, make_feed, place, sizes
from train_presets import PRESETS, Preset
from train_records import Record
from train_words import description, preset_table

from learned_augment.jobs.processes import connect, rank, world
from learned_augment.training import Recipe, Trainer, find_device, isolated, run_training
from learned_augment.training.loop import Stop
from learned_augment.training.recipe import PRECISIONS

OVER, INTERRUPTED, WRONG = 3, 130, 2
_CHANGES = ("epochs", "batch_size", "learning_rate", "copies", "precision", "test_every")
_SWITCHES = ("channels_last", "compile")


def main(given: Sequence[str] | None = None) -> int:
    """Train what the arguments ask for; return the exit status."""
    options = _parser().parse_args(given)
    if options.list:
        print(preset_table())
        return 0
    try:
        return _run(options)
    except (ValueError, OSError, ModuleNotFoundError, ArithmeticError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--list", action="store_true", help="show the presets")
    add("--preset", choices=PRESETS, metavar="NAME", help="DATASET-NETWORK, see --list")
    add("--policy", default="default", help="name or path")
    add("--data", help="cifar10:ROOT, cifar100:ROOT, svhn:ROOT, folder:PATH with train/ and test/")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--name", help="of results and checkpoints; else PRESET-POLICY")
    add("--dry-run", action="store_true", help="say what would be trained; --data may be left out")
    add("--time-budget", type=float, metavar="MIN", default=math.inf, help="stop after so long")
    add("--checkpoints", type=Path, metavar="FOLDER", default=Path(__file__).parent / "checkpoints")
    add("--images", type=int, help="train on so many, every class in proportion")
    add("--classes", type=int, help="expect so many, instead of the preset's")
    add("--without-extra", action="store_true", help="SVHN: leave out the extra images")
    add("--augment", choices=("device", "workers"), help="else device; workers for ImageNet")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="that augment, or decode")
    add("--device", help="cpu, cuda, ...")
    add("--epochs", type=int, help="fewer than the preset's keep the schedule's shape")
    add("--batch-size", type=int)
    add("--learning-rate", type=float)
    add("--copies", type=int, help="of each image in a step: batch augmentation")
    add("--test-every", type=int, metavar="EPOCHS")
    add("--precision", choices=PRECISIONS)
    add("--channels-last", action="store_true")
    add("--compile", action="store_true", help="the network, by torch.compile")
    return parser


@dataclass(frozen=True)
class _Job:
    """Everything that decides the numbers, and where they go."""

    options: argparse.Namespace
    preset: Preset
    recipe: Recipe
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


def _job(options: argparse.Namespace) -> _Job:
    if options.preset is None:
        raise ValueError("Which preset? Give --preset NAME; --list shows the names.")
    if not options.time_budget > 0 or options.workers < 0:
        raise ValueError("Expected --time-budget above 0 and --workers of 0 or more.")
    if len(set(options.seeds)) < len(options.seeds) or min(options.seeds) < 0:
        raise ValueError(f"Expected different seeds from 0 up, got {options.seeds}.")
    preset = PRESETS[options.preset]
    changes = {key: getattr(options, key) for key in _CHANGES if getattr(options, key) is not None}
    changes |= {key: True for key in _SWITCHES if getattr(options, key)}
    policy = (
        Path(options.policy).stem if options.policy.endswith(".safetensors") else options.policy
    )
    name = options.name or f"{options.preset}-{policy}".replace(":", "-")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"A name has letters, digits, '.', '-' and '_' only, got {name!r}.")
    return _Job(options, preset, replace(preset.recipe, **changes), name)


def _run(options: argparse.Namespace) -> int:
    start = time.monotonic()
    job = _job(options)
    job.placed(options.seeds[0])  # a wrong policy fails before the data take their time
    if options.data is None and not options.dry_run:
        raise ValueError("Which data? Give --data; --dry-run does without.")
    device = _device(options.device)
    connect(device)
    data = _load(job) if options.data else None
    if rank() == 0:
        print(job.description(data), flush=True)
    if data is None or options.dry_run:
        return 0
    record = Record.open(job.name, _configuration(job, data, device))
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        if seed in record.seeds:
            continue
        stop = _train(job, data, seed, device, record, start + 60 * options.time_budget)
        if stop != "finished":
            code = OVER if stop == "time budget" else INTERRUPTED
            return 0 if world() > 1 else code
    if rank() == 0:
        print(record.summary())
    return 0


def _device(name: str | None) -> torch.device:
    device = find_device(name)
    if device.type == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def _load(job: _Job) -> Source:
    options = job.options
    extra = not options.without_extra
    data = load_source(options.data, job.preset, classes=job.classes, extra=extra)
    return data if options.images is None else data.subset(options.images)


def _train(
    job: _Job, data: Source, seed: int, device: torch.device, record: Record, deadline: float
) -> Stop:
    placed = job.placed(seed)
    path = job.options.checkpoints / f"{job.name}-seed{seed}.pt"
    config = {**record.configuration, "seed": seed, "policy_sha256": placed.sha256}
    with isolated(seed):
        side, on_device = job.preset.facts.side, job.augmented == "device"
        feed = make_feed(data, placed, side, job.options.workers, on_device, device)
        trainer = Trainer(feed, job.preset.build, placed.recipe, seed, device)
        stop = run_training(
            trainer,
            path,
            config,
            device,
            time_budget=deadline - time.monotonic(),
            on_epoch=lambda trainer: _tell(trainer, seed, placed.recipe.epochs),
        )
    if stop == "finished":
        record.add(seed, placed.sha256, trainer)
    elif rank() == 0:
        print(
            f"Stopped ({stop}): seed {seed}, step {trainer.done} of {trainer.steps}, "
            f"{_hours(trainer)} left. The same command goes on:\n"
            f"python {shlex.join(sys.argv)}"
        )
    return stop


def _tell(trainer: Trainer, seed: int, epochs: int) -> None:
    tested = trainer.tests and trainer.tests[-1][0] == trainer.epoch
    accuracy = f", tested {trainer.tests[-1][1]:.2f} %" if tested else ""
    print(
        f"seed {seed}, epoch {trainer.epoch} of {epochs}: loss {trainer.losses[-1]:.4f}"
        f"{accuracy}, {_hours(trainer)} left",
        flush=True,
    )


def _hours(trainer: Trainer) -> str:
    seconds = trainer.seconds / trainer.done * (trainer.steps - trainer.done)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min {rest:02} s"


def _configuration(job: _Job, data: Source, device: torch.device) -> dict[str, object]:
    """Return what one name stands for: results of anything else do not go under it."""
    placed = job.placed(0)
    train, test = sizes(data)
    return {
        "preset": job.options.preset,
        "policy": job.name if job.options.policy.endswith(".safetensors") else job.options.policy,
        "placement": placed.contender.placement,
        "policy_sha256": placed.sha256,
        "network": job.preset.network,
        "norm_momentum": job.preset.norm_momentum,
        **{key: getattr(placed.recipe, key) for key in Recipe.__dataclass_fields__},
        "data": data.name.partition(":")[0] + ":" + Path(data.name.partition(":")[2]).name,
        "data_sha256": fingerprint(data),
        "classes": len(data.classes),
        "training_images": train,
        "test_images": test,
        "augmented": job.augmented,
        "device": device.type,
        "processes": world(),
    }


if __name__ == "__main__":
    sys.exit(main())
