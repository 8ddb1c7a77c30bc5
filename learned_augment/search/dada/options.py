"""A method's own options: read from plain names and values, with errors that list what there is."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from learned_augment.search.dada.estimators import ESTIMATORS

__all__ = ["DADAOptions", "read_options"]

CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("corrected", "released"),
    "estimator": tuple(ESTIMATORS),
    "magnitude": ("true", "one", "none"),
    "draw": ("image", "batch"),
    "derivative": ("difference", "exact"),
    "tangent": ("ahead", "here"),
    "validation": ("eval", "train"),
}

RELEASED: dict[str, Any] = {
    "estimator": "released",
    "magnitude": "one",
    "draw": "batch",
    "derivative": "difference",
    "tangent": "ahead",
    "validation": "train",
    "memory": 0.0,
}
"""What mode "released" stands for; its policy rate may be changed, as the authors did."""

RELEASED_RATE = 5e-3

RATE, STEPS = 0.03, 200
"""Adam's rate, and the number of steps above which it is lower."""


@dataclass(frozen=True)
class DADAOptions:
    """Options of DADA; the defaults are the corrected method.

    Attributes:
        mode: "corrected" learns logits and strengths from per-image rewards and a fresh validation
            batch each step; "released" is the published code end to end: raw probabilities and
            magnitudes, one draw per batch, always the same validation batch, no baseline, the
            policy of the last but one epoch. It fixes the next seven options.
        estimator: Gradient through the discrete choices: "loo" (leave-one-out baseline), "relax",
            "gumbel", "none" (plain score function) or "released".
        magnitude: Gradient of an image by a magnitude: "true", "one" (the paper) or "none".
        draw: A pair and bits for every "image", or one for the "batch".
        derivative: Slopes by central "difference", or "exact" in forward mode: a step then takes
            two forwards more, 11.9 instead of 9.9 (without magnitudes one more, 8.9 instead of
            7.9), and more memory.
        tangent: Validation gradient one training step "ahead" or "here", at the present weights.
        validation: Mode of the network for validation images: "eval", as it will be used, batch
            normalisation by the statistics of the step's training batch; or "train", by their
            own, which hides what all of them have in common.
        memory: Share of the past in the running average of the validation gradient, in [0, 1); 0
            uses that of the step's own batch alone.
        policy_rate: Adam's rate for all of the policy's parameters. None is 0.03, but 6 divided by
            the number of steps in a search of more than 200: Adam moves a logit by no more than
            its rate a step, so a longer search weighs more evidence instead of going further on
            chance. 0.005 in mode "released".
        temperature: Of the relaxed samples of "relax" and "gumbel".
        keep: Most pairs in the exported policy, of which there are at most a quarter.

    Raises:
        ValueError: If a value is not among those named, or options contradict each other.
    """

    mode: str = "corrected"
    estimator: str = "loo"
    magnitude: str = "true"
    draw: str = "image"
    derivative: str = "difference"
    tangent: str = "ahead"
    validation: str = "eval"
    memory: float = 0.9
    policy_rate: float | None = None
    temperature: float = 0.5
    keep: int = 25

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )
        for name in ("policy_rate", "temperature", "keep"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be above 0, got {value}.")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be in [0, 1), got {self.memory}.")
        if self.draw == "batch" and self.estimator == "loo":
            raise ValueError(
                'Estimator "loo" compares the draws of a step, and draw="batch" has one; choose '
                'estimator "relax", "gumbel" or "none", or draw="image".'
            )

    def rate(self, steps: int) -> float:
        """Return Adam's rate in a search of so many steps."""
        return RATE * min(1, STEPS / steps) if self.policy_rate is None else self.policy_rate


def read_options(given: Mapping[str, Any]) -> DADAOptions:
    """Return the options that ``given`` names; texts become numbers where numbers are expected.

    Raises:
        ValueError: If there is no such option, its value is wrong, or it contradicts the mode.
    """
    kinds = {f.name: float if f.default is None else type(f.default) for f in fields(DADAOptions)}
    unknown = sorted(set(given) - set(kinds))
    if unknown:
        raise ValueError(f"DADA has no option {unknown[0]!r}. Options: {', '.join(kinds)}.")
    values = {name: _converted(name, value, kinds[name]) for name, value in given.items()}
    if values.get("mode") == "released":
        against = [name for name in RELEASED if values.get(name, RELEASED[name]) != RELEASED[name]]
        if against:
            name = against[0]
            raise ValueError(
                f'Mode "released" has {name} {RELEASED[name]!r}, but {values[name]!r} was given; '
                f'leave {name} out, or use mode "corrected".'
            )
        values = {"policy_rate": RELEASED_RATE, **RELEASED, **values}
    return DADAOptions(**values)


def _converted(name: str, value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"Expected {name} as {kind.__name__}, got {value!r}.") from None
