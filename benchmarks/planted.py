r"""Plant a change in the validation images and test whether a search finds it.

Real images are split in two; every validation image is changed in one way (rotated, darkened, ...),
the training images are not. The search must put the responsible op among the three that its policy
applies most often, and must not do so without the change ("control"). Each seed has its own split,
initial weights and draws. DeepAA searches its first layer.

    python -m benchmarks.planted --data digits
    python -m benchmarks.planted --data digits --mode released
    python -m benchmarks.planted --data digits --method deepaa --epochs 20
    python -m benchmarks.planted --data folder:PATH --name cifar10 --reduce 8000 \
        --changes rotated,darkened,translated,control
    python -m benchmarks.planted --data digits --first 10 --seeds 5
    python -m benchmarks.planted --summary        counts anew, without a search

Each change has its own result file, as has a run of later seeds. ``planted.json`` has two counts
over all of them. Top three: the responsible op is among the three that the policy applies most.
Above every control: it is, and the policy applies it more often than any search of another seed did
without the change. By chance alone the first happens in 3 of as many seeds as there are ops, the
second in at most 1 of as many as there are searches to compare with.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks.record import RESULTS, save_result
from learned_augment.backends.dispatch import apply_batch
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.policy import Plan, Policy
from learned_augment.search import search
from learned_augment.search_spaces import SPACES

OPS = (*SPACES["dada"], "Flip")
TOP = 3


Row = dict[str, Any]
Setting = tuple[str, str, str]


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
    """Return the training images and the changed validation images."""
    generator = torch.Generator().manual_seed(1000 + seed)
    order = torch.randperm(len(data.train_labels), generator=generator)
    splits = []
    for rows in (order[::2], order[1::2]):
        images, labels = data.train_images[rows], data.train_labels[rows]
        if change is not None and splits:
            n = len(rows)
            plan = Plan(
                (change.op,),
                torch.zeros(n, 1, dtype=torch.int64),
                change.values(n, generator)[:, None],
                torch.rand(n, 1, 4, generator=generator),
            )
            images = apply_batch(images, plan)
        splits.append(
            replace(
                data,
                train_images=images[1:],
                train_labels=labels[1:],
                test_images=images[:1],
                test_labels=labels[:1],
            )
        )
    return splits[0], splits[1]


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


def one_search(
    data: ImageData, name: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, search, and return a row of results."""
    train, val = planted(data, CHANGES.get(name), seed)
    if options.method == "dada":
        settings = {"learning_rate": options.learning_rate, "ops": OPS}
        settings["options"] = {"mode": options.mode}
    else:
        settings = {"options": {"depth": 1, "steps": options.steps}}
    start = time.perf_counter()
    policy = search(
        train,
        val=val,
        method=options.method,
        preset="digits",
        network=options.network,
        epochs=options.epochs,
        base=options.base,
        seed=seed,
        threads=options.threads,
        progress=False,
        **settings,
    )
    return {
        "data": options.name,
        "images": len(data.train_labels),
        "change": name,
        "op": op_of(name),
        "seed": seed,
        **placed(policy, op_of(name)),
        "steps": policy.about["steps"],
        "seconds": round(time.perf_counter() - start, 1),
        "metrics": policy.about["metrics"],
    }


def later(seeds: range) -> str:
    """Return how the name of a result ends that goes on with later seeds: a file of its own."""
    return f"-from-{seeds[0]}" if seeds[0] else ""


def loaded(options: argparse.Namespace) -> ImageData:
    """Return as many images as are asked for."""
    data = load_images(options.data)
    if options.data == "digits":
        # No policy is tested here, so the test scans are searched on, too.
        data = replace(
            data,
            train_images=torch.cat([data.train_images, data.test_images]),
            train_labels=torch.cat([data.train_labels, data.test_labels]),
        )
    if options.reduce is not None:
        data = data.subset(options.reduce)
    return data


def summary() -> list[Row]:
    """Return a row for every change that was planted, by data, method and mode."""
    return [
        row
        for setting, searches in sorted(_searches().items())
        for row in _counts(setting, searches)
    ]


def summarize() -> list[Row]:
    """Write ``planted.json`` anew and return its rows."""
    rows = summary()
    save_result("planted", rows, seeds=sorted({seed for row in rows for seed in row["seeds"]}))
    return rows


def _searches() -> dict[Setting, list[Row]]:
    """Return all searches by data, method and what else was set."""
    found: dict[Setting, list[Row]] = {}
    for path in sorted(RESULTS.glob("planted-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        settings = document["settings"]
        dada = settings.get("method", "dada" if "mode" in settings else "deepaa") == "dada"
        how = settings["mode"] if dada else f"{settings['steps']} steps"
        key = (settings["name"], "DADA" if dada else "DeepAA", how)
        found.setdefault(key, []).extend(document["rows"])
    return {key: sorted(rows, key=lambda row: row["seed"]) for key, rows in found.items()}


def _counts(setting: Setting, searches: Sequence[Row]) -> Iterator[Row]:
    control = [row for row in searches if row["op"] is None]
    for change in dict.fromkeys(row["change"] for row in searches if row["op"] and control):
        mine = [row for row in searches if row["change"] == change]
        op = mine[0]["op"]
        yield {
            **dict(zip(("data", "method", "mode"), setting, strict=True)),
            "change": change,
            "op": op,
            "seeds": [row["seed"] for row in mine],
            "top_three": sum(op in row["top"] for row in mine),
            "above_every_control": sum(_above(row, op, control) for row in mine),
            "share": round(statistics.fmean(_share(row, op) for row in mine), 3),
            "control_seeds": [row["seed"] for row in control],
            "control_top_three": sum(op in row["top"] for row in control),
            "control_above_every_other": sum(_above(row, op, control) for row in control),
            "control_share": round(statistics.fmean(_share(row, op) for row in control), 3),
            "luck": round(3 / max(len(row["shares"]) for row in searches), 3),
        }


def _share(row: Row, op: str) -> float:
    # An op that is in none of a policy's pairs is not listed.
    return float(row["shares"].get(op, 0.0))


def _above(row: Row, op: str, control: Sequence[Row]) -> bool:
    others = [_share(other, op) for other in control if other["seed"] != row["seed"]]
    # Without a search to compare with nothing is above it.
    return op in row["top"] and _share(row, op) > max(others, default=math.inf)


def main() -> None:
    """Run the searches that are asked for and count anew what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="as for learned_augment.search")
    parser.add_argument("--name", default="digits", help="what to call the data in results")
    parser.add_argument("--reduce", type=int, help="number of images of both splits together")
    parser.add_argument("--side", type=int, help="pixels to which images are averaged")
    parser.add_argument("--base", default="none", help="base augmentation, not searched")
    parser.add_argument("--changes", default="rotated,darkened,mirrored,translated,control")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--method", default="dada", choices=["dada", "deepaa"])
    parser.add_argument("--network", default="small-cnn", help="a network by its name")
    parser.add_argument("--epochs", type=int, default=25, help="of the network's training")
    parser.add_argument("--mode", default="corrected", choices=["corrected", "released"])
    parser.add_argument("--learning-rate", type=float, default=0.05, help="of DADA's network")
    parser.add_argument("--steps", type=int, default=16, help="of DeepAA, four pairs each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if not options.summary:
        run(options)
    for row in summarize():
        print(json.dumps(row))


def run(options: argparse.Namespace) -> None:
    """Run the searches, seed by seed: a run that is cut short has all changes at fewer seeds."""
    torch.set_num_threads(options.threads)
    data = loaded(options)
    if options.side is not None:
        data = shrunk(data, options.side)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in options.changes.split(",")}
    how = options.mode if options.method == "dada" else options.method
    seeds = range(options.first, options.first + options.seeds)
    for seed in seeds:
        for change, found in rows.items():
            found.append(row := one_search(data, change, seed, options))
            print(change, seed, "rank", row["rank"], row["top"], f"{row['seconds']} s", flush=True)
            save_result(
                f"planted-{options.name}-{how}-{change}{later(seeds)}".replace(" ", "-"),
                found,
                seeds=list(range(seeds[0], seed + 1)),
                settings=vars(options) | {"data": options.name},
            )


if __name__ == "__main__":
    main()
