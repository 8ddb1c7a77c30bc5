"""Write the policies that the papers' commands name and that are not shipped, as files.

    python benchmarks/papers_policies.py

They go into the current folder.
"""

from tempfile import TemporaryDirectory

from torchvision.transforms import AutoAugmentPolicy
from train_data import Placed, place
from train_presets import Preset

from learned_augment import Policy
from learned_augment.builders import deep_trivial_augment

__all__ = ["placed_policy", "unshipped"]

ENDING = ".safetensors"


def unshipped() -> dict[str, Policy]:
    """Return the policies by the name of their file."""
    found = {
        f"autoaugment-{data}": Policy.from_torchvision(AutoAugmentPolicy(data))
        for data in ("svhn", "imagenet")
    }
    for name, depth in (("deepaa-cifar10-2", 6), ("deepaa-imagenet", 5)):
        whole = Policy.load(name)
        found |= {f"{name}-first-{k}": _first_layers(whole, k) for k in range(1, depth + 1)}
    found |= {f"deepta-{k}": deep_trivial_augment(k) for k in range(1, 9)}
    return {f"{name}{ENDING}": policy for name, policy in found.items()}


def placed_policy(name: str, preset: Preset) -> Placed:
    """Return a policy of the papers' commands in its place in a recipe, made here if need be."""
    if not name.endswith(ENDING):
        return place(name, preset, preset.recipe, 0)
    with TemporaryDirectory() as folder:
        path = unshipped()[name].save(f"{folder}/{name}")
        return place(str(path), preset, preset.recipe, 0)


def _first_layers(policy: Policy, count: int) -> Policy:
    tables = (table[:, :count] for table in (policy.weights, policy.op, policy.value))
    return Policy(policy.ops, policy.mixture, *tables, policy.about)


def main() -> None:
    """Write all of them."""
    for name, policy in unshipped().items():
        policy.save(name)
        print(name)


if __name__ == "__main__":
    main()
