"""The options of DADA."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from learned_augment.search.dada.estimators import ESTIMATORS
from learned_augment.search.options import Options

__all__ = ["DADAOptions"]

_CORRECTED: Mapping[str, Any] = {
    "estimator": "loo",
    "magnitude": "true",
    "draw": "image",
    "derivative": "difference",
    "tangent": "ahead",
    "validation": "eval",
    "memory": 0.9,
}
"""What mode "corrected" has where no other value is given."""

_RELEASED: Mapping[str, Any] = {
    "estimator": "released",
    "magnitude": "one",
    "draw": "batch",
    "derivative": "difference",
    "tangent": "ahead",
    "validation": "train",
    "memory": 0.0,
}
"""What mode "released" fixes; its policy rate may be changed, as the authors did."""

_RELEASED_RATE = 5e-3

# Adam's rate, and the number of steps above which it is lower.
_RATE, _STEPS = 0.03, 200


@dataclass(frozen=True)
class DADAOptions(Options):
    """Options of DADA; the defaults are the corrected method.

    Attributes:
        mode: "corrected" learns logits and strengths from per-image rewards and a new validation
            batch each step. "released" is the published code end to end. It learns raw
            probabilities and magnitudes. Each batch has one draw, the validation batch is always
            the same, and there is no baseline. Its policy is that of the last but one epoch. It
            fixes the next seven options. Those that are "" or None get the values of the mode;
            "corrected" has "loo", "true", "image", "difference", "ahead", "eval" and 0.9.
        estimator: Gradient through the discrete choices: "loo" (leave-one-out baseline), "relax",
            "gumbel", "none" (plain score function) or "released".
        magnitude: Gradient of an image by a magnitude: "true", "one" (the paper) or "none".
        draw: A pair and bits for every "image", or one for the "batch".
        derivative: Directional derivatives by central "difference", or "exact" in forward mode. A
            step then costs 11.9 forward passes instead of 9.9 (without magnitudes 8.9 instead of
            7.9), and more memory.
        tangent: Where the validation gradient is taken: one training step "ahead", or "here", at
            the present weights.
        validation: Mode of the network for validation images. "eval" is the mode in which it will
            be used, with the batch statistics of the step's training batch. "train" normalizes by
            the statistics of the validation images, which hides what these have in common.
        memory: Decay of the running average of the validation gradient, in [0, 1); 0 uses only the
            gradient of the step's own batch.
        policy_rate: Adam's rate for all parameters of the policy. None is 0.03 in a search of up to
            200 steps, and 6 divided by the number of steps in a longer one. Adam moves a logit by
            at most about its rate in each step, so the logits of a longer search do not drift
            further by chance. It is 0.005 in mode "released".
        temperature: Temperature of the relaxed samples of "relax" and "gumbel".
        keep: Most pairs in the exported policy, which never has more than a quarter of all pairs.

    Raises:
        ValueError: If a value is not among those named, or options contradict each other.

    Examples:
        >>> given = {"estimator": "relax", "keep": 10}  # search(..., method="dada", options=given)
        >>> options = DADAOptions.read(given)
        >>> options.estimator, options.keep, options.magnitude
        ('relax', 10, 'true')
        >>> DADAOptions(mode="released").draw
        'batch'
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "mode": ("corrected", "released"),
        "estimator": tuple(ESTIMATORS),
        "magnitude": ("true", "one", "none"),
        "draw": ("image", "batch"),
        "derivative": ("difference", "exact"),
        "tangent": ("ahead", "here"),
        "validation": ("eval", "train"),
    }

    mode: str = "corrected"
    estimator: str = ""
    magnitude: str = ""
    draw: str = ""
    derivative: str = ""
    tangent: str = ""
    validation: str = ""
    memory: float = None  # type: ignore[assignment]
    policy_rate: float | None = None
    temperature: float = 0.5
    keep: int = 25

    def __post_init__(self) -> None:
        released = self.mode == "released"
        chosen = {**_RELEASED, "policy_rate": _RELEASED_RATE} if released else _CORRECTED
        for name, value in chosen.items():
            if getattr(self, name) in ("", None):
                object.__setattr__(self, name, value)
        super().__post_init__()
        for name, fixed in _RELEASED.items() if released else ():
            if getattr(self, name) != fixed:
                raise ValueError(
                    f'Mode "released" has {name} {fixed!r}, but {getattr(self, name)!r} was given; '
                    f'leave {name} out, or use mode "corrected".'
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
        """Return Adam's learning rate in a search of ``steps`` steps.

        Examples:
            >>> DADAOptions().rate(steps=100), DADAOptions().rate(steps=400)
            (0.03, 0.015)
        """
        return _RATE * min(1, _STEPS / steps) if self.policy_rate is None else self.policy_rate
