"""The race: which policies are the best in the same rounds, and by how much."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from learned_augment.evaluation.statistics import paired_difference, percent_fewer
from learned_augment.search.screening.entrants import Entrant, with_randaugment
from learned_augment.search.screening.record import DESIGNS, ScreeningRecord

__all__ = [
    "BASES_TWICE",
    "FINALIST_COUNT",
    "KNOWN_TWICE",
    "base_before_ops",
    "best",
    "best_base",
    "counted_rounds",
    "finalists",
    "leader",
    "race_data",
    "second_round",
]

KNOWN_TWICE = 3
"""Policies that need no search in the second round: after one trial the third may be the best."""

FINALIST_COUNT = 3
"""Policies in the last rounds."""

BASES_TWICE = 2
"""Base augmentations in the second round: after one trial the second may be the best."""


def best(record: ScreeningRecord, entrants: Iterable[Entrant], most: int) -> list[Entrant]:
    """Return the best entrants of the first round, the best first."""
    races = record.races()
    return sorted(entrants, key=lambda one: races[one][0])[:most]


def best_base(record: ScreeningRecord, bases: Iterable[Entrant]) -> Entrant:
    """Return the best of the base augmentations: the better of the best two in their two rounds."""
    races = record.races()
    return min(best(record, bases, BASES_TWICE), key=lambda one: races[one][0] + races[one][1])


def base_before_ops(record: ScreeningRecord, base: Entrant, nothing: Entrant) -> Entrant:
    """Return the base augmentation that comes before the ops: the best one, or nothing.

    A base augmentation may help by itself, and hurt where ops follow. So each of the two is judged
    by two trials of the first round: alone, and with RandAugment after it. The one with the smaller
    sum of log errors is taken. Without trials of RandAugment it is the best base augmentation.

    Args:
        record: The trials of all policies that need no search.
        base: The best base augmentation.
        nothing: The entrant without augmentation.
    """
    first = {one.name: errors[0] for one, errors in record.races().items()}
    sums = {
        one: first[one.name] + first[with_randaugment(one.name)]
        for one in (base, nothing)
        if with_randaugment(one.name) in first
    }
    return min(sums, key=lambda one: sums[one]) if len(sums) == 2 else base


def second_round(record: ScreeningRecord) -> list[Entrant]:
    """Return which policies that need no search take part in the second round."""
    return best(record, (one for one in record.races() if not one.found), KNOWN_TWICE)


def finalists(record: ScreeningRecord) -> list[Entrant]:
    """Return who is in the last rounds, by the errors of the first two.

    They are the best policy that needs no search, the best found one, and the best of all others.
    """
    races = record.races()
    racing = [*second_round(record), *(one for one in races if one.found)]
    ranked = sorted(racing, key=lambda one: races[one][0] + races[one][1])
    of_each_kind = [next(one for one in ranked if one.found is kind) for kind in (False, True)]
    others = [one for one in ranked if one not in of_each_kind]
    return [*of_each_kind, *others][:FINALIST_COUNT]


def leader(record: ScreeningRecord) -> tuple[Entrant, str] | None:
    """Return who leads, with a sentence on how sure that is; None before the found ones have raced.

    A round trains every policy that takes part on the same images, with the same seed. All policies
    are in the first round. The found ones, the best others and the two best base augmentations are
    in the second one, and the `finalists` in all later ones.

    Not all rounds count, see `counted_rounds`. A found policy is the result unless a known one
    leads by the standard error of its lead or more. That one is the best of several, so less says
    nothing.

    Args:
        record: The trials so far.
    """
    racing = _last_round(record)
    if not racing:
        return None
    races = record.races()
    rounds = counted_rounds(set.intersection(*(set(races[one]) for one in racing)))
    ranked = sorted(racing, key=lambda one: sum(races[one][number] for number in rounds))
    first, other = ranked[0], next(one for one in ranked if one.found != ranked[0].found)
    leads = [races[other][number] - races[first][number] for number in rounds]
    if len(leads) < 2:
        return first, f"{first.name} leads the race, which is not over."
    error = statistics.stdev(leads) / math.sqrt(len(leads))
    chosen = first if first.found or statistics.fmean(leads) >= error else other
    return chosen, _sentences(chosen, first, other, leads)


def counted_rounds(rounds: Iterable[int]) -> list[int]:
    """Return the rounds by which policies are compared, of those that they have in common.

    The first round does not count if there are two others: it chose the known policies that race
    on, partly by luck.

    Examples:
        >>> counted_rounds([0, 1, 2]), counted_rounds([0, 1])
        ([1, 2], [0, 1])
    """
    numbers = sorted(rounds)
    return [number for number in numbers if number > 0 or len(numbers) < 3]


def _last_round(record: ScreeningRecord) -> list[Entrant]:
    """Return who took part in the last round that has ended and had a found policy."""
    rounds: dict[int, list[tuple[int, Entrant]]] = {}
    for place, one in enumerate(record.planned):
        if one.phase != DESIGNS:
            rounds.setdefault(one.trial.split, []).append((place, one.entrant))
    ended = [
        [entrant for _, entrant in members]
        for members in rounds.values()
        if members[-1][0] < len(record.results)
    ]
    with_found = [members for members in ended if any(one.found for one in members)]
    return with_found[-1] if with_found else []


def _sentences(chosen: Entrant, first: Entrant, other: Entrant, leads: Sequence[float]) -> str:
    """Say what the result is, and how the first compares with the best of the other kind."""
    lead = paired_difference(leads, [0.0] * len(leads))
    mean, low, high = (percent_fewer(logarithm) for logarithm in lead[:3])
    fewer = f"{mean:z.0f} % fewer errors on validation images"
    interval = (
        f"95 % interval {low:z.0f} to {high:z.0f}, {lead.pairs} paired trainings on the same images"
    )
    known, result = "the best policy that needs no search", f"The result is '{chosen.name}'"
    if not chosen.found:
        result += ", which needs no search"
    if chosen is not first:
        return (
            f"{result}. {known[0].upper()}{known[1:]}, '{first.name}', makes {fewer}, too few to "
            f"prefer it ({interval})."
        )
    rival = known if first.found else "the best policy found"
    chance = "" if lead.low > 0 else "; this may be chance"
    return f"{result}. It makes {fewer} than {rival}, '{other.name}' ({interval}{chance})."


def race_data(record: ScreeningRecord) -> list[dict[str, Any]]:
    """Return the expected errors of each entrant in each round, as JSON."""
    return [
        {
            "name": entrant.name,
            "found": entrant.found,
            "errors": {str(number): round(math.exp(one), 5) for number, one in logs.items()},
        }
        for entrant, logs in record.races().items()
    ]
