"""Search a policy for a folder of images, print it and save it.

Usage:
    python examples/search_folder.py photos --out mine.safetensors

The folder holds one sub-folder of images for each class.
"""

import argparse
from collections.abc import Sequence

from learned_augment import LearnedAugment, Policy, search


def main(arguments: Sequence[str] | None = None) -> Policy:
    """Search, save and return the policy."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--out", default="mine.safetensors")
    parser.add_argument("--method", default="screening", help="or dada, deepaa")
    parser.add_argument("--epochs", type=int, help="of each training")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--time-budget", type=float, help="seconds")
    given = parser.parse_args(arguments)

    policy = search(
        f"folder:{given.folder}",
        method=given.method,
        epochs=given.epochs,
        image_size=given.image_size,
        time_budget=given.time_budget,
        checkpoint=f"{given.out}.checkpoint",  # the same command resumes a stopped search
    )
    print(f"{policy.save(given.out)}: {policy}")
    print(policy.about.get("sentence", ""))  # a screening says how sure it is

    shares = {name: float(share.sum()) for name, share in policy.op_shares().items()}
    for name, share in sorted(shares.items(), key=lambda item: -item[1])[:5]:
        print(f"  {name}: applied {share:.2f} times per image")
    print(f"In your training: {LearnedAugment(given.out)}")
    return policy


if __name__ == "__main__":
    main()
