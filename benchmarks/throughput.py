"""Measure how many images per second this package and its peers augment on a CPU.

    python -m benchmarks.throughput SMALL LARGE [--rounds 15] [--before CHECKOUT]
    python -m benchmarks.throughput SMALL LARGE --only "224 PIL" varying --rounds 5

SMALL and LARGE are folders of JPEG pictures, searched to the bottom: SMALL is shrunk to 32 pixels,
LARGE to 224 or enlarged to 640. Where sizes vary, each side is within 40 % of the one given. All
cases of a size run in turn, one sample each a round, in an order that is shuffled every round;
figures are medians over rounds. A ratio of two cases is the median of its rounds' ratios, as the
clock rate may change within a run. Single images, which take one thread, are measured in processor
time, batches by the clock. ``--before`` times an earlier commit in the same rounds. Then a
DataLoader with two workers decodes LARGE and SMALL as they lie, augments, and stacks batches; and
fresh processes time the first call. ``--only`` times the cases whose name, which begins with the
side, holds all of the texts given; nothing is saved then.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from benchmarks.record import save_result
from benchmarks.throughput_cases import (
    SEED,
    Case,
    Images,
    Input,
    Worker,
    fixed_cases,
    our_cases,
    peers_of_varying_sizes,
)
from learned_augment import LearnedAugment

__all__ = ["run_cases", "seed", "time_cases"]

BATCHES = {32: 128, 224: 64}
VARYING = (32, 224, 640)
SAMPLE_S = 0.05
CALLS = 8192
PIPELINE = 2000
WORKERS = 2


def seed(number: int) -> None:
    """Seed every generator that a peer might draw from."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def calls_of(case: Case, sample_s: float) -> int:
    """Return the calls of a sample: as many as fill it, found by doubling once it is warm."""
    # One draw for a batch: a call is as slow as its op, so several make a sample.
    calls = 8 if case.draws == "per batch" else 1
    while calls < CALLS and case.seconds(calls) < sample_s:
        calls *= 2
    return calls


def time_cases(
    timed: Sequence[Case], rounds: int, sample_s: float = SAMPLE_S
) -> list[dict[str, Any]]:
    """Run the cases in turn and return a row for each."""
    first = [case.seconds(1) for case in timed]  # may load compiled code
    calls = [calls_of(case, sample_s) for case in timed]
    seconds: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for k in random.sample(range(len(timed)), len(timed)):
            seconds[k].append(timed[k].seconds(calls[k]) / calls[k] / timed[k].images)
    return [_row(*figures) for figures in zip(timed, first, seconds, calls, strict=True)]


def _row(case: Case, first: float, seconds: list[float], calls: int) -> dict[str, Any]:
    rates = [1 / s for s in seconds]
    return {
        "given": case.given,
        "whose": case.whose,
        "policy": case.policy,
        "draws": case.draws,
        "batch": case.images,
        "threads": case.threads,
        "calls_a_round": calls,
        "first_call_s": round(first, 3),
        "images_per_s": round(statistics.median(rates), 1),
        "rounds_images_per_s": [round(rate, 1) for rate in rates],
    }


def run_cases(
    inputs: Sequence[Input],
    workers: Sequence[Worker],
    rounds: int,
    only: Sequence[str] = (),
    sample_s: float = SAMPLE_S,
) -> Iterator[dict[str, Any]]:
    """Time our cases, the peers' and the workers' for every input; yield a row for each case."""
    for given in inputs:
        images = Images(given)
        peers = fixed_cases if given.batch else peers_of_varying_sizes
        cases = [*our_cases(images, "ours"), *peers(images)]
        for worker in workers:
            # A missing compiler is of interest for batches.
            cases += worker.cases(given) if given.batch or not worker.without else []
        chosen = [c for c in cases if all(text in f"{given.side} {c.name}" for text in only)]
        for row in time_cases(chosen, rounds, sample_s):
            yield {"size": given.side, **row}


class PictureDataset(Dataset[torch.Tensor]):
    """JPEG files, decoded, brought to one size, augmented, as float tensors."""

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
    found = sorted(folder.rglob("*.jp*g"))
    count = PIPELINE if side == 32 else PIPELINE // 4
    paths = (found * (count // len(found) + 1))[:count]
    transforms: dict[tuple[str, str], Callable[[Any], Any] | None] = {
        ("none", "-"): None,
        ("ours", "AutoAugment"): LearnedAugment(AutoAugmentPolicy.CIFAR10),
        ("ours", "DADA"): LearnedAugment("dada-cifar10"),
        ("ours", "DeepAA"): LearnedAugment("deepaa-cifar10"),
        ("torchvision v1", "AutoAugment"): AutoAugment(AutoAugmentPolicy.CIFAR10),
        ("torchvision v2", "AutoAugment"): v2.AutoAugment(AutoAugmentPolicy.CIFAR10),
    }
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in transforms}
    for _ in range(rounds):
        for key in random.sample(list(transforms), len(transforms)):
            loader = DataLoader(
                PictureDataset(paths, transforms[key], side), 64, num_workers=WORKERS
            )
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
    transform, peaks = LearnedAugment("deepaa-cifar10"), []
    for number in range(2):
        transform(images[:2])
        torch.manual_seed(number)
        Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
        before = _status("VmRSS")
        transform(images)
        peaks.append((_status("VmHWM") - before) / images.nbytes)
    given = "float batch" if floats else "uint8 batch"
    return {"given": "memory", "whose": "ours", "of": given, "batches": round(max(peaks), 2)}


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    parser.add_argument("--only", nargs="+", default=(), help="cases with these texts; not saved")
    parser.add_argument("--no-pipeline", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    seed(SEED)
    folders = {side: given.small if side == 32 else given.large for side in VARYING}
    inputs = [Input(folders[side], side, batch) for side, batch in BATCHES.items()]
    inputs += [Input(folders[side], side, 0) for side in VARYING]
    rows = []
    with ExitStack() as stack:
        workers = [Worker("ours, without Numba", without=["numba"])]
        if given.before is not None:
            workers.append(Worker("before", given.before))
            workers.append(Worker("before, without Numba", given.before, ["numba"]))
        for worker in workers:
            stack.enter_context(closing(worker))
        for row in run_cases(inputs, workers, given.rounds, given.only):
            print(row, flush=True)
            rows.append(row)
    if given.only:
        return
    # In processes of their own: memory that this one has freed would be taken again, unseen.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        rows += fresh.map(measure_memory, (False, True))
    rows.append(time_first_call(5))
    for side in () if given.no_pipeline else BATCHES:
        rows += time_pipeline(folders[side], side, 3)
    settings = {"rounds": given.rounds, "batch": BATCHES, "varying": VARYING}
    packages = ("numba", "timm", "albumentationsx", "nvidia-dali-cuda130")
    save_result("throughput", rows, seeds=[SEED], settings=settings, packages=packages)


if __name__ == "__main__":
    main()
