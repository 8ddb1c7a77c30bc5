"""Does DeepAA's first layer find what is there? The planted changes of planted.py, layer by layer.

Real images are halved and every image of the validation half is changed in one way; the op that
does the same must be among the three that the first layer applies most, and must not without it.

    python -m benchmarks.planted_layers --data digits
    python -m benchmarks.planted_layers --data folder:PATH --name cifar10 --reduce 2000
"""

import argparse
from typing import Any

import torch

from benchmarks.planted import arguments, later, loaded, op_of, placed, searched
from benchmarks.planted_summary import summarise
from benchmarks.record import save_result
from learned_augment.datasets.load import ImageData


def one_search(
    data: ImageData, name: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, search one layer, and return a row of results."""
    settings = {"method": "deepaa", "options": {"depth": 1, "steps": options.steps}}
    policy, seconds = searched(data, name, seed, options, settings)
    return {
        "change": name,
        "op": op_of(name),
        "seed": seed,
        **placed(policy, op_of(name)),
        "metrics": policy.about["metrics"],
        "seconds": seconds,
    }


def main() -> None:
    """Run all searches, write one result file, and count anew what was found."""
    parser = arguments(__doc__, "control,rotated,darkened,mirrored,translated")
    parser.add_argument("--model", default="small-cnn")
    parser.add_argument("--epochs", type=int, default=20, help="of the network's training")
    parser.add_argument("--steps", type=int, default=16, help="of the layer, four pairs each")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = loaded(options)
    rows: list[dict[str, Any]] = []
    seeds = range(options.first, options.first + options.seeds)
    for seed in seeds:
        for change in options.changes.split(","):
            rows.append(row := one_search(data, change, seed, options))
            print(change, seed, "rank", row["rank"], row["top"], f"{row['seconds']} s", flush=True)
        settings = vars(options) | {"data": options.name}
        name = f"planted-deepaa-{options.name}{later(seeds)}"
        save_result(name, rows, seeds=list(range(seeds[0], seed + 1)), settings=settings)
    summarise()


if __name__ == "__main__":
    main()
