import contextlib
import dataclasses
import json
import random

import pytest

from learned_augment.evaluation.result import ComparisonResult, Run

SETTINGS = {
    "network": "small-cnn",
    "epochs": 3,
    "classes": 10,
    "train_images": 100,
    "test_images": 1000,
    "skipped": 0,
}


def comparison_result(accuracies, seeds=5, reference="none", placements=None, **settings):
    runs = [
        Run(name, seed, value, 0.1)
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
        if value is not None
    ]
    places = placements or dict.fromkeys(accuracies, "alone")
    return ComparisonResult(
        "made", places, reference, tuple(range(seeds)), tuple(runs), SETTINGS | settings
    )


CLEAR = comparison_result(
    {
        "none": [90.0, 91.0, 92.0, 91.0, 90.0],
        "up": [91.0, 92.1, 92.9, 92.0, 91.0],
        "down": [85.0, 86.2, 87.1, 85.8, 85.0],
        "same": [90.4, 90.7, 92.2, 90.6, 90.1],
    }
)


def test_sentences_name_shown_and_missing_differences():
    assert CLEAR.sentence("up").startswith(
        "up: better than none by 1.00 points (95 % interval +0.91"
    )
    assert CLEAR.sentence("down").startswith("down: worse than none by 4.98 points")
    assert CLEAR.sentence("same").startswith("same: no difference to none shown (95 % interval -")
    assert CLEAR.sentence("none") == "none: the reference of the others."


def test_differences_are_paired_by_seed():
    # Shares of luck common to a seed cancel: differences are 1.0, 1.1, 0.9, 1.0, 1.0.
    found = CLEAR.difference("up")
    assert found.mean == pytest.approx(1.0)
    assert found.pairs == 5
    assert found.high - found.mean == pytest.approx(2.776 * 0.0707107 / 5**0.5, rel=1e-3)


def test_a_difference_can_be_taken_to_any_policy():
    assert CLEAR.difference("up", "down").mean == pytest.approx(5.98)
    assert CLEAR.difference("down", "up").mean == pytest.approx(-5.98)


def test_only_seeds_that_both_finished_are_paired():
    part = comparison_result({"none": [90.0, 91.0, 92.0], "up": [91.0, None, 93.0]}, seeds=4)
    assert part.difference("up").pairs == 2
    assert part.difference("up").mean == 1.0
    assert part.difference("up").high < 1.4  # both differences are 1
    assert part.missing() == (("up", 1), ("none", 3), ("up", 3))
    assert any("3 of 8 trainings are missing: up, none" in note for note in part.notes())


def test_one_pair_is_not_compared():
    part = comparison_result({"none": [90.0, 91.0], "up": [91.0]}, seeds=2)
    assert part.difference("up") is None
    assert part.sentence("up") == "up: not compared, fewer than 2 seeds have finished."
    assert part.table()


def test_identical_runs_show_no_difference():
    twin = comparison_result({"none": [90.0, 91.0], "twin": [90.0, 91.0]}, seeds=2)
    assert "no difference" in twin.sentence("twin")


def test_the_table_holds_every_policy_aligned():
    lines = CLEAR.table().splitlines()
    assert lines[0] == (
        "made: 100 training and 1000 test images, 10 classes; small-cnn, 3 epochs, 5 seeds"
    )
    assert lines[2].split() == ["policy", "placed", "accuracy", "sd", "difference", "to", "none"]
    assert lines[3].split() == ["none", "alone", "90.80", "0.84", "-"]
    assert lines[4].split()[:5] == ["up", "alone", "91.80", "0.81", "+1.00"]
    column = lines[2].index("difference")
    assert all(line[column - 2 : column] == "  " for line in lines[3:7])


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"seeds": 2, "accuracies": {"none": [1.0, 2.0], "up": [1.0, 2.0]}}, "2 seeds give wide"),
        (
            {"seeds": 2, "test_images": 2, "accuracies": {"none": [0.0, 50], "up": [50.0, 0]}},
            "2 seeds and 2 test images can show no difference at all",
        ),
        ({"skipped": 3}, "3 unreadable files were left out"),
        ({"placements": {"none": "nothing", "up": "after crop"}}, "add the policy 'crop'"),
    ],
)
def test_notes_warn(changed, note):
    plain = {"accuracies": {"none": [1.0, 2, 3, 1, 2], "up": [1.0, 3, 2, 2, 1]}}
    assert not any(note in found for found in comparison_result(**plain).notes())
    assert any(note in found for found in comparison_result(**(plain | changed)).notes())


def test_a_network_that_does_not_learn_is_told():
    lost = comparison_result({"none": [11.0, 12.0], "up": [10.0, 9.0]}, seeds=2)
    told = "the network does not learn: guessing the largest class gives 10.0, with luck 11.9"
    assert any(note.startswith(told) for note in lost.notes())
    unequal = comparison_result({"none": [89.0, 90.0]}, seeds=2, largest_class=900)
    assert any("the largest class gives 90.0" in note for note in unequal.notes())
    assert not any("does not learn" in note for note in CLEAR.notes())


def test_one_epoch_is_no_epochs():
    once = comparison_result({"none": [1.0, 2.0], "up": [1.0, 2.0]}, seeds=2, epochs=1)
    assert once.headline().endswith("small-cnn, 1 epoch, 2 seeds")


def test_the_result_names_the_differences_that_its_seeds_can_show():
    # Paired variances of up, down and same: 0.005, 0.022 and 0.115; their mean is 0.2176 squared.
    assert CLEAR.deviation() == pytest.approx(0.2176, abs=1e-4)
    enough = "with 5 seeds, differences under 0.36 points are likely to be missed"
    assert any(note.startswith(enough) and note.endswith(" points).") for note in CLEAR.notes())
    finer = dataclasses.replace(CLEAR, interest=0.2)
    assert any(note.endswith("; about 12 seeds would show 0.2.") for note in finer.notes())
    single = comparison_result({"none": [90.0], "up": [91.0]}, seeds=2)
    assert single.deviation() is None
    assert not any("missed" in note for note in single.notes())


def test_a_diverged_training_is_reported():
    runs = (*CLEAR.runs[:-1], dataclasses.replace(CLEAR.runs[-1], loss=None))
    broken = dataclasses.replace(CLEAR, runs=runs)
    assert any("diverged under same" in note for note in broken.notes())


def test_json_round_trip_is_exact_and_stable():
    text = CLEAR.to_json()
    assert ComparisonResult.from_json(text) == CLEAR
    assert ComparisonResult.from_json(text).to_json() == text
    assert ComparisonResult.from_json(text).table() == CLEAR.table()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "runs": []}'])
def test_other_documents_are_refused(text):
    with pytest.raises(ValueError, match="Expected a result as compare wrote it"):
        ComparisonResult.from_json(text)


def mutated(document, rng):
    """Return a JSON document with one value replaced, removed or doubled, or one byte changed."""
    text = json.dumps(document)
    if rng.random() < 0.3:
        place = rng.randrange(len(text))
        return text[:place] + rng.choice('0"{}[],:-e.\\ntf') + text[place + 1 :]
    copy = json.loads(text)
    spots, stack = [], [copy]
    while stack:
        parent = stack.pop()
        keys = list(parent) if isinstance(parent, dict) else range(len(parent))
        spots += [(parent, key) for key in keys]
        stack += [parent[key] for key in keys if isinstance(parent[key], dict | list)]
    parent, key = rng.choice(spots)
    strange = (
        None,
        True,
        -1,
        0,
        1e308,
        10**400,
        float("nan"),
        "",
        "x",
        [],
        {},
        [[]],
        [1],
        {"a": 1},
    )
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = rng.choice(strange)
    return json.dumps(copy)


class RefusedError(Exception):
    pass


def read_result(text):
    try:
        return ComparisonResult.from_json(text)
    except ValueError as error:
        if str(error).startswith("Expected a result as compare wrote it"):
            raise RefusedError from None
        raise


def test_broken_documents_are_refused_or_have_a_table():
    rng = random.Random(0)
    ops = {"sha256": "a", "ops": {"Invert": [0.5, 0.0], "Rotate": [0.5, 1.0]}}
    policies = dict.fromkeys(CLEAR.placements, ops)
    runs = tuple(
        dataclasses.replace(run, best=95.0, losses=(1.0, None), accuracies=((1, 50.0), (2, 60.0)))
        for run in CLEAR.runs
    )
    document = json.loads(dataclasses.replace(CLEAR, policies=policies, runs=runs).to_json())
    read = 0
    for _ in range(2000):
        text = mutated(document, rng)
        with contextlib.suppress(RefusedError):
            result = read_result(text)
            assert result.table()
            assert ComparisonResult.from_json(result.to_json()) == result
            read += 1
    assert 100 < read < 1500
    with pytest.raises(ValueError, match="Expected a result as compare wrote it"):
        ComparisonResult.from_json("[" * 100000)


@pytest.mark.parametrize("levels", [100, 300, 500])
def test_a_document_that_could_not_be_written_again_is_refused(levels):
    document = json.loads(CLEAR.to_json())
    side = 8
    for _ in range(levels):
        side = [side]
    document["settings"]["image_size"] = side
    with pytest.raises(ValueError, match="a result to be nested at most 100 levels"):
        ComparisonResult.from_json(json.dumps(document))


def test_a_document_with_unknown_fields_is_refused():
    document = json.loads(CLEAR.to_json()) | {"more": 1}
    with pytest.raises(ValueError, match="more"):
        ComparisonResult.from_json(json.dumps(document))
    document["more"] = json.loads(150 * "[" + 150 * "]")
    with pytest.raises(ValueError, match=r"at most 100 levels deep\.$"):
        ComparisonResult.from_json(json.dumps(document))


def test_unknown_policies_are_named():
    with pytest.raises(KeyError, match="Compared: none, up, down, same"):
        CLEAR.accuracies("other")


def test_a_result_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLEAR.reference = "up"


def test_documents_of_the_first_format_are_still_read():
    document = json.loads(CLEAR.to_json()) | {"format": 1}
    del document["policies"]
    for run in document["runs"]:
        del run["best"], run["losses"], run["accuracies"]
    assert ComparisonResult.from_json(json.dumps(document)) == CLEAR


def test_results_of_one_configuration_are_the_same_whatever_takes_part():
    more = comparison_result({"none": [90.0, 91.0], "new": [90.0, 91.0]}, seeds=2)
    CLEAR.check_same(more)
    figures = {"none": {"sha256": "a"}, "up": {"sha256": "b"}}
    named = dataclasses.replace(CLEAR, policies=figures)
    named.check_same(more)
    named.check_same(dataclasses.replace(CLEAR, policies={"down": {"sha256": "c"}}))
    changed = dataclasses.replace(CLEAR, policies={"up": {"sha256": "c"}})
    with pytest.raises(ValueError, match="do not mix: policy up c there, b here"):
        named.check_same(changed)
    with pytest.raises(ValueError, match="do not mix: epochs 4 there, 3 here; lamp None there, 1"):
        dataclasses.replace(CLEAR, settings=SETTINGS | {"lamp": 1}).check_same(
            dataclasses.replace(CLEAR, settings=SETTINGS | {"epochs": 4})
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["settings"].update(epochs="3"), "a setting is not a text or whole number"),
        (lambda d: d["settings"].update(test_images=0), "a setting is not a text or whole number"),
        (lambda d: d["settings"].update(network=None), "a setting is not a text or whole number"),
        (lambda d: d["settings"].update(largest_class=10**6), "a setting is not"),
        (lambda d: d["settings"].update(skipped=True), "a setting is not a text or whole number"),
        (lambda d: d["settings"].update(extra=float("nan")), "not JSON compliant"),
        (lambda d: d["seeds"].__setitem__(0, 2**70), "seeds are not whole numbers"),
        (lambda d: d["runs"].append(d["runs"][0]), "a run occurs twice"),
        (
            lambda d: d["runs"][0].update(accuracies=[[4, 90.0]]),
            "the epoch of a test is not one of the training",
        ),
        (lambda d: d.update(interest=1e-300), "interest is not a difference in points"),
        (lambda d: d.update(policies={"up": {"sha256": "", "ops": {"Flip": [2]}}}), "figures"),
        (lambda d: d.update(policies={"up": {"sha256": "", "ops": {"Flip": "2"}}}), "figures"),
        (lambda d: d.update(policies={"up": {"sha256": "", "ops": {"Flip": []}}}), "figures"),
    ],
)
def test_a_document_of_other_kinds_is_refused(tmp_path, change, message):
    document = json.loads(CLEAR.to_json())
    change(document)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"r\.json: Expected a result .*{message}"):
        ComparisonResult.load(path)
    path.write_text(CLEAR.to_json())
    assert ComparisonResult.load(path) == CLEAR


def test_a_name_cannot_command_a_terminal():
    evil = dataclasses.replace(CLEAR, data="made\x1b[2J\ud800")
    assert evil.table().startswith("made?[2J?: 100 training")
