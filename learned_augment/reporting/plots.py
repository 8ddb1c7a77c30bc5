"""Figures of policies and comparisons, plotted with matplotlib (the ``plot`` extra)."""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from learned_augment._io import check_ending, write_atomically
from learned_augment._text import printable
from learned_augment.evaluation.statistics import Outcome, outcome
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.reporting.effects import Effects, policy_effects, signed
from learned_augment.reporting.example_images import op_example
from learned_augment.search_spaces import SPACES, mirror

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = [
    "COLORS",
    "NARROW",
    "WIDE",
    "Interval",
    "curves_figure",
    "effects_figure",
    "intervals_figure",
    "mean_curve",
    "ops_figure",
    "policy_figure",
    "save_figure",
    "svg_markup",
]

WIDE, NARROW = 860, 340
"""Widths of figures on the page of a desktop and of a phone, in CSS pixels.

All lengths of figures are CSS pixels, which matplotlib counts as points.
"""

COLORS = {
    "ink": "#1c2430",
    "faint": "#5b6675",
    "paper": "#fffffe",
    "line": "#d8dee6",
    "helps": "#0b7a4b",
    "hurts": "#b3341f",
    "unclear": "#5b6676",
    "curve": "#1f5fbf",
}
"""Colors of a figure in a light scheme; no two are equal, so that a page can replace each."""

BINS = 13
"""Bins from the lowest to the highest value of an op: the levels of DeepAA's search."""

FORMATS = (".png", ".pdf", ".svg")

_IMAGE = 27
"""Side of the image to the left of a row."""

_LETTER = 0.6
"""Mean width of a letter, as a fraction of the font size."""

_MAP_NOTE = (
    "probability of each value: a row runs from its op's lowest to its highest value; "
    "a dot marks the value that changes nothing"
)

_KINDS: Mapping[str, tuple[str, float, float]] = {
    "geometric": ("Blues", 0.35, 0.95),
    "pointwise": ("YlOrBr", 0.2, 0.8),
    "blend": ("Purples", 0.45, 0.75),
    "erase": ("Greens", 0.45, 0.8),
    "resample": ("RdPu", 0.5, 0.7),
    "unknown": ("Reds", 0.3, 0.6),
}
"""Color map of each kind of op, and the range of it that its ops take."""

_MARKERS = {"helps": ">", "unclear": "o", "hurts": "<"}
_DIFFERENCES = {"helps": "better", "unclear": "no difference shown", "hurts": "worse"}

Points = Sequence[tuple[float, float]]


_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def _styled(plot: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a function that plots with the settings of `_STYLE`.

    It imports matplotlib when it is called, not before, and leaves matplotlib's settings as they
    were.
    """

    @wraps(plot)
    def styled(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        try:
            import matplotlib.figure
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                'Figures need matplotlib: pip install "learned-augment[plot]".'
            ) from None
        with matplotlib.rc_context(_STYLE):
            return plot(*arguments, **keywords)

    return styled


class Interval(NamedTuple):
    """A measured difference with its 95 % interval; above 0 is better."""

    label: str
    mean: float
    low: float
    high: float

    @property
    def outcome(self) -> Outcome:
        """Return "helps" for an interval above 0, "hurts" for one below 0, else "unclear"."""
        return outcome(self.low, self.high)


@_styled
def policy_figure(policy: Policy, width: float = WIDE) -> "Figure":
    """Return a figure of a policy: measured effects if it has any, ops by layer, their values.

    Probabilities are means over sub-policies.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If ``policy.about["effects"]`` is not of the form that `Effects` reads.

    Examples:
        >>> figure = policy_figure(Policy.load("dada-cifar10"))
        >>> save_figure(figure, "policy.png").name
        'policy.png'
    """
    used = {name: p.tolist() for name, p in policy.op_shares().items() if float(p.sum()) > 0}
    ranges = {name: ends for name in _colors(used) if (ends := _range(policy, name))}
    effects = policy_effects(policy)
    parts = {"effects": _intervals_height(len(effects.rows), images=True)} if effects else {}
    parts |= {"ops": _ops_height(used, width)}
    parts |= {"maps": 19.0 * len(ranges) + 50} if ranges else {}
    figure = _new_figure(width, sum(parts.values()) + 30)
    figure.suptitle(_shortened(_title(policy), int(width / 8)), x=0.012, ha="left")
    cells = figure.subfigures(len(parts), 1, height_ratios=list(parts.values()), squeeze=False)
    places = dict(zip(parts, cells[:, 0], strict=True))
    if effects:
        _plot_effects(places["effects"], effects, width)
    _plot_ops(places["ops"], used, width)
    if ranges:
        _plot_maps(places["maps"], policy, ranges)
    return figure


@_styled
def effects_figure(effects: Effects, width: float = WIDE) -> "Figure":
    """Return a figure of measured effects: a row for each op and value, with an example image.

    Rows are sorted by effect. Color and marker say whether the op helps, hurts, or neither is
    shown.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> row = {"op": "Rotate", "value": 8.0, "effect": 0.9, "standard_error": 0.2}
        >>> row |= {"low": 0.5, "high": 1.3, "trials": 18}
        >>> data = {"target": "accuracy", "unit": "points", "rows": [row], "trainings": 60}
        >>> figure = effects_figure(Effects.from_data(data))
        >>> save_figure(figure, "effects.png").name
        'effects.png'
    """
    figure = _new_figure(width, _intervals_height(len(effects.rows), images=True))
    _plot_effects(figure, effects, width)
    return figure


@_styled
def intervals_figure(
    rows: Sequence[Interval], label: str, unit: str = "points", width: float = WIDE
) -> "Figure":
    """Return a figure of differences: each a marker with its 95 % interval.

    Args:
        rows: The differences, from top to bottom.
        label: Label of the axis.
        unit: "points" of accuracy or "%" of errors.
        width: Width in CSS pixels.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> rows = [Interval("flip", 0.8, 0.2, 1.4), Interval("cutout", -0.1, -0.6, 0.4)]
        >>> figure = intervals_figure(rows, "accuracy less that of none, points")
        >>> save_figure(figure, "differences.png").name
        'differences.png'
    """
    figure = _new_figure(width, _intervals_height(len(rows), images=False))
    _plot_intervals(figure.add_subplot(), rows, label, unit, _DIFFERENCES, width)
    return figure


@_styled
def ops_figure(ops: Mapping[str, Sequence[float]], width: float = WIDE) -> "Figure":
    """Return a figure of the probability of each op in each layer: a bar for each layer.

    Args:
        ops: For each op its probability in [0, 1] in each layer.
        width: Width in CSS pixels.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> figure = ops_figure({"Rotate": [0.7, 0.2], "Flip": [0.3, 0.8]})  # two layers
        >>> save_figure(figure, "ops.png").name
        'ops.png'
    """
    used = {name: layers for name, layers in ops.items() if sum(layers) > 0}
    figure = _new_figure(width, _ops_height(used, width))
    _plot_ops(figure, used, width)
    return figure


@_styled
def curves_figure(
    curves: Mapping[str, Sequence[Points]], reference: str, label: str, width: float = WIDE
) -> "Figure":
    """Return learning curves, a panel for each policy: seeds thin, their mean thick.

    Args:
        curves: For each policy (epoch, value) pairs of each seed.
        reference: The policy whose mean every panel repeats as a dashed line.
        label: Label of the values.
        width: Width in CSS pixels.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Examples:
        >>> curves = {"none": [[(1, 60.0), (2, 70.0)]], "flip": [[(1, 62.0), (2, 75.0)]]}  # a seed
        >>> figure = curves_figure(curves, "none", "test accuracy, %")
        >>> [panel.get_title(loc="left") for panel in figure.axes]
        ['none', 'flip']
    """
    shown = {name: list(filter(None, seeds)) for name, seeds in curves.items() if any(seeds)}
    columns = min(len(shown), 3 if width > 600 else 2)
    lines = math.ceil(len(shown) / columns)
    figure = _new_figure(width, 170 * lines + 30)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    behind = mean_curve(curves.get(reference, ()))
    for panel, (name, seeds) in zip(panels, shown.items(), strict=False):
        _plot_curves(panel, seeds, behind if name != reference else [])
        panel.set_title(_shortened(_plain(name), int((width - 50) / columns / 8)))
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.supxlabel("epoch", fontsize=11, color=COLORS["faint"])
    figure.supylabel(label, fontsize=11, color=COLORS["faint"])
    return figure


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


@_styled
def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as .png, .pdf or .svg; an existing file is replaced whole or not at all.

    Raises:
        ValueError: If the path has another ending, or its folder does not exist.

    Examples:
        >>> figure = ops_figure({"Rotate": [0.7], "Flip": [0.3]})
        >>> save_figure(figure, "ops.pdf").name
        'ops.pdf'
        >>> save_figure(figure, "ops.jpg")
        Traceback (most recent call last):
            ...
        ValueError: Expected a file ending in .png, .pdf, .svg, got 'ops.jpg'.
    """
    path = check_ending(path, FORMATS)
    buffer = io.BytesIO()
    # Without a date in it, the same figure gives the same bytes.
    stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
    figure.savefig(buffer, format=path.suffix[1:], metadata=stamp)
    return write_atomically(path, buffer.getvalue())


def svg_markup(figure: "Figure", label: str, salt: str) -> str:
    """Return a figure as an SVG element to embed in a page.

    Its colors become the page's CSS variables of the names in ``COLORS``, its texts stay texts.

    Args:
        figure: The figure.
        label: The alternative text.
        salt: A text that makes its ids differ from those of the other figures of a page.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    style = {**_STYLE, "svg.fonttype": "none", "svg.hashsalt": salt}
    with rc_context(style), warnings.catch_warnings():
        # The page has the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for name in ("metadata", "defs"):  # matplotlib's style sheet would hold for the whole page
        root.remove(root.find(f"{{*}}{name}"))  # type: ignore[arg-type]
    for element in root.iter():
        if element.tag.endswith("}g"):
            element.attrib.pop("id", None)
        if "style" in element.attrib:
            element.set("style", _page_style(element.attrib["style"]))
    root.attrib.pop("height")
    width = root.attrib.pop("width").removesuffix("pt")
    root.attrib |= {"role": "img", "aria-label": _plain(label), "style": f"width: {width}px"}
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(style: str) -> str:
    """Return an SVG style with the page's font and the page's variables for colors."""
    variables = {color: f"var(--{name}, {color})" for name, color in COLORS.items()}
    style = re.sub(r"font-family:[^;]*;?", "", style)
    return re.sub("|".join(variables), lambda found: variables[found[0]], style)


_STYLE = {
    "font.size": 11,
    "text.color": COLORS["ink"],
    "text.parse_math": False,
    "axes.edgecolor": COLORS["line"],
    "axes.facecolor": "none",
    "axes.labelcolor": COLORS["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": COLORS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.titlesize": 13,
    "grid.color": COLORS["line"],
    "xtick.color": COLORS["line"],
    "ytick.color": COLORS["line"],
    "xtick.labelcolor": COLORS["faint"],
    "ytick.labelcolor": COLORS["ink"],
    "ytick.major.size": 0,
    "legend.frameon": False,
}
"""Settings of matplotlib while a figure is plotted."""


def _new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=150, layout="constrained")


def _title(policy: Policy) -> str:
    s, layers = policy.weights.shape[:2]
    shape = f"{layers} layer{'' if layers == 1 else 's'}"
    shape = shape if s == 1 else f"mean of {s} sub-policies of {shape}"
    method = f"{policy.about['method']}, " if "method" in policy.about else ""
    return _plain(f"{policy.name} ({method}{shape})")


def _plain(text: str) -> str:
    """Return a text of a file in one line, without characters that an SVG file may not hold."""
    return printable(" ".join(text.split()))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _intervals_height(rows: int, images: bool) -> float:
    return (30.0 if images else 24.0) * rows + 76  # legend, ticks, a label of two lines


def _plot_effects(figure: "FigureBase", effects: Effects, width: float) -> None:
    rows = [Interval(row.label, row.effect, row.low, row.high) for row in effects.rows]
    label = f"effect on {effects.target}, {effects.unit} (above 0 helps)"
    if effects.target == "errors":
        label = f"reduction of {effects.target}, {effects.unit} (above 0 helps)"
    axes = figure.add_subplot()
    words = {outcome: outcome for outcome in _MARKERS}
    _plot_intervals(axes, rows, label, effects.unit, words, width)
    axes.tick_params(axis="y", pad=_IMAGE + 8)
    for place, row in enumerate(effects.rows):
        if row.op in OPS and OPS[row.op].low <= row.value <= OPS[row.op].high:
            axes.add_artist(_beside(op_example(row.op, row.value), place))


def _beside(picture: Image.Image, place: int) -> Any:
    """Return an image to the left of a row."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    small = np.asarray(picture.resize((2 * _IMAGE, 2 * _IMAGE), Image.Resampling.LANCZOS))
    return AnnotationBbox(
        OffsetImage(small, zoom=0.5, interpolation="none"),
        (0, place),
        xycoords=("axes fraction", "data"),
        xybox=(-4, 0),
        boxcoords="offset points",
        box_alignment=(1, 0.5),
        frameon=False,
        pad=0,
        annotation_clip=False,
    )


def _plot_intervals(
    axes: "Axes",
    rows: Sequence[Interval],
    label: str,
    unit: str,
    words: Mapping[str, str],
    width: float,
) -> None:
    axes.axvline(0, color=COLORS["faint"], linewidth=1)
    axes.grid(axis="x", linewidth=0.8)
    axes.set_axisbelow(True)
    for place, row in enumerate(rows):
        color = COLORS[row.outcome]
        axes.hlines(place, row.low, row.high, color=color, linewidth=2)
        axes.plot(row.mean, place, _MARKERS[row.outcome], color=color, markersize=8)
    for side, marker in _MARKERS.items():
        axes.plot([], [], marker, color=COLORS[side], markersize=8, label=words[side])
    axes.set_yticks(range(len(rows)), [_shortened(_plain(row.label), 30) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("\n".join(textwrap.wrap(_plain(label), int(width / 12))[:2]))
    axes.spines["left"].set_visible(False)
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(range(len(rows)), [_numbers(row, unit, width) for row in rows])
    numbers.spines[:].set_visible(False)
    for place, row in enumerate(rows):
        if row.outcome == "hurts":
            axes.get_yticklabels()[place].set_color(COLORS["hurts"])
            numbers.get_yticklabels()[place].set_color(COLORS["hurts"])
    axes.figure.legend(loc="outside upper left", ncols=3, handletextpad=0.1)


def _numbers(row: Interval, unit: str, width: float) -> str:
    """Return the mean of a row, with its interval if there is room for it."""
    mean, low, high = (signed(number, unit) for number in (row.mean, row.low, row.high))
    text = f"{mean} [{low}, {high}]" if width > 500 else mean
    return text.replace("-", "\N{MINUS SIGN}")


def _ops_height(ops: Mapping[str, Sequence[float]], width: float) -> float:
    depth = len(next(iter(ops.values())))
    legend = 16 * math.ceil(len(ops) / _legend_columns(width)) + 16
    return 30 * depth + 44 + legend


def _legend_columns(width: float) -> int:
    return int(width // 110)


def _plot_ops(figure: "FigureBase", ops: Mapping[str, Sequence[float]], width: float) -> None:
    axes, depth = figure.add_subplot(), len(next(iter(ops.values())))
    colors, left = _colors(ops), np.zeros(depth)
    for name, color in colors.items():
        percents = 100 * np.asarray(ops[name])
        axes.barh(
            range(depth),
            percents,
            0.8,
            left,
            color=color,
            ec=COLORS["paper"],
            lw=0.6,
            label=_plain(name),
        )
        for layer in np.flatnonzero(
            percents * (width - 70) / 100 > _LETTER * 9 * len(name) + 4
        ).tolist():
            middle = left[layer] + percents[layer] / 2
            text = f"{_plain(name)}\n{percents[layer]:.0f}"
            style: Any = {"fontsize": 9, "ha": "center", "va": "center", "linespacing": 0.95}
            axes.text(middle, layer, text, color=_ink(color), **style)
        left = left + percents
    axes.set_yticks(range(depth), [f"layer {layer + 1}" for layer in range(depth)])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("probability in percent")
    axes.spines["left"].set_visible(False)
    axes.legend(
        bbox_to_anchor=(0, 1.0),
        loc="lower left",
        fontsize=10,
        ncols=_legend_columns(width),
        handlelength=1,
        handleheight=1,
        labelspacing=0.35,
        columnspacing=1.0,
        borderaxespad=0.5,
    )


def _colors(names: Iterable[str]) -> dict[str, Any]:
    """Return a color for each op: a hue for its kind, a shade for the op.

    An op has the same color in every figure.
    """
    from matplotlib import colormaps

    names = set(names)
    colors: dict[str, Any] = {"Identity": "#dcdcdc"}
    for kind, (palette, first, last) in _KINDS.items():
        members = [n for n in [*OPS, *sorted(names - set(OPS))] if _kind_name(n) == kind]
        members = [n for n in members if n != "Identity"]
        shades = np.linspace(first, last, len(members))
        colors |= dict(zip(members, colormaps[palette](shades), strict=True))
    return {name: color for name, color in colors.items() if name in names}


def _kind_name(name: str) -> str:
    kind = OPS[name].kind_name if name in OPS else "unknown"
    return kind if kind in _KINDS else "unknown"


def _ink(color: Any) -> str:
    """Return black or white, whichever reads better on a color."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def _plot_maps(
    figure: "FigureBase", policy: Policy, ranges: Mapping[str, tuple[float, float]]
) -> None:
    maps = 100 * _histograms(policy, ranges)
    rows = np.arange(len(ranges)) + 0.5
    grid = figure.add_gridspec(1, policy.depth, wspace=0.04)
    panels = [figure.add_subplot(grid[layer]) for layer in range(policy.depth)]
    for layer, panel in enumerate(panels):
        image = _plot_map(panel, maps[layer], maps.max())
        panel.set_title(f"layer {layer + 1}", fontsize=11, loc="center")
        panel.set_yticks(rows, [_range_label(*item) for item in ranges.items()], fontsize=9)
        panel.tick_params(axis="y", labelleft=layer == 0)
        panel.scatter(*_identity_places(ranges), s=3, color="#e6550d", linewidths=0)
    figure.supxlabel(_MAP_NOTE, fontsize=9, x=0.012, ha="left")
    bar = figure.colorbar(image, ax=panels, fraction=0.03, pad=0.01, aspect=25)
    bar.set_label("probability in percent", fontsize=9)
    bar.ax.tick_params(labelsize=9)


def _plot_map(axes: "Axes", percents: np.ndarray[Any, Any], largest: float) -> Any:
    from matplotlib.colors import PowerNorm

    # The square root keeps the rare values of one layer visible next to the only value of another.
    norm = PowerNorm(0.5, 0, largest)
    image = axes.pcolormesh(percents, cmap="Blues", norm=norm, edgecolors="white", linewidth=0.4)
    axes.invert_yaxis()
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor="#b0b0b0")
    return image


def _range_label(name: str, ends: tuple[float, float]) -> str:
    return f"{name}   {ends[0]:.3g} to {ends[1]:.3g}".replace("-", "\N{MINUS SIGN}")


def _identity_places(
    ranges: Mapping[str, tuple[float, float]],
) -> tuple[list[float], list[float]]:
    """Return the places (columns, rows) of the bins that change nothing."""
    places = [
        (_bin(identity, low, high) + 0.5, row + 0.5)
        for row, (name, (low, high)) in enumerate(ranges.items())
        if (identity := OPS[name].identity_value) is not None and low <= identity <= high
    ]
    return [x for x, _ in places], [y for _, y in places]


def _bin(values: Any, low: float, high: float) -> Any:
    place = (values - low) / (high - low) * (BINS - 1)
    return np.rint(place).astype(int).clip(0, BINS - 1)


def _range(policy: Policy, name: str) -> tuple[float, float] | None:
    """Return the values between which a method searches an op; None if there is but one."""
    span = SPACES.get(str(policy.about.get("space")), {}).get(name)
    chosen = (policy.op == policy.ops.index(name)) & (policy.weights > 0)
    values = policy.value[chosen].tolist()
    if span is not None:
        values += [span.low, span.high]
    low, high = min(values), max(values)
    if low == high:
        return None
    identity = OPS[name].identity_value
    if identity is not None and low < identity < high:
        low, high = min(low, mirror(name, high)), max(high, mirror(name, low))
    return low, high


def _histograms(policy: Policy, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray[Any, Any]:
    """Return how probable each bin of an op's values is in each layer, (L, ops, BINS)."""
    probabilities = (policy.mixture[:, None, None] * policy.weights).numpy()
    op, value = policy.op.numpy(), policy.value.numpy()
    maps = np.zeros((policy.depth, len(ranges), BINS))
    for row, (name, (low, high)) in enumerate(ranges.items()):
        for layer in range(policy.depth):
            chosen = op[:, layer] == policy.ops.index(name)
            place = _bin(value[:, layer][chosen], low, high)
            np.add.at(maps[layer, row], place, probabilities[:, layer][chosen])
    return maps


def _plot_curves(panel: "Axes", seeds: Sequence[Points], reference: Points) -> None:
    panel.grid(axis="y", linewidth=0.8)
    panel.locator_params(axis="x", integer=True, nbins=5, min_n_ticks=1)
    if reference:
        panel.plot(*zip(*reference, strict=True), "--", color=COLORS["faint"], linewidth=1.2)
    for seed in seeds:
        panel.plot(*zip(*seed, strict=True), color=COLORS["curve"], linewidth=0.8, alpha=0.4)
    panel.plot(*zip(*mean_curve(seeds), strict=True), color=COLORS["curve"], linewidth=2)
