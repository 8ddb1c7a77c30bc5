r"""Does the search find what is there? Plant one known change in the validation half and look.

Real images are halved; every image of the validation half is changed in one way (turned, darkened,
...), the training half is not. The search must put the responsible op among the three that its
policy applies most often, and must not do so without the change. Ten seeds each: other halves,
other initial weights, other draws.

    python -m benchmarks.planted --data digits
    python -m benchmarks.planted --data digits --mode released
    python -m benchmarks.planted --data folder:PATH --name cifar10 --reduce 8000 \
        --changes rotated,darkened,translated,control
    python -m benchmarks.planted --data digits --changes 'sheared,moved down,inverted,squeezed'
    python -m benchmarks.planted --data digits --first 10 --seeds 5

Each change has its own result file, as has a run of later seeds; ``planted_summary.py`` counts over
all of them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks.planted_summary import summarise
from benchmarks.record import save_result
from learned_augment.backends import apply_batch
from learned_augment.datasets.load import ImageData, load_images
from learned_augment.plan import Plan
from learned_augment.policy import Policy
from learned_augment.search import search
from learned_augment.search_spaces import SPACES

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


def op_of(change: str) -> str | None:
    """Return the op that a change is made of, None without a change."""
    return CHANGES[change].op if change in CHANGES else None


def placed(policy: Policy, op: str | None) -> dict[str, Any]:
    """Return the ops that an image gets most often, the place of one, and how often it gets each.

    The place counts from 1; it is the one after the last if the policy does not have the op.
    """
    shares = {name: float(layers.sum()) for name, layers in policy.op_shares().items()}
    shares.pop("Identity", None)
    ranks = sorted(shares, key=lambda name: -shares[name])
    return {
        "top": ranks[:TOP],
        "rank": None if op is None else 1 + [*ranks, op].index(op),
        "shares": {name: round(shares[name], 4) for name in ranks},
    }


def searched(
    data: ImageData, name: str, seed: int, options: argparse.Namespace, settings: dict[str, Any]
) -> tuple[Policy, float]:
    """Plant and search; return the policy and how many seconds that took."""
    train, val = planted(data, CHANGES.get(name), seed)
    start = time.perf_counter()
    policy = search(
        train,
        val=val,
        preset="digits",
        model=options.model,
        epochs=options.epochs,
        base=options.base,
        seed=seed,
        progress=False,
        **settings,
    )
    return policy, round(time.perf_counter() - start, 1)


def one_search(
    data: ImageData, name: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, search, and return a row of results."""
    settings = {
        "learning_rate": options.learning_rate,
        "ops": OPS,
        "options": {"mode": options.mode},
    }
    policy, seconds = searched(data, name, seed, options, settings)
    return {
        "data": options.name,
        "images": len(data.train_labels),
        "change": name,
        "op": op_of(name),
        "mode": options.mode,
        "seed": seed,
        **placed(policy, op_of(name)),
        "steps": policy.about["steps"],
        "seconds": seconds,
        "metrics": policy.about["metrics"],
    }


def later(seeds: range) -> str:
    """Return how the name of a result ends that goes on with later seeds: a file of its own."""
    return f"-from-{seeds[0]}" if seeds[0] else ""


def arguments(description: str | None, changes: str) -> argparse.ArgumentParser:
    """Return a parser of what every search for planted changes is told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="as for learned_augment.search")
    parser.add_argument("--name", default="digits", help="what to call the data in results")
    parser.add_argument("--reduce", type=int, help="number of images, both halves together")
    parser.add_argument("--beside", default="none", help="default augmentation, not searched")
    parser.add_argument("--changes", default=changes)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    return parser


def loaded(options: argparse.Namespace) -> ImageData:
    """Return as many images as are asked for."""
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
    return data


def main() -> None:
    """Run the searches that are asked for and count anew what was found."""
    parser = arguments(__doc__, "rotated,darkened,mirrored,translated,control")
    parser.add_argument("--mode", default="corrected", choices=["corrected", "released"])
    parser.add_argument("--model", default="small-cnn", help="a name of networks.NETWORKS")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--side", type=int, help="pixels to which images are averaged")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = loaded(options)
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
