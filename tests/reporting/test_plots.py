import dataclasses
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from learned_augment import Policy
from learned_augment.builders import from_layers, identity, trivial_augment
from learned_augment.reporting.effects import Effects
from learned_augment.reporting.plots import (
    BINS,
    COLORS,
    NARROW,
    WIDE,
    Interval,
    curves_figure,
    effects_figure,
    intervals_figure,
    mean_curve,
    ops_figure,
    policy_figure,
    save_figure,
    svg_markup,
)
from tests.reporting.test_effects import ROWS, made_effects

OPS = {"Identity": [0.5, 0.0], "Rotate": [0.25, 1.0], "Solarize": [0.25, 0.0], "Flip": [0.0, 0.0]}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def tick_labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("name", ["deepaa-cifar10", "dada-cifar10", "fastaa-cifar10"])
def test_a_figure_is_a_picture_with_content(tmp_path, name):
    path = save_figure(policy_figure(Policy.load(name)), tmp_path / "policy.png")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] > 1500
    assert pixels.shape[0] > 600
    assert len(np.unique(pixels @ [65536, 256, 1])) > 100
    assert 0.3 < (pixels == 255).all(2).mean() < 0.95


def test_bars_show_the_probabilities_of_each_layer():
    figure = policy_figure(Policy.load("deepaa-cifar10"))
    assert "CutoutClipped\n92" in texts(figure)
    assert "Flip\n73" in texts(figure)
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(600)
    ends = {round(bar.get_y(), 3): bar.get_x() + bar.get_width() for bar in bars}
    assert list(ends.values()) == pytest.approx([100] * 6)
    assert tick_labels(figure.axes[0]) == [f"layer {layer}" for layer in range(1, 7)]


def test_an_op_has_one_color_in_all_figures_and_ops_have_different_ones():
    def colors(figure):
        handles, labels = figure.axes[0].get_legend_handles_labels()
        return {name: bars[0].get_facecolor() for name, bars in zip(labels, handles, strict=True)}

    few = colors(ops_figure(OPS))
    assert list(few) == ["Identity", "Rotate", "Solarize"]  # Flip is never drawn
    many = colors(policy_figure(Policy.load("deepaa-cifar10")))
    assert few == {name: many[name] for name in few}
    assert len(set(many.values())) == len(many)


def test_an_unknown_op_has_a_bar_too():
    figure = ops_figure({"Flip": [0.5], "Frob": [0.5]})
    assert "Frob\n50" in texts(figure)


def test_maps_place_every_value_in_its_bin():
    layer = [("Rotate", 0.25, -30.0), ("Rotate", 0.75, 15.0)]
    figure = policy_figure(from_layers([layer], {"space": "dada"}))
    values = figure.axes[1].collections[0].get_array().reshape(-1, BINS)
    assert values[0].nonzero()[0].tolist() == [0, 9]
    assert values[0][[0, 9]].tolist() == [25.0, 75.0]
    assert tick_labels(figure.axes[1]) == ["Rotate   \N{MINUS SIGN}30 to 30"]


def test_a_policy_without_values_has_bars_only():
    assert len(policy_figure(identity()).axes) == 1


def test_without_a_space_rows_span_the_values_there_are():
    axes = policy_figure(trivial_augment()).axes[1]
    assert "Posterize   2 to 8" in tick_labels(axes)
    assert "ShearX   \N{MINUS SIGN}0.99 to 0.99" in tick_labels(axes)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_effects_are_sorted_rows_with_an_image_an_interval_and_numbers(width):
    effects = Effects.from_data(made_effects())
    figure = effects_figure(effects, width)
    (axes,) = figure.axes
    assert tick_labels(axes) == [row.label for row in effects.rows]
    assert tick_labels(axes)[0] == "TranslateX 0.1"
    markers = [line for line in axes.lines if len(line.get_xdata()) == 1]
    ends = [bar.get_segments()[0] for bar in axes.collections]
    for place, row in enumerate(effects.rows):
        assert markers[place].get_xdata()[0] == row.effect
        assert markers[place].get_ydata()[0] == place
        assert ends[place].tolist() == [[row.low, place], [row.high, place]]
        color = COLORS[row.outcome]
        assert markers[place].get_color() == color
        marker = {"helps": ">", "hurts": "<", "unclear": "o"}[row.outcome]
        assert markers[place].get_marker() == marker
        label = axes.get_yticklabels()[place]
        assert (label.get_color() == COLORS["hurts"]) == (row.outcome == "hurts")
    images = [box for box in axes.artists if hasattr(box, "offsetbox")]
    assert len(images) == len(ROWS)
    (numbers,) = axes.child_axes
    last = "-3.1 [-3.9, -2.3]" if width == WIDE else "-3.1"
    assert tick_labels(numbers)[-1] == last.replace("-", "\N{MINUS SIGN}")
    assert figure.get_figwidth() * 72 == width


def test_images_beside_effects_differ_and_unknown_ops_have_none():
    data = made_effects()
    data["rows"][0] |= {"op": "Frob"}
    data["rows"][1] |= {"value": 1000.0}  # out of range
    (axes,) = effects_figure(Effects.from_data(data)).axes
    images = [box.offsetbox.get_data().tobytes() for box in axes.artists]
    assert len(images) == len(set(images)) == len(ROWS) - 2


def test_effects_on_errors_say_so():
    data = made_effects(target="errors", unit="%")
    (axes,) = effects_figure(Effects.from_data(data)).axes
    assert axes.get_xlabel() == "reduction of errors, % (above 0 helps)"


def test_a_policy_shows_its_effects_above_its_ops():
    policy = from_layers([[("Flip", 1.0, 0.5)]], {"effects": made_effects()})
    first, second = policy_figure(policy).axes
    assert tick_labels(first)[-1] == "Flip 0.5"
    assert tick_labels(second) == ["layer 1"]
    broken = dataclasses.replace(policy, about={"effects": []})
    with pytest.raises(ValueError, match="Expected effects as a mapping"):
        policy_figure(broken)


def test_differences_are_drawn_where_their_numbers_say():
    rows = [Interval("wide", 2.0, -1.0, 5.0), Interval("low", -3.0, -4.0, -2.0)]
    figure = intervals_figure([*rows, Interval("up", 1.0, 0.5, 1.5)], "difference")
    (axes,) = figure.axes
    markers = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [marker.get_marker() for marker in markers] == ["o", "<", ">"]
    assert [bar.get_segments()[0][:, 0].tolist() for bar in axes.collections] == [
        [-1.0, 5.0],
        [-4.0, -2.0],
        [0.5, 1.5],
    ]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["better", "no difference shown", "worse"]


def test_the_mean_curve_holds_the_epochs_that_all_seeds_have():
    assert mean_curve([[(1, 10.0), (2, 30.0)], [(1, 20.0), (2, 50.0)]]) == [(1, 15.0), (2, 40.0)]
    assert mean_curve([[(1, 1.0)], [(1, 3.0), (2, 5.0)]]) == [(1, 2.0)]
    assert mean_curve([]) == []


def test_each_policy_has_a_panel_of_seeds_mean_and_reference():
    curves = {
        "none": [[(1, 10.0), (2, 20.0)]],
        "p": [[(1, 10.0), (2, 30.0)], [(1, 20.0), (2, 50.0)]],
        "empty": [[]],
    }
    none, p = curves_figure(curves, "none", "accuracy").axes
    assert [axes.get_title(loc="left") for axes in (none, p)] == ["none", "p"]
    drawn = [(line.get_linestyle(), line.get_ydata().tolist()) for line in map(as_array, p.lines)]
    assert drawn == [
        ("--", [10.0, 20.0]),
        ("-", [10.0, 30.0]),
        ("-", [20.0, 50.0]),
        ("-", [15.0, 40.0]),
    ]
    assert len(none.lines) == 2  # its own mean is not repeated as the reference


def as_array(line):
    line.set_ydata(np.asarray(line.get_ydata()))
    return line


def test_an_svg_follows_the_colors_and_the_font_of_its_page():
    markup = svg_markup(ops_figure(OPS), 'a "label"', "salt")
    root = ElementTree.fromstring(markup)
    assert root.get("aria-label") == 'a "label"'
    assert root.get("role") == "img"
    assert f"var(--faint, {COLORS['faint']})" in markup
    assert "font-family" not in markup
    assert "<style" not in markup
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Rotate" in texts  # texts stay texts


@pytest.mark.parametrize("text", ["$a_b$ ^{c", "<b>&amp;</b>", "漢字", "a\\b"])
def test_texts_are_drawn_as_they_are(text):
    def shown(figure):
        root = ElementTree.fromstring(svg_markup(figure, text, ""))
        assert root.get("aria-label") == text
        return [part.text for part in root.iter("{http://www.w3.org/2000/svg}text")]

    row = Interval(text, 1.0, 0.5, 1.5)
    assert shown(intervals_figure([row], f"to {text}")).count(text) == 1
    assert f"to {text}" in shown(intervals_figure([row], f"to {text}"))
    assert shown(ops_figure({text: [1.0]})).count(text) == 2  # in the bar and in the legend
    assert text in shown(curves_figure({text: [[(1, 1.0), (2, 2.0)]]}, text, "accuracy"))


def test_characters_that_an_svg_file_may_not_hold_are_replaced():
    figure = intervals_figure([Interval("a\x1b\x00b\nc", 1.0, 0.5, 1.5)], "x")
    assert "a??b c" in svg_markup(figure, "\x1b", "")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_files_are_whole_and_of_their_kind(tmp_path, suffix):
    path = save_figure(policy_figure(identity()), tmp_path / f"f{suffix}")
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_other_kinds_of_files_are_refused():
    with pytest.raises(ValueError, match=r"ending in .png, .pdf, .svg, got 'a.xyz'"):
        save_figure(policy_figure(identity()), "a.xyz")


def test_the_global_state_of_matplotlib_is_left_alone(from_fresh_process):
    answers = json.loads((from_fresh_process / "imports.json").read_text())
    assert not answers["matplotlib loaded by plots"]
    assert not answers["pyplot loaded by a figure"]
    assert answers["style kept"]
