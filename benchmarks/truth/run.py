"""Train each policy of the table of truth in full; resumable after any training.

    python -m benchmarks.truth.run digits sign_digits --data FOLDER --rows FOLDER [--part 0/2]
    python -m benchmarks.truth.run digits --rows FOLDER --export

Every finished training is a line of JSON in ROWS/NAME.jsonl; those of results/ count too. Several
commands with other parts share out the work. All policies are trained with the first seed before
the second begins. The export writes results/truth-NAME.json.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.record import RESULTS, load_result, save_result
from benchmarks.truth.designs import (
    BASELINES,
    STRENGTHS,
    baseline,
    design,
    design_policy,
    job_names,
)
from learned_augment import Policy
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.runtime.rng import isolated
from learned_augment.training import Recipe, Trainer

__all__ = [
    "CPU",
    "DATA",
    "NETWORK",
    "append_row",
    "calibrated",
    "load_data",
    "policies_and_seed",
    "read_rows",
    "recipe",
]


@dataclass(frozen=True)
class DataSet:
    """Images with how long to train on them, and how many random policies to train.

    Attributes:
        source: of the images; {} is the folder of the data.
        epochs: after which more no longer help without augmentation.
        policies: number of random policies.
        image_size: side in pixels.
        train_size: number of training images; None for all.
        patience: how much later its trainings come than those of other data sets.
    """

    source: str
    epochs: int
    policies: int
    image_size: int | None = None
    train_size: int | None = None
    patience: float = 1.0


DATA = {
    "digits": DataSet("digits", 30, 96),
    "sign_digits": DataSet("folder:{}/sign_digits", 40, 96, image_size=32),
    "spoken_digits": DataSet("folder:{}/spoken_digits", 30, 96, image_size=32),
    "cifar1000": DataSet("folder:{}/cifar10_jpeg", 40, 0, 32, 1000),
    "digits100": DataSet("digits", 100, 0, train_size=100),
    "sign_digits100": DataSet("folder:{}/sign_digits", 100, 0, 32, 100),
    "spoken_digits100": DataSet("folder:{}/spoken_digits", 100, 0, 32, 100),
    "cifar4000": DataSet("folder:{}/cifar10_jpeg", 30, 48, 32, 4000, patience=3.0),
    "uc_merced": DataSet("folder:{}/uc_merced", 40, 0, 32),
    "trashnet": DataSet("folder:{}/trashnet", 40, 0, 32),
    "characters": DataSet("folder:{}/characters", 100, 0, 32),
    "mri": DataSet("folder:{}/mri", 100, 0, 32),
    "faces": DataSet("folder:{}/faces", 40, 0, 32),
    "flowers": DataSet("folder:{}/flowers", 40, 0, 32),
    "clothing": DataSet("folder:{}/clothing", 40, 0, 32),
    "steel": DataSet("folder:{}/steel", 40, 0, 32),
}
SEEDS = 2
NETWORK = "small-cnn"
CPU = torch.device("cpu")


def recipe(name: str) -> Recipe:
    """Return how networks are trained: on CPUs of 2023, a third cheaper than in float32."""
    return Recipe(epochs=DATA[name].epochs, channels_last=True, precision="bfloat16")


def load_data(name: str, folder: str) -> ImageData:
    """Return the images of a row of `DATA`."""
    row = DATA[name]
    images = load_images(row.source.format(folder), image_size=row.image_size)
    return images if row.train_size is None else images.subset(row.train_size, 0)


def jobs(names: list[str]) -> list[tuple[str, str, int]]:
    """Return (data set, policy, number of the training), most useful first."""
    found = [
        (number, place * DATA[name].patience, name, policy)
        for name in names
        for place, policy in enumerate(job_names(DATA[name].policies))
        for number in range(SEEDS)
    ]
    ordered = sorted(found, key=lambda job: job[:2])
    return [(name, policy, number) for number, _, name, policy in ordered]


def policies_and_seed(policy: str, number: int, image_size: int) -> tuple[tuple[Policy, ...], int]:
    """Return what a training applies, and its seed; each empty design has seeds of its own."""
    if not policy.startswith("random-"):
        return baseline(policy, image_size), number
    which = int(policy.removeprefix("random-"))
    chosen = design(which)
    seed = number if chosen else number + SEEDS * (1 + which // 10)
    return design_policy(chosen), seed


def train(
    data: ImageData, policies: tuple[Policy, ...], settings: Recipe, seed: int
) -> dict[str, Any]:
    """Train in full; return test loss and accuracy, and what it took."""
    start = time.process_time()
    with isolated(seed):
        trainer = Trainer(data, policies, NETWORK, settings, seed, CPU)
        logits, labels = trainer.finish()
    spent = time.process_time() - start
    return {
        "accuracy": round(100 * (logits.argmax(1) == labels).double().mean().item(), 3),
        "loss": round(cross_entropy(logits, labels).item(), 5),
        **calibrated(logits, labels),
        "training_loss": round(trainer.losses[-1], 5),
        "steps": trainer.steps,
        "cpu_s": round(spent, 2),
    }


def calibrated(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the loss at the temperature that is best for the other half of the images.

    Args:
        logits: (N, classes).
        labels: (N,).
    """
    temperatures = torch.logspace(-1, 1, 81)
    half = torch.arange(len(labels)) % 2
    losses, chosen = [], []
    for fitted in (0, 1):
        at, rest = half == fitted, half != fitted
        found = torch.stack([cross_entropy(logits[at] / t, labels[at]) for t in temperatures])
        best = temperatures[found.argmin()]
        losses.append(cross_entropy(logits[rest] / best, labels[rest]).item())
        chosen.append(best.item())
    return {"calibrated_loss": round(sum(losses) / 2, 5), "temperature": round(sum(chosen) / 2, 3)}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the finished trainings of a file."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def finished_rows(name: str, folder: Path) -> list[dict[str, Any]]:
    """Return the trainings of the result file and of the rows since, each once."""
    known = (
        load_result(f"truth-{name}")["rows"] if (RESULTS / f"truth-{name}.json").is_file() else []
    )
    rows = [*known, *read_rows(folder / f"{name}.jsonl")]
    return list({(row["policy"], row["number"]): row for row in rows}.values())


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a line in one write, so that processes and interrupts leave whole lines."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (json.dumps(row) + "\n").encode())
    finally:
        os.close(handle)


def export(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write results/truth-NAME.json: what is finished, and of how much."""
    policies = list(job_names(DATA[name].policies))
    wanted = {(policy, number) for policy in policies for number in range(SEEDS)}
    finished = sorted(
        (row for row in rows if (row["policy"], row["number"]) in wanted),
        key=lambda row: (row["number"], policies.index(row["policy"])),
    )
    trained = [row["policy"] for row in finished]
    settings = {
        **asdict(DATA[name]),
        "network": NETWORK,
        "recipe": asdict(recipe(name)),
        "wanted_trainings": len(wanted),
        "finished_trainings": len(finished),
        "policies_with_all_seeds": sum(trained.count(policy) == SEEDS for policy in policies),
        "baselines": list(BASELINES),
        "strengths": {op: list(values) for op, values in STRENGTHS.items()},
        "designs": {
            f"random-{number}": [list(pair) for pair in design(number)]
            for number in range(DATA[name].policies)
        },
    }
    return save_result(f"truth-{name}", finished, seeds=range(SEEDS), settings=settings)


def main() -> None:
    """Train what is missing, or export what is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=DATA)
    parser.add_argument("--data", default="data")
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/checkpoints"))
    parser.add_argument("--part", default="0/1", help="which part of the trainings, of how many")
    parser.add_argument("--export", action="store_true")
    given = parser.parse_args()
    if given.export:
        for name in given.names:
            print(export(name, finished_rows(name, given.rows)))
        return
    torch.set_num_threads(1)
    given.rows.mkdir(exist_ok=True, parents=True)
    part, parts = map(int, given.part.split("/"))
    images: dict[str, ImageData] = {}
    for name, policy, number in jobs(given.names)[part::parts]:
        path = given.rows / f"{name}.jsonl"
        finished = finished_rows(name, given.rows)
        if any((row["policy"], row["number"]) == (policy, number) for row in finished):
            continue
        if name not in images:
            images[name] = load_data(name, given.data)
        side = images[name].train_images.shape[-1]
        policies, seed = policies_and_seed(policy, number, side)
        measured = train(images[name], policies, recipe(name), seed)
        append_row(path, {"policy": policy, "number": number, "seed": seed, **measured})


if __name__ == "__main__":
    main()
