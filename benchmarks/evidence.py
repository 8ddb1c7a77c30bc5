"""Compare learned policies with their random baselines, on a reduced CIFAR-10.

    python -m benchmarks.evidence folder:PATH [--seeds 5] [--epochs 60] [--workers 2]
        [--found NAME.safetensors ...]

4,000 fixed training images, every class in proportion, and all test images; a small Wide-ResNet
under every policy, its controls and policies that `search` found on the same 4,000 images, at the
same seeds. Finished trainings lie in a cache: cut at any point, the same command goes on from
there. The result is written anew after every seed from the second on.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.record import save_result
from learned_augment import compare
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import PolicyChoice, named_policy

TRAIN_IMAGES = 4000
BASE = "crop-flip"
POLICIES = (
    "none",
    BASE,
    f"{BASE}+cutout",
    f"{BASE}+trivialaugment",
    "deeptrivialaugment",
    f"{BASE}+randaugment",
    f"{BASE}+autoaugment",
    f"{BASE}+fastaa-cifar10",
    f"{BASE}+dada-cifar10",
    f"{BASE}+random:dada-cifar10",
    "deepaa-cifar10",
    "random:deepaa-cifar10",
)
RECIPE = {"network": "wrn-16-1", "precision": "bfloat16", "channels_last": True, "test_every": 20}


def chosen_policies(names: Sequence[str], found: Sequence[Path]) -> Mapping[str, PolicyChoice]:
    """Return the policies by name: those named, then the files', called as the files are.

    A file's policy comes after the base augmentation, unless it replaces it.
    """
    return {name: name for name in names} | {
        path.stem: f"{BASE}+{path}" if named_policy(path).may_follow_base else path
        for path in found
    }


def main() -> int:
    """Train what is missing, seed by seed; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder:PATH, with train/ and test/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--found", nargs="+", type=Path, default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("evidence-runs"))
    parser.add_argument("--name", default="evidence", help="of the result file")
    given = parser.parse_args()
    policies = chosen_policies(given.policies, given.found)
    data = load_images(given.folder).subset(TRAIN_IMAGES)
    for seeds in range(2, given.seeds + 1):
        start = time.monotonic()
        comparison = compare(
            data,
            policies,
            seeds=seeds,
            epochs=given.epochs,
            reference=BASE if BASE in policies else None,
            base="none",
            cache=given.cache,
            workers=given.workers,
            **RECIPE,
        )
        row = json.loads(comparison.to_json())
        settings = {"train_images": TRAIN_IMAGES, "epochs": given.epochs, **RECIPE}
        save_result(given.name, [row], seeds=range(seeds), settings=settings)
        minutes = (time.monotonic() - start) / 60
        print(f"{comparison.table()}\n\n{seeds} seeds, {minutes:.1f} minutes\n", flush=True)
        if comparison.missing():
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
