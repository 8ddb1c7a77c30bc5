import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from learned_augment import Policy
from learned_augment.builders import from_layers, identity, trivial_augment
from learned_augment.reporting.plots import BINS, check_figure_path, policy_figure, save_figure


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
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert 0.3 < (pixels == 255).all(2).mean() < 0.95


def test_bars_show_the_shares_of_each_layer():
    figure = policy_figure(Policy.load("deepaa-cifar10"))
    assert "CutoutClipped\n92" in texts(figure)
    assert "Flip\n73" in texts(figure)
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(600)
    ends = {round(bar.get_y(), 3): bar.get_x() + bar.get_width() for bar in bars}
    assert list(ends.values()) == pytest.approx([100] * 6)
    assert tick_labels(figure.axes[0]) == [f"layer {layer}" for layer in range(1, 7)]


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


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_files_are_whole_and_of_their_kind(tmp_path, suffix):
    path = save_figure(policy_figure(identity()), tmp_path / f"f{suffix}")
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_other_kinds_of_files_are_refused():
    with pytest.raises(ValueError, match=r"ending in .png, .pdf, .svg, got 'a.xyz'"):
        check_figure_path("a.xyz")


def test_the_global_state_of_matplotlib_is_left_alone():
    code = (
        "import sys; from learned_augment import figures, Policy; "
        "assert 'matplotlib' not in sys.modules; "
        "figures.policy_figure(Policy.load('dada-cifar10')); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
