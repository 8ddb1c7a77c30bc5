"""Measure augmentation, a search and a training on a GPU.

    python -m benchmarks.throughput_gpu [--large FOLDER] [--data cifar10:ROOT] [--rounds 7]
    python -m benchmarks.throughput_gpu --tiny --device cpu          rehearsal, nothing is saved

Throughput: every case at 32 and 224 pixels, in turn, in an order that is shuffled every round; a
sample ends when the device has finished; a copy of the batch is the floor. "without Triton" runs in
a process in which Triton is missing. Search: DADA with WRN-40-2 on 4,000 images of CIFAR's size for
20 epochs. Training: an epoch of WRN-28-10 with and without augmentation, in turn. Without FOLDER
and ROOT, images are made: cost does not depend on what they show.
"""

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import save_result
from benchmarks.throughput import run_cases, seed
from benchmarks.throughput_cases import SEED, Input, Worker
from learned_augment import Policy, search
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.training import Recipe, Trainer

POLICIES = {"none": (), "DADA": ("dada-cifar10",), "DeepAA": ("deepaa-cifar10",)}


@dataclass(frozen=True)
class Sizes:
    """Batches to measure: all of them, or the few that a rehearsal on a CPU needs."""

    batches: tuple[tuple[int, int], ...] = ((32, 1024), (224, 256))
    sample_s: float = 0.1
    train_images: int = 50_000
    search_images: int = 4000
    search_network: str = "wrn-40-2"
    search_epochs: int = 20
    network: str = "wrn-28-10"
    repeats: int = 2


TINY = Sizes(((32, 4), (48, 2)), 1e-4, 256, 64, "small-cnn", 1, "small-cnn", 1)


def made_images(count: int) -> ImageData:
    """Return labeled noise of CIFAR's shape: 10 classes, 32 pixels."""
    images = torch.randint(256, (count + 256, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(count + 256) % 10
    train, test = slice(count), slice(count, None)
    parts = (images[train], labels[train], images[test], labels[test])
    return ImageData("made", tuple("0123456789"), *parts)


def time_search(data: ImageData, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Search once and return a row."""
    start = time.perf_counter()
    search(
        data,
        method="dada",
        preset="cifar10",
        reduce=sizes.search_images,
        network=sizes.search_network,
        epochs=sizes.search_epochs,
        device=device,
        progress=False,
    )
    return {
        "given": "search",
        "method": "DADA",
        "network": sizes.search_network,
        "images": sizes.search_images,
        "epochs": sizes.search_epochs,
        "seconds": round(time.perf_counter() - start, 1),
    }


def time_training(data: ImageData, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Train an epoch under each policy, in turn, and yield a row for each."""
    recipe = Recipe(1, 128, 0.1, precision="bfloat16", channels_last=True)
    seconds: dict[str, list[float]] = {name: [] for name in POLICIES}
    for _ in range(sizes.repeats + 1):  # the first loads compiled code
        for name in random.sample(list(POLICIES), len(POLICIES)):
            policies = [Policy.load(policy) for policy in POLICIES[name]]
            trainer = Trainer(data, policies, sizes.network, recipe, 0, device)
            start = time.perf_counter()
            while trainer.done < trainer.steps:
                trainer.step()
            seconds[name].append(time.perf_counter() - start)
    plain = statistics.median(seconds["none"][1:])
    for name, found in seconds.items():
        median = statistics.median(found[1:])
        yield {
            "given": "training",
            "policy": name,
            "network": sizes.network,
            "images": len(data.train_labels),
            "epoch_seconds": round(median, 2),
            "longer_percent": round(100 * (median / plain - 1), 1),
        }


def measure(given: argparse.Namespace, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Yield the rows of every part."""
    device = torch.device(given.device)
    inputs = [Input(given.large, side, batch, given.device) for side, batch in sizes.batches]
    with closing(Worker("ours, without Triton", without=["triton"])) as worker:
        yield from run_cases(inputs, [worker], given.rounds, sample_s=sizes.sample_s)
    data = load_images(given.data) if given.data else made_images(sizes.train_images)
    yield time_search(data, sizes, device)
    yield from time_training(data, sizes, device)


def main() -> None:
    """Measure, print, and save what a GPU measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--large", type=Path, help="folder of JPEG pictures")
    parser.add_argument("--data", help="training images, cifar10:ROOT or another of that size")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="rehearse with tiny sizes")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        print("not measured on a GPU: there is none")
        return
    warnings.filterwarnings("ignore")
    seed(SEED)
    rows = []
    for row in measure(given, TINY if given.tiny else Sizes()):
        print(row, flush=True)
        rows.append(row)
    if torch.device(given.device).type == "cuda" and not given.tiny:
        settings = {"rounds": given.rounds, "data": given.data or "made"}
        save_result("throughput-gpu", rows, seeds=[SEED], settings=settings, packages=("triton",))


if __name__ == "__main__":
    main()
