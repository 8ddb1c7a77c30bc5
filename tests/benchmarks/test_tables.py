"""The tables of searches count, pair and skip results as the pages say."""

import json
import shutil

import pytest

from benchmarks import record, tables


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Let the tables read three of the results from another folder."""
    for name in ("digits", "mri", "clothing"):
        for stem in (f"screening-{name}.json", f"found-screening-{name}.safetensors"):
            shutil.copy(record.RESULTS / stem, tmp_path)
    for module in (record, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.usefixtures("results")
def test_a_summary_has_a_row_for_each_result_that_is_there():
    rows = [cells(line) for line in tables.screening_summary({})[2:]]
    named = ["digits (scikit-learn)", "MRI images", "clothing"]
    assert [row[0].partition(",")[0] for row in rows] == named
    assert [row[-1] for row in rows] == ["yes", "yes", "no"]


@pytest.mark.usefixtures("results")
def test_counts_follow_from_the_intervals():
    lines = tables.screening_counts({})
    assert "better, of 3" in lines[0]
    assert "better, of 1" in lines[0]
    counts = {row[0]: [int(count) for count in row[1:]] for row in map(cells, lines[2:])}
    assert counts["none"] == [2, 1, 0, 1, 0, 0]  # not shown on MRI images; clothing is new data
    assert counts["RandAugment"] == [0, 2, 1, 0, 1, 0]


def test_a_lead_over_the_returned_policy_itself_is_named(results):
    path = results / "screening-digits.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    runs = document["rows"][0]["comparison"]["runs"]
    found = {run["seed"]: run["accuracy"] for run in runs if run["policy"] == "found"}
    for run in runs:
        if run["policy"] == "crop-flip":
            run["accuracy"] = run["best"] = found[run["seed"]]
            run["accuracies"] = [[run["accuracies"][-1][0], found[run["seed"]]]]
    path.write_text(json.dumps(document), encoding="utf-8")
    row = cells(tables.screening_summary({})[2])
    assert row[5] == "the same policy"


def test_networks_of_other_trainings_are_refused(monkeypatch):
    other = (("cifar1000-wrn-40-2", "cifar1000", "evidence-60"),)
    monkeypatch.setattr(tables, "_NETWORKS", other)
    with pytest.raises(ValueError, match="other trainings"):
        tables.screening_networks({})
