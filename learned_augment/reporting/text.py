"""A policy in words and as plain data: what it draws, how often, at which values.

Chances are in percent where people read them and in [0, 1] in data; values are in the op's unit.
Figures are drawn in ``figures``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from learned_augment._text import leading
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search_spaces import mirror

__all__ = ["Candidate", "candidates", "columns", "policy_data", "policy_text"]

WRITTEN_OUT = 30
"""Policies of more sub-policies than this are condensed to one table."""

SMALL = 0.01
"""Ops of a layer with a smaller chance are summed up in one line."""

NAMED_VALUES = 4


class Candidate(NamedTuple):
    """An op at a value; ``mirrored`` stands for the value or its mirror with equal chance."""

    op: str
    value: float
    chance: float
    mirrored: bool = False

    def __str__(self) -> str:
        if not OPS[self.op].unit:
            return self.op
        return f"{self.op} {_number(self.op, self.value, self.mirrored)}"


def candidates(policy: Policy, sub_policy: int, layer: int) -> list[Candidate]:
    """Return the candidates of one layer that can be drawn, likeliest first, twins merged."""
    at = sub_policy, layer
    rows = zip(
        policy.op[at].tolist(), policy.value[at].tolist(), policy.weights[at].tolist(), strict=True
    )
    chances: dict[tuple[str, float], float] = defaultdict(float)
    for op, value, weight in rows:
        if weight > 0:
            chances[policy.ops[op], round(value, 12)] += weight
    return _by_chance(_merged(chances))


def policy_data(policy: Policy) -> dict[str, Any]:
    """Return everything a policy says as JSON data: ``about``, op shares, every candidate.

    ``ops`` maps each op to its unit, its chance in each layer (averaged over sub-policies) and
    ``per_image``, how often an image meets it on average.
    """
    ops = {
        name: {"unit": OPS[name].unit, "layers": share.tolist(), "per_image": float(share.sum())}
        for name, share in policy.op_shares().items()
    }
    sub_policies = [
        {"chance": chance, "layers": [_layer_data(policy, s, i) for i in range(policy.depth)]}
        for s, chance in enumerate(policy.mixture.tolist())
    ]
    return {"about": dict(policy.about), "ops": ops, "sub_policies": sub_policies}


def policy_text(policy: Policy) -> str:
    """Return a policy as readable text: provenance, op shares, then its layers or sub-policies."""
    blocks = [_heading(policy), _shares(policy)]
    if len(policy.mixture) == 1:
        blocks += [_layer(policy, layer) for layer in range(policy.depth)]
    elif len(policy.mixture) <= WRITTEN_OUT:
        blocks.append(_sub_policies(policy))
    return "\n\n".join("\n".join(block) for block in blocks)


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return rows of cells as aligned lines; columns listed in ``right`` are right-aligned."""
    flush, widths = set(right), [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in flush else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _merged(chances: dict[tuple[str, float], float]) -> Iterable[Candidate]:
    """Join each value with its mirror image where both are equally likely."""
    for (op, value), chance in chances.items():
        if OPS[op].identity_value is None or value == OPS[op].identity_value:
            yield Candidate(op, value, chance)
            continue
        twin = round(mirror(op, value), 12)
        if abs(chances.get((op, twin), 0.0) - chance) > 1e-9:
            yield Candidate(op, value, chance)
        elif value > twin:
            yield Candidate(op, value, 2 * chance, mirrored=True)


def _by_chance(found: Iterable[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda candidate: -candidate.chance)


def _layer_data(policy: Policy, sub_policy: int, layer: int) -> list[dict[str, Any]]:
    at = sub_policy, layer
    rows = zip(
        policy.op[at].tolist(), policy.value[at].tolist(), policy.weights[at].tolist(), strict=True
    )
    return [{"op": policy.ops[o], "value": v, "chance": w} for o, v, w in rows if w > 0]


def _heading(policy: Policy) -> list[str]:
    about = policy.about
    s, layers = policy.weights.shape[:2]
    shape = f"{layers} layer{'' if layers == 1 else 's'}"
    shape = shape if s == 1 else f"{s} sub-policies of {shape}"
    made_for = [f"for {about['dataset']}"] if "dataset" in about else []
    size = [f"images of {about['image_size']} pixels"] if "image_size" in about else []
    method = [str(about["method"])] if "method" in about else []
    lines = [f"{policy.name}: " + ", ".join([*method, *made_for, *size, shape])]
    placement = {
        "replaces": "Replaces the default crop, flip and cutout.",
        "after": "Stands beside the default crop, flip and cutout.",
    }.get(str(about.get("placement")))
    lines += [placement] if placement else []
    source = about.get("source")
    where = f"{source['repository']} {source.get('file', '')}" if isinstance(source, dict) else ""
    facts = {"Paper": about.get("paper"), "Source": where, "Licence": about.get("licence")}
    lines += [f"{name}: {fact}".rstrip() for name, fact in facts.items() if fact]
    # A foreign file may hold anything, terminal commands included.
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _shares(policy: Policy) -> list[str]:
    heads = [f"layer {layer + 1}" for layer in range(policy.depth)]
    rows = [["chance in percent", *heads, "times per image", "values (80 % of draws)", ""]]
    shares = sorted(policy.op_shares().items(), key=lambda item: -float(item[1].sum()))
    for name, share in shares:
        total = float(share.sum())
        if total > 0:
            cells = [_percent(chance) for chance in share.tolist()]
            rows.append([name, *cells, f"{total:.3f}", _spread(policy, name), OPS[name].unit])
    return columns(rows, right=range(1, policy.depth + 2))


def _spread(policy: Policy, name: str) -> str:
    """Return the values between which 80 % of an op's draws lie."""
    chosen = policy.op == policy.ops.index(name)
    weights = (policy.mixture[:, None, None] * policy.weights)[chosen].numpy()
    values = policy.value[chosen].numpy()
    if not OPS[name].unit or weights.sum() == 0:
        return ""
    middle = OPS[name].identity_value
    even = middle is not None and _is_even(values - middle, weights)
    if even and middle is not None:
        values = middle + abs(values - middle)
    low, high = (_quantile(values, weights, share) for share in (0.1, 0.9))
    ends = [_number(name, end, even) for end in ((low,) if low == high else (low, high))]
    return " to ".join(ends)


def _is_even(offsets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> bool:
    """Say whether values lie alike on both sides of zero, and not all at zero."""
    sides: dict[float, float] = defaultdict(float)
    for offset, weight in zip(offsets.round(9).tolist(), weights.tolist(), strict=True):
        sides[abs(offset)] += weight if offset > 0 else -weight if offset < 0 else 0.0
    return any(sides) and all(abs(balance) < 1e-9 for balance in sides.values())


def _quantile(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], share: float) -> float:
    order = values.argsort()
    running = weights[order].cumsum()
    return float(values[order][np.searchsorted(running, share * running[-1])])


def _layer(policy: Policy, layer: int) -> list[str]:
    found = candidates(policy, 0, layer)
    ops: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in found:
        ops[candidate.op].append(candidate)
    sums = {op: sum(candidate.chance for candidate in group) for op, group in ops.items()}
    large = sorted((op for op in ops if sums[op] >= SMALL), key=lambda op: -sums[op])
    rows = [[f"  {op}", _percent(sums[op]) + " %", _likeliest(ops[op])] for op in large]
    rest = sum(chance for op, chance in sums.items() if op not in large)
    if rest > 0:
        count = len(ops) - len(large)
        rows.append([f"  {count} other{'' if count == 1 else 's'}", _percent(rest) + " %", ""])
    return [f"Layer {layer + 1}", *columns(rows, right=[1])]


def _likeliest(group: list[Candidate]) -> str:
    op = OPS[group[0].op]
    if not op.unit:
        return ""
    numbers = [_number(c.op, c.value, c.mirrored) for c in group]
    if len(group) == 1:
        return numbers[0]
    chances = [_percent(candidate.chance) for candidate in group]
    named = [f"{number} ({chance} %)" for number, chance in zip(numbers, chances, strict=True)]
    return leading(named, NAMED_VALUES)


def _sub_policies(policy: Policy) -> list[str]:
    layers = range(policy.depth)
    rows = [["", "chance", *[f"layer {layer + 1}" for layer in layers]]]
    for s, chance in enumerate(policy.mixture.tolist()):
        rows.append([str(s + 1), _percent(chance) + " %", *[_cell(policy, s, i) for i in layers]])
    return ["Sub-policies, each op with its chance", *columns(rows, right=[0, 1])]


def _cell(policy: Policy, sub_policy: int, layer: int) -> str:
    acting = [c for c in candidates(policy, sub_policy, layer) if c.op != "Identity"]
    named = [f"{candidate}: {_percent(candidate.chance)} %" for candidate in acting]
    return leading(named, NAMED_VALUES) or "nothing"


def _number(op: str, value: float, mirrored: bool) -> str:
    middle = OPS[op].identity_value or 0.0
    if not mirrored or value == middle:
        return f"{value:.4g}"
    return f"{middle:g}±{value - middle:.3g}" if middle else f"±{value:.3g}"


def _percent(chance: float) -> str:
    return f"{100 * chance:.1f}" if chance >= 5e-4 else "0" if chance == 0 else "<0.1"
