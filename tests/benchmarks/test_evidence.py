"""benchmarks/evidence.py and its table: resumed from the cache, said plainly."""

import json

import pytest

from benchmarks import evidence, record, tables
from learned_augment.builders import from_layers
from tests.evaluation.test_result import comparison_result
from tests.training.test_training import made_data


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The benchmark on made data with a small network, in a folder of the test."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(evidence, "TRAIN_IMAGES", 24)
    monkeypatch.setattr(evidence, "RECIPE", {"network": "small-cnn", "progress": False})
    monkeypatch.setattr(evidence, "load_images", lambda folder: made_data())
    found = from_layers([[("Flip", 1.0, 1.0)]], {"name": "other"})
    found.save(tmp_path / "found-flip.safetensors")
    return tmp_path


def run(monkeypatch, folder, *arguments):
    given = ["folder:made", "--epochs", "1", "--workers", "1", "--cache", str(folder / "runs")]
    monkeypatch.setattr("sys.argv", ["evidence.py", *given, *arguments])
    return evidence.main()


def result(folder):
    return json.loads((folder / "results" / "evidence.json").read_text())


def test_a_cut_table_goes_on_and_found_policies_are_called_as_their_files(
    small, monkeypatch, capsys
):
    path = str(small / "found-flip.safetensors")
    given = ["--policies", "crop-flip", "random:dada-cifar10", "--found", path]
    assert run(monkeypatch, small, *given, "--seeds", "2") == 0
    first = result(small)
    names = ["crop-flip", "random:dada-cifar10", "found-flip"]
    assert list(first["rows"][0]["placements"]) == names
    assert first["rows"][0]["reference"] == "crop-flip"
    assert first["rows"][0]["settings"]["train_images"] == 24
    assert len(list((small / "runs").iterdir())) == 6
    assert run(monkeypatch, small, *given, "--seeds", "3") == 0
    more = result(small)
    assert more["seeds"] == [0, 1, 2]
    assert more["rows"][0]["runs"][:6] == first["rows"][0]["runs"]
    assert "3 seeds" in capsys.readouterr().out


def test_an_interrupt_saves_what_there_is(small, monkeypatch):
    from learned_augment.evaluation import runner as comparison

    real, calls = comparison.train_network, []

    def cut(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(comparison, "train_network", cut)
    assert run(monkeypatch, small, "--policies", "none", "crop-flip", "--seeds", "3") == 130
    assert len(result(small)["rows"][0]["runs"]) == 3


def test_the_table_says_what_is_shown_and_what_is_not():
    values = [90.0, 91.0, 92.0, 91.0, 90.0]
    better = [value + 1 + place / 10 for place, value in enumerate(values)]
    accuracies = {"crop-flip": values, "a": better, "random:a": better[::-1], "b": values}
    document = {
        "rows": [json.loads(comparison_result(accuracies, reference="crop-flip").to_json())],
        "machine": {"cpu": "chip", "cores": 2, "gpu": None},
        "versions": {"torch": "2", "pillow": "13"},
        "date": "day",
        "command": "python -m benchmarks.evidence",
    }
    lines = tables.evidence(document)
    row = next(line for line in lines if line.startswith("| `a`"))
    assert "+1.20 [+1.00, +1.40]" in row
    assert row.count("[") == 2
    against = "better: `a`, `random:a`; worse: no policy; no difference shown: `b`"
    assert f"- Against `crop-flip`: {against}." in lines
    controls = "better: no policy; worse: no policy; no difference shown: `a`"
    assert f"- Against their random baselines: {controls}." in lines
    assert any("are likely to be missed" in line for line in lines)
