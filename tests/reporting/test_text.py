import json

import pytest

from learned_augment import Policy, list_policies
from learned_augment._text import align
from learned_augment.builders import from_layers, from_sub_policies, identity, trivial_augment
from learned_augment.reporting.text import (
    Candidate,
    candidates,
    policy_data,
    policy_summary,
    policy_text,
)
from tests.reporting.test_effects import made_effects

LAYERED = from_layers(
    [
        [("Rotate", 0.3, -20.0), ("Rotate", 0.3, 20.0), ("Color", 0.3, 0.1), ("Invert", 0.1, 0.0)],
        [("Identity", 0.9, 0.0), ("Flip", 0.1, 0.5)],
    ],
    {"name": "mine", "method": "by hand", "placement": "replaces", "licence": "none"},
)
PAIRS = from_sub_policies(
    [
        [("ShearX", 0.6, 0.2), ("Posterize", 0.5, 4.0)],
        [("Contrast", 1.0, 1.5), ("Invert", 0.0, 0.0)],
    ],
    mirrored=["ShearX"],
    about={"name": "pairs"},
)


def test_candidates_are_sorted_by_probability_and_mirror_images_merged():
    found = candidates(LAYERED, 0, 0)
    assert [(c.op, c.value, c.mirrored) for c in found] == [
        ("Rotate", 20.0, True),
        ("Color", 0.1, False),
        ("Invert", 0.0, False),
    ]
    assert [c.probability for c in found] == pytest.approx([0.6, 0.3, 0.1])


def test_mirror_images_of_unequal_probability_stay_apart():
    policy = from_layers([[("Rotate", 0.4, -20.0), ("Rotate", 0.6, 20.0)]])
    assert [(c.value, c.mirrored) for c in candidates(policy, 0, 0)] == [(20.0, 0), (-20.0, 0)]


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (Candidate("Rotate", 20.0, 1.0, mirrored=True), "Rotate ±20"),
        (Candidate("Rotate", -20.0, 1.0), "Rotate -20"),
        (Candidate("Contrast", 1.5, 1.0, mirrored=True), "Contrast 1±0.5"),
        (Candidate("Equalize", 0.0, 1.0), "Equalize"),
    ],
)
def test_a_candidate_is_written_as_op_and_value(candidate, text):
    assert str(candidate) == text


def test_text_of_layers():
    lines = policy_text(LAYERED).splitlines()
    assert lines[:3] == [
        "mine: by hand, 2 layers",
        "It replaces the base augmentation (crop, flip and cutout): use it alone.",
        "License: none",
    ]
    rows = [line.split() for line in lines]
    assert ["Rotate", "60.0", "0", "0.600", "±20", "degrees,", "counter-clockwise"] in rows
    assert ["Identity", "0", "90.0", "0.900"] in rows
    assert "  Color   30.0 %  0.1" in lines
    assert lines.index("Layer 2") > lines.index("Layer 1")


def test_the_table_of_ops_names_the_values_of_80_percent_of_draws():
    text = policy_text(from_layers([[("Color", 1.0, place / 10) for place in range(1, 16)]]))
    assert " 0.2 to 1.4 " in text


def test_text_of_sub_policies():
    lines = policy_text(PAIRS).splitlines()
    assert " ".join(lines[-2].split()) == "1 50.0 % ShearX ±0.2: 60.0 % Posterize 4: 50.0 %"
    assert " ".join(lines[-1].split()) == "2 50.0 % Contrast 1.5: 100.0 % nothing"


def test_many_sub_policies_are_condensed_and_many_values_are_counted():
    text = policy_text(Policy.load("fastaa-cifar10"))
    assert "493 sub-policies of 2 layers" in text
    assert len(text.splitlines()) < 30
    deep = policy_text(Policy.load("deepaa-cifar10"))
    assert "±0.45 (14.2 %), ±0.375 (1.6 %), ±0.3 (0.5 %), ±0.225 (0.1 %) and 2 more" in deep
    assert "  5 others     0.5 %" in deep


@pytest.mark.parametrize("name", list_policies())
def test_shares_of_a_layer_sum_to_one_and_survive_json(name):
    policy = Policy.load(name)
    data = json.loads(json.dumps(policy_data(policy)))
    for layer in range(policy.depth):
        assert sum(op["layers"][layer] for op in data["ops"].values()) == pytest.approx(1)
    assert sum(op["per_image"] for op in data["ops"].values()) == pytest.approx(policy.depth)
    assert data["about"] == dict(policy.about)


@pytest.mark.parametrize("policy", [LAYERED, PAIRS, trivial_augment(), identity()], ids=str)
def test_data_is_enough_to_rebuild_the_policy(policy):
    data = policy_data(policy)
    assert [sub["probability"] for sub in data["sub_policies"]] == policy.mixture.tolist()
    rebuilt = [
        from_layers(
            [[(c["op"], c["probability"], c["value"]) for c in layer] for layer in sub["layers"]]
        )
        for sub in data["sub_policies"]
    ]
    for place, part in enumerate(rebuilt):
        for layer in range(policy.depth):
            ours, theirs = (
                sorted(
                    (*c[:2], c.mirrored, round(c.probability, 9)) for c in candidates(p, s, layer)
                )
                for p, s in ((part, 0), (policy, place))
            )
            assert ours == theirs


def test_terminal_commands_in_a_file_are_not_printed():
    policy = from_layers([[("Flip", 1.0, 0.5)]], {"name": "x\x1b[2J", "licence": "a\nb"})
    text = policy_text(policy)
    assert "\x1b" not in text
    assert "x?[2J" in text
    assert "License: a?b" in text


def test_tables_align_left_and_right():
    assert align([["a", "10", "x"], ["bcd", "9", ""]], right=[1]) == ["a    10  x", "bcd   9"]


def test_the_summary_names_the_likeliest_ops():
    assert policy_summary(LAYERED) == [
        "mine is a policy (by hand).",
        "It applies 1.1 ops to an image on average, most often Rotate (0.60 times an image), "
        "Color (0.30 times an image), Invert (0.10 times an image) and 1 more.",
        "It replaces the base augmentation (crop, flip and cutout): use it alone.",
    ]
    assert policy_summary(identity())[1] == "It leaves every image as it is."


def test_the_text_of_a_policy_holds_its_measured_effects():
    about = {"name": "mine", "effects": made_effects()}
    lines = policy_text(from_layers([[("Flip", 1.0, 0.5)]], about)).splitlines()
    start = lines.index("Measured effects on accuracy, of 60 trainings [95 % interval]")
    assert lines[start + 1] == "  TranslateX 0.1 helps: +1.2 points [+0.4, +2.0]."
    assert lines[start + 6] == "  Flip 0.5 hurts: -3.1 points [-3.9, -2.3]."
