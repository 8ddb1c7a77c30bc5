import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from learned_augment.evaluation.result import Run
from learned_augment.evaluation.statistics import Difference
from learned_augment.reporting.charts import curve_chart, difference_chart, mean_curve, share_chart
from learned_augment.reporting.html import result_page
from tests.evaluation.test_result import CLEAR, comparison_result

FIGURES = {
    "none": {"sha256": "", "ops": {}},
    "up": {
        "sha256": "u",
        "ops": {"Identity": [0.5, 0.0], "Rotate": [0.25, 1.0], "Solarize": [0.25, 0.0]},
    },
}


def curved(best=95.0):
    """CLEAR with learning curves: each seed's accuracies at epochs 2 and 3, losses of 3."""
    runs = [
        dataclasses.replace(
            run, losses=(2.0, 1.0, 0.5), accuracies=((2, run.accuracy - 20), (3, run.accuracy))
        )
        for run in CLEAR.runs
    ]
    return dataclasses.replace(CLEAR, runs=tuple(runs), policies=FIGURES)


def parsed(svg):
    return ElementTree.fromstring(svg)


class Balance(HTMLParser):
    """Collects tags; an end tag must close the innermost open one."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page):
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return balance.seen


def test_the_page_holds_table_sentences_notes_curves_and_figures():
    page = result_page(curved())
    tags = [tag for tag, _ in read(page)]
    assert tags.count("tr") == 5
    assert tags.count("svg") == 1 + 4 + 1  # differences, a panel a policy, one policy with ops
    for pair in CLEAR.pairs():
        assert CLEAR.sentence(*pair) in page
    assert all(note in page for note in CLEAR.notes())
    assert "Accuracy on the test images in percent" in page
    assert result_page(curved()) == page


def test_the_page_stands_alone_and_runs_nothing():
    page = result_page(curved())
    outside = re.findall(r"(?:src|href|url)\s*[=(]|https?:|@import|<script|<link|\son\w+=", page)
    assert outside == []


def test_what_comes_from_outside_is_escaped():
    name = '<script>alert("x")</script>&\'"'
    bad = comparison_result({"none": [90.0, 91.0], name: [91.0, 92.5]}, seeds=2, network=name)
    bad = dataclasses.replace(
        bad, data=name, policies={name: {"sha256": "", "ops": FIGURES["up"]["ops"]}}
    )
    page = result_page(bad)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 5
    read(page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        parsed(svg)


def test_every_chart_says_in_words_what_it_shows():
    charts = [attributes for tag, attributes in read(result_page(curved())) if tag == "svg"]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert charts[-1]["aria-label"] == (
        "Chances of ops. layer 1: Identity 50 %, Rotate 25 %, Solarize 25 %; layer 2: Rotate 100 %"
    )


def test_without_tests_between_epochs_the_losses_are_drawn():
    runs = [dataclasses.replace(run, losses=(2.0, None, 0.5)) for run in CLEAR.runs]
    page = result_page(dataclasses.replace(CLEAR, runs=tuple(runs)))
    assert "Training loss, by epoch" in page
    assert "nan" not in page


def test_results_without_curves_figures_or_pairs_have_a_page():
    page = result_page(CLEAR)
    assert "Learning curves" not in page
    assert "What the policies draw" not in page
    part = dataclasses.replace(CLEAR, runs=(Run("none", 0, 50.0, None),))
    assert "not compared, fewer than 2 seeds" in result_page(part)
    read(result_page(dataclasses.replace(CLEAR, runs=())))


def test_controls_have_a_chart_of_their_own():
    values = [90.0, 91.0, 92.0]
    controlled = comparison_result(
        {"none": values, "a": [93.0, 94.0, 95.5], "random:a": values}, seeds=3
    )
    assert controlled.pairs() == (("a", "none"), ("random:a", "none"), ("a", "random:a"))
    page = result_page(controlled)
    assert "Each policy less its random control" in page
    assert "a: better than random:a by 3.17 points" in page
    assert "random control" not in result_page(CLEAR)


def test_intervals_stand_where_their_numbers_say():
    found = [("wide", Difference(2.0, -1.0, 5.0, 5)), ("low", Difference(-3.0, -4.0, -2.0, 5))]
    root = parsed(difference_chart([*found, ("up", Difference(1.0, 0.5, 1.5, 5))]))
    groups = root.findall("g")
    assert [group.get("class") for group in groups] == ["same", "down", "up"]
    (zero,) = [line for line in root.findall("line") if line.get("class") == "zero"]
    labels = {text.text: float(text.get("x")) for text in root.findall("text")}
    unit = (labels["+4"] - labels["0"]) / 4
    assert float(zero.get("x1")) == pytest.approx(labels["0"])
    for (_, difference), group in zip(found, groups, strict=False):
        bar, dot = group.find("line"), group.find("circle")
        numbers = (float(bar.get("x1")), float(dot.get("cx")), float(bar.get("x2")))
        expected = (difference.low, difference.mean, difference.high)
        assert [(x - labels["0"]) / unit for x in numbers] == pytest.approx(expected, abs=0.01)


def test_curves_rise_to_the_right_and_their_mean_lies_between():
    curves = [[(1, 10.0), (2, 30.0)], [(1, 20.0), (2, 50.0)]]
    assert mean_curve(curves) == [(1, 15.0), (2, 40.0)]
    assert mean_curve([[(1, 1.0)], [(1, 3.0), (2, 5.0)]]) == [(1, 2.0)]
    root = parsed(curve_chart("p", curves, [(1, 10.0), (2, 20.0)], [(1, 10.0), (2, 50.0)]))
    lines = {line.get("class"): line.get("points") for line in root.findall("polyline")}
    assert list(lines) == ["behind", "seed", "mean"]
    (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in lines["mean"].split())
    assert x2 > x1
    assert y2 < y1  # SVG counts downwards


def test_shares_fill_the_bar_of_their_layer():
    root = parsed(share_chart(FIGURES["up"]["ops"]))
    boxes = [(group.get("class"), group.find("rect")) for group in root.findall("g")]
    assert [kind for kind, _ in boxes] == [
        "op identity",
        "op geometric",
        "op pointwise",
        "op geometric",
    ]
    widths = [float(box.get("width")) for _, box in boxes]
    assert sum(widths[:3]) == pytest.approx(widths[3])
    assert widths[0] == pytest.approx(2 * widths[1])
