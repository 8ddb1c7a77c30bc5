"""Train a network of the papers' tables under a policy, and test it.

    python -m benchmarks.papers.train --list
    python -m benchmarks.papers.train --preset cifar10-wrn-40-2 --data cifar10:ROOT
    python -m benchmarks.papers.train ... --policy dada-cifar10     trains under this policy
    python -m benchmarks.papers.train ... --dry-run                 says what would be trained
    python -m benchmarks.papers.train ... --time-budget 10          stops after ten minutes
    torchrun --nproc-per-node 8 -m benchmarks.papers.train ...      divides each batch

Policies: "default" (crop and flip alone), "cutout" (with Cutout), "none", a shipped name, a path.
They stand where the papers' code puts them: AutoAugment's and Fast AutoAugment's before crop and
flip, DADA's and all others after; in the presets ending "-deepaa" and "-deepaa-ba" all before.
DeepAA's policies replace crop, flip and Cutout.
Results: results/train-NAME.json after every seed, last and best epoch. Exit status: 0 all seeds
are finished, 3 the time budget is over, 130 interrupted, 2 wrong arguments or data, or no memory.
Under torchrun a stop is 0 too, since torchrun calls every other status a failure.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.papers.data import Source, fingerprint, load_source, make_feed, sizes
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.records import PaperRecord
from benchmarks.papers.run import PaperRun, parser, preset_table, read_run
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.training_loop import STATUS, exit_status, run_training
from learned_augment._text import duration
from learned_augment.runtime.distributed import init_processes, rank, world_size
from learned_augment.runtime.loop import Stop
from learned_augment.runtime.rng import isolated
from learned_augment.training import find_device


def main(given: Sequence[str] | None = None) -> int:
    """Train what the arguments ask for; return the exit status."""
    options = _parser().parse_args(given)
    if options.list:
        print(preset_table())
        return 0
    return exit_status(lambda: _run(options), "--batch-size, or fewer --images")


def _parser() -> argparse.ArgumentParser:
    return parser(__doc__)


def _run(options: argparse.Namespace) -> int:
    start = time.monotonic()
    run = read_run(options)
    run.placed(options.seeds[0])  # a wrong policy fails before the data take their time
    if options.data is None and not options.dry_run:
        raise ValueError("Which data? Give --data; --dry-run does without.")
    device = _device(options.device)
    init_processes(device)
    data = _load(run) if options.data else None
    if rank() == 0:
        print(run.description(data), flush=True)
    if data is None or options.dry_run:
        return 0
    record = PaperRecord.open(run.name, _configuration(run, data, device))
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    for seed in [seed for seed in options.seeds if seed not in record.seeds]:
        stop = _train(run, data, seed, device, record, start + 60 * options.time_budget)
        if stop != "finished":
            return 0 if world_size() > 1 else STATUS[stop]
    if rank() == 0:
        print(record.summary())
    return 0


def _device(name: str | None) -> torch.device:
    device = find_device(name)
    if device.type == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def _load(run: PaperRun) -> Source:
    options = run.options
    extra = not options.without_extra
    data = load_source(options.data, run.preset, classes=run.classes, extra=extra)
    return data if options.images is None else data.subset(options.images)


def _train(
    run: PaperRun,
    data: Source,
    seed: int,
    device: torch.device,
    record: PaperRecord,
    deadline: float,
) -> Stop:
    placed = run.placed(seed)
    path = run.options.checkpoints / f"{run.name}-seed{seed}.pt"
    config = {**record.configuration, "seed": seed, "policy_sha256": placed.sha256}
    with isolated(seed):
        side, on_device = run.preset.facts.side, run.augmented == "device"
        feed = make_feed(data, placed, side, run.options.workers, on_device, device)
        trainer = PaperTrainer(feed, run.preset.build, placed.recipe, seed, device)
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
            f"{_time_left(trainer)} left. The same command goes on:\n"
            f"{_launcher()} {shlex.join(sys.argv)}"
        )
    return stop


def _launcher() -> str:
    if world_size() == 1:
        return "python"
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    more = f"--nnodes {nodes} " if nodes > 1 else ""
    return f"torchrun {more}--nproc-per-node {world_size() // nodes}"


def _tell(trainer: PaperTrainer, seed: int, epochs: int) -> None:
    tested = trainer.tests and trainer.tests[-1][0] == trainer.epoch
    accuracy = f", tested {trainer.tests[-1][1]:.2f} %" if tested else ""
    print(
        f"seed {seed}, epoch {trainer.epoch} of {epochs}: loss {trainer.losses[-1]:.4f}"
        f"{accuracy}, {_time_left(trainer)} left",
        flush=True,
    )


def _time_left(trainer: PaperTrainer) -> str:
    return duration(trainer.seconds / trainer.done * (trainer.steps - trainer.done))


def _configuration(run: PaperRun, data: Source, device: torch.device) -> dict[str, object]:
    """Return what one name stands for: results of anything else do not go under it."""
    placed = run.placed(0)
    train, test = sizes(data)
    return {
        "preset": run.options.preset,
        "policy": run.name if run.options.policy.endswith(".safetensors") else run.options.policy,
        "placement": placed.named_policy.placement,
        "policy_sha256": placed.sha256,
        "network": run.preset.network,
        "norm_momentum": run.preset.norm_momentum,
        **{key: getattr(placed.recipe, key) for key in PaperRecipe.__dataclass_fields__},
        "data": data.name.partition(":")[0] + ":" + Path(data.name.partition(":")[2]).name,
        "data_sha256": fingerprint(data),
        "classes": len(data.classes),
        "training_images": train,
        "test_images": test,
        "augmented": run.augmented,
        "device": device.type,
        "processes": world_size(),
    }


if __name__ == "__main__":
    sys.exit(main())
