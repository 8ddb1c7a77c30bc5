"""The record of a screening: its trials, planned and ended, and what they say together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from learned_augment.search.screening.designs import USUAL, Design, variables
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.factors import Factor
from learned_augment.search.screening.regression import Regression, fit_regression
from learned_augment.search.screening.trials import Measured, Trial

__all__ = ["EXPERIMENTS", "PHASES", "PlannedTrial", "ScreeningRecord"]

PHASES = (
    "base augmentations",
    "known policies",
    "designs",
    "refinements",
    "semifinals",
    "finals",
)
EXPERIMENTS = ("designs", "refinements")
"""The phases that tell what ops do; the others are the race."""


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
            if one.phase not in EXPERIMENTS:
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
        """Return the fit to all trials so far whose policy is a design."""
        designs, trials, errors = zip(*self.designed(), strict=True)
        parts = list(dict.fromkeys((trial.fraction, trial.split) for trial in trials))
        groups = [parts.index((trial.fraction, trial.split)) for trial in trials]
        return fit_regression(
            variables(self.factors, designs),
            torch.tensor(groups),
            torch.tensor(errors, dtype=torch.float64),
        )

    def alone(self) -> Tensor:
        """Return the variables of each factor by itself, with the usual probability, (F, V)."""
        return variables(self.factors, [((place, USUAL),) for place in range(len(self.factors))])
