"""Measure what ops drawn at random add to the best base augmentation, before any search.

    python -m benchmarks.random_ops digits sign_digits spoken_digits cifar1000 --data FOLDER

The ops and their values are those that a screening tries. All images get the base augmentation,
then ops in one of the forms of found policies. The networks train on all training images and test
on the test images, as in `benchmarks.screening`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import save_result
from benchmarks.screening import NETWORK
from benchmarks.truth.run import DATA, load_data
from learned_augment import compare
from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.search.screening.designs import USUAL_BASE, one_op_layer
from learned_augment.search.screening.factors import Factor, choose_factors
from learned_augment.search.screening.proposals import FORMS

BASES = {
    "digits": "none",
    "sign_digits": "crop",
    "spoken_digits": "none",
    "cifar1000": "crop-flip",
    "cifar4000": "crop-flip",
}
"""The best of none, crop, and crop and flip on each data set."""


def equal_shares(factors: Sequence[Factor]) -> list[float]:
    """Return the probability of each factor: ops are equally likely, and an op's strengths, too."""
    ops = [factor.op for factor in factors]
    return [1 / len(set(ops)) / ops.count(op) for op in ops]


def main() -> None:
    """Train, print the comparisons and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=BASES)
    parser.add_argument("--data", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    rows = []
    for name in given.names:
        data, base = load_data(name, given.data), BASES[name]
        factors = [
            factor
            for factor in choose_factors(None, (), data.train_images)
            if factor.op not in USUAL_BASE
        ]
        before, shares = BASE_AUGMENTATIONS[base], equal_shares(factors)
        policies = {
            form: from_layers([*before, *[one_op_layer(factors, shares, probability)] * layers])
            for form, (layers, probability) in FORMS.items()
        }
        comparison = compare(
            data,
            {base: base, **policies},
            base="none",
            seeds=given.seeds,
            epochs=DATA[name].epochs,
            network=NETWORK,
            precision="bfloat16",
            channels_last=True,
            cache=given.cache,
            progress=False,
        )
        print(comparison.table(), flush=True)
        rows.append(json.loads(comparison.to_json()))
    save_result("random-ops", rows, seeds=range(given.seeds), settings={"network": NETWORK})


if __name__ == "__main__":
    main()
