"""Write the page on the papers' result tables, their commands and costs.

    python -m benchmarks.papers.page            rewrite benchmarks/results/papers.md
    python -m benchmarks.papers.page --check    fail if it is out of date

The papers' figures are in ``figures.py``, the networks' costs in ``results/papers_costs.json``,
finished runs in ``results/train-*.json`` and ``detect-*.json``.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.papers.figures import DETECTION, SEARCHES, TABLES, Table
from benchmarks.papers.methods import METHODS
from benchmarks.papers.policies import placed_policy
from benchmarks.papers.presets import PRESETS, Preset
from learned_augment._io import write_atomically
from learned_augment._text import markdown

__all__ = ["COCO_IMAGES", "hours", "kept", "page", "processes", "short", "train_command"]

PAGE = record.RESULTS / "papers.md"
RATE = 50e12
"""Assumed: multiplications and additions per second that one GPU sustains in training."""
GPU_SHARE = 70
"""GiB that a step may keep on one GPU of 78; the rest is for weights, gradients and images."""
DATA = {
    "cifar10": "CIFAR-10 (60,000 images)",
    "cifar100": "CIFAR-100 (60,000 images)",
    "svhn": "SVHN with its extra images (630,420)",
    "imagenet": "ImageNet (1,281,167 training images)",
}
COCO_IMAGES = 117_266
"""Training images of COCO 2017 with an object."""
BACKBONE = "imagenet-resnet50"
DETECTION_RECIPE = {  # torchvision's, the default of detection/train.py
    "epochs": 26,
    "drops": [16, 22],
    "batch_size": 16,
    "learning_rate": None,
    "warm_up": 1000,
    "min_size": 800,
    "training_images": COCO_IMAGES,
}
HEAD = f"""# The papers' result tables

This page holds the figures of the two papers, the commands that repeat them, what each command
costs, and the rows that were run here. Figures are as printed, DeepAA's with 95 % intervals of four
runs; those of other methods are as the tables quote them.

## Commands

```sh
python -m benchmarks.papers.policies                    # writes the policies that are not shipped
python -m benchmarks.papers.train --preset RECIPE --policy POLICY --data DATA:ROOT
learned-augment search --data DATA:ROOT --method dada --preset DATA --option mode=released
learned-augment search --data cifar10:ROOT --method deepaa --preset paper
```

RECIPE is a row of the tables below, POLICY a cell of the table of policies. DATA:ROOT is
`cifar10:ROOT`, `cifar100:ROOT`, `svhn:ROOT`, or `folder:ROOT` for ImageNet. Where a recipe needs
several GPUs, `torchrun --nproc-per-node N -m benchmarks.papers.train ...` divides each batch among
them and normalizes it as a whole, which changes no more than the order of additions.

## Cost of a training

GPU hours are an estimate of the order of magnitude, not a measurement: multiply-adds of a forward
pass as counted by `benchmarks/papers/costs.py`, times 3 for forward and backward, times 2
operations, times images, epochs and copies, at {RATE / 1e12:.0f} TFLOP/s sustained (5 % of the
989 TFLOP/s that an H100 can do at best in dense bf16). Networks of narrow or many layers and small
batches (WRN-40-2, Shake-Shake, PyramidNet) reach less and take longer. Reading and augmenting
images is not counted. The hours are those of all GPUs together; a GPU has 78 GiB. `--precision
bfloat16` halves what a step keeps for its backward pass, but changes the arithmetic.
"""

Result = dict[str, Any]


def page() -> str:
    """Return the page's text."""
    sections = [_costs(), _policies(), _run_here()]
    sections += [_figures(table) for table in TABLES]
    sections += [_detection(), _searches(), _plots()]
    return HEAD + "".join("\n" + "\n".join(section) + "\n" for section in sections)


def _costs() -> list[str]:
    used = dict.fromkeys(recipe for table in TABLES for recipe in table.rows)
    rows = [
        [
            recipe,
            DATA[PRESETS[recipe].data],
            PRESETS[recipe].recipe.epochs,
            _hours_of(PRESETS[recipe]),
            short(kept(recipe)),
            processes(recipe),
        ]
        for recipe in used
    ]
    heads = ["recipe", "data", "epochs", "GPU hours of one run", "kept by a step, GiB", "GPUs"]
    return markdown(heads, rows)


def _policies() -> list[str]:
    heads = ["method", *DATA, "where the papers have one more"]
    asked: dict[str, set[str]] = {name: set() for name in METHODS}
    for table in TABLES:
        for recipe, figures in table.rows.items():
            for head, figure in zip(table.heads, figures.split(), strict=True):
                asked[head] |= {PRESETS[recipe].data} if figure != "-" else set()
    rows = []
    for name, method in METHODS.items():
        cells = [f"`{p}`" if (p := method.policies.get(data)) else "" for data in DATA]
        rows.append([name, *cells, method.reason if asked[name] - method.policies.keys() else ""])
    return ["## Policies of the methods", "", *markdown(heads, rows)]


def _figures(table: Table) -> list[str]:
    rows = [
        [recipe, *(_printed(figure) for figure in figures.split())]
        for recipe, figures in table.rows.items()
    ]
    note = [table.note, ""] if table.note else []
    lines = markdown(["recipe", *table.heads], rows)
    return [f"## {table.source}: {table.unit}", "", *note, *lines]


def _printed(figure: str) -> str:
    return "" if figure == "-" else figure.replace("±", " ± ").replace("/", " / ")


def _run_here() -> list[str]:
    """Return the section on what was run: the last epoch, and beside it the best one."""
    measured = _measured()
    rows = [row for table in TABLES for row in _measured_rows(table, measured)]
    rows += _measured_detectors()
    if not rows:
        return ["## Rows that were run here", "", "None yet: every row needs a GPU."]
    about = (
        "The last epoch counts, with the standard deviation over seeds. The best epoch beside it "
        "was chosen by the test images (DADA's code reports the best, DeepAA's the last)."
    )
    heads = ["table", "recipe", "method", "paper", "here"]
    return ["## Rows that were run here", "", about, "", *markdown(heads, rows)]


def _measured_rows(table: Table, measured: Mapping[tuple[str, str], Result]) -> Iterator[list[str]]:
    for recipe, figures in table.rows.items():
        preset = PRESETS[recipe]
        for head, figure in zip(table.heads, figures.split(), strict=True):
            policy = METHODS[head].policies.get(preset.data, "")
            found = measured.get((recipe, policy.removesuffix(".safetensors")))
            if figure != "-" and policy and found is not None:
                here = _here(found, preset, policy, "accuracy" in table.unit)
                yield [table.source, recipe, head, _printed(figure), here]


def _measured() -> dict[tuple[str, str], Result]:
    """Return the finished trainings on the papers' networks by (recipe, policy)."""
    found: dict[tuple[str, str], Result] = {}
    for path in sorted(record.RESULTS.glob("train-*.json")):
        result = record.load_result(path.stem)
        recipe, policy = (result["settings"][key] for key in ("preset", "policy"))
        # What has a name of its own changes the recipe; a policy's file goes by the result's name.
        if path.stem == f"train-{recipe}-{policy}".replace(":", "-"):
            found[recipe, policy] = result
        elif path.stem == f"train-{policy}":
            found[recipe, policy.removeprefix(f"{recipe}-")] = result
    return found


def _here(found: Result, preset: Preset, policy: str, accuracy: bool) -> str:
    """Return what was measured; of anything but the recipe, what differs, too."""
    last, best = (_figure(found["rows"], which, accuracy) for which in ("last", "best"))
    runs = f"{len(found['rows'])} run{'s' if len(found['rows']) > 1 else ''}"
    figure = f"{last}, best epoch {best}, {runs} on {found['settings']['data']}"
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
    settings = {**found["settings"], "data": found["settings"]["data"].partition(":")[0]}
    return figure + _changes(settings, wanted)


def _figure(rows: Sequence[Result], which: str, accuracy: bool) -> str:
    right = [row[f"{which}_epoch_accuracy_percent"] for row in rows]
    values = right if accuracy else [100 - each for each in right]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words which settings of a result are not those of the paper; "" for none."""
    wanted = json.loads(json.dumps(wanted))  # as a result file holds them
    changed = [
        f"{name} {found.get(name)} instead of {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    return f", but with {', '.join(changed)}" if changed else ""


def _measured_detectors() -> Iterator[list[str]]:
    for path in sorted(record.RESULTS.glob("detect-*.json")):
        result = record.load_result(path.stem)
        row, settings = result["rows"][0], result["settings"]
        backbone = Path(settings["backbone"] or "").name
        for (model, policy), figures in DETECTION.items():
            named = (model, "none", Path(_backbone_file(policy)).name)
            if (row["model"], row["policy"], backbone) == named:
                boxes = row["boxes"]
                sizes = ", ".join(str(boxes[name]) for name in list(boxes)[1:])
                masks = f"; masks {row['masks']['AP']}" if "masks" in row else ""
                here = f"{boxes['AP']} ({sizes}){masks}{_changes(settings, DETECTION_RECIPE)}"
                yield ["DADA, Table 5", model, f"`{policy}`", figures, here]


def _detection() -> list[str]:
    costs = _madds()
    rows = []
    for (model, policy), figures in DETECTION.items():
        needed = short(hours(costs[model, 80], COCO_IMAGES, 26))
        rows.append([model, f"`{policy}`", figures, needed])
    heads = ["detector", "policy of the backbone", "AP (AP50, AP75, small, medium, large)"]
    script = "python -m benchmarks.detection.train --data COCO --model DETECTOR"
    return [
        "## DADA, Table 5: COCO box AP, %",
        "",
        f"On COCO 2017 ({COCO_IMAGES:,} training images), with torchvision's recipe of 26 epochs, "
        "which is not the paper's. The backbones are trained before; POLICY is one of the table:",
        "",
        "```sh",
        train_command(BACKBONE, "POLICY"),
        f"{script} --backbone {_backbone_file('POLICY')}",
        "```",
        "",
        *markdown([*heads, "GPU hours"], rows),
    ]


def _backbone_file(policy: str) -> str:
    """Return where ``train.py`` leaves a backbone."""
    return f"benchmarks/checkpoints/{BACKBONE}-{policy}-seed0.pt"


def _searches() -> list[str]:
    rows = [[source, data, figures] for (source, data), figures in SEARCHES.items()]
    return [
        "## Cost of a search, GPU hours",
        "",
        "The hours are on the papers' GPUs, DADA's on a Titan XP. Other methods' searches are not "
        "part of this package. The workshop version's search has `--option depth=4`. DeepAA has no "
        "preset for ImageNet, since the paper's proxy, a ResNet-18, is not among the networks "
        "here, and none for SVHN, since the settings of that search are not known here.",
        "",
        *markdown(["source", "data", "paper"], rows),
    ]


def _plots() -> list[str]:
    return [
        "## Plots without a table",
        "",
        "- DADA, Figure 3a (RELAX against Gumbel-Softmax) and 3b (cost against error): no figures "
        "in the text, so nothing to compare with.",
        "- DeepAA, Figures 4a and 4b (gradient cosine by depth): measured here in its own setting, "
        "[gradient-cosine-cifar10.json](gradient-cosine-cifar10.json).",
    ]


def _madds() -> dict[tuple[str, int], int]:
    """Return the multiply-adds of a forward pass by (network, classes)."""
    rows = record.load_result("papers_costs")["rows"]
    return {(row["network"], row["classes"]): row["madds"] for row in rows}


def _hours_of(preset: Preset) -> str:
    facts, recipe = preset.facts, preset.recipe
    madds = _madds()[preset.network, facts.classes]
    return short(hours(madds, facts.images, recipe.epochs, recipe.copies))


def hours(madds: float, images: int, epochs: int, copies: int = 1) -> float:
    """Return the estimated GPU hours of a training: 3 passes of 2 operations per multiply-add."""
    return 6 * madds * images * epochs * copies / RATE / 3600


def short(number: float) -> str:
    """Return two significant digits."""
    return f"{float(f'{number:.2g}'):g}"


def kept(recipe: str) -> float:
    """Return the GiB that a step of a recipe keeps for its backward pass, in float32."""
    preset, rows = PRESETS[recipe], record.load_result("papers_costs")["rows"]
    image = next(row["kept_bytes"] for row in rows if row["network"] == preset.network)
    return float(image * preset.recipe.batch_size / 2**30)


def processes(recipe: str) -> int:
    """Return how many GPUs, a power of two, hold what a step of a recipe keeps."""
    count = 1
    while kept(recipe) > count * GPU_SHARE:
        count *= 2
    return count


def train_command(recipe: str, policy: str) -> str:
    """Return the command that trains a classifier."""
    data, count = PRESETS[recipe].data, processes(recipe)
    source = "folder" if data == "imagenet" else data
    python = "python" if count == 1 else f"torchrun --nproc-per-node {count}"
    script = f"{python} -m benchmarks.papers.train"
    return f"{script} --preset {recipe} --policy {policy} --data {source}:ROOT"


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
