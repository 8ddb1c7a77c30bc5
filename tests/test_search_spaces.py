"""Each paper's ranges, pinned by figures from the papers."""

from dataclasses import replace

import pytest

from learned_augment.ops import OPS
from learned_augment.search_spaces import SPACES, Range, levels, mirror


@pytest.mark.parametrize(
    ("space", "op", "magnitude", "value"),
    [
        ("dada", "Rotate", 0.0, -30.0),
        ("dada", "Rotate", 0.5, 0.0),
        ("dada", "ShearX", 1.0, 0.3),
        ("dada", "TranslateY", 1.0, 0.45),
        ("dada", "Solarize", 1.0, 256.0),
        ("dada", "Posterize", 0.25, 5.0),
        ("dada", "Contrast", 0.5, 1.0),
        ("dada", "Cutout", 1.0, 0.2),
        ("autoaugment", "Posterize", 4 / 9, 6.0),
        ("autoaugment", "Solarize", 0.0, 255.0),
        ("autoaugment", "TranslateX", 1.0, 150 / 331),
        ("autoaugment", "Color", 1.0, 1.9),
        ("trivialaugment", "ShearX", 1.0, 0.99),
        ("trivialaugment", "Rotate", 1.0, 135.0),
        ("trivialaugment", "Posterize", 1.0, 2.0),
        ("trivialaugment", "Brightness", 1.0, 1.99),
        ("deepaa-imagenet", "CutoutClipped", 0.5, 60 / 224),
    ],
)
def test_magnitudes_mean_what_the_papers_say(space, op, magnitude, value):
    assert SPACES[space][op].value(magnitude) == pytest.approx(value)


@pytest.mark.parametrize("name", SPACES)
def test_values_are_legal_and_mirrored_ops_have_an_identity_value(name):
    for op, span in SPACES[name].items():
        for magnitude in (0.0, 0.5, 1.0):
            assert OPS[op].low <= span.value(magnitude) <= OPS[op].high
        assert not span.mirrored or OPS[op].identity_value is not None


def test_sizes_of_the_published_spaces():
    assert len(SPACES["dada"]) == 15
    assert len(SPACES["deepaa"]) == len(SPACES["deepaa-imagenet"]) == 18
    assert len(SPACES["trivialaugment"]) == 14
    for name in ("deepaa", "deepaa-imagenet"):
        assert sum(len(levels(op, span, 13)) for op, span in SPACES[name].items()) == 139


def test_levels_leave_out_the_identity_value(monkeypatch):
    assert levels("Rotate", SPACES["deepaa"]["Rotate"], 13) == pytest.approx(
        [-30, -25, -20, -15, -10, -5, 5, 10, 15, 20, 25, 30]
    )
    assert levels("Posterize", SPACES["deepaa"]["Posterize"], 13)[-1] == pytest.approx(
        4 + 4 * 11 / 12
    )
    assert levels("Identity", Range(), 13) == [0.0]
    monkeypatch.setitem(OPS, "Spot", replace(OPS["Cutout"], name="Spot", identity_value=None))
    assert levels("Spot", Range(0.0, 1.0), 3) == [0.0, 0.5, 1.0]  # it has no identity value


def test_a_range_needs_two_levels():
    assert levels("Rotate", Range(-30.0, 30.0), 2) == [-30.0, 30.0]
    with pytest.raises(ValueError, match="Expected 2 or more levels for Rotate, got 1"):
        levels("Rotate", Range(-30.0, 30.0), 1)


def test_mirror_is_about_the_identity_value():
    assert mirror("Rotate", 12.0) == -12.0
    assert mirror("Color", 1.9) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="Invert has no identity value"):
        mirror("Invert", 0.0)


@pytest.mark.parametrize("magnitude", [-0.1, 1.1, float("nan")])
def test_magnitudes_outside_the_unit_interval_are_refused(magnitude):
    with pytest.raises(ValueError, match=r"magnitude in \[0, 1\]"):
        Range(0, 1).value(magnitude)
