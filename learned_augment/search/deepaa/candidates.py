"""DeepAA's candidates: every op of a space at every level, applied to a batch all at once.

Shapes: N candidates, M distinct ones among them, B images. Identity is candidate 0.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends import apply_batch
from learned_augment.builders import from_layers
from learned_augment.plan import NOISE, Plan
from learned_augment.policy import Policy
from learned_augment.search_spaces import SPACES, Space, levels

__all__ = ["Candidates", "find_candidates"]

RANDOM = ("Flip", "Cutout", "CutoutClipped", "PadCrop", "ResizedCrop")
SMALL_SIDE = 64


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a layer, and which of them are the same change under two names.

    Attributes:
        space: The name of their space, of `spaces.SPACES`.
        ops: (O,) names.
        op: (N,) int64, which op.
        value: (N,) float64, at which value, in the op's unit.
        first: (M,) int64, a candidate of each kind.
        kind: (N,) int64 in 0 .. M - 1, which kind a candidate is of.
    """

    space: str
    ops: tuple[str, ...]
    op: Tensor
    value: Tensor
    first: Tensor
    kind: Tensor

    def __len__(self) -> int:
        return len(self.op)

    def of_kinds(self, weights: Tensor) -> Tensor:
        """Return the chances (M,) of the kinds from those of the candidates, (N,)."""
        return weights.new_zeros(len(self.first)).index_add(0, self.kind, weights)

    def apply_kinds(self, images: Tensor, noise: Tensor) -> Tensor:
        """Apply one candidate of every kind to every image, in one batch.

        Args:
            images: (B, C, H, W) uint8.
            noise: (B, M, 4) in [0, 1), for the ops that choose a place.

        Returns:
            (B * M, C, H, W) uint8, all kinds of the first image first.
        """
        return self.apply(images, self.first.expand(len(images), -1), noise)

    def apply(self, images: Tensor, chosen: Tensor, noise: Tensor) -> Tensor:
        """Apply the candidates ``chosen`` (B, n) to images (B, C, H, W), with noise (B, n, 4)."""
        rows = chosen.reshape(-1)
        plan = Plan(
            self.ops, self.op[rows, None], self.value[rows, None], noise.reshape(-1, 1, NOISE)
        )
        return apply_batch(images.repeat_interleave(chosen.shape[1], 0), plan)

    def policy(self, layers: Sequence[Tensor], about: Mapping[str, Any] | None = None) -> Policy:
        """Return the policy with these layers, each of chances (N,)."""
        names = [self.ops[op] for op in self.op.tolist()]
        values = self.value.tolist()
        return from_layers(
            [list(zip(names, layer.tolist(), values, strict=True)) for layer in layers],
            {"space": self.space, **(about or {})},
        )


def find_candidates(
    shape: Sequence[int],
    *,
    space: str = "auto",
    ops: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    count: int = 13,
    distinct: bool = True,
) -> Candidates:
    """Return the candidates of a search; 139 by default, 130 of them distinct.

    Args:
        shape: (C, H, W) of the images; region ops are fractions of their side.
        space: A name of `spaces.SPACES`, or "auto" by the side of the images.
        ops: Names to search among, of either of DeepAA's spaces; None for all of the space.
        exclude: Names to leave out. Identity stays.
        count: Levels an op, among them the one that changes nothing.
        distinct: Whether to look for candidates that are the same change.

    Raises:
        ValueError: If a name is unknown, or fewer than two ops remain beside Identity.
    """
    if space == "auto":
        space = "deepaa" if min(shape[1:]) <= SMALL_SIDE else "deepaa-imagenet"
    rows = _chosen(SPACES[space], ops, exclude)
    found = [(name, value) for name, span in rows.items() for value in levels(name, span, count)]
    names = tuple(rows)
    everyone = torch.arange(len(found))
    candidates = Candidates(
        space,
        names,
        torch.tensor([names.index(name) for name, _ in found]),
        torch.tensor([value for _, value in found], dtype=torch.float64),
        everyone,
        everyone,
    )
    return _grouped(candidates, shape) if distinct else candidates


def _chosen(space: Space, ops: Sequence[str] | None, exclude: Collection[str]) -> Space:
    known = {**SPACES["deepaa"], **SPACES["deepaa-imagenet"], **space}
    wanted = set(space if ops is None else ops)
    unknown = sorted((wanted | set(exclude)) - set(known))
    if unknown:
        raise ValueError(f"Unknown op {unknown[0]!r} for a search. Known: {', '.join(known)}.")
    names = [name for name in known if name in wanted - set(exclude) and name != "Identity"]
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two ops beside Identity, got {names}; add to ops or exclude fewer."
        )
    return {name: known[name] for name in ("Identity", *names)}


def _grouped(candidates: Candidates, shape: Sequence[int]) -> Candidates:
    """Find candidates that do the same to pictures of every sort; random ops are never the same."""
    probes = _probes(shape)
    everyone = torch.arange(len(candidates)).expand(len(probes), -1)
    noise = torch.zeros(*everyone.shape, NOISE)
    changed = candidates.apply(probes, everyone, noise)
    by_candidate = changed.unflatten(0, everyone.shape).transpose(0, 1)
    kinds: dict[bytes, int] = {}
    first, kind = [], []
    for number, pixels in enumerate(by_candidate):
        key = pixels.contiguous().numpy().tobytes()
        if candidates.ops[int(candidates.op[number])] in RANDOM:
            key = str(number).encode()
        if key not in kinds:
            kinds[key] = len(kinds)
            first.append(number)
        kind.append(kinds[key])
    return replace(candidates, first=torch.tensor(first), kind=torch.tensor(kind))


def _probes(shape: Sequence[int]) -> Tensor:
    """Return pictures (3, C, H, W): all levels alike, dark and uneven, bright and narrow."""
    noise = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    noise[1] = 0.1 + 0.5 * noise[1].square()
    noise[2] = 0.6 + 0.3 * noise[2].sqrt()
    return noise.mul(256).floor().to(torch.uint8)
