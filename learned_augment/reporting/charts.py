"""A comparison's charts as SVG text: paired differences, learning curves, op shares.

Lengths are SVG user units. Colours come from the classes of the page that holds a chart, so that
it follows the reader's light or dark scheme; every text that comes from outside is escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from learned_augment.evaluation.statistics import Difference
from learned_augment.ops import OPS

__all__ = ["curve_chart", "difference_chart", "share_chart"]

_LETTER = 6.6
"""Width of a letter at the charts' font size of 12."""

_WIDTH, _ROW = 900, 26

Points = Sequence[tuple[float, float]]


def difference_chart(rows: Sequence[tuple[str, Difference]]) -> str:
    """Return paired differences in points, each a dot with its 95 % interval, on one scale.

    Args:
        rows: name and difference of each comparison.
    """
    left = 24 + _LETTER * max(len(name) for name, _ in rows)
    ends = [end for _, found in rows for end in (found.low, found.high)]
    ticks = _ticks(min(0.0, *ends), max(0.0, *ends), 8)
    low, high, bottom = ticks[0], ticks[-1], _ROW * len(rows) + 8

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - left - 24)

    parts = [_line(x(tick), 0, x(tick), bottom, "zero" if tick == 0 else "grid") for tick in ticks]
    parts += [
        _text(x(tick), bottom + 16, f"{tick:+g}" if tick else "0", "middle") for tick in ticks
    ]
    for place, (name, found) in enumerate(rows):
        y = _ROW * (place + 0.5) + 4
        kind = "same" if found.low <= 0 <= found.high else "up" if found.mean > 0 else "down"
        marks = _line(x(found.low), y, x(found.high), y, "bar")
        marks += f'<circle cx="{x(found.mean):.1f}" cy="{y:.1f}" r="4.5"/>'
        spoken = f"{name}: {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        parts.append(_text(left - 12, y + 4, name, "end"))
        parts.append(f'<g class="{kind}"><title>{escape(spoken)}</title>{marks}</g>')
    label = "Paired differences in points with 95 % intervals, as in the table"
    return _svg(_WIDTH, bottom + 26, label, parts)


def curve_chart(name: str, curves: Sequence[Points], behind: Points, span: Points) -> str:
    """Return one policy's learning curves: a thin line for each seed, a thick one for the mean.

    Args:
        name: what the policy is called.
        curves: for each seed (epoch, value) pairs.
        behind: the mean curve of the reference, drawn faintly.
        span: lower left and upper right corner (epoch, value) that all charts share.
    """
    width, height, left, bottom = 288, 160, 34, 136
    (first, low), (last, high) = span
    ticks = [tick for tick in _ticks(low, high, 4) if low <= tick <= high]

    def at(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - first) / (last - first or 1) * (width - left - 10)
        return left + across, bottom - (value - low) / (high - low or 1) * (bottom - 24)

    parts = [_text(left, 14, name, "start", "name")]
    for tick in ticks:
        y = at(first, tick)[1]
        parts += [_line(left, y, width - 10, y, "grid"), _text(left - 5, y + 4, f"{tick:g}", "end")]
    parts += [
        _text(at(epoch, low)[0], height - 8, f"{epoch:g}", "middle") for epoch in (first, last)
    ]
    parts.append(_curve(map(at, *zip(*behind, strict=True)), "behind") if behind else "")
    parts += [_curve(map(at, *zip(*curve, strict=True)), "seed") for curve in curves]
    if curves:
        parts.append(_curve(map(at, *zip(*mean_curve(curves), strict=True)), "mean"))
    return _svg(width, height, f"Learning curve of {name}", parts)


def share_chart(ops: Mapping[str, Sequence[float]]) -> str:
    """Return a policy's chance of each op in each layer as a bar a layer, ops of a kind together.

    Args:
        ops: for each op its chance in [0, 1] in each layer.
    """
    order = {kind: place for place, kind in enumerate(_LAWS)}
    names = sorted(ops, key=lambda op: (op != "Identity", order[_law(op)], -sum(ops[op])))
    depth, left = len(next(iter(ops.values()))), 62
    parts = []
    for layer in range(depth):
        x, y = float(left), _ROW * layer
        parts.append(_text(left - 8, y + 17, f"layer {layer + 1}", "end"))
        for op in names:
            width = ops[op][layer] * (_WIDTH - left)
            if width >= 0.5:
                parts.append(_segment(op, ops[op][layer], x, y, width))
            x += width
    spoken = "; ".join(f"layer {layer + 1}: {_spoken(ops, layer)}" for layer in range(depth))
    return _svg(_WIDTH, _ROW * depth, f"Chances of ops. {spoken}", parts)


def mean_curve(curves: Sequence[Points]) -> list[tuple[float, float]]:
    """Return the mean over seeds at every epoch that all of them have."""
    values: dict[float, list[float]] = {}
    for epoch, value in (point for curve in curves for point in curve):
        values.setdefault(epoch, []).append(value)
    return [
        (epoch, math.fsum(found) / len(found))
        for epoch, found in sorted(values.items())
        if len(found) == len(curves)
    ]


_LAWS = ("Geometric", "Pointwise", "Blend", "Erase", "Resample")


def _law(op: str) -> str:
    return type(OPS[op].kind).__name__


def _segment(op: str, chance: float, x: float, y: float, width: float) -> str:
    kind = "identity" if op == "Identity" else _law(op).lower()
    spoken = f"<title>{escape(op)}: {100 * chance:.1f} %</title>"
    box = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 4}"/>'
    fits = width > _LETTER * len(op) + 6
    name = _text(x + width / 2, y + 15, op, "middle", "inside") if fits else ""
    return f'<g class="op {kind}">{spoken}{box}{name}</g>'


def _spoken(ops: Mapping[str, Sequence[float]], layer: int) -> str:
    likeliest = sorted(ops, key=lambda op: -ops[op][layer])[:3]
    return ", ".join(f"{op} {100 * ops[op][layer]:.0f} %" for op in likeliest if ops[op][layer])


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers, about `count` of them, from at most `low` to at least `high`."""
    raw = (high - low or 1.0) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= raw)
    return [round(n * step, 10) for n in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    inside = "".join(parts)
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{inside}</svg>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _curve(points: Iterable[Any], kind: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" class="{kind}"/>'
