"""Policies in words and as plain data."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from learned_augment._text import align, leading, printable
from learned_augment.model_card import placement, provenance
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.reporting.effects import effects_sentences, policy_effects
from learned_augment.search_spaces import mirror

__all__ = [
    "Candidate",
    "candidates",
    "op_rows",
    "percent",
    "policy_data",
    "policy_summary",
    "policy_text",
]

LARGEST_MIXTURE = 30
"""The most sub-policies that are printed one by one; more become one table."""

SMALLEST = 0.01
"""Ops of a layer with a smaller probability are summed up in one line."""

NAMED_VALUES = 4


class Candidate(NamedTuple):
    """An op at a value; if ``mirrored``, at the value or its mirror image, equally likely."""

    op: str
    value: float
    probability: float
    mirrored: bool = False

    def __str__(self) -> str:
        if not OPS[self.op].unit:
            return self.op
        return f"{self.op} {_number(self.op, self.value, self.mirrored)}"


def candidates(policy: Policy, sub_policy: int, layer: int) -> list[Candidate]:
    """Return the candidates of a layer that have a weight, the likeliest first.

    A value and its mirror image are one candidate if both are equally likely.
    """
    probabilities: dict[tuple[str, float], float] = defaultdict(float)
    for op, weight, value in policy.layers(sub_policy)[layer]:
        probabilities[op, round(value, 12)] += weight
    return sorted(_merged(probabilities), key=lambda candidate: -candidate.probability)


def policy_data(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON data: ``about``, probabilities of ops, every candidate.

    Probabilities are in [0, 1], values in the op's unit. ``ops`` maps each op to its unit, its
    probability in each layer (the mean over sub-policies) and ``per_image``, the mean number of
    times that an image gets it.

    Examples:
        >>> data = policy_data(Policy.load("dada-cifar10"))
        >>> len(data["sub_policies"]), data["ops"]["Rotate"]["unit"]
        (25, 'degrees, counter-clockwise')
        >>> data["sub_policies"][0]["layers"][0][0]["op"]
        'TranslateX'
    """
    ops = {
        name: {"unit": OPS[name].unit, "layers": layers.tolist(), "per_image": float(layers.sum())}
        for name, layers in policy.op_shares().items()
    }
    sub_policies = [
        {
            "probability": probability,
            "layers": [
                [{"op": op, "value": value, "probability": weight} for op, weight, value in layer]
                for layer in policy.layers(sub_policy)
            ],
        }
        for sub_policy, probability in enumerate(policy.mixture.tolist())
    ]
    return {"about": dict(policy.about), "ops": ops, "sub_policies": sub_policies}


def policy_text(policy: Policy) -> str:
    """Return a policy as text: provenance, measured effects, ops, layers or sub-policies.

    Probabilities are in percent, values in the op's unit.

    Raises:
        ValueError: If ``policy.about["effects"]`` is not of the form that `Effects` reads.

    Examples:
        >>> print(policy_text(Policy.load("dada-cifar10")).splitlines()[0])
        dada-cifar10: DADA, for CIFAR-10, images of 32 pixels, 25 sub-policies of 2 layers
    """
    blocks = [_heading(policy), _search_notes(policy), _effects(policy), _op_table(policy)]
    if len(policy.mixture) == 1:
        blocks += [_layer(policy, layer) for layer in range(policy.depth)]
    elif len(policy.mixture) <= LARGEST_MIXTURE:
        blocks.append(_sub_policies(policy))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def policy_summary(policy: Policy) -> list[str]:
    """Return a policy in a few sentences: origin, mean number of ops, likeliest ops, placement.

    Examples:
        >>> from learned_augment.builders import from_layers
        >>> turn = from_layers([[("Rotate", 1.0, 20.0)]], {"name": "turn", "placement": "after"})
        >>> for sentence in policy_summary(turn):
        ...     print(sentence)
        turn is a policy.
        It applies 1.0 ops to an image on average, most often Rotate (1.00 times an image).
        It comes after the base augmentation (crop and flip), if you use one.
    """
    about = policy.about
    origin = [str(about["method"])] if "method" in about else []
    origin += [f"for {about['dataset']}"] if "dataset" in about else []
    uses = {op: float(layers.sum()) for op, layers in policy.op_shares().items()}
    acting = sorted((op for op in uses if uses[op] and op != "Identity"), key=lambda op: -uses[op])
    described = f"a policy ({', '.join(origin)})" if origin else "a policy"
    sentences = [f"{policy.name} is {described}."]
    if acting:
        mean = sum(uses[op] for op in acting)
        named = leading([f"{op} ({uses[op]:.2f} times an image)" for op in acting], 3)
        sentences.append(f"It applies {mean:.1f} ops to an image on average, most often {named}.")
    else:
        sentences.append("It leaves every image as it is.")
    return [printable(line) for line in [*sentences, *_placement(policy), *_search_notes(policy)]]


def op_rows(policy: Policy) -> list[list[str]]:
    """Return a table of the ops that a policy draws, with its head as the first row.

    The columns are the op, its probability in each layer in percent, the mean number of uses per
    image, a range of values, and their unit. 80 % of the op's draws have a value in that range.
    """
    layers = [f"layer {layer + 1}" for layer in range(policy.depth)]
    rows = [
        ["probability in percent", *layers, "times per image", "values (80 % of draws)", "unit"]
    ]
    ops = sorted(policy.op_shares().items(), key=lambda item: -float(item[1].sum()))
    for name, probabilities in ops:
        total = float(probabilities.sum())
        if total > 0:
            cells = [percent(probability) for probability in probabilities.tolist()]
            rows.append([name, *cells, f"{total:.3f}", _middle(policy, name), OPS[name].unit])
    return rows


def percent(probability: float) -> str:
    """Return a probability in percent, with one digit after the point."""
    if 0 < probability < 5e-4:
        return "<0.1"
    return f"{100 * probability:.1f}" if probability else "0"


def _merged(probabilities: dict[tuple[str, float], float]) -> Iterable[Candidate]:
    """Merge each value with its mirror image if both are equally likely."""
    for (op, value), probability in probabilities.items():
        if OPS[op].identity_value is None or value == OPS[op].identity_value:
            yield Candidate(op, value, probability)
            continue
        mirrored = round(mirror(op, value), 12)
        if abs(probabilities.get((op, mirrored), 0.0) - probability) > 1e-9:
            yield Candidate(op, value, probability)
        elif value > mirrored:
            yield Candidate(op, value, 2 * probability, mirrored=True)


def _heading(policy: Policy) -> list[str]:
    about = policy.about
    s, layers = policy.weights.shape[:2]
    shape = f"{layers} layer{'' if layers == 1 else 's'}"
    shape = shape if s == 1 else f"{s} sub-policies of {shape}"
    made_for = [f"for {about['dataset']}"] if "dataset" in about else []
    size = [f"images of {about['image_size']} pixels"] if "image_size" in about else []
    method = [str(about["method"])] if "method" in about else []
    first = f"{policy.name}: " + ", ".join([*method, *made_for, *size, shape])
    stated = [printable(f"{name}: {fact}") for name, fact in provenance(about).items()]
    return [printable(first), *_placement(policy), *stated]


def _placement(policy: Policy) -> list[str]:
    sentence = placement(policy.about)
    return [sentence] if sentence else []


def _search_notes(policy: Policy) -> list[str]:
    """Return whether a search was cut short, how good its policy is, and its notes."""
    sentence, notes = policy.about.get("sentence"), policy.about.get("notes")
    stopped = policy.about.get("stopped")
    cut = f"The search was cut short: {stopped}." if isinstance(stopped, str) else None
    said = [cut, sentence, *(notes if isinstance(notes, list) else [])]
    return [printable(text) for text in said if isinstance(text, str)]


def _effects(policy: Policy) -> list[str]:
    effects = policy_effects(policy)
    if effects is None:
        return []
    head = f"Measured effects on {effects.target}, of {effects.trainings} trainings [95 % interval]"
    return [head, *(f"  {printable(line)}" for line in effects_sentences(effects))]


def _op_table(policy: Policy) -> list[str]:
    head, *rows = op_rows(policy)
    return align([[*head[:-1], ""], *rows], right=range(1, policy.depth + 2))


def _middle(policy: Policy, name: str) -> str:
    """Return the range of values that 80 % of an op's draws lie in."""
    chosen = policy.op == policy.ops.index(name)
    weights = (policy.mixture[:, None, None] * policy.weights)[chosen].numpy()
    values = policy.value[chosen].numpy()
    if not OPS[name].unit or weights.sum() == 0:
        return ""
    identity = OPS[name].identity_value
    even = identity is not None and _is_even(values - identity, weights)
    if even and identity is not None:
        values = identity + abs(values - identity)
    low, high = (_quantile(values, weights, level) for level in (0.1, 0.9))
    ends = [_number(name, end, even) for end in ((low,) if low == high else (low, high))]
    return " to ".join(ends)


def _is_even(offsets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> bool:
    """Return whether values are equally likely on both sides of zero, and not all zero."""
    sides: dict[float, float] = defaultdict(float)
    for offset, weight in zip(offsets.round(9).tolist(), weights.tolist(), strict=True):
        sides[abs(offset)] += weight if offset > 0 else -weight if offset < 0 else 0.0
    return any(sides) and all(abs(balance) < 1e-9 for balance in sides.values())


def _quantile(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], level: float) -> float:
    order = values.argsort()
    running = weights[order].cumsum()
    return float(values[order][np.searchsorted(running, level * running[-1])])


def _layer(policy: Policy, layer: int) -> list[str]:
    ops: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates(policy, 0, layer):
        ops[candidate.op].append(candidate)
    sums = {op: sum(candidate.probability for candidate in group) for op, group in ops.items()}
    large = sorted((op for op in ops if sums[op] >= SMALLEST), key=lambda op: -sums[op])
    rows = [[f"  {op}", percent(sums[op]) + " %", _likeliest(ops[op])] for op in large]
    rest = sum(probability for op, probability in sums.items() if op not in large)
    if rest > 0:
        count = len(ops) - len(large)
        rows.append([f"  {count} other{'' if count == 1 else 's'}", percent(rest) + " %", ""])
    return [f"Layer {layer + 1}", *align(rows, right=[1])]


def _likeliest(group: list[Candidate]) -> str:
    if not OPS[group[0].op].unit:
        return ""
    numbers = [_number(c.op, c.value, c.mirrored) for c in group]
    if len(group) == 1:
        return numbers[0]
    named = [f"{n} ({percent(c.probability)} %)" for n, c in zip(numbers, group, strict=True)]
    return leading(named, NAMED_VALUES)


def _sub_policies(policy: Policy) -> list[str]:
    layers = range(policy.depth)
    rows = [["", "probability", *[f"layer {layer + 1}" for layer in layers]]]
    for s, probability in enumerate(policy.mixture.tolist()):
        cells = [_cell(policy, s, layer) for layer in layers]
        rows.append([str(s + 1), percent(probability) + " %", *cells])
    return ["Sub-policies, each op with its probability", *align(rows, right=[0, 1])]


def _cell(policy: Policy, sub_policy: int, layer: int) -> str:
    acting = [c for c in candidates(policy, sub_policy, layer) if c.op != "Identity"]
    named = [f"{candidate}: {percent(candidate.probability)} %" for candidate in acting]
    return leading(named, NAMED_VALUES) or "nothing"


def _number(op: str, value: float, mirrored: bool) -> str:
    identity = OPS[op].identity_value or 0.0
    if not mirrored or value == identity:
        return f"{value:.4g}"
    return f"{identity:g}±{value - identity:.3g}" if identity else f"±{value:.3g}"
