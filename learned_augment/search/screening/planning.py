"""The plan of a screening: which trials come next, and how each of them trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learned_augment.search.presets import MethodSettings
from learned_augment.search.screening.designs import design_policy, other_ops, random_designs
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.options import MOST, ScreeningOptions
from learned_augment.search.screening.proposals import FORMS, base_of_found, found_entrants
from learned_augment.search.screening.race import (
    BASES_TWICE,
    FINALIST_COUNT,
    KNOWN_TWICE,
    base_before_ops,
    best,
    best_base,
    finalists,
    second_round,
)
from learned_augment.search.screening.record import DESIGNS, PlannedTrial, ScreeningRecord
from learned_augment.search.screening.splits import training_part
from learned_augment.search.screening.trials import Trial
from learned_augment.training import Recipe

__all__ = ["Planner"]

SPLITS = 2
"""Splits that designs alternate between."""

FEWEST_IMAGES = 64
"""Fewest training images of a trial, unless `MOST` allows only fewer."""

SMALLEST_BATCH = 8
"""Fewest images in a batch of a trial, unless the user's own training has fewer in a batch."""


@dataclass(frozen=True, eq=False)
class Planner:
    """Plans the trials of a screening; the results of earlier trials decide which come next.

    Attributes:
        options: How many trials.
        settings: The training that the policy is to serve.
        bases: The base augmentations, from none to the one with the most ops.
        known: Policies that need no search, for each base augmentation that may be the best.
        labels: (N,) of all images.
        seed: Fixes everything random.
    """

    options: ScreeningOptions
    settings: MethodSettings
    bases: Sequence[Entrant]
    known: Mapping[Entrant, Sequence[Entrant]]
    labels: Tensor
    seed: int

    def next_trials(self, record: ScreeningRecord) -> list[PlannedTrial]:
        """Return the next trials, once all that were planned have ended."""
        planned = record.entrants()
        raced = planned.get("base augmentations", [])
        if not raced:
            return [self._raced("base augmentations", one, 0) for one in self.bases]
        if len(raced) == len(self.bases):
            return [
                self._raced("base augmentations", one, 1)
                for one in best(record, self.bases, BASES_TWICE)
            ]
        base = best_base(record, self.bases)
        if self.known[base] and "known policies" not in planned:
            return [self._raced("known policies", one, 0) for one in self.known[base]]
        start = self._start(base, record)
        if DESIGNS not in planned:
            return self._designs(record, start)
        races = record.races()
        if "finals" not in planned:
            found = found_entrants(record, base_of_found(record, start, self.bases))
            waiting = [one for one in second_round(record) if 1 not in races[one]]
            rounds = [*((one, 0) for one in found), *((one, 1) for one in [*waiting, *found])]
            return [self._raced("finals", one, number) for one, number in rounds]
        last = finalists(record)
        return [
            self._raced("finals", one, number)
            for number in range(2, self.options.finals + 1)
            for one in last
            if number not in races[one]
        ]

    def remaining(self, record: ScreeningRecord) -> dict[str, int]:
        """Return the trials still to come, by phase; for a phase that is not planned, the most."""
        planned = {phase: len(entrants) for phase, entrants in record.entrants().items()}
        most = 0 if DESIGNS in planned else len(self.known[self.bases[-1]])
        known = planned.get("known policies", most)
        counts = {
            "base augmentations": len(self.bases) + min(len(self.bases), BASES_TWICE),
            "known policies": known,
            DESIGNS: self.options.designs,
            "finals": self._finals(record, len(self.bases) + known),
        }
        for one, _ in record.ended:
            counts[one.phase] -= 1
        return counts

    def _finals(self, record: ScreeningRecord, known: int) -> int:
        """Return the trials of the finals, at most, with so many policies that need no search."""
        later = FINALIST_COUNT * (self.options.finals - 1)
        planned = [one.trial.split for one in record.planned if one.phase == "finals"]
        if not planned:
            return min(known, KNOWN_TWICE) + 2 * len(FORMS) + later
        return len(planned) + (later if max(planned) == 1 else 0)

    def plan(self, phase: str, entrant: Entrant, split: int, seed: int) -> PlannedTrial:
        """Return a trial, a small copy of the training that the policy is to serve.

        It has fewer images, as many epochs and, if its batches can be smaller, as many steps.
        """
        given, whole_batch = self.settings, self.settings.batch_size
        fraction = max(self.options.fraction, FEWEST_IMAGES / len(self.labels))
        fraction = min(fraction, MOST)
        count = int(training_part(self.labels, fraction, split, self.seed).sum())
        recipe = Recipe(
            epochs=given.epochs,
            batch_size=min(max(round(fraction * whole_batch), SMALLEST_BATCH), whole_batch, count),
            learning_rate=given.learning_rate,
            weight_decay=given.weight_decay,
            channels_last=True,
        )
        return PlannedTrial(phase, Trial(entrant.policies, fraction, split, seed, recipe), entrant)

    def _start(self, base: Entrant, record: ScreeningRecord) -> Entrant:
        """Return the base augmentation of designs.

        It is nothing where ops do better without it, or where the best one has all ops.
        """
        nothing = self.bases[0]
        base = base_before_ops(record, base, nothing)
        return base if other_ops(record.factors, base.design or ()) else nothing

    def _raced(self, phase: str, entrant: Entrant, number: int) -> PlannedTrial:
        """Return a trial of a round of the race; all trials of a round have the same images."""
        return self.plan(phase, entrant, number, self.seed + number)

    def _designs(self, record: ScreeningRecord, base: Entrant) -> list[PlannedTrial]:
        drawn = random_designs(
            record.factors,
            self.options.designs,
            self.options.inclusion,
            torch.Generator().manual_seed(self.seed),
            base.design or (),
        )
        planned = []
        for place, design in enumerate(drawn, len(record.planned)):
            policies = (design_policy(record.factors, design),)
            entrant = Entrant(f"design {place}", policies, found=False, design=design)
            planned.append(self.plan(DESIGNS, entrant, place % SPLITS, self.seed + place))
        return planned
