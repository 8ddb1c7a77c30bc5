"""Compare a policy that screening finds with policies that need no search, on test images.

    python -m benchmarks.screening digits sign_digits --data FOLDER [--seeds 5] [--cache FOLDER]
    python -m benchmarks.screening cifar4000 --epochs 60 --data FOLDER
    python -m benchmarks.screening cifar1000 --network wrn-40-2 --data FOLDER
    python -m benchmarks.screening cifar4000 --epochs 60 --network wrn-40-2 --compare-epochs 20
    python -m benchmarks.screening cifar1000 --search-network wrn-16-1 --network wrn-16-1

The search sees the training images of a data set only. The comparison then trains on all of them,
for as long as `benchmarks.truth` does, and tests on the test images. The policy is written as
results/found-screening-NAME.safetensors, the comparison as results/screening-NAME.json; a policy
that is there already is not searched again. Other epochs than those, ordered splits, another
network of the search and another seed than 0 are part of the names of results. So are another
network and other epochs of the comparison: does the policy of a small network help a larger one?
"""

import argparse
import json
import resource
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, load_result, save_result
from benchmarks.truth.run import CPU, DATA, load_data
from learned_augment import Policy, compare, search
from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.random_baseline import RANDOM, random_baseline
from learned_augment.runtime.process_pool import Workers, core_count
from learned_augment.runtime.rng import isolated
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.training import Recipe, train_network

NETWORK = "small-cnn"
BASELINE = f"{RANDOM}found"
RIVALS = (
    "none",
    "crop-flip",
    "randaugment",
    "trivialaugment",
    "autoaugment",
    "crop",
    "crop-flip+randaugment",
    "dada-cifar10",
    "deepaa-cifar10",
    BASELINE,
)

SEARCHED = ("cpu_s", "wall_s", "processes", "training_cpu_s", "sentence")
"""Fields of the record of a search that the comparison repeats."""

KEPT = ("chosen", "found", "sentence", "race", "effects")
"""Fields of the policy's ``about`` that the record of a search repeats."""


def find(
    data: ImageData, name: str, network: str, epochs: int, seed: int, split: str
) -> tuple[Path, dict[str, Any]]:
    """Search, unless the policy is there already; return its file and what the search took."""
    path = RESULTS / f"found-screening-{name}.safetensors"
    record = RESULTS / f"found-screening-{name}.json"
    if not path.is_file() or not record.is_file():
        plain = plain_seconds(data, network, epochs)
        begun, used = time.monotonic(), _cpu_seconds()
        options = {"split": split}
        settings = {"network": network, "epochs": epochs, "seed": seed, "options": options}
        policy = search(data, method="screening", progress=False, **settings)
        spent = {
            "cpu_s": round(_cpu_seconds() - used, 1),
            "wall_s": round(time.monotonic() - begun, 1),
            "processes": core_count(),
        }
        policy.save(path)
        # The machine may be slower now than it was: once before the search, and once after it.
        plain = (plain + plain_seconds(data, network, epochs)) / 2
        spent["training_cpu_s"] = round(plain, 2)
        row = {"data": name, **spent, **{key: policy.about[key] for key in KEPT}}
        save_result(record.stem, [row], seeds=[seed], settings=settings)
    return path, load_result(record.stem)["rows"][0]


def plain_seconds(data: ImageData, network: str, epochs: int) -> float:
    """Return processor time of a training without augmentation, beside others as in a search."""
    with Workers(partial(_train_plainly, data, network, epochs), core_count()) as workers:
        seconds = [spent for _, spent in workers.run([(seed,) for seed in range(core_count())])]
    return statistics.fmean(seconds)


def _train_plainly(data: ImageData, network: str, epochs: int, seed: int) -> float:
    recipe = Recipe(epochs=epochs, channels_last=True)
    begun = time.process_time()
    with isolated(seed, threads=1):
        train_network(data, (), network, recipe, seed, CPU)
    return time.process_time() - begun


def _cpu_seconds() -> float:
    """Return processor time of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Search and compare on each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=DATA)
    parser.add_argument("--data", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--search-seed", type=int, default=0)
    parser.add_argument("--split", choices=ScreeningOptions.choices["split"], default="random")
    parser.add_argument("--rivals", nargs="+", default=list(RIVALS))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--epochs", type=int, help="default: those of benchmarks.truth")
    parser.add_argument("--search-network", default=NETWORK, help="of the search")
    parser.add_argument("--network", default=NETWORK, help="of the comparison")
    parser.add_argument("--compare-epochs", type=int, help="default: those of the search")
    given = parser.parse_args()
    for name in given.names:
        data = load_data(name, given.data)
        epochs = given.epochs or DATA[name].epochs
        task = name if epochs == DATA[name].epochs else f"{name}-{epochs}"
        task += "" if given.split == "random" else f"-{given.split}"
        task += f"-seed-{given.search_seed}" if given.search_seed else ""
        if given.search_network != NETWORK:
            task += f"-by-{given.search_network}"
        how = (given.search_network, epochs, given.search_seed, given.split)
        path, searched = find(data, task, *how)
        print(task, searched["cpu_s"], "s:", searched["sentence"], flush=True)
        found = Policy.load(path)
        rivals = {
            rival: random_baseline(found, 0) if rival == BASELINE else rival
            for rival in given.rivals
        }
        comparison = compare(
            data,
            {"found": found, **rivals},
            base="none",
            seeds=given.seeds,
            epochs=given.compare_epochs or epochs,
            network=given.network,
            precision="bfloat16",
            channels_last=True,
            cache=given.cache,
            progress=False,
        )
        print(comparison.table(), flush=True)
        row = {"data": task, "comparison": json.loads(comparison.to_json())}
        settings = {
            "network": given.network,
            "search_seed": given.search_seed,
            **{key: searched[key] for key in SEARCHED},
        }
        result = task if given.network == NETWORK else f"{task}-{given.network}"
        result += f"-{given.compare_epochs}-epochs" if given.compare_epochs else ""
        save_result(f"screening-{result}", [row], seeds=range(given.seeds), settings=settings)


if __name__ == "__main__":
    main()
