"""Measure which single ops help by themselves, a reference for searches of unchanged data.

    python -m benchmarks.single_ops [--data digits] [--train-size 449] [--seeds 12]

One op at a time is applied to every second training image at a few moderate values; the network of
`compare` trains on as many images as a search's half holds, paired by seed with none.
"""

import argparse
import json

from benchmarks.record import save_result
from learned_augment import Policy, compare
from learned_augment.builders import from_layers

VALUES = {
    "Rotate": (-15.0, -8.0, 8.0, 15.0),
    "Brightness": (0.5, 0.75, 1.25, 1.5),
    "Contrast": (0.5, 0.75, 1.25, 1.5),
    "ShearY": (-0.2, -0.1, 0.1, 0.2),
    "Color": (0.5, 0.75, 1.25, 1.5),
    "TranslateX": (-0.2, -0.1, 0.1, 0.2),
    "Flip": (1.0,),
    "Equalize": (0.0,),
}
PROBABILITY = 0.5


def alone(op: str) -> Policy:
    """Return the policy that applies one op to every second image."""
    values = [(op, PROBABILITY / len(VALUES[op]), value) for value in VALUES[op]]
    return from_layers([[*values, ("Identity", 1 - PROBABILITY, 0.0)]], {"name": op})


def main() -> None:
    """Train, print the comparison and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--train-size", type=int, default=449)
    parser.add_argument("--seeds", type=int, default=12)
    given = parser.parse_args()
    comparison = compare(
        given.data,
        {"none": "none"} | {op: alone(op) for op in VALUES},
        train_size=given.train_size,
        seeds=given.seeds,
        base="none",
    )
    print(comparison.table())
    settings = {"values": VALUES, "probability": PROBABILITY}
    save_result(
        "single-ops",
        [json.loads(comparison.to_json())],
        seeds=range(given.seeds),
        settings=settings,
    )


if __name__ == "__main__":
    main()
