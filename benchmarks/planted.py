r"""Does the search find what is there? Plant one known change in the validation half and look.

Real images are halved; every image of the validation half is changed in one way (turned, darkened,
...), the training half is not. The search must put the responsible op among the three that its
policy applies most often, and must not do so without the change. Ten seeds each: other halves,
other initial weights, other draws.

    python benchmarks/planted.py --data digits
    python benchmarks/planted.py --data digits --mode released
    python benchmarks/planted.py --data folder:PATH --name cifar10 --reduce 1000 \
        --epochs 60 --learning-rate 0.1
    python benchmarks/planted.py --data digits --changes 'sheared,moved down,inverted,squeezed'
    python benchmarks/planted.py --data digits --first 10 --seeds 5

Each change has its own result file, as has a run of later seeds; ``planted_summary.py`` counts over
all of them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from planted_summary import summarise
from record import save_result
from torch.nn.functional import adaptive_avg_pool2d

from learned_augment.data.datasets import ImageData, load_images
from learned_augment.engines import apply_batch
from learned_augment.plan import Plan
from learned_augment.policy import Policy
from learned_augment.searchers import search
from learned_augment.spaces import SPACES

OPS = (*SPACES["dada"], "Flip")
TOP = 3


class Change(NamedTuple):
    """A planted change: an op, and n values of it drawn with a generator."""

    op: str
    values: Callable[[int, torch.Generator], torch.Tensor]


def between(low: float, high: float, either_side: bool = False) -> Callable[..., torch.Tensor]:
    """Return a sampler of values between low and high, if asked with a random sign."""

    def values(n: int, generator: torch.Generator) -> torch.Tensor:
        found = low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
        side = 1 - 2 * torch.randint(2, (n,), generator=generator)
        return found * side if either_side else found

    return values


CHANGES = {
    # What the tests plant.
    "rotated": Change("Rotate", between(-30, 30)),
    "darkened": Change("Brightness", between(0.1, 0.4)),
    "mirrored": Change("Flip", between(1, 1)),
    "translated": Change("TranslateX", between(0.1, 0.35, either_side=True)),
    # What they do not.
    "sheared": Change("ShearY", between(0.1, 0.3, either_side=True)),
    "moved down": Change("TranslateY", between(0.1, 0.35, either_side=True)),
    "inverted": Change("Invert", between(0, 0)),
    "solarized": Change("Solarize", between(30, 130)),
    "squeezed": Change("Contrast", between(0.1, 0.3)),
}


def planted(data: ImageData, change: Change | None, seed: int) -> tuple[ImageData, ImageData]:
    """Return the training half and the changed validation half."""
    generator = torch.Generator().manual_seed(1000 + seed)
    order = torch.randperm(len(data.train_labels), generator=generator)
    halves = []
    for rows in (order[::2], order[1::2]):
        images, labels = data.train_images[rows], data.train_labels[rows]
        if change is not None and halves:
            n = len(rows)
            plan = Plan(
                (change.op,),
                torch.zeros(n, 1, dtype=torch.int64),
                change.values(n, generator)[:, None],
                torch.rand(n, 1, 4, generator=generator),
            )
            images = apply_batch(images, plan)
        halves.append(
            replace(
                data,
                train_images=images[1:],
                train_labels=labels[1:],
                test_images=images[:1],
                test_labels=labels[:1],
            )
        )
    return halves[0], halves[1]


def shrunk(data: ImageData, side: int) -> ImageData:
    """Average images down to ``side`` pixels: a quarter of the pixels, a quarter of the time."""

    def small(images: torch.Tensor) -> torch.Tensor:
        return adaptive_avg_pool2d(images.float(), side).round().to(torch.uint8)

    return replace(data, train_images=small(data.train_images), test_images=small(data.test_images))


def ranking(policy: Policy) -> list[tuple[str, float]]:
    """Return the ops by their marginal probability, the mean number of times an image gets them."""
    shares = {name: float(layers.sum()) for name, layers in policy.op_shares().items()}
    shares.pop("Identity", None)
    return sorted(shares.items(), key=lambda item: -item[1])


def rank_of(op: str, ranks: list[tuple[str, float]]) -> int:
    """Return an op's place from 1, the one after the last if the policy does not have it."""
    return 1 + [*(name for name, _ in ranks), op].index(op)


def one_search(
    data: ImageData, name: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, search, and return a row of results."""
    change = CHANGES.get(name)
    train, val = planted(data, change, seed)
    start = time.perf_counter()
    policy = search(
        train,
        val=val,
        preset="digits",
        model=options.model,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        ops=OPS,
        beside="nothing",
        options={"mode": options.mode},
        seed=seed,
        progress=False,
    )
    ranks = ranking(policy)
    return {
        "data": options.name,
        "images": len(data.train_labels),
        "change": name,
        "op": None if change is None else change.op,
        "mode": options.mode,
        "seed": seed,
        "top": [op for op, _ in ranks[:TOP]],
        "rank": None if change is None else rank_of(change.op, ranks),
        "shares": {op: round(share, 4) for op, share in ranks},
        "steps": policy.about["steps"],
        "seconds": round(time.perf_counter() - start, 1),
        "metrics": policy.about["metrics"],
    }


def later(seeds: range) -> str:
    """Return how the name of a result ends that goes on with later seeds: a file of its own."""
    return f"-from-{seeds[0]}" if seeds[0] else ""


def main() -> None:
    """Run the searches that are asked for and count anew what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="as for learned_augment.search")
    parser.add_argument("--name", default="digits", help="what to call the data in results")
    parser.add_argument("--reduce", type=int, help="number of images, both halves together")
    parser.add_argument("--changes", default="rotated,darkened,mirrored,translated,control")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--mode", default="corrected", choices=["corrected", "released"])
    parser.add_argument("--model", default="small-cnn", help="a name of networks.NETWORKS")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--side", type=int, help="pixels to which images are averaged")
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
    if options.side is not None:
        data = shrunk(data, options.side)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in options.changes.split(",")}
    # Seed by seed: a run that is cut short has all changes at fewer seeds.
    seeds = range(options.first, options.first + options.seeds)
    for seed in seeds:
        for change, found in rows.items():
            found.append(row := one_search(data, change, seed, options))
            print(change, seed, "rank", row["rank"], row["top"], f"{row['seconds']} s", flush=True)
            save_result(
                f"planted-{options.name}-{options.mode}-{change}{later(seeds)}".replace(" ", "-"),
                found,
                seeds=list(range(seeds[0], seed + 1)),
                settings=vars(options) | {"data": options.name},
            )
    summarise()


if __name__ == "__main__":
    main()
