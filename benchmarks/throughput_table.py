"""Render ``throughput.json``: ratios against the peers, and images per second of everything."""

from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["rates", "targets"]

Result = dict[str, Any]


class Target(NamedTuple):
    """A ratio promised: ours over a peer, at least ``small`` at 32 and ``large`` at 224."""

    case: str
    ours: tuple[str, str, str, str]
    peer: tuple[str, str, str, str]
    small: float
    large: float


def _auto(given: str, whose: str, draws: str = "per image") -> tuple[str, str, str, str]:
    return given, whose, "AutoAugment", draws


_BATCH = _auto("uint8 batch", "ours")
_TARGETS = [
    Target("batch, uint8", _BATCH, _auto("uint8 batch", "torchvision v2"), 40, 6),
    Target("batch, uint8", _BATCH, _auto("uint8 batch", "torchvision v2", "per batch"), 2, 8),
    Target("batch, uint8", _BATCH, _auto("float batch", "Kornia", "per batch"), 12, 50),
    Target("batch, uint8", _BATCH, _auto("uint8 batch", "DALI"), 50, 12),
    Target("one image, PIL", _auto("PIL", "ours"), _auto("PIL", "torchvision v1"), 6, 2),
    Target("one image, PIL", _auto("PIL", "ours"), _auto("PIL", "torchvision v2"), 6, 2),
    *(
        Target(
            f"one image, PIL, {policy}",
            ("PIL", "ours", policy, "per image"),
            ("PIL", "papers", policy, "per image"),
            *least,
        )
        for policy, least in {"DADA": (2.5, 1.2), "DeepAA": (5, 1.4)}.items()
    ),
    *(
        Target(
            f"one image, PIL, {policy}",
            ("PIL", "ours", policy, "per image"),
            ("PIL, steps given", "papers", policy, "-"),
            *least,
        )
        for policy, least in {"DADA": (2.5, 1.2), "DeepAA": (5, 1.4)}.items()
    ),
    Target("one image, uint8", _auto("uint8", "ours"), _auto("uint8", "torchvision v2"), 15, 6),
    Target(
        "batch, float, forward and backward",
        _auto("float batch, backward", "ours"),
        _auto("float batch, backward", "Kornia", "per batch"),
        1.5,
        5,
    ),
]


def targets(result: Result) -> list[str]:
    """Return a table of how many times as fast we are as each peer."""
    rate = _by_key(result)
    rows = []
    for target in _TARGETS:
        if (32, *target.peer) not in rate:
            continue  # a peer that was not installed
        cells = []
        for size, least in ((32, target.small), (224, target.large)):
            ratio = rate[size, *target.ours] / rate[size, *target.peer]
            cells.append(f"{ratio:.1f}x (target {least:g}x{'' if ratio >= least else ', missed'})")
        against = f"{target.peer[1]}, {target.peer[3].replace('-', 'draws given')}"
        rows.append([target.case, against, *cells])
    return _markdown(["ours, a draw per image", "against", "32x32", "224x224"], rows)


def rates(result: Result) -> list[str]:
    """Return tables of images per second, of the pipeline, of memory and of the first call."""
    rate = _by_key(result)
    keys = dict.fromkeys(key[1:] for key in rate)
    rows = [[*key, *(f"{rate[size, *key]:,.0f}" for size in (32, 224))] for key in keys]
    heads = ["input", "", "policy", "draws", "32x32, images/s", "224x224, images/s"]
    return [*_markdown(heads, rows), "", *_pipeline(result), "", *_notes(result)]


def _by_key(result: Result) -> dict[tuple[Any, ...], float]:
    fields = ("size", "given", "whose", "policy", "draws")
    timed = [row for row in result["rows"] if "draws" in row]
    return {tuple(row[field] for field in fields): row["images_per_s"] for row in timed}


def _pipeline(result: Result) -> list[str]:
    found = [row for row in result["rows"] if row["given"] == "pipeline"]
    rate = {(row["whose"], row["policy"], row["size"]): row["images_per_s"] for row in found}
    rows = [
        [whose, policy, *(f"{rate[whose, policy, size]:,.0f}" for size in (32, 224))]
        for whose, policy in dict.fromkeys((row["whose"], row["policy"]) for row in found)
    ]
    heads = [
        "decode + augment + stack, two workers",
        "policy",
        "32x32, images/s",
        "224x224, images/s",
    ]
    return _markdown(heads, rows) if rows else []


def _notes(result: Result) -> Iterator[str]:
    for row in result["rows"]:
        if row["given"] == "memory":
            yield f"Peak memory of a {row['of']}: {row['batches']} times the batch."
        if row["given"] == "first call":
            yield f"First call in a fresh process, compiled code on disk: {row['seconds']} s."


def _markdown(heads: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


if __name__ == "__main__":
    from benchmarks.record import load_result

    result = load_result("throughput")
    print("\n".join([*targets(result), "", *rates(result)]))
