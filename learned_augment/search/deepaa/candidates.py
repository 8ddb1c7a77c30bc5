"""DeepAA's candidates: every op of a space at every level, all applied to a batch at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.builders import from_layers
from learned_augment.ops import OPS, check_ops
from learned_augment.policy import Plan, Policy
from learned_augment.sampling import NOISE
from learned_augment.search_spaces import SPACES, Space, levels, with_all_ops

__all__ = ["Candidates", "find_candidates"]

_SMALL_SIDE = 64


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a layer, in groups of those that change images in the same way.

    Shapes: N candidates, M distinct ones among them, B images. Identity is candidate 0.

    Attributes:
        space: The name of their space, one of `search_spaces.SPACES`.
        ops: (O,) names.
        op: (N,) int64, the op of each candidate.
        value: (N,) float64, the value of each candidate, in the op's unit.
        distinct: (M,) int64, one candidate of each group.
        group: (N,) int64 in 0 .. M - 1, the group of each candidate.
    """

    space: str
    ops: tuple[str, ...]
    op: Tensor
    value: Tensor
    distinct: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.op)

    def by_group(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities (M,) of the groups from those of the candidates, (N,)."""
        zeros = probabilities.new_zeros(len(self.distinct))
        return zeros.index_add(0, self.group, probabilities)

    def apply_distinct(self, images: Tensor, noise: Tensor) -> Tensor:
        """Apply one candidate of every group to every image, in one batch.

        Args:
            images: (B, C, H, W) uint8.
            noise: (B, M, 4) in [0, 1), for the ops that choose a place.

        Returns:
            (B * M, C, H, W) uint8, all candidates of the first image first.
        """
        return self.apply(images, self.distinct.expand(len(images), -1), noise)

    def apply(self, images: Tensor, chosen: Tensor, noise: Tensor) -> Tensor:
        """Apply the candidates ``chosen`` (B, n) to images (B, C, H, W), with noise (B, n, 4)."""
        rows = chosen.reshape(-1)
        plan = Plan(
            self.ops, self.op[rows, None], self.value[rows, None], noise.reshape(-1, 1, NOISE)
        )
        return apply_batch(images.repeat_interleave(chosen.shape[1], 0), plan)

    def policy(self, layers: Sequence[Tensor], about: Mapping[str, Any] | None = None) -> Policy:
        """Return the policy with these layers, each of probabilities (N,)."""
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
        space: A name of `search_spaces.SPACES`, or "auto" by the side of the images.
        ops: Names to search among, also of ops beyond the space; None for all of the space.
        exclude: Names to leave out. Identity stays.
        count: Levels an op, including the one that changes nothing.
        distinct: Whether to group candidates that change images in the same way.

    Raises:
        ValueError: If a name is unknown, or fewer than two ops remain besides Identity.
    """
    if space == "auto":
        space = "deepaa" if min(shape[1:]) <= _SMALL_SIDE else "deepaa-imagenet"
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
    check_ops([*(ops or ()), *exclude])
    both = {**SPACES["deepaa"], **SPACES["deepaa-imagenet"], **space}
    known = with_all_ops(both)
    wanted = set(space if ops is None else ops)
    names = [name for name in known if name in wanted - set(exclude) and name != "Identity"]
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two ops besides Identity, got {names}; add to ops or exclude fewer."
        )
    return {name: known[name] for name in ("Identity", *names)}


def _grouped(candidates: Candidates, shape: Sequence[int]) -> Candidates:
    """Group candidates that give the same pixels for all test images; random ops stay alone."""
    images = _test_images(shape)
    everyone = torch.arange(len(candidates)).expand(len(images), -1)
    noise = torch.zeros(*everyone.shape, NOISE)
    changed = candidates.apply(images, everyone, noise)
    by_candidate = changed.unflatten(0, everyone.shape).transpose(0, 1)
    groups: dict[bytes, int] = {}
    distinct, group = [], []
    for number, pixels in enumerate(by_candidate):
        key = pixels.contiguous().numpy().tobytes()
        if OPS[candidates.ops[int(candidates.op[number])]].random:
            key = str(number).encode()
        if key not in groups:
            groups[key] = len(groups)
            distinct.append(number)
        group.append(groups[key])
    return replace(candidates, distinct=torch.tensor(distinct), group=torch.tensor(group))


def _test_images(shape: Sequence[int]) -> Tensor:
    """Return images (3, C, H, W) of noise: of all levels, of dark levels and of bright levels."""
    noise = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    noise[1] = 0.1 + 0.5 * noise[1].square()
    noise[2] = 0.6 + 0.3 * noise[2].sqrt()
    return noise.mul(256).floor().to(torch.uint8)
