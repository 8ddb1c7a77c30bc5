"""A policy or a comparison as one HTML page that stands alone."""

import base64
import io
import json
import math
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from learned_augment._io import PAGE_ENDINGS, check_ending, check_output_path, write_atomically
from learned_augment._text import printable
from learned_augment._version import __version__
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.evaluation.statistics import Difference
from learned_augment.model_card import provenance
from learned_augment.policy import Policy
from learned_augment.reporting.effects import Effects, effects_sentences, policy_effects
from learned_augment.reporting.example_images import draw_examples
from learned_augment.reporting.plots import (
    NARROW,
    WIDE,
    Interval,
    curves_figure,
    effects_figure,
    intervals_figure,
    ops_figure,
    svg_markup,
)
from learned_augment.reporting.race import RaceRow, read_race
from learned_augment.reporting.text import op_rows, percent, policy_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["policy_page", "result_page", "write_report"]

DRAWS = 7
"""Augmented copies of each example image."""

_PAGE = Environment(
    loader=PackageLoader("learned_augment.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("report.html")


def write_report(source: str | Path, out: str | Path) -> Path:
    """Write the page of a policy or of a comparison, whole or not at all.

    The page loads nothing and runs no script. Every text from a file is escaped.

    Args:
        source: A policy's ``.safetensors`` file, the name of a shipped policy, or the file of
            a comparison.
        out: The page, a ``.html`` file.

    Raises:
        ValueError: If the source is none of these, or the page cannot be written there.
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> write_report("dada-cifar10", "dada.html").name
        'dada.html'
    """
    out = check_output_path(check_ending(out, PAGE_ENDINGS, "a page"))
    file = Path(source)
    if file.suffix == ".json" or (file.suffix != ".safetensors" and file.is_file()):
        page = result_page(ComparisonResult.load(file), file.name)
    else:
        page = policy_page(Policy.load(source), str(source))
    return write_atomically(out, page.encode(errors="replace"))  # a file may hold surrogates


def policy_page(policy: Policy, source: str | None = None) -> str:
    """Return a policy as an HTML document; equal policies give equal text.

    Args:
        policy: The policy.
        source: The file or the shipped name that loads it; None is ``NAME.safetensors``.

    Raises:
        ValueError: If ``policy.about["effects"]`` is not of the form that `Effects` reads.
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> from learned_augment.builders import from_layers
        >>> page = policy_page(from_layers([[("Rotate", 1.0, 20.0)]], {"name": "turn"}))
        >>> "<title>Policy turn" in page
        True
    """
    effects = policy_effects(policy)
    ops = {name: layers.tolist() for name, layers in policy.op_shares().items()}
    race = read_race(policy.about)
    stated = {"effects", "name", "paper", "source", "licence", "license", "sentence"}
    stated |= {"race"} if race else set()
    page = _Page(
        title=f"Policy {policy.name}",
        summary=policy_summary(policy),
        effects=_effects(effects) if effects else None,
        race=_race(race) if race else None,
        ops={policy.name: _ops(policy.name, ops)},
        op_rows=op_rows(policy),
        examples=_examples(policy),
        provenance=provenance(policy.about),
        usage=_policy_usage(policy, source or f"{policy.name}.safetensors"),
        entries=_entries({k: v for k, v in policy.about.items() if k not in stated}),
    )
    return page.render()


def result_page(result: ComparisonResult, source: str = "result.json") -> str:
    """Return a comparison as an HTML document; equal results give equal text.

    Args:
        result: The result.
        source: The JSON file that holds it.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> from learned_augment import compare
        >>> result = compare(
        ...     "digits", ["none", "flip"], seeds=2, epochs=1, train_size=40, workers=1
        ... )
        >>> "<title>Comparison of policies on digits" in result_page(result)
        True
    """
    ops = {name: found["ops"] for name, found in result.policies.items() if found["ops"]}
    page = _Page(
        title=f"Comparison of policies on {result.data}",
        summary=[result.headline()],
        findings=[result.sentence(*pair) for pair in result.pairs()],
        notes=list(result.notes()),
        accuracies=_accuracies(result),
        differences=_differences(result),
        curves=_curves(result),
        ops={name: _ops(name, layers) for name, layers in ops.items()},
        usage=_comparison_usage(source),
        entries=_entries(result.settings),
    )
    return page.render()


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The contents of a page; a section of None is left out."""

    title: str
    summary: Sequence[str]
    usage: Any
    accuracies: Any = None
    curves: Any = None
    differences: Any = None
    effects: Any = None
    entries: Any = None
    examples: Any = None
    findings: Any = None
    notes: Any = None
    op_rows: Any = None
    ops: Any = None
    provenance: Any = None
    race: Any = None

    def render(self) -> str:
        return _PAGE.render(version=__version__, **vars(self))


def _figure(plot: Callable[[float], "Figure"], alt: str, caption: str) -> dict[str, Any]:
    """Return a figure for desktops and one for phones; the page shows the one that fits."""
    figures = {
        name: Markup(svg_markup(plot(width), alt, f"{name} {printable(alt)}"))
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    }
    return {**figures, "caption": caption}


def _effects(effects: Effects) -> dict[str, Any]:
    sentences = effects_sentences(effects)
    caption = (
        f"Effect of each op at each value on {effects.target}, of {effects.trainings} trainings, "
        "with 95 % intervals. Each image shows the op at that value."
    )
    alt = "Effects of ops. " + " ".join(sentences)
    return {
        "figure": _figure(lambda width: effects_figure(effects, width), alt, caption),
        "sentences": sentences,
    }


def _race(race: Sequence[RaceRow]) -> dict[str, Any]:
    chosen = race[0].name
    rows = [
        ["policy", "found by the search", "trainings", "error", "fewer errors", "95 % interval"]
    ]
    rows += [
        [
            entrant.name,
            "yes" if entrant.found else "no",
            str(len(entrant.errors)),
            f"{100 * entrant.mean:.1f} %",
            *_interval_cells(entrant.gain, 0, " %"),
        ]
        for entrant in race
    ]
    gains = [Interval(entrant.name, *entrant.gain[:3]) for entrant in race if entrant.gain]
    label = "fewer errors, % (above 0 is better)"
    alt = f"Percent fewer errors than {chosen}. {_in_words(gains)}"
    caption = f"Each policy against {chosen}, the one that was chosen, with 95 % intervals."

    def plot(width: float) -> "Figure":
        return intervals_figure(gains, label, "%", width)

    return {
        "rows": rows,
        "caption": "Expected error on validation images: geometric mean over the rounds of the "
        f"race, each trained on other images; percent fewer errors than {chosen}, paired by round, "
        "without the first round if there are two others, as it chose who races on.",
        "figure": _figure(plot, alt, caption) if gains else None,
    }


def _interval_cells(found: Difference | None, places: int, unit: str = "") -> list[str]:
    if found is None:
        return ["", ""]
    mean, low, high = (f"{number:+.{places}f}{unit}" for number in found[:3])
    return [mean, f"{low} to {high}"]


def _in_words(rows: Sequence[Interval]) -> str:
    return "; ".join(
        f"{row.label}: {row.mean:+.2f} [{row.low:+.2f}, {row.high:+.2f}]" for row in rows
    )


def _ops(name: str, ops: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    caption = "Probability of each op in each layer, the mean over sub-policies."
    depth = len(next(iter(ops.values())))
    layers = "; ".join(f"layer {layer + 1}: {_likeliest(ops, layer)}" for layer in range(depth))
    alt = f"Probabilities of ops under {name}. {layers}"
    return _figure(lambda width: ops_figure(ops, width), alt, caption)


def _likeliest(ops: Mapping[str, Sequence[float]], layer: int) -> str:
    names = sorted((op for op in ops if ops[op][layer]), key=lambda op: -ops[op][layer])[:3]
    return ", ".join(f"{op} {percent(ops[op][layer])} %" for op in names)


def _examples(policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "name": example.name.capitalize(),
            "credit": f"Image: {example.credit}.",
            "draws": [
                _picture(example.image, f"{example.name}, the original", "original"),
                *(_picture(image, f"{example.name} after {ops}", ops) for image, ops in draws),
            ],
        }
        for example, draws in draw_examples(policy, DRAWS)
    ]


def _picture(image: Image.Image, alt: str, caption: str) -> dict[str, str]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"source": source, "alt": alt, "caption": caption}


def _policy_usage(policy: Policy, source: str) -> list[dict[str, str]]:
    name = source if Path(source).suffix != ".safetensors" else Path(source).name
    size = policy.about.get("image_size")
    arguments = repr(name)
    if "ResizedCrop" in policy.ops and isinstance(size, int):
        arguments += f", size={size}"
    first = {
        "text": "Augment images: PIL images, uint8 tensors, float tensors in [0, 1].",
        "code": "from learned_augment import LearnedAugment\n\n"
        f"augment = LearnedAugment({arguments})\naugmented = augment(image)",
    }
    if policy.about.get("placement") == "replaces":
        transforms = [f"LearnedAugment({arguments}),"]
        text = "In a training, the policy replaces the base augmentation:"
    else:
        transforms = [
            f"{_crop(size)}  # crop and flip, if they help",
            "v2.RandomHorizontalFlip(),",
            f"LearnedAugment({arguments}),",
        ]
        text = "In a training, the policy comes after the base augmentation:"
    transforms += ["v2.ToImage(),", "v2.ToDtype(torch.float32, scale=True),"]
    code = "import torch\nfrom torchvision.transforms import v2\n\ntransform = v2.Compose(\n    [\n"
    code += "".join(f"        {line}\n" for line in transforms) + "    ]\n)"
    quoted = shlex.quote(name)
    shell = f"learned-augment show {quoted}\n"
    shell += f"learned-augment apply --policy {quoted} --grid sheet.png photos/"
    return [
        first,
        {"text": text, "code": code},
        {"text": "On the command line, print it and augment image files:", "code": shell},
    ]


def _crop(size: Any) -> str:
    """Return the usual crop of a training on images of one size, as code."""
    if isinstance(size, int) and 0 < size < 100:
        return f"v2.RandomCrop({size}, padding={size // 8}),"
    return f"v2.RandomResizedCrop({size if isinstance(size, int) else 224}),"


def _comparison_usage(source: str) -> list[dict[str, str]]:
    code = (
        "from learned_augment.evaluation.result import ComparisonResult\n\n"
        f"result = ComparisonResult.load({source!r})\nprint(result.table())"
    )
    return [{"text": "Read the result in Python:", "code": code}]


def _entries(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in sorted(settings.items())
    }


def _accuracies(result: ComparisonResult) -> dict[str, Any]:
    against = f"difference to {result.reference}"
    rows = [["policy", "placement", "accuracy, %", "sd", against, "95 % interval"]]
    for policy, placement in result.placements.items():
        values = list(result.accuracies(policy).values())
        found = None if policy == result.reference else result.difference(policy)
        rows.append(
            [
                policy,
                placement,
                f"{statistics.fmean(values):.2f}" if values else "",
                f"{statistics.stdev(values):.2f}" if len(values) > 1 else "",
                *_interval_cells(found, 2),
            ]
        )
    caption = (
        f"Accuracy on {result.settings['test_images']} test images after the last epoch: mean and "
        "standard deviation over seeds; difference paired by seed, in points."
    )
    return {"rows": rows, "caption": caption}


def _differences(result: ComparisonResult) -> list[dict[str, Any]]:
    figures = []
    for random_baselines in (False, True):
        pairs = [(p, r) for p, r in result.pairs() if (r != result.reference) == random_baselines]
        found = [(policy, result.difference(policy, against)) for policy, against in pairs]
        rows = [Interval(name, *values[:3]) for name, values in found if values]
        if rows:
            against = "its random baseline" if random_baselines else result.reference
            figures.append(_difference_figure(rows, against))
    return figures


def _difference_figure(rows: Sequence[Interval], against: str) -> dict[str, Any]:
    label = f"accuracy less that of {against}, points"
    alt = f"Differences in points. {_in_words(rows)}"
    caption = f"Accuracy of each policy less that of {against}, with 95 % intervals over seeds."
    return _figure(lambda width: intervals_figure(rows, label, width=width), alt, caption)


def _curves(result: ComparisonResult) -> dict[str, Any] | None:
    tested = any(len(run.accuracies) > 1 for run in result.runs)
    curves = {
        name: [_points(run, tested) for run in result.runs if run.policy == name]
        for name in result.placements
    }
    if not any(len(points) > 1 for runs in curves.values() for points in runs):
        return None
    label = "test accuracy, %" if tested else "training loss"
    caption = (
        f"{'Accuracy on the test images in percent' if tested else 'Training loss'} by epoch: "
        f"seeds thin, their mean thick, the mean of {result.reference} dashed."
    )
    alt = f"Learning curves of {', '.join(name for name, runs in curves.items() if any(runs))}"
    return _figure(
        lambda width: curves_figure(curves, result.reference, label, width), alt, caption
    )


def _points(run: Run, tested: bool) -> list[tuple[float, float]]:
    if tested:
        return [(float(epoch), accuracy) for epoch, accuracy in run.accuracies]
    return [
        (float(epoch), loss)
        for epoch, loss in enumerate(run.losses, 1)
        if loss is not None and math.isfinite(loss)
    ]
