"""How many images per second do we and our peers augment on a GPU, in copies of the batch?

    python -m benchmarks.throughput_gpu LARGE [--batch 256] [--side 224] [--rounds 15]

LARGE is a folder of JPEG pictures, searched to the bottom; each is shrunk to a square. Cases run
in turn, in an order that is shuffled every round; a sample ends when the device has finished.
``copies`` is the time of a call as a multiple of a plain copy of the batch in its own type.
"""

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, v2

from benchmarks.record import save_result
from benchmarks.throughput import SEED, load, seed
from benchmarks.throughput_cases import Call, Case, batch_of, policies
from benchmarks.throughput_dali import dali_auto_augment
from learned_augment import LearnedAugment
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.backends.triton.launch import works_on

SAMPLE_S = 0.2


def gpu_cases(levels: Tensor) -> Iterator[Case]:
    """Yield every case for uint8 images (B, C, H, W) that lie on the device."""
    from kornia.augmentation.auto import AutoAugment as KorniaAutoAugment

    def case(given: str, whose: str, policy: str, draws: str, call: Call) -> Case:
        return Case(given, whose, policy, draws, len(levels), 1, call)

    ours = {name: LearnedAugment(policy) for name, policy in policies().items()}
    auto, floats = ours["AutoAugment"], levels.float() / 255
    peer, kornia = v2.AutoAugment(AutoAugmentPolicy.CIFAR10), KorniaAutoAugment(policy="cifar10")
    yield case("uint8 batch", "copy", "-", "-", levels.clone)
    for name, transform in ours.items():
        yield case("uint8 batch", "ours", name, "per image", lambda t=transform: t(levels))  # type: ignore[misc]
    plain = lambda: apply_exact(levels, auto.policy.sample(len(levels)))  # noqa: E731
    yield case("uint8 batch", "ours, plain torch", "AutoAugment", "per image", plain)
    yield case("uint8 batch", "torchvision v2", "AutoAugment", "per batch", lambda: peer(levels))
    if (dali := dali_auto_augment(levels, threads=4, gpu=levels.is_cuda)) is not None:
        yield case("uint8 batch, from the host", "DALI", "AutoAugment", "per image", dali)
    yield case("float batch", "copy", "-", "-", floats.clone)
    for whose, draws, transform in (("ours", "per image", auto), ("Kornia", "per batch", kornia)):
        yield case("float batch", whose, "AutoAugment", draws, lambda t=transform: t(floats))  # type: ignore[misc]
        both = _backward(transform, floats)
        yield case("float batch, backward", whose, "AutoAugment", draws, both)


def _backward(transform: Any, floats: Tensor) -> Call:
    def call() -> None:
        transform(floats.detach().requires_grad_()).sum().backward()

    return call


def sample(case: Case, calls: int, device: torch.device) -> float:
    """Return the seconds that a call took, from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        case.call()
    wait(device)
    return (time.perf_counter() - start) / calls


def wait(device: torch.device) -> None:
    """Wait until the device is idle; a CPU always is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_cases(timed: Sequence[Case], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Run the cases in turn and return a row for each."""
    first = [sample(case, 1, device) for case in timed]
    once = [min(sample(case, 4, device) for _ in range(2)) for case in timed]
    calls = [max(8, min(2000, round(SAMPLE_S / seconds))) for seconds in once]
    seconds: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for k in random.sample(range(len(timed)), len(timed)):
            seconds[k].append(sample(timed[k], calls[k], device))
    medians = [statistics.median(times) for times in seconds]
    copy = {case.given: m for case, m in zip(timed, medians, strict=True) if case.whose == "copy"}
    return [
        {
            "given": case.given,
            "whose": case.whose,
            "policy": case.policy,
            "draws": case.draws,
            "batch": case.images,
            "images_per_s": round(case.images / median),
            "copies": round(median / copy[case.given.partition(",")[0]], 1),
            "peak_mib": peak_memory(case, device),
            "first_call_s": round(start, 2),
        }
        for case, median, start in zip(timed, medians, first, strict=True)
    ]


def peak_memory(case: Case, device: torch.device) -> float | None:
    """Return the most MiB that torch holds in a call beside what is there; None if it does not."""
    if device.type != "cuda" or case.whose == "DALI":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    case.call()
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def main() -> None:
    """Measure, print, and save what a GPU measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("large", type=Path)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda", help="another one is a rehearsal: not saved")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    if given.device != "cpu" and not works_on(torch.device(given.device)):
        raise SystemExit(f"Triton does not work on {given.device}: nothing of ours to measure.")
    seed(SEED)
    device = torch.device(given.device)
    levels = batch_of(load(given.large, given.side), given.batch).to(device)
    rows = time_cases(list(gpu_cases(levels)), given.rounds, device)
    for row in rows:
        print(row)
    if device.type == "cuda":
        settings = {"batch": given.batch, "side": given.side, "rounds": given.rounds}
        save_result("throughput-gpu", rows, seeds=[SEED], settings=settings, packages=("triton",))


if __name__ == "__main__":
    main()
