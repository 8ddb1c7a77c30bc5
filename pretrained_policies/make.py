"""Rebuild every shipped policy file, byte for byte, from the published figures in ``figures/``.

Usage: python pretrained_policies/make.py [FOLDER]     (default: this folder)
"""

import json
import sys
from pathlib import Path

from learned_augment._io import write_atomically
from learned_augment.builders import from_layers, from_sub_policies, uniform_layer
from learned_augment.policy import Policy
from learned_augment.search_spaces import SPACES, Space, mirror

HERE = Path(__file__).parent


def build(path: Path) -> Policy:
    """Return the policy that one table of figures describes."""
    about = json.loads(path.read_text(encoding="utf-8"))
    figures, space = about.pop("figures"), SPACES[about["space"]]
    about["made"] = f"from the published figures, by make.py and figures/{path.name}"
    if about["method"] == "DeepAA":
        return from_layers([_mirrored(space, layer) for layer in figures], about)
    sub_policies = [[(op, p, space[op].value(m)) for op, p, m in sub] for sub in figures]
    return from_sub_policies(sub_policies, [op for op in space if space[op].mirrored], about)


def _mirrored(space: Space, weights: list[float]) -> list[tuple[str, float, float]]:
    """Name the 139 chances of a DeepAA layer; a mirrored pair shares its chance equally.

    DeepAA searches signed values but evaluates them with a random sign: that is what ships.
    """
    candidates = [(op, value) for op, _, value in uniform_layer(space)]
    chance = {
        (op, round(value, 9)): weight
        for (op, value), weight in zip(candidates, weights, strict=True)
    }

    def shared(op: str, value: float) -> float:
        own = chance[op, round(value, 9)]
        if not space[op].mirrored:
            return own
        return (own + chance[op, round(mirror(op, value), 9)]) / 2

    return [(op, shared(op, value), value) for op, value in candidates]


def main(folder: Path) -> None:
    """Write every policy into ``folder`` and print its name and size."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "figures").glob("*.json")):
        data = build(path).encode()
        written = write_atomically(folder / f"{path.stem}.safetensors", data)
        print(f"{written.name:32} {len(data):9,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
