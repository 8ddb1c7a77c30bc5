"""Measure how far each layer of a policy aligns training with validation gradients.

The two observations of the DeepAA paper's figure 4, repeated: for pairs of an image and clean
images of its class, none of which the search or the network has seen, the cosine of the image's
mean augmented gradient with the clean images' mean gradient, less that of the image left as it is.
Mean and standard deviation over the pairs by depth, for the policy that a search finds here, for
DeepTA (as many layers of TrivialAugment) and for policies given by name.

    python -m benchmarks.gradient_cosine --data folder:PATH --name cifar10
    python -m benchmarks.gradient_cosine --data folder:PATH --name cifar10 --seeds 3 --depth 6
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import RESULTS, save_result
from learned_augment import Policy
from learned_augment.backends.dispatch import apply_batch
from learned_augment.builders import deep_trivial_augment
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.statistics import paired_difference
from learned_augment.runtime.rng import isolated
from learned_augment.search import PreparedSearch, prepare
from learned_augment.search.alignment import inner_product, norm
from learned_augment.search.batches import NetworkInput
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.search import DeepAA

JUDGES = 64


def first_layers(policy: Policy, depth: int) -> Policy:
    """Return the policy without the layers after the first ``depth``."""
    parts = {name: getattr(policy, name)[:, :depth] for name in ("weights", "op", "value")}
    return replace(policy, **parts)


class HeldOut:
    """Pairs that neither the search nor the network has seen, with their clean gradients.

    Args:
        data: Its test part is used.
        frozen: The network.
        normalise: Of the search.
        pairs: How many; classes in turn.
        seed: Chooses the images.
    """

    def __init__(
        self, data: ImageData, frozen: FrozenNetwork, normalise: NetworkInput, pairs: int, seed: int
    ) -> None:
        self.data, self.frozen, self.normalize = data, frozen, normalise
        self.generator = torch.Generator().manual_seed(seed)
        self.chosen = [self._draw(number % len(data.classes)) for number in range(pairs)]
        self.targets = [
            frozen.gradient(normalise(data.test_images[judges]), data.test_labels[judges])
            for _, judges in self.chosen
        ]

    def _draw(self, label: int) -> tuple[int, Tensor]:
        rows = (self.data.test_labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=self.generator)]
        return int(rows[0]), rows[1 : 1 + JUDGES]

    def cosines(self, policy: Policy | None, copies: int) -> list[float]:
        """Return the cosine of every pair under a policy, or of the image itself."""
        return [self._cosine(pair, policy, copies) for pair in range(len(self.chosen))]

    def _cosine(self, pair: int, policy: Policy | None, copies: int) -> float:
        image = self.chosen[pair][0]
        images = self.data.test_images[image : image + 1]
        if policy is not None:
            plan = policy.sample(copies, self.generator)
            images = apply_batch(images.expand(copies, -1, -1, -1), plan)
        labels = self.data.test_labels[image].expand(len(images))
        moved, target = self.frozen.gradient(self.normalize(images), labels), self.targets[pair]
        return float(inner_product(target, moved) / (norm(target) * norm(moved)).clamp_min(1e-30))


def searched(
    data: ImageData, seed: int, options: argparse.Namespace
) -> tuple[Policy, PreparedSearch, float]:
    """Search a policy; return it with the task that holds the frozen network, and the seconds."""
    start = time.perf_counter()
    task = prepare(
        data,
        method="deepaa",
        network=options.network,
        reduce=options.reduce,
        epochs=options.epochs,
        options={"depth": str(options.depth), **dict(o.split("=", 1) for o in options.option)},
        seed=seed,
    )
    with isolated(seed, precise=True):
        while task.method.done < task.method.steps:
            task.method.step()
    return task.method.policy(), task, time.perf_counter() - start


def rows_of(
    name: str, policy: Policy, plain: list[float], pairs: HeldOut, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row of figures for every depth of a policy."""
    rows = []
    for depth in range(1, min(policy.depth, options.depth) + 1):
        cosines = pairs.cosines(first_layers(policy, depth), options.copies)
        gain = paired_difference(cosines, plain)
        gains = [a - b for a, b in zip(cosines, plain, strict=True)]
        rows.append(
            {
                "policy": name,
                "depth": depth,
                "gain": round(gain.mean, 5),
                "gain_low": round(gain.low, 5),
                "gain_high": round(gain.high, 5),
                "deviation": round(statistics.pstdev(gains), 5),
                "gains": [round(g, 5) for g in gains],
            }
        )
    return rows


def one_seed(data: ImageData, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Search, and measure all policies on the same held-out pairs."""
    policy, task, seconds = searched(data, seed, options)
    searcher = task.method
    assert isinstance(searcher, DeepAA)
    policy.save(RESULTS / f"gradient-cosine-{options.name}-{seed}.safetensors")
    pairs = HeldOut(data, searcher.freeze(), searcher.normalize, options.pairs, 1000 + seed)
    plain = pairs.cosines(None, 1)
    policies = {"DeepAA": policy, "DeepTA": deep_trivial_augment(options.depth)}
    policies |= {name: Policy.load(name) for name in options.policies.split(",") if name}
    rows = []
    for name, one in policies.items():
        rows += rows_of(name, one, plain, pairs, options)
    for row in rows:
        same = next(r for r in rows if (r["policy"], r["depth"]) == ("DeepTA", row["depth"]))
        lead = paired_difference(row["gains"], same["gains"])
        row["lead"] = [round(x, 5) for x in (lead.mean, lead.low, lead.high)]
    facts = {
        "seed": seed,
        "plain_cosine": round(statistics.fmean(plain), 5),
        "search_seconds": round(seconds, 1),
        "layers": [dict(layer) for layer in policy.about["parameters"]["layers"]],
        "shares": {o: [round(x, 4) for x in s.tolist()] for o, s in policy.op_shares().items()},
    }
    return [
        {**facts, **row} if row["policy"] == "DeepAA" else {"seed": seed, **row} for row in rows
    ]


def figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot mean and standard deviation of the gain by depth, averaged over the seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    canvas, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for panel, what, title in zip(
        panels, ("gain", "deviation"), ("mean", "standard deviation"), strict=True
    ):
        for name in dict.fromkeys(row["policy"] for row in rows):
            mine = [row for row in rows if row["policy"] == name]
            depths = sorted({row["depth"] for row in mine})
            values = [statistics.fmean(r[what] for r in mine if r["depth"] == d) for d in depths]
            panel.plot(depths, values, marker="o", label=name)
        panel.set_xticks(sorted({row["depth"] for row in rows}))
        panel.set_xlabel("layers")
        panel.set_title(title)
    canvas.suptitle("gain in gradient cosine on held-out pairs")
    panels[0].legend(frameon=False)
    canvas.savefig(path, dpi=120)


def main() -> None:
    """Search with every seed, measure, and write JSON and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as for learned_augment.search")
    parser.add_argument("--name", default="data", help="what to call the data in results")
    parser.add_argument("--reduce", type=int, default=4000, help="images to search on")
    parser.add_argument("--network", default="small-cnn")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=256, help="held-out pairs")
    parser.add_argument("--copies", type=int, default=128, help="augmented copies of an image")
    parser.add_argument("--policies", default="deepaa-cifar10", help="shipped ones to measure too")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        found = one_seed(data, seed, options)
        rows += found
        for row in found:
            shown = {k: row[k] for k in ("policy", "depth", "gain", "deviation", "lead")}
            print(json.dumps(shown), flush=True)
        name = f"gradient-cosine-{options.name}"
        settings = vars(options) | {"data": options.name}
        save_result(name, rows, seeds=list(range(seed + 1)), settings=settings)
        figure(rows, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
