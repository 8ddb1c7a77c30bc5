"""A comparison as one HTML page that stands alone: result, table, curves, policies, settings.

The page loads nothing and runs no script. Whatever comes from outside is escaped.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from html import escape

from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.reporting.charts import (
    Points,
    curve_chart,
    difference_chart,
    mean_curve,
    share_chart,
)

__all__ = ["result_page"]


def result_page(result: ComparisonResult) -> str:
    """Return a result as an HTML document; equal results give equal text."""
    title = f"Does a policy help on {result.data}?"
    sections = [
        _section("Result", _summary(result)),
        _section("Accuracies", _table(result)),
        _section("Differences", _differences(result)),
        _section("Learning curves", _curves(result)),
        _section("What the policies draw", _policies(result)),
        _section("Settings", _settings(result)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(result.headline())}</p>\n"
        + "".join(sections)
        + "</main>\n</body>\n</html>\n"
    )


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{heading}</h2>\n{content}\n</section>\n" if content else ""


def _summary(result: ComparisonResult) -> str:
    said = _list([result.sentence(*pair) for pair in result.pairs()])
    notes = result.notes()
    return said + (f'\n<div class="notes"><h3>Before you believe it</h3>{_list(notes)}</div>')


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else "<p>Nothing to note.</p>"


def _table(result: ComparisonResult) -> str:
    heads = ["policy", "placed", "accuracy, %", "sd", f"difference to {result.reference}", "95 %"]
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    rows = "".join(map(_row, [result] * len(result.placements), result.placements))
    caption = (
        f"Of {result.settings['test_images']} test images after the last epoch; mean and standard "
        "deviation over seeds, difference paired by seed, in points."
    )
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(result: ComparisonResult, policy: str) -> str:
    values = list(result.accuracies(policy).values())
    found = None if policy == result.reference else result.difference(policy)
    cells = [
        f"{statistics.fmean(values):.2f}" if values else "",
        f"{statistics.stdev(values):.2f}" if len(values) > 1 else "",
        f"{found.mean:+.2f}" if found else "",
        f"{found.low:+.2f} to {found.high:+.2f}" if found else "",
    ]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    place = escape(result.placements[policy])
    return f'<tr><th scope="row">{escape(policy)}</th><td>{place}</td>{numbers}</tr>'


def _differences(result: ComparisonResult) -> str:
    figures = []
    for controls in (False, True):
        pairs = [(p, r) for p, r in result.pairs() if (r != result.reference) == controls]
        found = [(policy, result.difference(policy, against)) for policy, against in pairs]
        rows = [(policy, difference) for policy, difference in found if difference]
        against = "its random control" if controls else result.reference
        if rows:
            figures.append(
                _figure(difference_chart(rows), f"Each policy less {against}, in points.")
            )
    return "\n".join(figures)


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _curves(result: ComparisonResult) -> str:
    tested = any(len(run.accuracies) > 1 for run in result.runs)
    curves = {
        name: [_points(run, tested) for run in result.runs if run.policy == name]
        for name in result.placements
    }
    points = [point for runs in curves.values() for run in runs for point in run]
    if not points:
        return ""
    epochs, values = zip(*points, strict=True)
    span = [(min(epochs), min(values)), (max(epochs), max(values))]
    behind = mean_curve(curves[result.reference])
    charts = [curve_chart(name, runs, behind, span) for name, runs in curves.items() if any(runs)]
    what = "Accuracy on the test images in percent" if tested else "Training loss"
    caption = (
        f"{what}, by epoch: each seed thin, their mean thick, the mean of {result.reference} "
        "dashed."
    )
    return _figure(f'<div class="panels">{"".join(charts)}</div>', caption)


def _points(run: Run, tested: bool) -> Points:
    if tested:
        return list(run.accuracies)
    return [(epoch, loss) for epoch, loss in enumerate(run.losses, 1) if _drawable(loss)]  # type: ignore[misc]


def _drawable(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def _policies(result: ComparisonResult) -> str:
    shown = [
        f"<h3>{escape(name)}</h3>{_figure(share_chart(figures['ops']), '')}"
        for name, figures in result.policies.items()
        if figures["ops"]
    ]
    if not shown:
        return ""
    legend = "".join(f'<span class="{kind}">{text}</span>' for kind, text in _KINDS)
    intro = (
        "Chance of each op in each layer, the mean over sub-policies; default crop and flip first."
    )
    return f'<p>{intro}</p><p class="legend">{legend}</p>{"".join(shown)}'


_KINDS: Sequence[tuple[str, str]] = (
    ("identity", "nothing"),
    ("geometric", "moves pixels"),
    ("pointwise", "maps grey levels"),
    ("blend", "colour and sharpness"),
    ("erase", "erases or crops a region"),
)


def _settings(result: ComparisonResult) -> str:
    written = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in result.settings.items()
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in written.items())
    return f"<details><summary>Everything that was set</summary><dl>{rows}</dl></details>"


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #5b6675; --paper: #ffffff;
  --line: #d8dee6; --wash: #f3f5f8; --up: #0b7a4b; --down: #b3341f; --same: #5b6675;
  --mean: #1f5fbf; --identity: #dfe3e8; --geometric: #a9cbee; --pointwise: #f2cf8f;
  --blend: #cdbdea; --region: #aedcb4; --on: #16202c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --faint: #a2adbb;
  --paper: #14181e; --line: #343c47; --wash: #1d232b; --up: #4cc38a; --down: #ff8a73;
  --same: #a2adbb; --mean: #7fb2ff; --identity: #4a535f; --geometric: #34618f;
  --pointwise: #80601f; --blend: #5f4c8f; --region: #2f6b3a; --on: #f2f5f9; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 0.25rem; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; } li { margin: 0.2rem 0; overflow-wrap: anywhere; }
.notes { background: var(--wash); border-left: 4px solid var(--faint); padding: 0.4rem 1rem; }
.wide, figure { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--faint); padding-top: 0.5rem; }
th, td { text-align: left; padding: 0.3rem 0.75rem 0.3rem 0; font-weight: normal;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--faint); } tbody th { font-weight: 600; }
.number { text-align: right; }
thead th:nth-child(n + 3) { text-align: right; }
figure { margin: 0.5rem 0 1.5rem; } figcaption { color: var(--faint); }
svg { display: block; max-width: none; } svg text { font: 12px system-ui, sans-serif; }
.label { fill: var(--faint); } .name { fill: var(--ink); }
.grid { stroke: var(--line); } .zero { stroke: var(--faint); stroke-width: 1.5; }
.up { fill: var(--up); stroke: var(--up); } .down { fill: var(--down); stroke: var(--down); }
.same { fill: var(--same); stroke: var(--same); } .bar { stroke-width: 2.5; }
polyline { fill: none; } .seed { stroke: var(--mean); opacity: 0.35; }
.mean { stroke: var(--mean); stroke-width: 2; }
.behind { stroke: var(--faint); stroke-dasharray: 3 3; }
.panels { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.op rect { stroke: var(--paper); } .inside { fill: var(--on); }
.identity rect { fill: var(--identity); } .geometric rect { fill: var(--geometric); }
.pointwise rect { fill: var(--pointwise); } .blend rect { fill: var(--blend); }
.erase rect, .resample rect { fill: var(--region); }
.legend span { color: var(--on); padding: 0.1rem 0.6rem; margin-right: 0.4rem;
  border-radius: 0.2rem; display: inline-block; }
span.identity { background: var(--identity); } span.geometric { background: var(--geometric); }
span.pointwise { background: var(--pointwise); } span.blend { background: var(--blend); }
span.erase { background: var(--region); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
"""
