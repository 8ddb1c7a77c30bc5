"""Compare one network under several policies, on digits and on a CIFAR-10 folder.

    python -m benchmarks.compare [folder:PATH] [--seeds 5]

Digits always run; a folder in ImageFolder layout (train/, test/) is trained on 2,000 of its images.
"""

import argparse
import json
from typing import Any

from benchmarks.record import save_result
from learned_augment import compare

POLICIES = ("none", "trivialaugment", "deepaa-cifar10", "dada-cifar10")
FOLDER = {"train_size": 2000, "epochs": 30}


def main() -> None:
    """Run the comparisons, print their tables and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="folder:PATH")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    runs: list[tuple[str, dict[str, Any]]] = [("digits", {})]
    runs += [(arguments.folder, FOLDER)] if arguments.folder else []
    rows = []
    for data, settings in runs:
        comparison = compare(data, POLICIES, seeds=arguments.seeds, **settings)
        print(comparison.table(), flush=True)
        rows.append(json.loads(comparison.to_json()))
    save_result("compare", rows, seeds=range(arguments.seeds), settings=FOLDER)


if __name__ == "__main__":
    main()
