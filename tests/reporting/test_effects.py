import dataclasses

import pytest

from learned_augment.builders import from_layers
from learned_augment.reporting.effects import Effects, effects_sentences, policy_effects

ROWS = {
    ("Rotate", 8.0): (0.9, 0.2),
    ("Rotate", 30.0): (-0.6, 0.4),
    ("TranslateX", 0.1): (1.2, 0.41),
    ("Contrast", 0.25): (0.7, 0.3),
    ("PadCrop", 0.06): (0.5, 0.1),
    ("Color", 1.5): (0.1, 0.36),
    ("Posterize", 4.0): (0.3, 0.35),
    ("Invert", 0.0): (-1.4, 0.3),
    ("Flip", 0.5): (-3.1, 0.41),
    ("Brightness", 0.9): (-0.9, 0.35),
    ("Cutout", 0.25): (0.0, 0.25),
}


def made_effects(**changes):
    """Return effects as a search writes them; ``changes`` replace parts of the document."""
    rows = [
        {
            "op": op,
            "value": value,
            "effect": effect,
            "standard_error": error,
            "low": effect - 1.96 * error,
            "high": effect + 1.96 * error,
            "trials": 18,
        }
        for (op, value), (effect, error) in ROWS.items()
    ]
    document = {"target": "accuracy", "unit": "points", "rows": rows, "trainings": 60}
    return {**document, "settings": {"epochs": 30, "images": 500}, **changes}


def one_row(**changes):
    return made_effects(rows=[{**made_effects()["rows"][0], **changes}])


def test_effects_are_sorted_and_their_outcome_is_that_of_the_interval():
    effects = Effects.from_data(made_effects())
    assert [row.effect for row in effects.rows] == sorted(
        (effect for effect, _ in ROWS.values()), reverse=True
    )
    outcomes = {row.label: row.outcome for row in effects.rows}
    assert outcomes["TranslateX 0.1"] == "helps"
    assert outcomes["Flip 0.5"] == "hurts"
    assert outcomes["Color 1.5"] == "unclear"
    assert outcomes["Invert"] == "hurts"  # an op without a value
    assert effects.trainings == 60


def test_sentences_name_the_five_best_and_the_five_worst():
    sentences = effects_sentences(Effects.from_data(made_effects()))
    assert sentences == [
        "TranslateX 0.1 helps: +1.2 points [+0.4, +2.0].",
        "Rotate 8 helps: +0.9 points [+0.5, +1.3].",
        "Contrast 0.25 helps: +0.7 points [+0.1, +1.3].",
        "PadCrop 0.06 helps: +0.5 points [+0.3, +0.7].",
        "Posterize 4 shows no clear effect: +0.3 points [-0.4, +1.0].",
        "Flip 0.5 hurts: -3.1 points [-3.9, -2.3].",
        "Invert hurts: -1.4 points [-2.0, -0.8].",
        "Brightness 0.9 hurts: -0.9 points [-1.6, -0.2].",
        "Rotate 30 shows no clear effect: -0.6 points [-1.4, +0.2].",
        "Cutout 0.25 shows no clear effect: +0.0 points [-0.5, +0.5].",
    ]


def test_effects_on_errors_say_whether_there_are_fewer_or_more():
    data = one_row(effect=42.3, low=16.0, high=68.0) | {"target": "errors", "unit": "%"}
    assert effects_sentences(Effects.from_data(data)) == [
        "Rotate 8 helps: 42 % fewer errors [16, 68]."
    ]
    data = one_row(effect=3.0, low=-0.4, high=6.0) | {"target": "errors", "unit": "%"}
    assert effects_sentences(Effects.from_data(data)) == [
        "Rotate 8 shows no clear effect: 3 % fewer errors [0, 6]."
    ]


def test_a_policy_without_effects_has_none():
    policy = from_layers([[("Flip", 1.0, 0.5)]])
    assert policy_effects(policy) is None
    with_effects = dataclasses.replace(policy, about={"effects": made_effects()})
    assert policy_effects(with_effects) == Effects.from_data(made_effects())


FAULTS = {
    "no mapping": ([], "Expected effects as a mapping, got \\[\\]"),
    "unknown target": (made_effects(target="speed"), "got 'speed' in 'points'"),
    "unit of another target": (made_effects(unit="%"), "accuracy in points or errors in %"),
    "no rows": (made_effects(rows=[]), "one or more rows of effects, got \\[\\]"),
    "rows are a text": (made_effects(rows="Flip"), "one or more rows of effects, got 'Flip'"),
    "row is a text": (made_effects(rows=["Flip"]), "an effect as a mapping, got 'Flip'"),
    "no op": (one_row(op=None), "an effect to name its op, got None"),
    "not finite": (one_row(effect=float("nan")), "effect of an effect as a finite number, got nan"),
    "too large": (one_row(high=10**400), "high of an effect as a finite number"),
    "a text": (one_row(low="0"), "low of an effect as a finite number, got '0'"),
    "outside": (one_row(low=1.0), "the effect of Rotate inside its interval, got 0.9 in \\[1, "),
    "negative trials": (one_row(trials=-1), "trials of effects as a whole number, got -1"),
    "no trainings": (made_effects(trainings=None), "trainings of effects as a whole number"),
    "settings": (made_effects(settings=3), "the settings as a mapping, got 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_data_are_refused(fault):
    data, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        Effects.from_data(data)
