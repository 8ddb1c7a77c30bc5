"""What a reader must know before believing a comparison."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from learned_augment.evaluation.power import pairs_needed, smallest_difference

if TYPE_CHECKING:
    from learned_augment.evaluation.result import ComparisonResult

__all__ = ["caveats"]

_ENOUGH_SEEDS = 5
_MANY_COMPARISONS = 5


def caveats(result: "ComparisonResult") -> Iterator[str]:
    """Yield the notes on a result, each a sentence or two."""
    missing, total = len(result.missing()), len(result.seeds) * len(result.placements)
    if missing:
        names = dict.fromkeys(policy for policy, _ in result.missing())
        yield f"stopped early, {missing} of {total} trainings are missing: {', '.join(names)}."
    if len(result.seeds) < _ENOUGH_SEEDS:
        yield (
            f"{len(result.seeds)} seeds give wide intervals; take {_ENOUGH_SEEDS} or more before "
            "concluding anything."
        )
    yield from _power(result)
    if len(result.placements) > _MANY_COMPARISONS:
        yield "of 20 policies that change nothing, about one falls outside its 95 % interval."
    if any(": worse than " in result.sentence(policy) for policy in result.placements):
        yield "strong augmentation learns slowly; what is worse now may not be after more epochs."
    diverged = dict.fromkeys(run.policy for run in result.runs if run.loss is None)
    if diverged:
        yield f"training diverged under {', '.join(diverged)}; lower the learning rate."
    after = [place for place in result.placements.values() if place.startswith("after ")]
    if after and not any(place.endswith(" only") for place in result.placements.values()):
        crop = after[0].removeprefix("after ")
        yield f"'after {crop}' includes what {crop} does; add the policy 'default' to see it alone."
    if result.settings["skipped"]:
        yield f"{result.settings['skipped']} unreadable files were left out."


def _power(result: "ComparisonResult") -> Iterator[str]:
    """Say which differences the seeds are likely to miss, and how many would show enough."""
    deviation, seeds = result.deviation(), len(result.seeds)
    if deviation is None:
        return
    deviation = max(deviation, result.resolution)
    seen = smallest_difference(deviation, seeds)
    text = (
        f"with {seeds} seeds, differences under {seen:.2f} points are likely to be missed (80 % "
        f"power at a paired deviation of {deviation:.2f} points)"
    )
    if seen > result.interest:
        needed = pairs_needed(result.interest, deviation)
        text += f"; about {needed} seeds would show {result.interest:g}"
    yield text + "."
