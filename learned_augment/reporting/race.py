"""The race at the end of a screening, as ``about["race"]`` holds it."""

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learned_augment.evaluation.statistics import Difference, paired_difference, percent_fewer
from learned_augment.search.screening.race import counted_rounds

__all__ = ["RaceRow", "read_race"]

_ROUND = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class RaceRow:
    """An entrant of a race, as a report shows it.

    Attributes:
        name: Its name.
        found: Whether the search found it.
        errors: Expected error rate on validation images, by number of the round.
        gain: How many percent fewer errors it makes than the chosen policy, paired by the rounds
            that count. None for the chosen policy itself, and if there are fewer than two.
    """

    name: str
    found: bool
    errors: Mapping[str, float]
    gain: Difference | None

    @property
    def mean(self) -> float:
        """The geometric mean of its errors, of all rounds."""
        return statistics.geometric_mean(self.errors.values())


def read_race(about: Mapping[str, Any]) -> list[RaceRow]:
    """Return the entrants that were measured, the chosen one first, then by mean error.

    The list is empty if ``about`` holds no race of the known form.
    """
    race, chosen = about.get("race"), about.get("chosen")
    if not isinstance(race, list) or not all(map(_is_entry, race)):
        return []
    race = [entry for entry in race if entry["errors"]]
    measured = {entry["name"]: entry["errors"] for entry in race}
    if not isinstance(chosen, str) or chosen not in measured:
        return []
    entrants = [
        RaceRow(
            entry["name"],
            entry["found"],
            entry["errors"],
            None if entry["name"] == chosen else _gain(entry["errors"], measured[chosen]),
        )
        for entry in race
    ]
    return sorted(entrants, key=lambda entrant: (entrant.name != chosen, entrant.mean))


def _gain(errors: Mapping[str, float], chosen: Mapping[str, float]) -> Difference | None:
    common = {int(name): name for name in errors.keys() & chosen.keys()}
    rounds = [common[number] for number in counted_rounds(common)]
    if len(rounds) < 2:
        return None
    logarithms = [[math.log(given[n]) for n in rounds] for given in (chosen, errors)]
    difference = paired_difference(*logarithms)
    mean, low, high = map(percent_fewer, difference[:3])
    return Difference(mean, low, high, difference.pairs)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("found"), bool)
        and isinstance(entry.get("errors"), dict)
        and all(isinstance(n, str) and _ROUND.fullmatch(n) for n in entry["errors"])
        # Error rates; ratios of other numbers may be too large for a float.
        and all(isinstance(n, float | int) and 1e-9 < n < 2 for n in entry["errors"].values())
    )
