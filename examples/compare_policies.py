"""Say which policies help on a folder of images.

Usage:
    python examples/compare_policies.py photos --policies none trivialaugment mine.safetensors

The folder holds one sub-folder of images for each class. Without a folder it compares on
scikit-learn's digits.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from learned_augment import compare


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the same network under each policy and print what that showed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--policies", nargs="+", default=["none", "trivialaugment", "dada-cifar10"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--out", default="result.json")
    given = parser.parse_args(arguments)

    sized = {"image_size": given.image_size} if given.folder else {}
    result = compare(
        f"folder:{given.folder}" if given.folder else "digits",
        given.policies,
        epochs=given.epochs,
        seeds=given.seeds,
        cache="runs",  # a repeated call trains only what is missing
        **sized,
    )
    print(result)
    Path(given.out).write_text(result.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
