"""How often planted changes were found: ``planted.json`` from all the ``planted-*.json``.

Two counts, over the seeds. Top three: the responsible op is among the three that the policy
applies most. Above every control: it is, and the policy applies it more often than any search of
another seed did without the change. By luck alone the first happens in 3 of as many seeds as there
are ops, the second in at most 1 of as many as there are searches to compare with.

    python -m benchmarks.planted_summary
"""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.record import RESULTS, save_result

__all__ = ["summarise", "summary"]

Row = dict[str, Any]
Setting = tuple[str, str, str]


def summary() -> list[Row]:
    """Return a row for every change that was planted, by data, method and mode."""
    return [
        row
        for setting, searches in sorted(_searches().items())
        for row in _counts(setting, searches)
    ]


def summarise() -> list[Row]:
    """Write ``planted.json`` anew and return its rows."""
    rows = summary()
    save_result("planted", rows, seeds=sorted({seed for row in rows for seed in row["seeds"]}))
    return rows


def _searches() -> dict[Setting, list[Row]]:
    """Return all searches by data, method and what else was set."""
    found: dict[Setting, list[Row]] = {}
    for path in sorted(RESULTS.glob("planted-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        settings = document["settings"]
        dada = "mode" in settings
        how = settings["mode"] if dada else f"{settings['steps']} steps"
        key = (settings["name"], "DADA" if dada else "DeepAA", how)
        found.setdefault(key, []).extend(document["rows"])
    return {key: sorted(rows, key=lambda row: row["seed"]) for key, rows in found.items()}


def _counts(setting: Setting, searches: Sequence[Row]) -> Iterator[Row]:
    control = [row for row in searches if row["op"] is None]
    for change in dict.fromkeys(row["change"] for row in searches if row["op"] and control):
        mine = [row for row in searches if row["change"] == change]
        op = mine[0]["op"]
        yield {
            **dict(zip(("data", "method", "mode"), setting, strict=True)),
            "change": change,
            "op": op,
            "seeds": [row["seed"] for row in mine],
            "top_three": sum(op in row["top"] for row in mine),
            "above_every_control": sum(_above(row, op, control) for row in mine),
            "share": round(statistics.fmean(_share(row, op) for row in mine), 3),
            "control_seeds": [row["seed"] for row in control],
            "control_top_three": sum(op in row["top"] for row in control),
            "control_above_every_other": sum(_above(row, op, control) for row in control),
            "control_share": round(statistics.fmean(_share(row, op) for row in control), 3),
            "luck": round(3 / max(len(row["shares"]) for row in searches), 3),
        }


def _share(row: Row, op: str) -> float:
    # An op that is in none of a policy's pairs is not listed.
    return float(row["shares"].get(op, 0.0))


def _above(row: Row, op: str, control: Sequence[Row]) -> bool:
    others = [_share(other, op) for other in control if other["seed"] != row["seed"]]
    # Without a search to compare with nothing is above it.
    return op in row["top"] and _share(row, op) > max(others, default=math.inf)


def main() -> None:
    """Write the summary and print it."""
    for row in summarise():
        print(json.dumps(row))


if __name__ == "__main__":
    main()
