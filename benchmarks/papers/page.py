"""Every row of the papers' result tables: measured here, or what it would take.

    python -m benchmarks.papers.page            rewrite benchmarks/results/papers.md
    python -m benchmarks.papers.page --check    fail if it is out of date

The papers' figures are in ``figures.py``, the networks' costs in
``results/papers_costs.json``, what was measured in ``results/train-*.json`` and ``detect-*.json``.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.papers.figures import TABLES, Table
from benchmarks.papers.methods import METHODS
from benchmarks.papers.needs import (
    DATA,
    RATE,
    Costs,
    changes,
    costs,
    hours,
    kept,
    processes,
    short,
    train_command,
)
from benchmarks.papers.policies import placed_policy
from benchmarks.papers.presets import PRESETS, Preset
from benchmarks.papers.sections import detection, plots, searches
from benchmarks.record import RESULTS, load_result
from benchmarks.tables import markdown
from learned_augment._io import write_atomically

PAGE = RESULTS / "papers.md"
_KEPT = ", ".join(f"{recipe} {kept(recipe):.0f} GiB" for recipe in PRESETS if processes(recipe) > 1)
HEAD = f"""# The papers' result tables, row by row

Each row is measured here, or says what it would take: GPU hours of one run, data, and the command;
where a policy or method is not to be had, hours and data of the training alone, and the reason.
The papers' figures are as printed, DeepAA's with 95 % intervals of four runs; those of other
methods are as the table quotes them. What is measured here is the last epoch, with the standard
deviation over seeds, and beside it the best epoch, chosen by looking at the test images (DADA's
code reports the best, DeepAA's the last).

GPU hours are an estimate of the order of magnitude, not a measurement: multiply-adds of a forward
pass as counted by `benchmarks/papers/costs.py`, times 3 for forward and backward, times 2
operations, times images, epochs and copies, at {RATE / 1e12:.0f} TFLOP/s sustained (5 % of the
989 TFLOP/s that an H100 can do at best in dense bf16). Networks of narrow or many layers and small
batches (WRN-40-2, Shake-Shake, PyramidNet) reach less and take longer. Reading and augmenting
images is not counted.

`torchrun` stands where a step keeps more for its backward pass than fits one GPU of 78 GiB. What is
kept in float32, as counted by `benchmarks/papers/costs.py`:
{_KEPT}.
The processes share out every batch and normalise it together, which changes no more than the order
of additions; GPU hours are those of all GPUs together. `--precision bfloat16` halves what is kept,
so that half as many GPUs do, but it changes the arithmetic.

ROOT is the folder of the data set. Policies that commands name and that are not shipped are written
by `python -m benchmarks.papers.policies`.
"""


Result = dict[str, Any]
Measured = dict[tuple[str, str], Result]


def page() -> str:
    """Return the page's text."""
    measured, counted = _measured(), costs()
    sections = []
    for table in TABLES:
        heads = ["recipe", "method", "paper", "here", "command"]
        rows = _rows(table, measured, counted)
        note = [table.note, ""] if table.note else []
        sections.append([f"## {table.source}: {table.unit}", "", *note, *markdown(heads, rows)])
    sections += [detection(counted), searches(), plots()]
    return HEAD + "".join("\n" + "\n".join(section) + "\n" for section in sections)


def _rows(table: Table, measured: Measured, counted: Costs) -> Iterator[list[str]]:
    for recipe, figures in table.rows.items():
        preset = PRESETS[recipe]
        for head, figure in zip(table.heads, figures.split(), strict=True):
            if figure == "-":
                continue
            method = METHODS[head]
            paper = figure.replace("±", " ± ").replace("/", " / ")
            missing = _missing(preset, counted)
            if (policy := method.policies.get(preset.data)) is None:
                yield [recipe, head, paper, f"not run: {missing}", f"none: {method.reason}"]
                continue
            found = measured.get((recipe, policy.removesuffix(".safetensors")))
            here = _here(found, preset, policy, "accuracy" in table.unit, missing)
            yield [recipe, head, paper, here, f"`{train_command(recipe, policy)}`"]


def _missing(preset: Preset, counted: Costs) -> str:
    """Return what a training takes."""
    facts, recipe = preset.facts, preset.recipe
    madds = counted[preset.network, facts.classes]
    needed = hours(madds, facts.images, recipe.epochs, recipe.copies)
    return f"{short(needed)} GPU hours, {DATA[preset.data]}"


def _here(found: Result | None, preset: Preset, policy: str, accuracy: bool, missing: str) -> str:
    """Return what was measured; of anything but the recipe, what differs, too."""
    if found is None:
        return f"not run: {missing}"
    last, best = (_figure(found["rows"], which, accuracy) for which in ("last", "best"))
    runs = f"{len(found['rows'])} run{'s' if len(found['rows']) > 1 else ''}"
    figure = f"{last}, best epoch {best}, {runs} on {found['settings']['data']}"
    changed = _changes(found["settings"], preset, policy)
    return f"{figure}, but with {changed}; in full not run: {missing}" if changed else figure


def _changes(settings: Result, preset: Preset, policy: str) -> str:
    """Return in words what a training did otherwise than the paper's."""
    placed = placed_policy(policy, preset)
    wanted = {
        "data": "folder" if preset.data == "imagenet" else preset.data,
        "classes": preset.facts.classes,
        "training_images": preset.facts.images,
        "network": preset.network,
        "norm_momentum": preset.norm_momentum,
        "placement": placed.named_policy.placement,
        "policy_sha256": placed.sha256,
        **asdict(placed.recipe),
    }
    return changes({**settings, "data": settings["data"].partition(":")[0]}, wanted)


def _figure(rows: Sequence[Result], which: str, accuracy: bool) -> str:
    right = [row[f"{which}_epoch_accuracy_percent"] for row in rows]
    values = right if accuracy else [100 - each for each in right]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def _measured() -> Measured:
    """Return the finished trainings on the papers' networks by (recipe, policy)."""
    found: Measured = {}
    for path in sorted(RESULTS.glob("train-*.json")):
        result = load_result(path.stem)
        recipe, policy = (result["settings"][key] for key in ("preset", "policy"))
        # What has a name of its own changes the recipe; a policy's file goes by the result's name.
        if path.stem == f"train-{recipe}-{policy}".replace(":", "-"):
            found[recipe, policy] = result
        elif path.stem == f"train-{policy}":
            found[recipe, policy.removeprefix(f"{recipe}-")] = result
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the page and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    text = page()
    current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
    if check and not current:
        print(f"{PAGE.name} is out of date: run python -m benchmarks.papers.page", file=sys.stderr)
        return 1
    if not current:
        write_atomically(PAGE, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
