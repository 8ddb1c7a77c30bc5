"""Measure the cost of a search: network passes per step, and time next to a plain training.

Passes are counted in F, the multiply-adds of one forward of the batch, by PyTorch's own table.
Times are CPU seconds within one process: a search of E epochs beside plain trainings of E epochs of
the same network on the same images, with and without TrivialAugment.

    python -m benchmarks.search_cost --data digits --network small-cnn
    python -m benchmarks.search_cost --data folder:PATH --name cifar10 --network wrn-16-1 \
        --reduce 512
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.record import save_result
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.search import PreparedSearch, prepare
from learned_augment.training import Recipe, train_network

VARIANTS: dict[str, dict[str, str]] = {
    "corrected": {},
    "corrected, exact derivative": {"derivative": "exact"},
    "corrected, relax": {"estimator": "relax"},
    "corrected, without magnitudes": {"magnitude": "none"},
    "released": {"mode": "released"},
}


class Flops(TorchDispatchMode):
    """Counts the floating-point operations of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def flops(work: Callable[[], object]) -> int:
    """Return the floating-point operations of ``work``."""
    with Flops() as counter:
        work()
    return counter.total


def passes(task: PreparedSearch) -> float:
    """Return the cost of one search step in forwards of its batch."""
    proxy = task.method.proxy  # type: ignore[attr-defined]
    images = proxy.normalize(task.split.train_images[: proxy.batch])
    labels = task.split.train_labels[: proxy.batch]
    task.method.step()
    learner = proxy.network
    forward = flops(lambda: learner.losses(learner.weights, images, labels))
    return flops(task.method.step) / forward


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of ``work``: what other jobs on the machine take does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def best(make: Callable[[], Callable[[], object]], rounds: int) -> float:
    """Return the least CPU time of ``rounds`` runs, each of what ``make`` returns anew.

    Other jobs empty the caches, and that can only make a run slower.
    """
    return min(cpu_seconds(make()) for _ in range(rounds))


def whole_search(task: PreparedSearch) -> None:
    """Run a prepared search to its end."""
    while task.method.done < task.method.steps:
        task.method.step()


def plain(data: ImageData, policy: str, options: argparse.Namespace) -> None:
    """Train the same network on ``data`` for as many epochs."""
    recipe = Recipe(options.epochs, options.batch_size, 0.05)
    trained = named_policy(policy, image_size=data.train_images.shape[-1])
    train_network(data, trained.policies, options.network, recipe, 0, torch.device("cpu"))


def measure(data: ImageData, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each variant of the search and each plain training."""

    def prepared(chosen: Mapping[str, str]) -> PreparedSearch:
        return prepare(
            data,
            preset="digits",
            network=options.network,
            epochs=options.epochs,
            batch_size=options.batch_size,
            options=chosen,
            device="cpu",
        )

    full = prepared({})
    halves, steps = full.split, full.method.steps
    one = replace(data, train_images=halves.train_images, train_labels=halves.train_labels)
    base = {
        f"plain training on {where}, {policy}": best(
            lambda d=d, p=policy: lambda: plain(d, p, options), options.rounds
        )
        for where, d in (("both halves", data), ("the training half", one))
        for policy in ("none", "trivialaugment")
    }
    rows: list[dict[str, Any]] = [{"what": w, "cpu_seconds": round(s, 2)} for w, s in base.items()]
    for name, chosen in VARIANTS.items():
        rows.append(row_of(name, lambda c=chosen: prepared(c), steps, base, options.rounds))
        print(rows[-1], flush=True)
    return rows


def row_of(
    name: str,
    make: Callable[[], PreparedSearch],
    steps: int,
    base: Mapping[str, float],
    rounds: int,
) -> dict[str, Any]:
    """Return passes a step and time of one variant, over all epochs, and beside ``base``."""

    def searching() -> Callable[[], object]:
        task = make()
        return lambda: whole_search(task)

    # The release ends one epoch early; its time is scaled to all of them.
    seconds = best(searching, rounds) * steps / make().method.steps
    return {
        "what": f"search, {name}",
        "cpu_seconds": round(seconds, 2),
        "forwards_per_step": round(passes(make()), 2),
        "steps": steps,
        **{f"times {what}": round(seconds / plainly, 2) for what, plainly in base.items()},
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--name", default="digits", help="what to call the data in results")
    parser.add_argument("--network", default="small-cnn")
    parser.add_argument("--reduce", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_images(options.data)
    data = data.subset(options.reduce)
    data = replace(data, test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    rows = measure(data, options)
    settings = vars(options) | {
        "data": options.name,
        "images": len(data.train_labels),
        "threads": 1,
    }
    save_result(f"search-cost-{options.name}-{options.network}", rows, seeds=[0], settings=settings)


if __name__ == "__main__":
    main()
