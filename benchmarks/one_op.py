"""How much do ops add to a base augmentation before a search: a random one, or each by itself?

    python -m benchmarks.one_op digits sign_digits spoken_digits cifar1000 --data FOLDER
    python -m benchmarks.one_op cifar1000 --each --data FOLDER

The ops and their values are those that a screening tries. Half of the images get one op; with the
base augmentation of the data set before it, all images get that. The networks train on all training
images and test on the test images, as in `benchmarks.screening`.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.record import save_result
from benchmarks.screening import NETWORK
from benchmarks.truth.run import DATA, load_data
from learned_augment import Policy, compare
from learned_augment.builders import from_layers, in_sequence
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.search.screening.factors import MEDIUM, Factor, choose_factors

BASES = {
    "digits": None,
    "sign_digits": "crop",
    "spoken_digits": None,
    "cifar1000": "crop-flip",
    "cifar4000": "crop-flip",
}
"""The best of none, crop, and crop and flip on each data set."""

LEFT = ("PadCrop", "Flip")
"""The ops of base augmentations."""


def one_of(factors: Iterable[Factor], probability: float) -> Policy:
    """Return the policy that applies one op to an image with a probability; ops are equally likely.

    Args:
        factors: Among which to draw; the strengths of an op share its part.
        probability: Of any op.
    """
    factors = list(factors)
    ops = [factor.op for factor in factors]
    layer = [("Identity", 1 - probability, 0.0)] if probability < 1 else []
    for factor in factors:
        layer += factor.candidates(probability / len(set(ops)) / ops.count(factor.op))
    return from_layers([layer])


def random_ops(factors: Sequence[Factor]) -> dict[str, Policy]:
    """Return policies of an op drawn at random, for half of the images and for all."""
    return {"an op for half": one_of(factors, 0.5), "an op for all": one_of(factors, 1.0)}


def single_ops(factors: Sequence[Factor]) -> dict[str, Policy]:
    """Return a policy for each op at medium strength, for half of the images."""
    medium = [factor for factor in factors if factor.magnitude == MEDIUM]
    return {factor.op: one_of([factor], 0.5) for factor in medium}


def main() -> None:
    """Train, print the comparisons and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=BASES)
    parser.add_argument("--data", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--each", action="store_true", help="each op by itself")
    given = parser.parse_args()
    rows = []
    for name in given.names:
        data, base = load_data(name, given.data), BASES[name]
        factors = [
            factor
            for factor in choose_factors(None, (), data.train_images)
            if factor.op not in LEFT
        ]
        policies = (single_ops if given.each else random_ops)(factors)
        before = [from_layers(BASE_AUGMENTATIONS[base])] if base else []
        comparison = compare(
            data,
            {
                base or "none": base or "none",
                **{called: in_sequence([*before, one]) for called, one in policies.items()},
            },
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
    result = "each-op" if given.each else "one-op"
    save_result(result, rows, seeds=range(given.seeds), settings={"network": NETWORK})


if __name__ == "__main__":
    main()
