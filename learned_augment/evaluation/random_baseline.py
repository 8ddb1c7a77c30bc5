"""Random baselines: policies with the shape and strength of another one and random ops."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.sampling import HOST
from learned_augment.search_spaces import SPACES, Range, mirror, with_all_ops

__all__ = ["RANDOM", "random_baseline"]

RANDOM = "random:"
"""The start of the name of a random baseline."""


def random_baseline(policy: Policy, seed: int = 0) -> Policy:
    """Return a policy of the same shape and strength, whose choice of ops is random.

    A policy that is no better than its random baseline owes its gain to augmentation, not to
    learning.

    The strength of a value is 0 at the identity value, 1 at the end of the op's range in the
    policy's search space, and linear between them. An op that is not in that space has the range of
    `search_spaces.with_all_ops`.

    In each layer of each sub-policy a random permutation exchanges the ops that the policy names,
    within three groups: ops with a range of values; ops with a single value (DeepAA's flip, crop
    and cutout); ops without a value, and so without strength (AutoContrast, Invert, Equalize).
    Identity stays, and so do sub-policies, layers, mixture, weights and the strength of every
    candidate. A value stays below or above the identity value; where its old op has one side only,
    the new op's side is random.

    Args:
        policy: A policy whose ``about`` names its search space.
        seed: Chooses the permutations and sides.

    Raises:
        ValueError: If the policy names no search space.

    Examples:
        >>> from learned_augment import Policy
        >>> random_baseline(Policy.load("dada-cifar10"), seed=1).name
        'random:dada-cifar10'
    """
    with HOST:
        return _draw(policy, seed)


def _draw(policy: Policy, seed: int) -> Policy:
    spans = _spans(policy)
    table = _Table.of(policy.ops, spans)
    generator = torch.Generator().manual_seed(seed)
    shape = (*policy.weights.shape[:2], len(policy.ops))
    names = torch.arange(len(policy.ops)).expand(shape).clone()  # (S, L, O): what each op becomes
    for members in _groups(policy.ops, spans):
        order = torch.rand(
            *shape[:2], len(members), generator=generator, dtype=torch.float32
        ).argsort(-1)
        names[:, :, members] = torch.tensor(members)[order]
    sides = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
    op = names.gather(2, policy.op)
    value = table.values(op, table.strengths(policy, sides))
    moved = op != policy.op
    about = {key: policy.about[key] for key in ("placement", "space") if key in policy.about}
    about |= {"name": RANDOM + policy.name, "method": "random baseline", "seed": str(seed)}
    return Policy(
        policy.ops,
        policy.mixture,
        policy.weights,
        op,
        torch.where(moved, value, policy.value),
        about,
    )


class _Table(NamedTuple):
    """The ranges of a policy's ops, each field (O,).

    Attributes:
        identity_value: The value that changes nothing, or the only value.
        below: Distance from it to the low end.
        above: Distance from it to the high end.
        whole: Whether its values are whole numbers.
    """

    identity_value: Tensor
    below: Tensor
    above: Tensor
    whole: Tensor

    @classmethod
    def of(cls, ops: Sequence[str], spans: Sequence[Range]) -> "_Table":
        columns = zip(*map(_row, ops, spans), strict=True)
        identity_value, below, above = (torch.tensor(c, dtype=torch.float64) for c in columns)
        whole = torch.tensor([span.whole for span in spans])
        return cls(identity_value, below, above, whole)

    def strengths(self, policy: Policy, sides: Tensor) -> Tensor:
        """Return each candidate's signed strength (S, L, C); `sides` (S, L, O) of one-sided ops."""
        op, offset = policy.op, policy.value - self.identity_value[policy.op]
        reach = torch.where(offset < 0, self.below[op], self.above[op])
        strength = torch.where(reach > 0, offset / reach.clamp_min(1e-12), 0.0)
        one_sided = (self.below * self.above == 0)[op]
        return torch.where(one_sided, strength.abs() * sides.gather(2, op), strength)

    def values(self, op: Tensor, strength: Tensor) -> Tensor:
        """Return the values of ops (S, L, C) at signed strengths (S, L, C)."""
        below, above = self.below[op], self.above[op]
        downward = ((strength < 0) & (below > 0)) | (above == 0)
        reach = torch.where(downward, -below, above)
        value = self.identity_value[op] + strength.abs() * reach
        return torch.where(self.whole[op], value.round(), value)


def _groups(ops: Sequence[str], spans: Sequence[Range]) -> list[list[int]]:
    """Return the groups of ops that may be exchanged."""
    groups: dict[tuple[bool, bool], list[int]] = defaultdict(list)
    for place, (name, span) in enumerate(zip(ops, spans, strict=True)):
        if name != "Identity":
            groups[not OPS[name].unit, span.low == span.high].append(place)
    return list(groups.values())


def _spans(policy: Policy) -> list[Range]:
    """Return the range of each of a policy's ops."""
    space = str(policy.about.get("space"))
    if space not in SPACES and set(policy.ops) != {"Identity"}:
        raise ValueError(
            f"A random baseline needs to know the ranges of {policy.name}'s ops: expected "
            f"about['space'] to be one of {', '.join(SPACES)}, got {policy.about.get('space')!r}. "
            "Policies that draw their ops uniformly, such as trivialaugment, are random already."
        )
    known = {**with_all_ops(SPACES.get(space, {})), "Identity": Range()}
    return [known[name] for name in policy.ops]


def _row(name: str, span: Range) -> tuple[float, float, float]:
    """Return (identity value, below, above); both distances are 0 for a single value."""
    identity_value = OPS[name].identity_value
    if span.low == span.high or identity_value is None:
        return span.low, 0.0, 0.0
    ends = [span.low, span.high]
    ends += [mirror(name, end) for end in ends] if span.mirrored else []
    below, above = identity_value - min(ends), max(ends) - identity_value
    return identity_value, max(0.0, below), max(0.0, above)
