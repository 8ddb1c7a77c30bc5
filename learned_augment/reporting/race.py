"""The longest trainings at the end of a search, as ``about["race"]`` holds them."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learned_augment.evaluation.statistics import Difference, paired_difference

__all__ = ["Entrant", "read_race"]


@dataclass(frozen=True)
class Entrant:
    """One policy of a race.

    Attributes:
        name: Its name.
        found: Whether the search found it.
        losses: Log loss on validation images of each training, by the number of its round.
        gain: How much less its log loss is than that of the chosen policy, in nats, paired by
            round; None for the chosen one, and with fewer than two rounds in common.
    """

    name: str
    found: bool
    losses: Mapping[str, float]
    gain: Difference | None

    @property
    def mean(self) -> float:
        """The mean of its losses."""
        return statistics.fmean(self.losses.values())


def read_race(about: Mapping[str, Any]) -> list[Entrant]:
    """Return the policies of the last rounds, the chosen one first, then by mean log loss.

    The list is empty if ``about`` holds no race, or one of another form.
    """
    race, chosen = about.get("race"), about.get("chosen")
    if not isinstance(race, list) or not all(map(_is_entry, race)):
        return []
    losses = {entry["name"]: entry["full"] for entry in race if entry["full"]}
    if chosen not in losses:
        return []
    entrants = [
        Entrant(
            entry["name"],
            entry["found"],
            entry["full"],
            None if entry["name"] == chosen else _gain(entry["full"], losses[chosen]),
        )
        for entry in race
        if entry["full"]
    ]
    return sorted(entrants, key=lambda entrant: (entrant.name != chosen, entrant.mean))


def _gain(losses: Mapping[str, float], chosen: Mapping[str, float]) -> Difference | None:
    rounds = sorted(losses.keys() & chosen.keys())
    if len(rounds) < 2:
        return None
    return paired_difference([chosen[n] for n in rounds], [losses[n] for n in rounds])


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("found"), bool)
        and isinstance(entry.get("full"), dict)
        and all(isinstance(n, float | int) and math.isfinite(n) for n in entry["full"].values())
    )
