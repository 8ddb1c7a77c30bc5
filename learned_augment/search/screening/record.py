"""The record of a screening: its trials, planned and ended, and what they say together."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from learned_augment.search.screening.designs import (
    USUAL,
    USUAL_BASE,
    Design,
    prior_widths,
    variables,
)
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.factors import Factor
from learned_augment.search.screening.regression import Regression, fit_regression
from learned_augment.search.screening.trials import Measured, Trial

__all__ = ["DESIGNS", "PHASES", "PlannedTrial", "ScreeningRecord"]

DESIGNS = "designs"
"""The phase that tells what ops do; the others are the race."""

PHASES = ("base augmentations", "known policies", DESIGNS, "finals")

MORE_PROBABLE = 3.0
"""By which factor a wide prior of an op must make the trials more probable."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and its purpose.

    Attributes:
        phase: A name of `PHASES`.
        trial: What to train.
        entrant: Whose policies it trains under.
    """

    phase: str
    trial: Trial
    entrant: Entrant


@dataclass
class ScreeningRecord:
    """The trials of a screening, in their order.

    Attributes:
        factors: The ops and strengths that are tried.
        planned: All trials that are planned.
        results: The measurements of those that have ended, which are the first ones.
    """

    factors: Sequence[Factor]
    planned: list[PlannedTrial] = field(default_factory=list)
    results: list[Measured] = field(default_factory=list)

    @property
    def ended(self) -> list[tuple[PlannedTrial, Measured]]:
        """The trials that have ended, with their measurements."""
        return list(zip(self.planned, self.results, strict=False))

    def entrants(self) -> dict[str, list[Entrant]]:
        """Return whose trials are planned, by phase; a phase without plans is left out."""
        entrants: dict[str, list[Entrant]] = {}
        for one in self.planned:
            entrants.setdefault(one.phase, []).append(one.entrant)
        return entrants

    def races(self) -> dict[Entrant, dict[int, float]]:
        """Return the log errors of each entrant of the race, by round."""
        races: dict[Entrant, dict[int, float]] = {}
        for one, measured in self.ended:
            if one.phase != DESIGNS:
                races.setdefault(one.entrant, {})[one.trial.split] = measured.log_error
        return races

    def designed(self) -> list[tuple[Design, Trial, float]]:
        """Return design, trial and log error of all ended trials whose policy is a design."""
        return [
            (one.entrant.design, one.trial, measured.log_error)
            for one, measured in self.ended
            if one.entrant.design is not None
        ]

    def regression(self) -> Regression:
        """Return the fit to all trials so far whose policy is a design.

        A few ops do much more than others, mostly harm. With one prior for all, these would make it
        so wide that chance makes the effects of the others look large. So an op gets a prior that
        is `WIDE` times wider if that makes the trials more probable by a factor of `MORE_PROBABLE`.
        Those of the usual base augmentation have one anyway.
        """
        designs, trials, errors = zip(*self.designed(), strict=True)
        parts = list(dict.fromkeys((trial.fraction, trial.split) for trial in trials))
        groups = torch.tensor([parts.index((trial.fraction, trial.split)) for trial in trials])
        given = variables(self.factors, designs), groups, torch.tensor(errors, dtype=torch.float64)

        def fit(wide: Collection[str]) -> Regression:
            return fit_regression(*given, prior_widths(self.factors, wide))

        wide = [*USUAL_BASE]
        best = fit(wide)
        while others := {factor.op for factor in self.factors}.difference(wide):
            fits = {op: fit([*wide, op]) for op in sorted(others)}
            op = max(fits, key=lambda op: fits[op].evidence)
            if fits[op].evidence < best.evidence + math.log(MORE_PROBABLE):
                break
            wide, best = [*wide, op], fits[op]
        return best

    def alone(self) -> Tensor:
        """Return the variables of each factor by itself, with the usual probability, (F, V)."""
        return variables(self.factors, [((place, USUAL),) for place in range(len(self.factors))])
