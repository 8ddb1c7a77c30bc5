"""Measure which cheap proxy ranks augmentation policies as trainings in full do.

    python -m benchmarks.proxies digits --data FOLDER --rows FOLDER [--policies 40]
    python -m benchmarks.proxies digits sign_digits --rows FOLDER --export

The truth is results/truth-NAME.json; see `benchmarks.truth`. Every proxy of every policy is a line
of JSON in ROWS/proxies-NAME.jsonl, so that the command resumes. The export writes
results/proxies.json: for each proxy the rank correlation with the truth, the regret of its choice
and CPU seconds. A score that is there of more policies stays.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.record import RESULTS, load_result, save_result
from benchmarks.truth.designs import STRENGTHS
from benchmarks.truth.run import (
    CPU,
    DATA,
    NETWORK,
    append_row,
    load_data,
    policies_and_seed,
    read_rows,
    recipe,
)
from learned_augment import Policy
from learned_augment.builders import from_layers
from learned_augment.datasets.image_data import ImageData
from learned_augment.runtime.rng import isolated
from learned_augment.search.screening.splits import training_part
from learned_augment.search.screening.trials import expected_error
from learned_augment.training import Recipe, Trainer
from learned_augment.training.normalize import Normalize, level_statistics
from learned_augment.training.trainer import augment_batch

SEED = 1
FEWEST_STEPS = 200
FEWEST_POLICIES = 20
"""For which a rank correlation is stated."""

MOST_VALIDATION = 2000
Policies = tuple[Policy, ...]


@dataclass
class Bench:
    """One data set with what its proxies share: made when first used, and its time counted.

    Attributes:
        name: a row of `truth.run.DATA`.
        images: training images; test images are not looked at.
        shared: networks that all policies of a proxy share, by what they were trained under, each
            with the CPU seconds it took.
    """

    name: str
    images: ImageData
    shared: dict[str, tuple[torch.nn.Module, float]] = field(default_factory=dict)

    def part(self, fraction: float) -> ImageData:
        """Return data that train on a fraction of the training images; others validate."""
        labels = self.images.train_labels
        inside = training_part(labels, fraction, 0, SEED)
        rest = (~inside).nonzero()[:MOST_VALIDATION, 0]
        images = self.images.train_images
        parts = (images[inside], labels[inside], images[rest], labels[rest])
        return ImageData("proxy", self.images.classes, *parts)

    def weights(self, under: str) -> torch.nn.Module:
        """Return a network trained in full on half of the images, under "none" or "all ops"."""
        if under not in self.shared:
            start = time.process_time()
            policies = () if under == "none" else (_all_ops(),)
            network = _trainer(self.part(0.5), policies, self.settings(1.0), NETWORK).network
            self.shared[under] = network, time.process_time() - start
        return self.shared[under][0]

    def settings(self, fraction: float) -> Recipe:
        """Return the recipe of a training on half of the images with a fraction of its steps."""
        whole, half = len(self.images.train_labels), len(self.images.train_labels) // 2
        plain = recipe(self.name)
        steps = fraction * plain.epochs * (whole // plain.batch_size)
        epochs = max(1, round(steps / (half // plain.batch_size)))
        return Recipe(epochs=epochs, precision=plain.precision, channels_last=True)


def _all_ops() -> Policy:
    """Return the mean of all random policies."""
    layers = []
    for op, strengths in STRENGTHS.items():
        each = 0.15 / len(strengths)
        candidates = [(op, each / len(values), v) for values in strengths for v in values]
        layers.append([*candidates, ("Identity", 0.85, 0.0)])
    return from_layers(layers)


def _trainer(
    data: ImageData, policies: Policies, settings: Recipe, network: str | torch.nn.Module
) -> Trainer:
    with isolated(SEED):
        trainer = Trainer(data, policies, network, settings, SEED, CPU)
        for _ in range(trainer.steps):
            trainer.step()
    return trainer


def _log_loss(trainer: Trainer) -> float:
    """Return the log of the cross entropy at the best temperature, half an error added."""
    logits, labels = trainer.finish()
    losses = [cross_entropy(logits / t, labels).item() for t in torch.logspace(-1, 1, 41)]
    return math.log(min(losses) + 0.5 * math.log(2) / len(labels))


def fewer_images(fraction: float) -> Callable[[Bench, Policies], dict[str, float]]:
    """Return a proxy: a small copy of the training, on fewer images in smaller batches."""

    def proxy(bench: Bench, policies: Policies) -> dict[str, float]:
        data, epochs = bench.part(fraction), DATA[bench.name].epochs
        size = min(max(len(data.train_labels) * epochs // FEWEST_STEPS, 8), 64)
        settings = Recipe(epochs, size, precision="bfloat16", channels_last=True)
        return {"": _log_loss(_trainer(data, policies, settings, NETWORK))}

    return proxy


def small_copy(fraction: float) -> Callable[[Bench, Policies], dict[str, float]]:
    """Return a proxy: a trial of the screening, on fewer images in batches as much smaller."""

    def proxy(bench: Bench, policies: Policies) -> dict[str, float]:
        plain = recipe(bench.name)
        settings = Recipe(plain.epochs, round(fraction * plain.batch_size), channels_last=True)
        trainer = _trainer(bench.part(fraction), policies, settings, NETWORK)
        return {"": math.log(expected_error(*trainer.finish()))}

    return proxy


def fewer_steps(fraction: float) -> Callable[[Bench, Policies], dict[str, float]]:
    """Return a proxy: a shorter training on half of the images."""

    def proxy(bench: Bench, policies: Policies) -> dict[str, float]:
        return {
            "": _log_loss(_trainer(bench.part(0.5), policies, bench.settings(fraction), NETWORK))
        }

    return proxy


def fine_tuned(fraction: float) -> Callable[[Bench, Policies], dict[str, float]]:
    """Return a proxy: fine-tuning from weights that all policies share.

    Tian et al., Improving Auto-Augment via Augmentation-Wise Weight Sharing, NeurIPS 2020,
    arXiv:2009.14737.
    """

    def proxy(bench: Bench, policies: Policies) -> dict[str, float]:
        network = bench.weights("all ops")
        trainer = _trainer(bench.part(0.5), policies, bench.settings(fraction), network)
        return {"": _log_loss(trainer)}

    return proxy


@torch.no_grad()
def density_matching(bench: Bench, policies: Policies) -> dict[str, float]:
    """Return the loss of a network trained without augmentation on augmented validation images.

    Lim et al., Fast AutoAugment, NeurIPS 2019, arXiv:1905.00397.
    """
    network, data = bench.weights("none").eval(), bench.part(0.5)
    normalize = _normalize(data)
    generator = torch.Generator().manual_seed(SEED)
    images = augment_batch(data.test_images, policies, generator)
    logits = torch.cat([network(normalize(part)) for part in images.split(256)])
    return {" (Fast AutoAugment)": cross_entropy(logits, data.test_labels).item()}


def gradients(under: str) -> Callable[[Bench, Policies], dict[str, float]]:
    """Return a proxy: minus the slope (DADA) and minus the cosine (DeepAA) of gradients.

    Args:
        under: What the network was trained in full under; under "none" it is overfitted.
    """

    def proxy(bench: Bench, policies: Policies) -> dict[str, float]:
        network, data = deepcopy(bench.weights(under)).train(), bench.part(0.5)
        normalize = _normalize(data)
        generator = torch.Generator().manual_seed(SEED)

        def gradient(images: Tensor, labels: Tensor) -> Tensor:
            loss = cross_entropy(network(normalize(images)), labels)
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.parameters())])

        rows = [torch.randperm(len(data.train_labels), generator=generator)[:64] for _ in range(8)]
        wanted, given = [], []
        for r in rows:
            checked = r % len(data.test_labels)
            wanted.append(gradient(data.test_images[checked], data.test_labels[checked]))
        for r in rows:
            images = augment_batch(data.train_images[r], policies, generator)
            given.append(gradient(images, data.train_labels[r]))
        mean_wanted, mean_given = torch.stack(wanted).mean(0), torch.stack(given).mean(0)
        slope = float(mean_given @ mean_wanted)
        cosine = slope / float(mean_given.norm() * mean_wanted.norm())
        return {", slope (DADA)": -slope, ", cosine (DeepAA)": -cosine}

    return proxy


def _normalize(data: ImageData) -> Normalize:
    return Normalize(level_statistics(data.train_images), torch.channels_last)


PROXIES: dict[str, Callable[[Bench, Policies], dict[str, float]]] = {
    "an eighth of the images": fewer_images(1 / 8),
    "a quarter of the images": fewer_images(1 / 4),
    "a quarter of the images, as many steps": small_copy(1 / 4),
    "an eighth of the steps": fewer_steps(1 / 8),
    "a quarter of the steps": fewer_steps(1 / 4),
    "half of the steps": fewer_steps(1 / 2),
    "fine-tuned, an eighth": fine_tuned(1 / 8),
    "fine-tuned, a quarter": fine_tuned(1 / 4),
    "density matching": density_matching,
    "gradients": gradients("all ops"),
    "gradients of an overfitted network": gradients("none"),
}
"""Proxies by name: each returns an expected loss of a policy; less is better."""


def truth(name: str) -> dict[str, dict[str, float]]:
    """Return mean accuracy and log calibrated loss of the policies that are trained in full."""
    found: dict[str, list[dict[str, float]]] = {}
    for row in load_result(f"truth-{name}")["rows"]:
        found.setdefault(row["policy"], []).append(row)
    return {
        policy: {
            "accuracy": statistics.fmean(row["accuracy"] for row in rows),
            "log_loss": statistics.fmean(math.log(row["calibrated_loss"]) for row in rows),
        }
        for policy, rows in found.items()
    }


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank."""
    return statistics.correlation(_ranks(x), _ranks(y))


def _ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + sum(other == value for other in values) / 2
        for value in values
    ]


def score(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what each proxy is worth on a data set."""
    found, scores = truth(name), []
    for proxy in dict.fromkeys(row["proxy"] for row in rows):
        mine = [row for row in rows if row["proxy"] == proxy and row["policy"] in found]
        if len(mine) < FEWEST_POLICIES or len({row["loss"] for row in mine}) < 3:
            continue
        losses = [row["loss"] for row in mine]
        true = [found[row["policy"]] for row in mine]
        choice = true[losses.index(min(losses))]
        scores.append(
            {
                "data": name,
                "proxy": proxy,
                "policies": len(mine),
                "rank_correlation_log_loss": round(
                    rank_correlation(losses, [t["log_loss"] for t in true]), 3
                ),
                "rank_correlation_accuracy": round(
                    rank_correlation(losses, [-t["accuracy"] for t in true]), 3
                ),
                "regret_points": round(max(t["accuracy"] for t in true) - choice["accuracy"], 3),
                "cpu_s_a_policy": round(statistics.fmean(row["cpu_s"] for row in mine), 2),
                "cpu_s_shared": max(row["shared_cpu_s"] for row in mine),
            }
        )
    return scores


def export(names: list[str], folder: Path) -> Path:
    """Write results/proxies.json: of each proxy the score of most policies, here or there."""
    known = load_result("proxies")["rows"] if (RESULTS / "proxies.json").is_file() else []
    scores = [
        row
        for name in names
        if (RESULTS / f"truth-{name}.json").is_file()
        for row in score(name, list(read_rows(_file(name, folder))))
    ]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in [*scores, *known]:
        key = (row["data"], row["proxy"])
        if key not in best or row["policies"] > best[key]["policies"]:
            best[key] = row
    order = list(DATA)
    rows = sorted(best.values(), key=lambda row: order.index(row["data"]))
    return save_result("proxies", rows, seeds=[SEED], settings={"network": NETWORK})


def _file(name: str, folder: Path) -> Path:
    return folder / f"proxies-{name}.jsonl"


def main() -> None:
    """Measure what is missing, or export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=DATA)
    parser.add_argument("--data", default="data")
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/checkpoints"))
    parser.add_argument("--policies", type=int, default=1000, help="at most so many")
    parser.add_argument("--proxies", nargs="+", choices=PROXIES, default=list(PROXIES))
    parser.add_argument("--export", action="store_true")
    given = parser.parse_args()
    if given.export:
        print(export(given.names, given.rows))
        return
    torch.set_num_threads(1)
    given.rows.mkdir(exist_ok=True, parents=True)
    for name in given.names:
        measure(Bench(name, load_data(name, given.data)), given)


def measure(bench: Bench, given: argparse.Namespace) -> None:
    """Run the proxies of one data set on the policies whose truth is known."""
    path = _file(bench.name, given.rows)
    done = {(row["policy"], row["name"]) for row in read_rows(path)}
    side = bench.images.train_images.shape[-1]
    for policy in list(truth(bench.name))[: given.policies]:
        policies, _ = policies_and_seed(policy, 0, side)
        for name in given.proxies:
            if (policy, name) in done:
                continue
            shared = sum(seconds for _, seconds in bench.shared.values())
            start = time.process_time()
            losses = PROXIES[name](bench, policies)
            made = sum(seconds for _, seconds in bench.shared.values()) - shared
            spent = round(time.process_time() - start - made, 3)
            for ending, loss in losses.items():
                row = {"policy": policy, "name": name, "proxy": name + ending, "loss": loss}
                append_row(path, {**row, "cpu_s": spent, "shared_cpu_s": round(made, 2)})


if __name__ == "__main__":
    main()
