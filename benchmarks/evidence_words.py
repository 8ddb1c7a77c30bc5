"""The evidence table in words: cells with intervals, and who is better than whom."""

from collections.abc import Sequence

from learned_augment.evaluation.named_policies import control_name
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.evaluation.statistics import Difference

__all__ = ["controlled_cell", "paired_cell", "sorted_out"]


def controlled_cell(comparison: ComparisonResult, policy: str) -> str:
    """Return a policy's difference to its random control, empty if it has none."""
    if (policy, control_name(policy)) not in comparison.pairs():
        return ""
    found = comparison.difference(policy, control_name(policy))
    return paired_cell(found) if found else ""


def sorted_out(comparison: ComparisonResult, pairs: Sequence[tuple[str, str]]) -> str:
    """Return which policies are better, worse, or not shown to differ."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    for policy, against in pairs:
        found = comparison.difference(policy, against)
        if found:
            same = found.low <= 0 <= found.high
            word = "no difference shown" if same else "better" if found.mean > 0 else "worse"
            groups[word].append(f"`{policy}`")
    return "; ".join(f"{word}: {', '.join(names) or 'no policy'}" for word, names in groups.items())


def paired_cell(found: Difference) -> str:
    """Return a difference with its interval, in points."""
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
