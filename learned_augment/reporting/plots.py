"""A policy as a figure: which ops each layer draws, and at which values. Needs the ``plot`` extra.

Matplotlib is imported when a figure is drawn, not before; its global state is not touched.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learned_augment._io import write_atomically
from learned_augment.ops import OPS, Blend, Geometric, Pointwise
from learned_augment.policy import Policy
from learned_augment.search_spaces import SPACES, mirror

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_figure_path", "policy_figure", "save_figure"]

BINS = 13
"""Bins from the lowest to the highest value of an op: the levels of DeepAA's search."""
FORMATS = (".png", ".pdf", ".svg")

_PERCENT_PER_LETTER = 0.56
"""Width of a letter in a bar: a share shows its op's name where that has room."""

_MAP_NOTE = (
    "chance of each value: a row runs from its op's lowest to its highest value, in the op's unit; "
    "a dot marks the value that changes nothing"
)

_FAMILIES: Mapping[str, tuple[str, float, float]] = {
    "geometric": ("Blues", 0.35, 0.95),
    "pointwise": ("YlOrBr", 0.2, 0.8),
    "blend": ("Purples", 0.45, 0.75),
    "region": ("Greens", 0.45, 0.8),
}
"""One range of a colour map for each kind of op."""


def policy_figure(policy: Policy) -> "Figure":
    """Return a figure of a policy: bars of op shares by layer above maps of their values.

    Shares of a policy with several sub-policies are averaged over them.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    figure_class = _matplotlib_figure()
    drawn = {name: s.numpy() for name, s in policy.op_shares().items() if float(s.sum()) > 0}
    shares = {name: drawn[name] for name in _colours(drawn)}
    ranges = {name: ends for name in shares if (ends := _range(policy, name))}
    bars, maps = 0.36 * policy.depth + 0.5, 0.25 * len(ranges) + 0.7
    figure: Figure = figure_class(figsize=(11, bars + maps + 1.6), dpi=150, layout="constrained")
    figure.suptitle(_title(policy), fontsize=12, x=0.012, ha="left")
    grid = figure.add_gridspec(
        2 if ranges else 1, 1, height_ratios=[bars, maps][: 1 + bool(ranges)]
    )
    _draw_bars(figure.add_subplot(grid[0]), shares)
    if ranges:
        _draw_maps(figure, grid[1], policy, ranges)
    return figure


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as .png, .pdf or .svg, replacing what is there in one step.

    Raises:
        ValueError: As ``check_figure_path``, or if its folder does not exist.
    """
    path = check_figure_path(path)
    buffer = io.BytesIO()
    # Without a date in it, the same figure gives the same bytes.
    stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
    figure.savefig(buffer, format=path.suffix[1:], metadata=stamp)
    return write_atomically(path, buffer.getvalue())


def check_figure_path(path: str | Path) -> Path:
    """Return ``path`` if a figure can be written there.

    Raises:
        ValueError: If it does not end in .png, .pdf or .svg.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"Expected a file ending in {', '.join(FORMATS)}, got {str(path)!r}.")
    return path


def _matplotlib_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'Figures need matplotlib: pip install "learned-augment[plot]".'
        ) from None
    return Figure


def _title(policy: Policy) -> str:
    s, layers = policy.weights.shape[:2]
    shape = f"{layers} layer{'' if layers == 1 else 's'}"
    shape = shape if s == 1 else f"mean of {s} sub-policies of {shape}"
    method = f"{policy.about['method']}, " if "method" in policy.about else ""
    return f"{policy.name} ({method}{shape})"


def _family(name: str) -> str:
    law = OPS[name].kind
    kinds = {Geometric: "geometric", Pointwise: "pointwise", Blend: "blend"}
    return next((family for kind, family in kinds.items() if isinstance(law, kind)), "region")


def _colours(names: Iterable[str]) -> dict[str, Any]:
    """Return a colour for each op, kinds together: a hue for a kind, a shade for an op."""
    from matplotlib import colormaps

    colours: dict[str, Any] = {"Identity": "#dcdcdc"} if "Identity" in names else {}
    for family, (palette, first, last) in _FAMILIES.items():
        members = [n for n in names if _family(n) == family and n != "Identity"]
        shades = np.linspace(last, first, len(members))[::-1]
        colours |= dict(zip(members, colormaps[palette](shades), strict=True))
    return colours


def _draw_bars(axes: "Axes", shares: Mapping[str, np.ndarray[Any, Any]]) -> None:
    colours = _colours(shares)
    depth = len(next(iter(shares.values())))
    left = np.zeros(depth)
    for name, colour in colours.items():
        share = 100 * shares[name]
        axes.barh(range(depth), share, 0.78, left, color=colour, ec="white", lw=0.6, label=name)
        for layer in np.flatnonzero(share >= 1 + _PERCENT_PER_LETTER * len(name)).tolist():
            text = f"{name}\n{share[layer]:.0f}"
            place = left[layer] + share[layer] / 2
            axes.text(place, layer, text, fontsize=6.5, color=_ink(colour), **_CENTRED)
        left = left + share
    axes.set_yticks(range(depth), [f"layer {layer + 1}" for layer in range(depth)])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("chance in percent", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(
        bbox_to_anchor=(1.01, 1.0),
        loc="upper left",
        fontsize=7,
        frameon=False,
        ncols=2,
        handlelength=1,
        handleheight=1,
        labelspacing=0.35,
        columnspacing=1.0,
        borderaxespad=0,
    )


_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "linespacing": 0.95}


def _ink(colour: Any) -> str:
    """Return black or white, whichever reads better on a colour."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def _draw_maps(figure: "Figure", cell: Any, policy: Policy, ranges: Mapping[str, Any]) -> None:
    maps = 100 * _histograms(policy, ranges)
    rows = np.arange(len(ranges)) + 0.5
    grid = cell.subgridspec(1, policy.depth, wspace=0.04)
    panels = [figure.add_subplot(grid[layer]) for layer in range(policy.depth)]
    for layer, panel in enumerate(panels):
        image = _draw_map(panel, maps[layer], maps.max())
        panel.set_title(f"layer {layer + 1}", fontsize=9)
        panel.set_yticks(rows, [_label(*item) for item in ranges.items()], fontsize=7)
        panel.tick_params(axis="y", length=0, labelleft=layer == 0)
        panel.scatter(*_neutrals(ranges), s=3, color="#e6550d", linewidths=0)
    figure.supxlabel(_MAP_NOTE, fontsize=7, x=0.012, ha="left")
    bar = figure.colorbar(image, ax=panels, fraction=0.03, pad=0.01, aspect=25)
    bar.set_label("chance in percent", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _draw_map(axes: "Axes", chances: np.ndarray[Any, Any], largest: float) -> Any:
    from matplotlib.colors import PowerNorm

    # The square root keeps one layer's rare values visible beside another's only one.
    norm = PowerNorm(0.5, 0, largest)
    image = axes.pcolormesh(chances, cmap="Blues", norm=norm, edgecolors="white", linewidth=0.4)
    axes.invert_yaxis()
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor("#b0b0b0")
    return image


def _label(name: str, ends: tuple[float, float]) -> str:
    return f"{name}   {ends[0]:.3g} to {ends[1]:.3g}".replace("-", "\N{MINUS SIGN}")


def _neutrals(ranges: Mapping[str, tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return the places (columns, rows) of the bins that change nothing."""
    places = [
        (_bin(neutral, low, high) + 0.5, row + 0.5)
        for row, (name, (low, high)) in enumerate(ranges.items())
        if (neutral := OPS[name].identity_value) is not None and low <= neutral <= high
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
    neutral = OPS[name].identity_value
    if neutral is not None and low < neutral < high:
        low, high = min(low, mirror(name, high)), max(high, mirror(name, low))
    return low, high


def _histograms(policy: Policy, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray[Any, Any]:
    """Return the chance of each op and bin of values in each layer, (L, ops, BINS)."""
    chances = (policy.mixture[:, None, None] * policy.weights).numpy()
    op, value = policy.op.numpy(), policy.value.numpy()
    maps = np.zeros((policy.depth, len(ranges), BINS))
    for row, (name, (low, high)) in enumerate(ranges.items()):
        for layer in range(policy.depth):
            chosen = op[:, layer] == policy.ops.index(name)
            place = _bin(value[:, layer][chosen], low, high)
            np.add.at(maps[layer, row], place, chances[:, layer][chosen])
    return maps
