"""Does DeepAA's first layer find what is there? The planted changes of planted.py, layer by layer.

Real images are halved and every image of the validation half is changed in one way; the op that
does the same must be among the three that the first layer applies most, and must not without it.

    python benchmarks/planted_layers.py --data digits
    python benchmarks/planted_layers.py --data folder:PATH --name cifar10 --reduce 2000
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from planted import CHANGES, TOP, later, planted, rank_of, ranking
from planted_summary import summarise
from record import save_result

from learned_augment.data.datasets import ImageData, load_images
from learned_augment.searchers import search


def one_search(
    data: ImageData, name: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, search one layer, and return a row of results."""
    change = CHANGES.get(name)
    train, val = planted(data, change, seed)
    start = time.perf_counter()
    policy = search(
        train,
        val=val,
        method="deepaa",
        preset="digits",
        model=options.model,
        epochs=options.epochs,
        beside="nothing",
        options={"depth": 1, "steps": options.steps},
        seed=seed,
        progress=False,
    )
    ranks = ranking(policy)
    return {
        "change": name,
        "op": None if change is None else change.op,
        "seed": seed,
        "top": [op for op, _ in ranks[:TOP]],
        "rank": None if change is None else rank_of(change.op, ranks),
        "shares": {op: round(share, 4) for op, share in ranks},
        "metrics": policy.about["metrics"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    """Run all searches, write one result file, and count anew what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="as for learned_augment.search")
    parser.add_argument("--name", default="digits", help="what to call the data in results")
    parser.add_argument("--reduce", type=int, help="number of images, both halves together")
    parser.add_argument("--changes", default="control,rotated,darkened,mirrored,translated")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--model", default="small-cnn")
    parser.add_argument("--epochs", type=int, default=20, help="of the network's training")
    parser.add_argument("--steps", type=int, default=16, help="of the layer, eight pairs each")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    if options.data == "digits":
        # No policy is judged here: the test scans serve, too.
        data = replace(
            data,
            train_images=torch.cat([data.train_images, data.test_images]),
            train_labels=torch.cat([data.train_labels, data.test_labels]),
        )
    if options.reduce is not None:
        data = data.subset(options.reduce)
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
