"""Render the README's measured tables from ``results/``; nothing in them is typed by hand.

    python -m benchmarks.tables            rewrite README.md
    python -m benchmarks.tables --check    fail if README.md is out of date

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->``. Adding one is writing a
function from a result document to lines of markdown and one row in ``TABLES``.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence_words import controlled_cell, paired_cell, sorted_out
from benchmarks.record import RESULTS, load_result
from benchmarks.throughput_table import targets
from learned_augment._io import write_atomically
from learned_augment.evaluation.result import ComparisonResult

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)

Result = dict[str, Any]


def parity(result: Result) -> list[str]:
    """Bit-equality of the PIL and uint8 engines, and how far the float engine is from them."""
    heads = ["op", "PIL engine = papers", "uint8 engine = papers"]
    heads += ["float, nearest: mean (largest)", "float, bilinear: mean (largest)"]
    rows = []
    for row in result["rows"]:
        equal = [f"{row[key]} of {row['images']}" for key in ("pil_equal", "exact_equal")]
        rows.append([row["op"], *equal, *[_levels(row, m) for m in ("nearest", "bilinear")]])
    about = (
        f"Images that are equal in every bit, of {result['settings']['photographs']} photographs "
        f"at {result['settings']['side']} pixels at values of the papers' and of the whole legal "
        "range; and the float engine's difference from the uint8 engine in grey levels of 255."
    )
    return [*markdown(heads, rows), "", about + " " + measured(result)]


def import_cost(result: Result) -> list[str]:
    """Seconds that imports take."""
    keys = ("processor_s", "clock_s", "clock_fastest_s")
    rows = [[f"`import {row['module']}`", *[row[key] for key in keys]] for row in result["rows"]]
    heads = ["", "processor, s", "clock, s", "clock at best, s"]
    note = (
        f"Medians of {result['settings']['rounds']} fresh processes in turn; "
        f"{result['settings']['extra_s']} s of processor time more than `import torchvision`. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def draws(result: Result) -> list[str]:
    """How well draws follow the tables of the shipped policies."""
    heads = ["policy", "largest difference of a share", "smallest p, times layers"]
    heads += ["single images: largest deviation"]
    rows = []
    for row in result["rows"]:
        shares = row["shares"].values()
        pairs = [pair for s in shares for pair in zip(s["drawn"], s["table"], strict=True)]
        largest = 100 * max(abs(drawn - given) for drawn, given in pairs)
        deviation = (
            f"{row['largest_deviation_se']:+} standard errors, {row['largest_deviation_op']}"
        )
        rows.append([f"`{row['policy']}`", f"{largest:.2f} points", row["p_value"], deviation])
    note = (
        f"{result['settings']['draws']:,} draws a policy; chi-square of the ops by layer, and of "
        f"{sum(row['ops'] for row in result['rows'])} counts the largest deviations. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def compare(result: Result) -> list[str]:
    """Comparisons: accuracy under each policy and the paired difference to the reference."""
    lines: list[str] = []
    for row in result["rows"]:
        comparison = ComparisonResult.from_json(json.dumps(row))
        heads = ["policy", "placed", "accuracy, %", "sd", f"difference to `{comparison.reference}`"]
        lines += [_setting(comparison), "", *markdown(heads, map(_cells, *_each(comparison))), ""]
    return [*lines, measured(result)]


def evidence(result: Result) -> list[str]:
    """Every policy against crop and flip, learned ones against their random controls, and notes."""
    comparison = ComparisonResult.from_json(json.dumps(result["rows"][0]))
    heads = ["policy", "placed", "accuracy, %", "sd", f"difference to `{comparison.reference}`"]
    rows = [
        [*_cells(comparison, name), controlled_cell(comparison, name)]
        for name in comparison.placements
    ]
    ordinary = [pair for pair in comparison.pairs() if pair[1] == comparison.reference]
    controlled = [pair for pair in comparison.pairs() if pair[1] != comparison.reference]
    lines = [
        _setting(comparison),
        "",
        *markdown([*heads, "difference to its random control"], rows),
        "",
    ]
    lines += [f"- Against `{comparison.reference}`: {sorted_out(comparison, ordinary)}."]
    if controlled:
        lines += [f"- Against their random controls: {sorted_out(comparison, controlled)}."]
    lines += [f"- {note[0].upper()}{note[1:]}" for note in comparison.notes()]
    return [*lines, "", measured(result)]


def planted(result: Result) -> list[str]:
    """How often the searches found what was planted, beside the un-planted control."""
    heads = ["data", "method", "validation images", "op", "top three", "control"]
    heads += ["above every control", "share (control's)"]
    rows = []
    for row in result["rows"]:
        seeds, controls = len(row["seeds"]), len(row["control_seeds"])
        counts = [f"{row['top_three']} of {seeds}", f"{row['control_top_three']} of {controls}"]
        counts += [f"{row['above_every_control']} of {seeds}"]
        shares = f"{row['share']:.2f} ({row['control_share']:.2f})"
        method = f"{row['method']}, {row['mode']}"
        rows.append([row["data"], method, row["change"], row["op"], *counts, shares])
    chances = [row["luck"] for row in result["rows"]]
    luck = f"{min(chances):.0%} to {max(chances):.0%}"
    note = (
        "Top three: the op that does to training images what was done to validation images is "
        f"among the three applied most often; by luck in {luck} of the seeds. Above every control: "
        "it is, and more often than in any search of another seed without the change. Share: how "
        "often the policy applies it to an image. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def gradient_cosine(result: Result) -> list[str]:
    """Gain of the gradient cosine by depth; the paper's were read off its figure, to 0.001."""
    depths = range(1, 1 + max(row["depth"] for row in result["rows"]))
    lines: dict[str, list[str]] = {}
    for row in result["rows"]:
        low, high = row["lead"][1:]
        cell = f"{row['gain']:.3f}, sd {row['deviation']:.3f}"
        cell += "" if row["policy"] == "DeepTA" else f"; lead [{low:+.3f}, {high:+.3f}]"
        lines.setdefault(row["policy"], []).append(cell)
    lines |= {f"{name}, paper's Figure 4": cells for name, cells in _FIGURE_4.items()}
    heads = ["policy", *(f"depth {depth}" for depth in depths)]
    rows = [[name, *cells[: len(depths)]] for name, cells in lines.items()]
    note = (
        f"Gain of the cosine with clean gradients of the class over no augmentation, on "
        f"{result['settings']['pairs']} held-out pairs, one search; lead: over DeepTA, paired, "
        "95 % over pairs. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


_FIGURE_4 = {
    "DeepAA": ["0.138, sd 0.128", "0.177, sd 0.130", "0.184, sd 0.133"],
    "DeepTA": ["0.095, sd 0.126", "0.138, sd 0.123", "0.158, sd 0.130"],
}


def throughput(result: Result) -> list[str]:
    """Ratios against the peers, then images per second."""
    return [*targets(result), "", measured(result)]


TABLES: dict[str, Callable[[Result], list[str]]] = {
    "parity": parity,
    "import_cost": import_cost,
    "draws": draws,
    "compare": compare,
    "single-ops": compare,
    "evidence-60": evidence,
    "evidence-long": evidence,
    "gradient-cosine-cifar10": gradient_cosine,
    "planted": planted,
    "throughput": throughput,
}
"""Every table by its name, which is also its result's."""


def markdown(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def measured(result: Result) -> str:
    """Return where, when and how a result was measured."""
    machine, versions = result["machine"], result["versions"]
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}"
    software = ", ".join(f"{name} {versions[name]}" for name in ("torch", "pillow"))
    return f"{result['date']}, {place}, {software}: `{result['command']}`."


def render(text: str) -> str:
    """Return a page with every table between its marks written anew.

    Raises:
        ValueError: If a table's name is not one of ``TABLES``.
    """

    def written(block: re.Match[str]) -> str:
        start, name, old, end = block.groups()
        if name not in TABLES:
            raise ValueError(f"No table {name!r}. Known: {', '.join(TABLES)}.")
        # A table whose benchmark has not run yet stays as it is.
        known = (RESULTS / f"{name}.json").is_file()
        return start + ("\n".join(TABLES[name](load_result(name))) + "\n" if known else old) + end

    return BLOCK.sub(written, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the page and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    old = README.read_text(encoding="utf-8")
    new = render(old)
    if check and new != old:
        print(f"{README.name} is out of date: run python -m benchmarks.tables", file=sys.stderr)
        return 1
    if new != old:
        write_atomically(README, new.encode())
    return 0


def _levels(row: dict[str, Any], mode: str) -> str:
    mean, largest = (row[f"smooth_{mode}_{which}_levels"] for which in ("mean", "largest"))
    return f"{mean:.2f} ({largest:.1f})" if largest >= 0.05 else "0"


def _setting(comparison: ComparisonResult) -> str:
    s = comparison.settings
    return (
        f"**{comparison.data}**: {s['train_images']} training and {s['test_images']} test images, "
        f"{s['network']}, {s['epochs']} epochs, {len(comparison.seeds)} seeds"
    )


def _each(comparison: ComparisonResult) -> tuple[list[ComparisonResult], list[str]]:
    names = list(comparison.placements)
    return [comparison] * len(names), names


def _cells(comparison: ComparisonResult, policy: str) -> list[str]:
    values = list(comparison.accuracies(policy).values())
    found = None if policy == comparison.reference else comparison.difference(policy)
    paired = paired_cell(found) if found else ""
    spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    mean = f"{statistics.fmean(values):.2f}" if values else ""
    return [f"`{policy}`", comparison.placements[policy], mean, spread, paired]


if __name__ == "__main__":
    sys.exit(main())
