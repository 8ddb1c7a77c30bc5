"""What a row of the papers takes: data, GPU hours by a stated model, and the command."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.papers.presets import PRESETS
from benchmarks.record import load_result

__all__ = [
    "COCO_IMAGES",
    "DATA",
    "GPU_SHARE",
    "RATE",
    "Costs",
    "changes",
    "costs",
    "hours",
    "kept",
    "processes",
    "short",
    "train_command",
]

RATE = 50e12
"""Assumed: multiplications and additions per second that one GPU sustains in training."""

GPU_SHARE = 70
"""GiB that a step may keep on one GPU of 78; the rest is for weights, gradients and images."""

DATA = {
    "cifar10": "CIFAR-10 (60,000 images)",
    "cifar100": "CIFAR-100 (60,000 images)",
    "svhn": "SVHN with its extra images (630,420)",
    "imagenet": "ImageNet (1,281,167 training images)",
}
"""Data sets in words."""

COCO_IMAGES = 117_266
"""Training images of COCO 2017 with an object."""

Costs = dict[tuple[str, int], int]


def costs() -> Costs:
    """Return the multiply-adds of a forward pass by (network, classes)."""
    rows = load_result("papers_costs")["rows"]
    return {(row["network"], row["classes"]): row["madds"] for row in rows}


def hours(madds: float, images: int, epochs: int, copies: int = 1) -> float:
    """Return the estimated GPU hours of a training: 3 passes of 2 operations per multiply-add."""
    return 6 * madds * images * epochs * copies / RATE / 3600


def short(number: float) -> str:
    """Return two significant digits."""
    return f"{float(f'{number:.2g}'):g}"


def changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words which settings of a result are not those of the paper; "" for none."""
    wanted = json.loads(json.dumps(wanted))  # as a result file holds them
    return ", ".join(
        f"{name} {found.get(name)} instead of {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    )


def kept(recipe: str) -> float:
    """Return the GiB that a step of a recipe keeps for its backward pass."""
    preset, rows = PRESETS[recipe], load_result("papers_costs")["rows"]
    image = next(row["kept_bytes"] for row in rows if row["network"] == preset.network)
    return float(image * preset.recipe.batch_size / 2**30)


def processes(recipe: str) -> int:
    """Return how many GPUs, a power of two, hold what a step of a recipe keeps."""
    count = 1
    while kept(recipe) > count * GPU_SHARE:
        count *= 2
    return count


def train_command(recipe: str, policy: str) -> str:
    """Return the command that trains a classifier."""
    data, count = PRESETS[recipe].data, processes(recipe)
    source = "folder" if data == "imagenet" else data
    python = "python" if count == 1 else f"torchrun --nproc-per-node {count}"
    script = f"{python} -m benchmarks.papers.train"
    return f"{script} --preset {recipe} --policy {policy} --data {source}:ROOT"
