"""The ops and strengths that a screening tries, and which of them change the user's images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.builders import from_layers
from learned_augment.ops import OPS, check_ops
from learned_augment.search_spaces import SPACES, Range, mirror, with_all_ops

__all__ = ["MEDIUM", "SPACE", "Factor", "choose_factors"]

SPACE = "screening"
MAGNITUDES = (0.4, 0.8)
"""Medium and strong. A value on both sides of the identity comes with half the strength, too."""

MEDIUM = MAGNITUDES[0]
"""The magnitude of an op that has a single value, too."""

_SAMPLE = 64


@dataclass(frozen=True)
class Factor:
    """An op at a strength.

    Attributes:
        op: Its name.
        value: In the op's unit.
        magnitude: The magnitude in the search space that the value stands for.
        mirrored: Whether values on both sides of the identity are equally likely: this one, its
            mirror image, and both at half the strength.
    """

    op: str
    value: float
    magnitude: float
    mirrored: bool = False

    def candidates(self, probability: float) -> list[tuple[str, float, float]]:
        """Return the candidates of a layer: (op, weight, value)."""
        values = [self.value]
        if self.mirrored:
            values.append((3 * self.value + mirror(self.op, self.value)) / 4)  # half the strength
            values += [mirror(self.op, value) for value in values]
        return [(self.op, probability / len(values), value) for value in values]


def choose_factors(
    ops: Sequence[str] | None, exclude: Collection[str], images: Tensor
) -> tuple[Factor, ...]:
    """Return every strength of the ops that change the images.

    Args:
        ops: Among which to choose, also ops beyond the space; None for all of the space.
        exclude: Ops to leave out.
        images: (N, C, H, W) uint8; every n-th of them shows what changes nothing.

    Raises:
        ValueError: If an op is unknown, or no op is left that changes the images.
    """
    check_ops([*(ops or ()), *exclude])
    asked = SPACES[SPACE] if ops is None else ops
    # In the order of the space, so that the order of ``ops`` decides nothing.
    space = {
        op: span if op in SPACES[SPACE] else _range(op, span)
        for op, span in with_all_ops(SPACES[SPACE]).items()
    }
    wanted = [op for op in space if op in asked and op not in exclude]
    factors = [
        Factor(op, space[op].value(magnitude), magnitude, space[op].mirrored)
        for op in wanted
        for magnitude in (MAGNITUDES if space[op].low != space[op].high else (MEDIUM,))
    ]
    sample = images[:: -(-len(images) // _SAMPLE)]
    useful = tuple(factor for factor in factors if _changes(factor, sample))
    if not useful:
        raise ValueError(
            f"Expected an op that changes these images, got {wanted or 'none at all'}; name "
            "others, or exclude fewer."
        )
    return useful


def _range(op: str, usual: Range) -> Range:
    """Return the usual range of an op so that magnitude 0 changes nothing.

    A range that ends at the identity value is turned round. A range with the identity value inside
    becomes a mirrored one that starts there, and reaches as far as both sides of it go.
    """
    identity = OPS[op].identity_value
    if identity == usual.high:
        return Range(usual.high, usual.low)
    if identity is None or not usual.low < identity < usual.high:
        return usual
    reach = min(identity - usual.low, usual.high - identity)
    return Range(identity, identity + reach, mirrored=True)


def _changes(factor: Factor, images: Tensor) -> bool:
    plan = from_layers([factor.candidates(1.0)]).sample(
        len(images), torch.Generator().manual_seed(0)
    )
    return not torch.equal(apply_batch(images, plan), images)
