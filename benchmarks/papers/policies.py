"""Write the policies that the papers' commands name and the package does not ship.

    python -m benchmarks.papers.policies

They go into the current folder.
"""

from tempfile import TemporaryDirectory

from torchvision.transforms import AutoAugmentPolicy

from benchmarks.papers.data import Placed, place
from benchmarks.papers.presets import Preset
from learned_augment import Policy
from learned_augment.builders import (
    deep_trivial_augment,
    from_layers,
    from_torchvision,
    rand_augment,
    uniform_layer,
)
from learned_augment.search_spaces import SPACES

__all__ = ["placed_policy", "unshipped"]

ENDING = ".safetensors"


def unshipped() -> dict[str, Policy]:
    """Return the policies by the name of their file."""
    found = {
        f"autoaugment-{data}": from_torchvision(AutoAugmentPolicy(data))
        for data in ("svhn", "imagenet")
    }
    for name in ("deepaa-cifar10-2", "deepaa-imagenet"):
        whole = Policy.load(name)
        found |= {f"{name}-first-{k}": _first_layers(whole, k) for k in range(1, whole.depth)}
    found |= {f"deepta-{k}": deep_trivial_augment(k) for k in range(1, 9)}
    found |= {
        "deepaa-imagenet-simple": _simple(),
        "trivialaugment-ra": _trivial_augment(),
        "uniformaugment": _uniform_augment(),
    }
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


def _simple() -> Policy:
    """Return DeepAA-simple: the first layer, then crop and flip.

    The paper does not state the order; its code puts crop and flip after every other policy.
    """
    first = Policy.load("deepaa-imagenet")
    layers = [first.layers(0)[0], [("ResizedCrop", 1.0, 0.08)], [("Flip", 1.0, 0.5)]]
    return from_layers(layers, {**first.about, "name": "deepaa-imagenet-simple"})


def _trivial_augment() -> Policy:
    """Return TrivialAugment in RandAugment's ranges: one op, one of its 31 strengths."""
    layer = [candidate for m in range(31) for candidate in rand_augment(1, m).layers(0)[0]]
    return from_layers([layer], {"name": "trivialaugment-ra", "placement": "after"})


def _uniform_augment() -> Policy:
    """Return UniformAugment: two ops of Fast AutoAugment's space, each at one of 31 strengths.

    It draws an op's probability of being applied evenly from 0 to 1 for every image: a half.

    LingChen et al., UniformAugment, arXiv:2003.14348.
    """
    space = SPACES["fast-autoaugment"]
    layer = [*uniform_layer(space, 31), ("Identity", float(len(space)), 0.0)]
    return from_layers([layer] * 2, {"name": "uniformaugment", "placement": "after"})


def main() -> None:
    """Write all of them."""
    for name, policy in unshipped().items():
        policy.save(name)
        print(name)


if __name__ == "__main__":
    main()
