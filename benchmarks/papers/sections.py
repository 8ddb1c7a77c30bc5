"""What the papers report beside classifiers: detectors, the cost of a search, plots."""

from pathlib import Path

from benchmarks.papers.figures import DETECTION, SEARCHES
from benchmarks.papers.needs import COCO_IMAGES, DATA, Costs, changes, hours, short, train_command
from benchmarks.papers.presets import PRESETS
from benchmarks.record import RESULTS, load_result
from benchmarks.tables import markdown

__all__ = ["detection", "plots", "searches"]

_BACKBONE = "imagenet-resnet50"


def detection(costs: Costs) -> list[str]:
    """Return the section on detectors."""
    preset = PRESETS[_BACKBONE]
    first = hours(costs["resnet50", 1000], preset.facts.images, preset.recipe.epochs)
    policies = dict.fromkeys(policy for _, policy in DETECTION)
    rows = []
    for (model, policy), figures in DETECTION.items():
        script = f"python -m benchmarks.detection.train --data COCO --model {model}"
        command = f"{script} --backbone {_file(policy)}"
        here = _detected(model, policy, costs)
        rows.append([model, f"`{policy}`", figures, here, f"`{command}`"])
    heads = ["detector", "backbone trained under", "paper", "here", "command"]
    return [
        "## DADA, Table 5: COCO box AP (AP50, AP75, small, medium, large), %",
        "",
        "With torchvision's recipe of 26 epochs, which is not the paper's. Both backbones are "
        f"trained before, {short(first)} GPU hours each, {DATA['imagenet']}:",
        "",
        *(f"    {train_command(_BACKBONE, policy)}" for policy in policies),
        "",
        *markdown(heads, rows),
    ]


def _file(policy: str) -> str:
    """Return where ``train.py`` leaves a backbone."""
    return f"benchmarks/checkpoints/{_BACKBONE}-{policy}-seed0.pt"


def _detected(model: str, policy: str, costs: Costs) -> str:
    needed = hours(costs[model, 80], COCO_IMAGES, 26)
    missing = f"not run: {short(needed)} GPU hours, COCO 2017 ({COCO_IMAGES:,} training images)"
    for path in sorted(RESULTS.glob("detect-*.json")):
        result = load_result(path.stem)
        row, settings = result["rows"][0], result["settings"]
        backbone = Path(settings["backbone"] or "").name
        if (row["model"], row["policy"], backbone) == (model, "none", Path(_file(policy)).name):
            boxes = row["boxes"]
            sizes = ", ".join(str(boxes[name]) for name in list(boxes)[1:])
            masks = f"; masks {row['masks']['AP']}" if "masks" in row else ""
            changed = changes(settings, _DETECTION_RECIPE)
            but = f", but with {changed}; in full {missing}" if changed else ""
            return f"{boxes['AP']} ({sizes}){masks}{but}"
    return missing


_DETECTION_RECIPE = {  # torchvision's, as detect.py has it by default
    "epochs": 26,
    "drops": [16, 22],
    "batch_size": 16,
    "learning_rate": None,
    "warm_up": 1000,
    "min_size": 800,
    "training_images": COCO_IMAGES,
}


def searches() -> list[str]:
    """Return the section on what a search costs."""
    rows = []
    for (source, data), figures in SEARCHES.items():
        spent = dict(each.split(" (")[0].rsplit(" ", 1) for each in figures.split(", "))
        for name in ("DADA", "DeepAA"):
            if name in spent:
                here = f"not run: {spent[name]} GPU hours, {DATA[data]}"
                command = _search_command(name.lower(), source, data)
                rows.append([source, data, figures, name, here, command])
    heads = ["source", "data", "paper, all methods", "method", "here", "command"]
    return [
        "## Cost of a search, GPU hours",
        "",
        "Other methods' searches are not part of this package. The hours are on the papers' GPUs, "
        "DADA's on a Titan XP.",
        "",
        *markdown(heads, rows),
    ]


def _search_command(method: str, source: str, data: str) -> str:
    if method == "deepaa" and data != "cifar10":
        return f"none: {_NO_PRESET[data]}"
    kind = "folder" if data == "imagenet" else data
    options = f"--preset {data} --option mode=released" if method == "dada" else "--preset paper"
    options += " --option depth=4" if "workshop" in source else ""
    return (
        f"`learned-augment search --data {kind}:ROOT --method {method} {options} "
        f"--out {method}.safetensors`"
    )


_NO_PRESET = {
    "imagenet": "no preset; the paper's proxy, a ResNet-18, is not among the networks here",
    "svhn": "no preset; the settings of that search are not known here",
}


def plots() -> list[str]:
    """Return the section on results that the papers show as plots alone."""
    return [
        "## Plots without a table",
        "",
        "- DADA, Figure 3a (RELAX against Gumbel-Softmax) and 3b (cost against error): no figures "
        "in the text, so nothing to compare with.",
        "- DeepAA, Figures 4a and 4b (gradient cosine by depth): measured here in its own setting, "
        "[gradient-cosine-cifar10.json](gradient-cosine-cifar10.json).",
    ]
