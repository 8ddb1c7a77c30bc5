"""Every example runs on small data that the test makes."""

import importlib.util
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from learned_augment import Policy
from tests.conftest import save_photos

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = [
    pytest.param(path, marks=pytest.mark.slow if path.name == "search.ipynb" else ())
    for path in sorted(EXAMPLES.glob("*.ipynb"))
]


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _one_core(monkeypatch):
    """Searches and comparisons run in this process; others would load torch first, for seconds."""
    monkeypatch.setattr("learned_augment.runtime.process_pool.usable_cores", lambda: 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with ``photos``: two classes of twelve images, dark and bright."""
    monkeypatch.chdir(tmp_path)
    save_photos(tmp_path / "photos", count=12)
    return tmp_path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_and_says_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert f"python examples/{path.name}" in text


def test_a_batch_becomes_a_grid_of_different_images(folder, capsys):
    load("augment_batch").main(["photos/dark/0.png", "--copies", "6"])
    assert (folder / "batch.png").is_file()
    assert "6 copies" in capsys.readouterr().out


def test_a_made_image_becomes_a_grid(folder, capsys):
    load("augment_batch").main(["--copies", "4"])
    assert "4 of them different" in capsys.readouterr().out


# Forking a process with threads warns from Python 3.12 on.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", [None, "fork", "spawn"])
def test_training_with_workers_of_either_start_method(method, capsys):
    if method == "fork" and sys.platform == "win32":
        pytest.skip("Windows has no fork")
    workers = ["1", "--start-method", method] if method else ["0"]
    assert 0 <= load("train_cifar").main(["--workers", *workers]) <= 1
    assert "test images" in capsys.readouterr().out


@pytest.mark.slow
def test_a_spawned_worker_may_load_the_script_again():
    options = ["--workers", "1", "--start-method", "spawn"]
    command = [sys.executable, EXAMPLES / "train_cifar.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "test images" in done.stdout


def test_a_search_of_a_folder_writes_a_policy(folder, capsys):
    found = load("search_folder").main(["photos", "--epochs", "1", "--image-size", "16"])
    assert Policy.load("mine.safetensors") == found
    assert "times per image" in capsys.readouterr().out


def test_a_comparison_on_a_folder_writes_its_result(folder, capsys):
    options = ["--epochs", "1", "--seeds", "2", "--image-size", "16"]
    load("compare_policies").main(["photos", "--policies", "none", "trivialaugment", *options])
    assert "trivialaugment" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_targets_follow_and_are_drawn(folder, capsys):
    load("detection_targets").main(["--draws", "3"])
    assert (folder / "targets.png").is_file()
    assert "boxes left" in capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_cells_of_a_notebook_run(path, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = {"__name__": "notebook"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile("".join(cell["source"]), path.name, "exec"), names)
