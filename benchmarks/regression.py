"""Measure how well the regression of a screening ranks policies, and how well it could.

    python -m benchmarks.regression digits sign_digits spoken_digits cifar4000 --data FOLDER

The truth is results/truth-NAME.json; see `benchmarks.truth`. The trials of a screening, with
default settings, give one regression. For comparison others are fitted to trainings in full: of
random policies of the table of truth some are fitted, and the other ones predicted. These have no
noise of small trainings and share no base augmentation.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.proxies import rank_correlation, truth
from benchmarks.record import save_result
from benchmarks.truth.run import CPU, DATA, NETWORK, load_data, policies_and_seed, recipe
from learned_augment import Policy
from learned_augment.datasets.image_data import ImageData
from learned_augment.runtime.rng import isolated
from learned_augment.search.presets import PRESETS
from learned_augment.search.screening.designs import Design, variables
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.factors import Factor
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.search.screening.record import DESIGNS, PlannedTrial, ScreeningRecord
from learned_augment.search.screening.search import Screening
from learned_augment.search.screening.trials import Measured, Trial
from learned_augment.search.split import train_val_split
from learned_augment.training import Recipe

SEED = 1
PARTITIONS = 20
"""Random choices of the policies that are fitted."""

Designs = dict[str, Design]


def screened(name: str, data: ImageData) -> ScreeningRecord:
    """Run the trials of a screening that tell what ops do, and those before them."""
    split = train_val_split(data, None, None, SEED, CPU)
    settings = replace(PRESETS["screening"], network=NETWORK, epochs=recipe(name).epochs)
    generator = torch.Generator().manual_seed(SEED)
    with isolated(SEED):
        screening = Screening(
            split, torch.nn.Identity(), settings, ScreeningOptions(workers=1), generator
        )
        while screening.remaining[DESIGNS]:
            screening.step()
    return screening.record


def as_design(factors: Sequence[Factor], policies: Sequence[Policy]) -> Design | None:
    """Return policies as a design with the nearest strengths; None if a layer has several ops."""
    found: dict[str, tuple[int, float]] = {}
    for policy in policies:
        if len(policy.mixture) > 1:
            return None
        layers = zip(policy.weights[0], policy.op[0], policy.value[0], strict=True)
        for weights, ops, values in layers:
            drawn = [
                (policy.ops[op], weight, value)
                for op, weight, value in zip(
                    ops.tolist(), weights.tolist(), values.tolist(), strict=True
                )
                if weight > 0 and policy.ops[op] != "Identity"
            ]
            names = {op for op, _, _ in drawn}
            if len(names) > 1 or names & set(found):
                return None
            for op in names:
                probability = sum(weight for _, weight, _ in drawn)
                value = max(value for _, _, value in drawn)
                if op == "Flip":  # its value is a probability, too
                    probability, value = probability * value, 1.0
                places = [place for place, factor in enumerate(factors) if factor.op == op]
                if places:  # an op that changes these images
                    nearest = min(places, key=lambda place: abs(factors[place].value - value))
                    found[op] = nearest, probability
    return tuple(sorted(found.values()))


def rank(record: ScreeningRecord, designs: Designs, true: dict[str, float]) -> float:
    """Return the rank correlation of a record's predictions with the true losses of designs."""
    predicted = record.regression().predict(variables(record.factors, [*designs.values()]))
    return rank_correlation(predicted.tolist(), [true[policy] for policy in designs])


def of_trainings(
    factors: Sequence[Factor], designs: Designs, true: dict[str, float]
) -> ScreeningRecord:
    """Return trainings in full as the record of a screening."""
    record = ScreeningRecord(factors)
    for policy, design in designs.items():
        trial = Trial((), 1.0, 0, 0, Recipe(epochs=1))
        record.planned.append(PlannedTrial(DESIGNS, trial, Entrant(policy, (), False, design)))
        record.results.append(Measured(math.exp(true[policy]), 0.0))
    return record


def rank_of_trainings(
    factors: Sequence[Factor], designs: Designs, true: dict[str, float], fitted: int
) -> float:
    """Return the mean rank correlation for policies that were not fitted."""
    found = []
    for number in range(PARTITIONS):
        policies = random.Random(number).sample(list(designs), len(designs))
        known, others = (
            {policy: designs[policy] for policy in part}
            for part in (policies[:fitted], policies[fitted:])
        )
        found.append(rank(of_trainings(factors, known, true), others, true))
    return statistics.fmean(found)


def measure(name: str, folder: str) -> dict[str, Any]:
    """Return how well the regressions rank the policies of one data set."""
    data = load_data(name, folder)
    begun = time.process_time()
    record = screened(name, data)
    spent = time.process_time() - begun
    true = {policy: row["log_loss"] for policy, row in truth(name).items()}
    side = data.train_images.shape[-1]
    designs = {
        policy: design
        for policy in true
        if (design := as_design(record.factors, policies_and_seed(policy, 0, side)[0])) is not None
    }
    randomly = {one: designs[one] for one in designs if one.startswith("random-")}
    few, many = ScreeningOptions().designs, len(randomly) * 3 // 4
    stands_on = record.entrants()[DESIGNS]
    common = set.intersection(*(set(entrant.design or ()) for entrant in stands_on))
    return {
        "data": name,
        "base": [record.factors[place].op for place, _ in sorted(common)],
        "policies": len(designs),
        "rank_correlation": round(rank(record, designs, true), 3),
        "cpu_s": round(spent, 1),
        "trainings": {
            str(fitted): round(rank_of_trainings(record.factors, randomly, true, fitted), 3)
            for fitted in (few, many)
        },
    }


def main() -> None:
    """Measure on each data set, and write results/regression.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=DATA)
    parser.add_argument("--data", default="data")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.names:
        rows.append(measure(name, given.data))
        print(rows[-1], flush=True)
    save_result("regression", rows, seeds=[SEED], settings={"network": NETWORK})


if __name__ == "__main__":
    main()
