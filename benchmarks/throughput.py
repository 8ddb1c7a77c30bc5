"""How many images per second do we and our peers augment?

    python -m benchmarks.throughput SMALL LARGE [--rounds 15] [--only TEXT] [--no-pipeline]

SMALL and LARGE are folders of JPEG pictures, searched to the bottom: SMALL is shrunk to 32 pixels,
LARGE to 224. All cases of a size run in turn, one sample each a round, in an order that is shuffled
every round; figures are medians over rounds. Then a DataLoader with two workers decodes LARGE and
SMALL as they lie, augments, and stacks batches; and fresh processes time the first call.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from benchmarks.record import save_result
from benchmarks.throughput_cases import Case, cases
from learned_augment import LearnedAugment, Policy
from learned_augment.backends import apply_batch
from learned_augment.builders import from_torchvision
from learned_augment.reporting.contact_sheet import find_pictures

SEED = 0
SIZES = {32: 128, 224: 64}
SAMPLE_S = 0.05
CALLS = 8192
PICTURES = 64
PIPELINE = 2000
WORKERS = 2


def seed(number: int) -> None:
    """Seed every generator that a peer might draw from."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def load(folder: Path, side: int) -> list[Image.Image]:
    """Return pictures of a folder, evenly picked, each a square of ``side`` pixels."""
    pictures = find_pictures([folder])
    picked = pictures[:: max(1, len(pictures) // PICTURES)][:PICTURES]
    images = [Image.open(picture.path).convert("RGB") for picture in picked]
    return [ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC) for image in images]


def sample(case: Case, calls: int) -> float:
    """Return the seconds that an image took."""
    torch.set_num_threads(case.threads)
    start = time.perf_counter()
    for _ in range(calls):
        case.call()
    return (time.perf_counter() - start) / calls / case.images


def calls_of(case: Case) -> int:
    """Return the calls of a sample: as many as fill it, found by doubling once it is warm."""
    case.call()  # may load compiled code
    # One draw for a batch: a call is as slow as its op, so several make a sample.
    calls = 8 if case.draws == "per batch" else 1
    while calls < CALLS and sample(case, calls) * case.images * calls < SAMPLE_S:
        calls *= 2
    return calls


def time_cases(timed: Sequence[Case], rounds: int) -> list[dict[str, Any]]:
    """Run the cases in turn and return a row for each."""
    calls = [calls_of(case) for case in timed]
    seconds: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for k in random.sample(range(len(timed)), len(timed)):
            seconds[k].append(sample(timed[k], calls[k]))
    return [_row(*figures) for figures in zip(timed, seconds, calls, strict=True)]


def _row(case: Case, seconds: list[float], calls: int) -> dict[str, Any]:
    rates = sorted(1 / s for s in seconds)
    low, median, high = statistics.quantiles(rates, n=4)
    return {
        "given": case.given,
        "whose": case.whose,
        "policy": case.policy,
        "draws": case.draws,
        "batch": case.images,
        "threads": case.threads,
        "calls_a_round": calls,
        "images_per_s": round(median, 1),
        "quartiles_images_per_s": [round(low, 1), round(high, 1)],
    }


class Pictures(Dataset[torch.Tensor]):
    """JPEG files, decoded, brought to one size, augmented, as uint8 tensors."""

    def __init__(
        self, paths: list[Path], transform: Callable[[Any], Any] | None, side: int
    ) -> None:
        self.paths, self.transform, self.side = paths, transform, side
        self.finish = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB")
        if image.size != (self.side, self.side):
            image = ImageOps.fit(image, (self.side, self.side), Image.Resampling.BILINEAR)
        if self.transform is not None:
            image = self.transform(image)
        return self.finish(image)  # type: ignore[no-any-return]


def time_pipeline(folder: Path, side: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for a DataLoader of two workers under each transform, and none."""
    found = [picture.path for picture in find_pictures([folder])]
    count = PIPELINE if side == 32 else PIPELINE // 4
    paths = (found * (count // len(found) + 1))[:count]
    transforms: dict[tuple[str, str], Callable[[Any], Any] | None] = {
        ("none", "-"): None,
        ("ours", "AutoAugment"): LearnedAugment(from_torchvision(AutoAugmentPolicy.CIFAR10)),
        ("ours", "DADA"): LearnedAugment("dada-cifar10"),
        ("ours", "DeepAA"): LearnedAugment("deepaa-cifar10"),
        ("torchvision v1", "AutoAugment"): AutoAugment(AutoAugmentPolicy.CIFAR10),
        ("torchvision v2", "AutoAugment"): v2.AutoAugment(AutoAugmentPolicy.CIFAR10),
    }
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in transforms}
    for _ in range(rounds):
        for key in random.sample(list(transforms), len(transforms)):
            loader = DataLoader(Pictures(paths, transforms[key], side), 64, num_workers=WORKERS)
            batches = iter(loader)
            next(batches)  # the workers are up
            start, images = time.perf_counter(), 0
            for batch in batches:
                images += len(batch)
            rates[key].append(images / (time.perf_counter() - start))
    return [
        {
            "given": "pipeline",
            "whose": whose,
            "policy": policy,
            "size": side,
            "workers": WORKERS,
            "images_per_s": round(statistics.median(each), 1),
            "samples_images_per_s": [round(rate, 1) for rate in each],
        }
        for (whose, policy), each in rates.items()
    ]


FIRST_CALL = """
import time, torch
from learned_augment import LearnedAugment
transform = LearnedAugment("deepaa-cifar10")
images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
start = time.perf_counter()
transform(images)
print(time.perf_counter() - start)
"""


def time_first_call(rounds: int) -> dict[str, Any]:
    """Return how long the first batch takes in a fresh process, with the compiled code on disk."""
    command = [sys.executable, "-c", FIRST_CALL]
    seconds = [
        float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        for _ in range(rounds + 1)
    ][1:]
    return {"given": "first call", "whose": "ours", "seconds": round(statistics.median(seconds), 2)}


def measure_memory(floats: bool) -> dict[str, Any]:
    """Return the largest growth of this process during a call, in copies of the batch."""
    images = torch.randint(256, (256, 3, 224, 224), dtype=torch.uint8)
    images = images / 255 if floats else images
    policy, peaks = Policy.load("deepaa-cifar10"), []
    for number in range(2):
        plan = policy.sample(len(images), torch.Generator().manual_seed(number))
        apply_batch(images[:2], plan.rows([0, 1]))
        Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
        before = _status("VmRSS")
        apply_batch(images, plan)
        peaks.append((_status("VmHWM") - before) / images.nbytes)
    given = "float batch" if floats else "uint8 batch"
    return {"given": "memory", "whose": "ours", "of": given, "batches": round(max(peaks), 2)}


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="cases whose name holds this text; not saved")
    parser.add_argument("--no-pipeline", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    seed(SEED)
    rows = []
    for side, batch in SIZES.items():
        folder = given.small if side == 32 else given.large
        timed = [
            c for c in cases(load(folder, side), batch) if given.only in f"{c.given}: {c.whose}"
        ]
        rows += [{"size": side, **row} for row in time_cases(timed, given.rounds)]
    if not given.only:
        rows += [measure_memory(floats=False), measure_memory(floats=True)]
        rows.append(time_first_call(5))
        for side, folder in ((32, given.small), (224, given.large)):
            rows += [] if given.no_pipeline else time_pipeline(folder, side, 3)
    for row in rows:
        print(row)
    if not given.only:
        settings = {
            "rounds": given.rounds,
            "batch": SIZES,
            "not_compared": {"GPU": "see throughput_gpu.py"},
        }
        packages = ("numba", "timm", "nvidia-dali-cuda130")
        save_result("throughput", rows, seeds=[SEED], settings=settings, packages=packages)


if __name__ == "__main__":
    main()
