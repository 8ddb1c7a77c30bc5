"""Measured effects of ops on a training, as ``policy.about["effects"]`` holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learned_augment.evaluation.statistics import Outcome, outcome
from learned_augment.ops import OPS
from learned_augment.policy import Policy

__all__ = ["Effect", "Effects", "effects_sentences", "policy_effects", "signed"]

_UNITS = {"accuracy": "points", "errors": "%"}
_LARGEST = 1e9
_NUMBERS = ("value", "effect", "standard_error", "low", "high")


@dataclass(frozen=True)
class Effect:
    """The effect of one op at one value.

    Attributes:
        op: Name of the op.
        value: Its value, in the op's unit.
        effect: The effect, above 0 if the op helps; in the unit of `Effects`.
        standard_error: Its standard error.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        trials: Number of trainings that used the op at this value.

    Examples:
        >>> effect = Effect("Rotate", 8.0, 0.9, standard_error=0.2, low=0.5, high=1.3, trials=18)
        >>> effect.label, effect.outcome
        ('Rotate 8', 'helps')
    """

    op: str
    value: float
    effect: float
    standard_error: float
    low: float
    high: float
    trials: int

    @property
    def outcome(self) -> Outcome:
        """Return "helps" for an interval above 0, "hurts" for one below 0, else "unclear"."""
        return outcome(self.low, self.high)

    @property
    def label(self) -> str:
        """The op with its value, if the op has one."""
        has_value = self.op not in OPS or bool(OPS[self.op].unit)
        return f"{self.op} {self.value:.4g}" if has_value else self.op


@dataclass(frozen=True)
class Effects:
    """The effects of ops, largest first.

    Attributes:
        target: "accuracy" or "errors".
        unit: "points" of accuracy, or "%" of errors that an op saves.
        rows: The effects, largest first.
        trainings: Number of trainings of the whole experiment.
        settings: What was trained, plain JSON data.

    Examples:
        >>> row = {"op": "Flip", "value": 0.5, "effect": -3.1, "standard_error": 0.4}
        >>> row |= {"low": -3.9, "high": -2.3, "trials": 18}
        >>> data = {"target": "accuracy", "unit": "points", "rows": [row], "trainings": 60}
        >>> effects = Effects.from_data(data)
        >>> effects.rows[0].outcome, effects.trainings
        ('hurts', 60)
    """

    target: str
    unit: str
    rows: tuple[Effect, ...]
    trainings: int
    settings: Mapping[str, Any]

    @classmethod
    def from_data(cls, data: Any) -> "Effects":
        """Read the JSON form, which a search writes.

        The form is::

            {
                "target": "accuracy" or "errors",
                "unit": "points" or "%",
                "rows": [
                    {
                        "op": "Rotate",
                        "value": 8.0,              # in the op's unit
                        "effect": 0.9,             # above 0 helps, whatever the target
                        "standard_error": 0.2,
                        "low": 0.5, "high": 1.3,   # 95 % interval of the effect
                        "trials": 18               # trainings that used this op at this value
                    },
                    ...
                ],
                "trainings": 60,                   # all trainings of the experiment
                "settings": {...}                  # what was trained, plain JSON
            }

        Raises:
            ValueError: If the data do not have this form; the message names the first fault.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"Expected effects as a mapping, got {data!r:.80}.")
        target, unit = data.get("target"), data.get("unit")
        if not isinstance(target, str) or _UNITS.get(target) != unit:
            known = " or ".join(f"{target} in {unit}" for target, unit in _UNITS.items())
            raise ValueError(f"Expected effects on {known}, got {target!r} in {unit!r}.")
        rows, settings = data.get("rows"), data.get("settings", {})
        if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
            raise ValueError(f"Expected one or more rows of effects, got {rows!r:.80}.")
        if not isinstance(settings, Mapping):
            raise ValueError(f"Expected the settings as a mapping, got {settings!r:.80}.")
        effects = sorted(map(_effect, rows), key=lambda row: -row.effect)
        return cls(target, str(unit), tuple(effects), _count(data, "trainings"), settings)


def policy_effects(policy: Policy) -> Effects | None:
    """Return the effects that a policy's search measured; None if it measured none.

    Raises:
        ValueError: If ``policy.about["effects"]`` is not of the form that `Effects` reads.

    Examples:
        >>> row = {"op": "Flip", "value": 0.5, "effect": -3.1, "standard_error": 0.4}
        >>> row |= {"low": -3.9, "high": -2.3, "trials": 18}
        >>> data = {"target": "accuracy", "unit": "points", "rows": [row], "trainings": 60}
        >>> from learned_augment.builders import from_layers
        >>> policy = from_layers([[("Rotate", 1.0, 8.0)]], {"effects": data})
        >>> [row.label for row in policy_effects(policy).rows]
        ['Flip 0.5']
        >>> policy_effects(Policy.load("dada-cifar10")) is None  # its search measured none
        True
    """
    return Effects.from_data(policy.about["effects"]) if "effects" in policy.about else None


def effects_sentences(effects: Effects, count: int = 5) -> list[str]:
    """Return the largest effects in words: the best ones first, then the worst ones.

    Args:
        effects: The measured effects.
        count: Most sentences about good ops, and most about bad ops.

    Examples:
        >>> row = {"op": "Flip", "value": 0.5, "effect": -3.1, "standard_error": 0.4}
        >>> row |= {"low": -3.9, "high": -2.3, "trials": 18}
        >>> data = {"target": "accuracy", "unit": "points", "rows": [row], "trainings": 60}
        >>> effects_sentences(Effects.from_data(data))
        ['Flip 0.5 hurts: -3.1 points [-3.9, -2.3].']
        >>> effects_sentences(Effects.from_data(data | {"target": "errors", "unit": "%"}))
        ['Flip 0.5 hurts: 3 % more errors [2, 4].']
    """
    best = [row for row in effects.rows if row.effect > 0][:count]
    worst = [row for row in reversed(effects.rows) if row.effect <= 0][:count]
    return [_sentence(row, effects.unit) for row in [*best, *worst]]


def _sentence(row: Effect, unit: str) -> str:
    outcome = "shows no clear effect" if row.outcome == "unclear" else row.outcome
    if unit == "%":
        more = row.effect <= 0
        numbers = (-row.effect, -row.high, -row.low) if more else (row.effect, row.low, row.high)
        amount, low, high = (f"{number:z.0f}" for number in numbers)
        kind = "more" if more else "fewer"
        return f"{row.label} {outcome}: {amount} % {kind} errors [{low}, {high}]."
    effect, low, high = (signed(number, unit) for number in (row.effect, row.low, row.high))
    return f"{row.label} {outcome}: {effect} {unit} [{low}, {high}]."


def signed(number: float, unit: str) -> str:
    """Return an effect as text: with its sign, and as many digits as suit its unit.

    Examples:
        >>> signed(0.94, "points"), signed(-12.3, "%")
        ('+0.9', '-12')
    """
    places = 1 if unit == "points" else 0
    return f"{number:+.{places}f}"


def _effect(data: Any) -> Effect:
    if not isinstance(data, Mapping):
        raise ValueError(f"Expected an effect as a mapping, got {data!r:.80}.")
    op = data.get("op")
    if not isinstance(op, str) or not op:
        raise ValueError(f"Expected an effect to name its op, got {op!r:.80}.")
    effect = Effect(
        op, **{name: _number(data, name) for name in _NUMBERS}, trials=_count(data, "trials")
    )
    if not effect.low <= effect.effect <= effect.high:
        raise ValueError(
            f"Expected the effect of {op:.40} inside its interval, got {effect.effect:g} in "
            f"[{effect.low:g}, {effect.high:g}]."
        )
    return effect


def _number(data: Mapping[str, Any], name: str) -> float:
    number = data.get(name)
    if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < _LARGEST:
        return float(number)
    raise ValueError(f"Expected {name} of an effect as a finite number, got {number!r:.80}.")


def _count(data: Mapping[str, Any], name: str) -> int:
    number = data.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"Expected {name} of effects as a whole number, got {number!r:.80}.")
    return number
