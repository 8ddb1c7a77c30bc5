"""Every file that the package writes is written whole or not at all."""

import ast
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import learned_augment
from benchmarks.reliability.faults import FAULTS, failing_write
from learned_augment import Policy, commands
from learned_augment.builders import identity
from learned_augment.cli import main
from learned_augment.evaluation.runner import RunCache
from learned_augment.reporting import html, plots
from learned_augment.runtime.checkpoint import save_checkpoint
from learned_augment.runtime.loop import StepReport
from learned_augment.search.callbacks import JsonLog, SearchReport
from learned_augment.search.deepaa.pretraining import write_network
from tests.evaluation.test_result import CLEAR

PACKAGE = Path(learned_augment.__file__).parent


class Network:
    """Parts of a training that write_network reads."""

    def __init__(self):
        self.network = self
        self.weights, self.buffers = {"weight": torch.ones(2, 3)}, {}
        self.recipe = {"epochs": 1}


def show_plot(path):
    commands.run_show({"policy": "dada-svhn", "plot": path}, commands.Output(quiet=True))


def report(path):
    commands.run_report({"source": "dada-svhn", "out": path}, commands.Output(quiet=True))


def apply(option):
    def write(path):
        photo = path.parent.parent / "photo.png"
        Image.new("RGB", (8, 8)).save(photo)
        place = path if option == "grid" else path.parent
        given = {"policy": "dada-svhn", "images": [photo], option: place, "overwrite": True}
        commands.run_apply(given, commands.Output(quiet=True))

    return write


def compare(option):
    def write(path):
        commands.run_compare({option: path}, commands.Output(quiet=True))

    return write


def cache(path):
    RunCache(path.parent).store({"seed": 1}, {"accuracy": 1.0})


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a policy": ("p.safetensors", lambda path: identity().save(path)),
    "a checkpoint": ("c.pt", lambda path: save_checkpoint(path, {"a": 1}, {"b": torch.ones(3)})),
    "a network": ("n.pt", lambda path: write_network(path, Network(), "0" * 32)),
    "a cached training": ("x.json", cache),
    "a figure": ("f.png", show_plot),
    "a page": ("r.html", report),
    "a contact sheet": ("s.png", apply("grid")),
    "an augmented copy": ("copy.png", apply("out")),
    "a result": ("r.json", compare("out")),
    "a page of a result": ("r.html", compare("html")),
}
"""What writes a file, with the file's name."""

GOES_ON = {"a checkpoint", "a network"}
"""What gives a warning and goes on: hours of work are worth more."""


@pytest.fixture(autouse=True)
def _contents_at_once(monkeypatch):
    monkeypatch.setattr(commands, "compare", lambda **given: CLEAR)
    for name in ("policy_page", "result_page"):
        monkeypatch.setattr(html, name, lambda *given: "<!doctype html>")
    monkeypatch.setattr(plots, "policy_figure", lambda policy: Figure(figsize=(1, 1)))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("before", [None, "old"])
def test_a_fault_at_any_step_leaves_what_was_there(tmp_path, capsys, writer, before):
    name, write = WRITERS[writer]
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / name)
    (path,) = folder.iterdir()
    new = path.read_bytes()
    if before is None:
        path.unlink()
    elif writer not in ("a result",):  # which goes on with the result that is there
        path.write_bytes(b"old")
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    for fault in (fault for fault in FAULTS if fault.failure != "killed"):
        with failing_write(fault, 1) as count:
            if writer in GOES_ON:
                with pytest.warns(RuntimeWarning, match="could not be written"):
                    write(folder / name)
            else:
                with pytest.raises(OSError, match=r"No space left|Permission denied"):
                    write(folder / name)
        assert count == [1]
        assert {path: path.read_bytes() for path in folder.iterdir()} == kept
    write(folder / name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == {path: new}


def written(module):
    """Yield (line, what) of each call of a module that writes a file."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        modes = [word.value for word in node.keywords if word.arg == "mode"] + node.args
        mode = [one.value for one in modes if isinstance(one, ast.Constant)]
        opens = name.split(".")[-1] == "open" and any(
            set(str(one)) & set("wax+") and len(str(one)) < 4 for one in mode
        )
        if opens or name.split(".")[-1] in ("write_bytes", "write_text", "write_atomically"):
            yield name.split(".")[-1]


def test_no_file_is_written_in_another_way():
    found = {
        str(module.relative_to(PACKAGE)): sorted(calls)
        for module in PACKAGE.rglob("*.py")
        if (calls := [*written(module)])
    }
    assert found == {
        "_io.py": ["open"],
        "commands.py": ["write_atomically"] * 4,
        "evaluation/runner.py": ["write_atomically"],
        "reporting/html.py": ["write_atomically"],
        "reporting/plots.py": ["write_atomically"],
        "runtime/checkpoint.py": ["write_atomically"],
        "runtime/process_pool.py": ["write_bytes"],  # a file of the process, in its own folder
        "search/callbacks.py": ["open"],  # the log, to which lines are appended
        "search/deepaa/pretraining.py": ["write_atomically"],
        "serialization.py": ["write_atomically"],
    }


def logged(log, step=1):
    plain = StepReport(step, 2, 0.5, "policy", 1.0, True, {"train_loss": 0.25})
    log(SearchReport(**vars(plain), policy=identity))


def test_a_line_of_the_log_that_was_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "log"
    log = JsonLog(path)
    logged(log)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:7])  # as a kill or a full disk leaves it
    again = JsonLog(path)
    for step in (2, 3):
        logged(again, step)
    lines = path.read_text().splitlines()
    assert lines[1] == whole[:7].decode()
    assert [json.loads(lines[n])["step"] for n in (0, 2, 3)] == [1, 2, 3]


def test_a_full_disk_costs_one_line_of_the_log(tmp_path, monkeypatch):
    path, plain = tmp_path / "log", Path.open
    log = JsonLog(path)
    logged(log)

    class Torn:
        def __enter__(self):
            return self

        def __exit__(self, *raised):
            self.file.close()

        def write(self, text):
            self.file.write(text[:5])
            raise OSError(28, "No space left on device")

    def opened(place, mode="r", **named):
        file = plain(place, mode, **named)
        if mode != "a":
            return file
        torn = Torn()
        torn.file = file
        return torn

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.warns(RuntimeWarning, match="No space left"):
            logged(log, 2)
    logged(log, 3)
    lines = path.read_text().splitlines()
    assert lines[1] == '{"ste'
    assert [json.loads(lines[n])["step"] for n in (0, 2)] == [1, 3]
    path.write_text("\n".join(lines[1:]))  # the first line is the one cut short
    logged(JsonLog(path), 4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()[1:]] == [3, 4]


def test_a_file_that_is_no_log_is_not_appended_to(tmp_path):
    path = identity().save(tmp_path / "p.safetensors")
    with pytest.raises(
        ValueError, match=r"p\.safetensors is not the log of a search; give another"
    ):
        JsonLog(path)
    assert Policy.load(path).name == "identity"
    result = tmp_path / "result.json"
    result.write_text(CLEAR.to_json())
    with pytest.raises(ValueError, match=r"result\.json is not the log of a search"):
        JsonLog(result)


def test_a_page_does_not_replace_its_source(tmp_path, capsys):
    source = tmp_path / "result.json"
    source.write_text(CLEAR.to_json())
    for same in (source, tmp_path / "link.html"):
        if same != source:
            same.symlink_to(source)
        main(["report", str(source), "--out", str(same)])
        assert source.read_text() == CLEAR.to_json()
    capsys.readouterr()


def test_the_page_of_a_comparison_ends_in_html(tmp_path, capsys):
    path = identity().save(tmp_path / "p.safetensors")
    assert main(["compare", "--html", str(path)]) == 2
    assert "Expected --html ending in .html" in capsys.readouterr().err
    assert Policy.load(path).name == "identity"


def test_what_is_written_needs_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert save_checkpoint(tmp_path / "c", {}, {})
