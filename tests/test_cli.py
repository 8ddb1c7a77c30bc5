import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import learned_augment
from learned_augment import Policy, commands
from learned_augment.builders import from_layers
from learned_augment.cli import build_parser, main
from learned_augment.evaluation.compare import compare
from learned_augment.evaluation.config import CompareConfig
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.reporting.text import policy_text
from learned_augment.search import SearchConfig
from learned_augment.search import api as search_api

FLIP = from_layers([[("Flip", 1.0, 1.0)]], {"name": "always/flip"})


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / "a.png")
    return folder / "a.png"


@pytest.fixture
def flip(tmp_path):
    return str(FLIP.save(tmp_path / "flip.safetensors"))


def run(capsys, *arguments):
    """Return exit status, standard output and standard error of one command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_list_names_every_policy_and_its_licence(capsys):
    status, out, err = run(capsys, "list")
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["deepaa-imagenet", "DeepAA", "ImageNet", "224", "replaces", "[2]"] in rows
    assert ["dada-svhn", "DADA", "SVHN", "32", "after", "[1]"] in rows
    assert {row[0] for row in rows if row} >= set(learned_augment.list_policies())
    assert "[2] No licence is stated in the source repository" in out


def test_show_prints_text_and_json(capsys):
    status, out, _ = run(capsys, "show", "deepaa-cifar10")
    assert status == 0
    assert out.startswith("deepaa-cifar10: DeepAA, for CIFAR-10, images of 32 pixels, 6 layers\n")
    status, out, _ = run(capsys, "show", "dada-cifar10", "--json")
    data = json.loads(out)
    assert data["ops"]["Cutout"]["unit"] == "fraction of the width"
    assert len(data["sub_policies"]) == 25


def test_a_terminal_without_a_sign_shows_a_question_mark(monkeypatch):
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    assert main(["show", "dada-cifar10"]) == 0
    lines = plain.buffer.getvalue().decode().splitlines()
    whole = policy_text(Policy.load("dada-cifar10"))
    assert "±" in whole
    assert lines == whole.replace("±", "?").splitlines()


def test_show_draws_a_figure(capsys, tmp_path, flip):
    status, _, err = run(capsys, "show", flip, "--plot", tmp_path / "f.png")
    assert (status, err) == (0, f"Wrote {tmp_path / 'f.png'}.\n")
    assert pixels(tmp_path / "f.png").std() > 10


def test_apply_writes_copies_that_can_be_told_apart(capsys, tmp_path, photo, flip):
    out = tmp_path / "new" / "out"
    status, _, err = run(capsys, "apply", "--policy", flip, photo, "--out", out, "--variants", 2)
    assert (status, err) == (0, f"Wrote 2 images to {out}.\n")
    names = ["a-always-flip-1.png", "a-always-flip-2.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (pixels(out / names[0]) == pixels(photo)[:, ::-1]).all()


def test_apply_repeats_its_seed_and_leaves_the_originals(capsys, tmp_path, photo):
    before = photo.read_bytes()

    def copy(name, *more):
        given = ["apply", "--policy", "deepaa-cifar10", photo.parent, "--out", tmp_path / name]
        assert run(capsys, *given, *more)[0] == 0
        return pixels(tmp_path / name / "a-deepaa-cifar10-1.png")

    first = copy("one")
    assert (first == copy("two")).all()
    assert (first != copy("three", "--seed", 7)).any()
    copy("lowest", "--seed", -(2**63))
    copy("highest", "--seed", 2**64 - 1)
    assert photo.read_bytes() == before


def test_apply_passes_size_fill_and_interpolation_on(capsys, tmp_path, photo):
    shift = from_layers([[("TranslateX", 1.0, 1.0)]], {"name": "gone"})
    path = shift.save(tmp_path / "gone.safetensors")
    given = ["apply", "--policy", path, photo, "--out", tmp_path, "--fill", "1,2,3"]
    assert run(capsys, *given, "--size", 16, "--interpolation", "bilinear")[0] == 0
    out = pixels(tmp_path / "a-gone-1.png")
    assert out.shape == (16, 16, 3)
    assert (out == (1, 2, 3)).all()


def test_apply_makes_a_contact_sheet(capsys, tmp_path, photo, flip):
    grid = tmp_path / "sheet.png"
    given = ["apply", "--policy", flip, photo, "--grid", grid, "--variants", 3]
    assert run(capsys, *given)[0] == 0
    three = pixels(grid)
    assert run(capsys, *given[:-1], 5, "--overwrite")[0] == 0
    assert pixels(grid).shape[1] > three.shape[1]
    assert pixels(grid).shape[0] == three.shape[0]


def test_apply_replaces_nothing_unasked(capsys, tmp_path, photo, flip):
    given = ["apply", "--policy", flip, photo, "--out", tmp_path]
    assert run(capsys, *given)[0] == 0
    status, _, err = run(capsys, *given)
    assert status == 2
    assert err.endswith("a-always-flip-1.png exists; give --overwrite to replace it.\n")
    assert run(capsys, *given, "--overwrite")[0] == 0
    given = ["apply", "--policy", flip, photo, "--grid", photo, "--overwrite"]
    status, _, err = run(capsys, *given)
    assert status == 2
    assert "is one of the images to augment" in err


def test_apply_checks_every_image_before_it_writes_a_copy(capsys, tmp_path, photo, flip):
    out = tmp_path / "out"
    given = ["apply", "--policy", flip, photo.parent, photo.parent, "--out", out]
    Image.new("L", (9, 9)).save(photo.parent / "b.png")
    status, _, err = run(capsys, *given, "--fill", "1,2,3")
    assert (status, out.exists()) == (2, False)
    assert "b.png: Expected fill" in err
    assert run(capsys, *given, "--fill", "3")[0] == 0
    names = [path.name for path in out.iterdir()]
    assert sorted(names) == ["a-always-flip-1.png", "b-always-flip-1.png"]
    (photo.parent / "c.png").write_bytes(photo.read_bytes()[:400])
    status, _, err = run(capsys, *given, "--overwrite", "--variants", "2")
    assert (status, len(list(out.iterdir()))) == (2, 2)
    assert "c.png cannot be read" in err


def test_apply_tells_the_files_that_it_left_out(capsys, tmp_path, photo, flip):
    (photo.parent / "broken.png").write_text("no image")
    given = ["apply", "--policy", flip, photo.parent, "--skip-unreadable", "--variants", 2]
    told = f"1 unreadable file left out: {photo.parent / 'broken.png'} is not an image"
    status, _, err = run(capsys, *given, "--out", tmp_path / "o")
    assert (status, len(list((tmp_path / "o").iterdir()))) == (0, 2)
    assert err.startswith(told)
    assert err.endswith(f"\nWrote 2 images to {tmp_path / 'o'}.\n")
    status, _, err = run(capsys, *given, "--grid", tmp_path / "s.png")
    assert status == 0
    assert err.startswith(told)
    photo.unlink()
    status, _, err = run(capsys, *given, "--out", tmp_path / "o")
    assert status == 2
    assert "None of 1 image files can be read: " in err


def test_compare_prints_and_writes_the_result(capsys, tmp_path):
    path = tmp_path / "result.json"
    small = ["--epochs", 1, "--seeds", 2, "--train-size", 40, "--batch-size", 20]
    given = ["compare", "--data", "digits", "--policies", "none", "none+identity", *small]
    given += ["--workers", 1]
    status, out, err = run(capsys, *given, "--out", path, "--no-progress")
    assert (status, err) == (0, f"Wrote {path}.\n")
    assert out.startswith("digits: 40 training and 898 test images, 10 classes; small-cnn")
    written = ComparisonResult.from_json(path.read_text())
    assert out == written.table() + "\n"
    assert written.settings["batch_size"] == 20


def test_a_result_that_cannot_be_written_is_printed(capsys, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(commands, "write_atomically", full)
    given = ["compare", "--policies", "none", "flip", "--epochs", 1, "--train-size", 40]
    given += ["--batch-size", 20, "--seeds", 2, "--workers", 1, "--out", tmp_path / "r.json"]
    status, out, err = run(capsys, *given)
    assert status == 2
    assert "flip only" in out
    assert err == f"learned-augment: {tmp_path / 'r.json'}: No space left on device.\n"


def test_compare_extends_a_result_and_refuses_another_one(capsys, tmp_path):
    path, page = tmp_path / "result.json", tmp_path / "result.html"
    small = ["--epochs", 1, "--train-size", 40, "--batch-size", 20, "--no-progress"]
    given = ["compare", "--data", "digits", "--cache", tmp_path / "runs", "--out", path]
    given += ["--html", page, "--policies", "none", "none+identity", *small]
    given += ["--workers", 1]
    assert run(capsys, *given, "--seeds", 2)[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    assert len(list((tmp_path / "runs").iterdir())) == 4
    assert run(capsys, *given, "--seeds", 3)[0] == 0
    assert len(list((tmp_path / "runs").iterdir())) == 6
    written = path.read_text()
    assert ComparisonResult.from_json(written).seeds == (0, 1, 2)
    status, out, err = run(capsys, *given, "--seeds", 2, "--learning-rate", 0.2)
    assert (status, out) == (2, "")
    assert "do not mix: learning_rate 0.1 there, 0.2 here" in err
    assert path.read_text() == written
    path.write_bytes(b"\x89PNG")  # no text at all
    status, _, err = run(capsys, *given)
    assert status == 2
    assert "result.json: Expected a result as compare wrote it" in err
    assert "The file exists; choose another." in err
    assert path.read_bytes() == b"\x89PNG"


def test_an_interrupted_comparison_prints_its_finished_trainings(capsys, monkeypatch):
    partial = ComparisonResult(
        data="digits",
        placements={"none": "nothing", "identity": "alone"},
        reference="none",
        seeds=(0, 1),
        runs=(Run("none", 0, 50.0, 1.0),),
        settings={"train_images": 1, "test_images": 2, "classes": 2, "network": "n", "epochs": 1}
        | {"skipped": 0},
    )
    monkeypatch.setattr(commands, "compare", lambda **given: partial)
    status, out, _ = run(capsys, "compare")
    assert status == 130
    assert "50.00" in out


def test_search_writes_a_policy_and_says_what_it_would_take(capsys, tmp_path):
    out = tmp_path / "mine.safetensors"
    small = ["--epochs", 1, "--reduce", 40, "--batch-size", 20, "--no-progress"]
    small += ["--method", "dada", "--option", "keep=3"]
    given = ["search", "--data", "digits", "--out", out, *small]
    status, text, _ = run(capsys, *given, "--dry-run")
    assert status == 0
    assert "20 training and 20 validation images" in text
    assert not out.exists()
    status, text, err = run(capsys, *given)
    assert (status, err) == (0, f"Wrote {out}.\n")
    assert len(Policy.load(out).mixture) == 3
    assert text.startswith("dada-digits: DADA")


@pytest.mark.parametrize(
    ("stopped", "checkpoint", "status", "way"),
    [
        ("interrupted after step 2 of 6", True, 130, "the same command continues it"),
        ("time budget after step 3 of 6", False, 0, "without --checkpoint it cannot be continued"),
    ],
)
def test_a_search_cut_short_says_so(
    capsys, monkeypatch, tmp_path, stopped, checkpoint, status, way
):
    cut = replace(Policy.load("dada-svhn"), about={"name": "cut", "stopped": stopped})
    monkeypatch.setattr(commands, "search", lambda **given: cut.save(given["out"]) and cut)
    kept = ["--checkpoint", tmp_path / "c.pt"] if checkpoint else []
    given = ["search", "--data", "digits", "--out", tmp_path / "p.safetensors", *kept]
    found, out, err = run(capsys, *given)
    assert found == status
    assert f"Stopped: {stopped}; {way}." in err
    assert out.startswith("cut")
    assert f"The search was cut short: {stopped}." in out


def test_a_policy_that_cannot_be_written_is_printed(capsys, monkeypatch, tmp_path):
    policy = replace(Policy.load("dada-svhn"), about={"name": "found"})
    monkeypatch.setattr(commands, "search", lambda **given: policy)
    given = ["search", "--data", "digits", "--out", tmp_path / "p.safetensors"]
    status, out, err = run(capsys, *given)
    assert (status, err) == (2, "")  # `search` itself has warned
    assert out.startswith("found")


def test_search_tells_the_files_that_it_left_out(capsys, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index in range(10):
            Image.new("RGB", (16, 16), (20 * index, 9, 9)).save(tmp_path / label / f"{index}.png")
    (tmp_path / "cat" / "broken.png").write_bytes(b"oops")
    given = ["search", "--data", f"folder:{tmp_path}", "--out", tmp_path / "p.safetensors"]
    small = ["--batch-size", 4, "--epochs", 1, "--dry-run", "--skip-unreadable"]
    status, _, err = run(capsys, *given, *small)
    assert status == 0
    assert "1 unreadable file left out: " in err
    assert "broken.png" in err


MISTAKES = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["frob"], "invalid choice: 'frob'"),
    "unknown policy": (["show", "frob"], "No pretrained policy named 'frob'. Available: dada-"),
    "missing file": (["show", "no.safetensors"], "No policy file at 'no.safetensors'"),
    "not a figure": (["show", "dada-svhn", "--plot", "a.txt"], "ending in .png, .pdf, .svg"),
    "nowhere to draw": (["show", "dada-svhn", "--plot", "no/a.png"], "No folder 'no'"),
    "no images": (["apply", "--policy", "dada-svhn", "--out", "o", "no.png"], "at 'no.png'"),
    "nothing to write": (["apply", "--policy", "dada-svhn", "x"], "--out --grid is required"),
    "bad fill": (["apply", "--policy", "p", "x", "--out", "o", "--fill", "1,2"], "got '1,2'"),
    "bright fill": (["apply", "--policy", "p", "x", "--out", "o", "--fill", "256"], "0 to 255"),
    "no variants": (["apply", "--policy", "p", "x", "--out", "o", "--variants", "0"], "got '0'"),
    "high seed": (
        ["apply", "--policy", "dada-svhn", "x", "--out", "o", "--seed", str(2**64)],
        f"--seed from -2**63 to 2**64 - 1, got {2**64}.",
    ),
    "low seed": (
        ["apply", "--policy", "dada-svhn", "x", "--out", "o", "--seed", str(-(2**63) - 1)],
        "--seed from -2**63 to 2**64 - 1",
    ),
    "high seed of a search": (
        ["search", "--data", "digits", "--out", "p.safetensors", "--seed", str(2**63)],
        "seed from 0 to 2**63 - 1",
    ),
    "abbreviation": (["apply", "--pol", "p", "x", "--out", "o"], "--policy"),
    "bad data": (["compare", "--data", "frob"], "No data source 'frob'. Expected one of: digits"),
    "missing data": (["compare", "--data", "folder:no"], "No folder 'no'"),
    "bad policies": (["compare", "--policies", "none", "frob"], "No policy named 'frob'"),
    "no number": (["compare", "--learning-rate", "nan"], "expected a number, got 'nan'"),
    "no number of points": (["compare", "--interest", "much"], "expected a number, got 'much'"),
    "one policy": (["compare", "--policies", "none"], "two or more policies"),
    "nowhere to write": (["compare", "--out", "no/v.json"], "No folder 'no'"),
    "nowhere for a page": (["compare", "--html", "no/v.html"], "No folder 'no'"),
    "nowhere to keep": (["compare", "--cache", "no/runs"], "cache= to name a folder"),
    "bad method": (
        ["search", "--data", "digits", "--out", "p.safetensors", "--method", "frob"],
        "No search method 'frob'. Available: screening",
    ),
    "bad output": (["search", "--data", "digits", "--out", "p.txt"], "out ending in .safetensors"),
    "bad option": (
        ["search", "--data", "digits", "--out", "p.safetensors", "--option", "frob"],
        "NAME=VALUE, got 'frob'",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(capsys, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    arguments, expected = MISTAKES[case]
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert expected in err
    assert err.startswith("learned-augment")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_broken_images_and_foreign_sheets_are_mistakes(capsys, tmp_path, photo, flip):
    (photo.parent / "b.png").write_text("no image")
    status, _, err = run(capsys, "apply", "--policy", flip, photo.parent, "--out", tmp_path / "o")
    assert status == 2
    assert "b.png is not an image that Pillow can read." in err
    status, _, err = run(capsys, "apply", "--policy", flip, photo, "--grid", tmp_path / "s.doc")
    assert status == 2
    assert "ending in .png" in err


def test_errors_of_the_system_name_the_file(capsys, tmp_path, monkeypatch):
    def full(given, output):
        raise OSError(28, "No space left on device", "disk/a.png")

    monkeypatch.setattr(commands, "run_list", full)
    assert run(capsys, "list") == (2, "", "learned-augment: disk/a.png: No space left on device.\n")


def test_a_missing_extra_names_the_package_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run(capsys, "show", "dada-svhn", "--plot", tmp_path / "f.png")
    assert status == 2
    assert 'pip install "learned-augment[plot]"' in err


def test_an_interrupt_is_quiet(capsys, monkeypatch):
    def press(given, output):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run_list", press)
    assert run(capsys, "list") == (130, "", "Interrupted.\n")


def test_too_little_memory_is_told_in_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(commands, "compare", lambda **given: torch.empty(2**60))
    status, _, err = run(capsys, "compare")
    assert (status, err) == (
        2,
        "learned-augment: Out of memory; use fewer or smaller images.\n",
    )


def test_a_bug_is_not_called_a_mistake(capsys, monkeypatch):
    monkeypatch.setattr(commands, "run_list", lambda given, output: None + 1)
    with pytest.raises(TypeError):
        run(capsys, "list")


def test_the_module_runs_and_a_closed_pipe_is_silent():
    command = [sys.executable, "-m", "learned_augment", "show", "fastaa-imagenet", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(2) == b"{\n"
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, b"")


SMALL = ["--epochs", "1", "--batch-size", "20", "--no-progress"]
COMMANDS = {
    "list": [],
    "show": ["dada-svhn"],
    "apply": ["--policy", "dada-svhn", "photos", "--out", "copies"],
    "compare": ["--seeds", "2", "--train-size", "40", *SMALL, "--workers", "1", "--out", "r.json"],
    "search": [
        *("--data", "digits", "--reduce", "40", "--method", "dada", *SMALL),
        *("--out", "p.safetensors"),
    ],
    "report": ["dada-svhn", "--out", "page.html"],
    "completion": ["bash"],
}


def test_these_are_all_commands():
    (children,) = (a for a in build_parser()._actions if a.dest == "==SUPPRESS==" and a.choices)
    assert set(children.choices) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_json_and_nothing_else_when_asked(
    capsys, tmp_path, photo, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    policies = ["--policies", "none", "flip"] if command == "compare" else []
    status, out, err = run(capsys, command, *COMMANDS[command], *policies, "--json", "--quiet")
    assert (status, err) == (0, "")
    data = json.loads(out)
    files = {
        "apply": "copies/a-dada-svhn-1.png",
        "compare": "r.json",
        "search": "p.safetensors",
        "report": "page.html",
    }
    if command in files:
        assert Path(files[command]).exists()
    if command in ("apply", "report"):
        assert data["written"] == [files[command]]
    if command == "compare":
        assert ComparisonResult.from_json(out) == ComparisonResult.from_json(
            Path("r.json").read_text()
        )
    if command == "search":
        assert data["file"] == "p.safetensors"
        assert {"about", "ops", "sub_policies"} < set(data)
    if command == "list":
        assert [about["name"] for about in data] == learned_augment.list_policies()


def test_search_prints_its_cost_as_json(capsys, tmp_path):
    given = ["search", *COMMANDS["search"][:-1], tmp_path / "p.safetensors"]
    status, out, err = run(capsys, *given, "--dry-run", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["classes"] == 10


def test_help_lists_the_exit_codes(capsys):
    for command in ([], ["compare"]):
        out = run(capsys, *command, "--help")[1]
        for code in commands.Exit:
            assert re.search(rf"^  {code.value} +{re.escape(code.meaning)}$", out, re.M)


def test_a_warning_is_a_sentence(capsys, monkeypatch):
    def warn(given, output):
        warnings.warn("The disk is full.", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(commands, "run_list", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        expected = "learned-augment: warning: The disk is full.\n"
        assert run(capsys, "list", "--quiet") == (0, "", expected)


@pytest.mark.parametrize(
    "given",
    [
        ["compare", "--out", "a.json", "--html", "./a.json"],
        ["compare", "--out", "a.json", "--cache", "a.json"],
        ["compare", "--out", "link.json", "--html", "a.json"],
        ["search", "--data", "digits", "--out", "x.safetensors", "--checkpoint", "x.safetensors"],
        ["search", "--data", "digits", "--out", "x.safetensors", "--log", "x.safetensors"],
        ["search", "--data", "digits", "--out", "x.safetensors", "--log", "l", "--checkpoint", "l"],
    ],
    ids=lambda given: " ".join(given[1:]),
)
def test_two_outputs_at_one_path_are_refused_before_any_work(capsys, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("link.json").symlink_to("a.json")
    monkeypatch.setattr(commands, "compare", lambda **given: pytest.fail("it worked"))
    monkeypatch.setattr(search_api, "prepare", lambda *data, **given: pytest.fail("it worked"))
    status, out, err = run(capsys, *given)
    assert (status, out) == (2, "")
    assert "; give two paths." in err
    assert [path.name for path in tmp_path.iterdir()] == ["link.json"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file")
@pytest.mark.parametrize(
    "given",
    [
        ["search", "--data", "digits", "--out", "/proc/mine.safetensors"],
        ["search", "--data", "digits", "--out", "p.safetensors", "--checkpoint", "/proc/c"],
        ["search", "--data", "digits", "--out", "p.safetensors", "--log", "/proc/l"],
        ["compare", "--out", "/proc/r.json"],
        ["compare", "--html", "/proc/r.html"],
        ["report", "dada-svhn", "--out", "/proc/page.html"],
        ["show", "dada-svhn", "--plot", "/proc/figure.png"],
    ],
    ids=lambda given: " ".join(given),
)
def test_an_output_that_cannot_be_written_is_noticed_before_any_work(
    capsys, tmp_path, monkeypatch, given
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "compare", lambda **given: pytest.fail("it worked"))
    monkeypatch.setattr(search_api, "prepare", lambda *data, **given: pytest.fail("it worked"))
    status, out, err = run(capsys, *given)
    assert (status, out) == (2, "")
    assert "No file can be written to the folder '/proc'" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["list"], ["frob"], ["show", "frob"], ["list", "--help"]])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_streams_that_are_not_there_get_nothing(capsys, monkeypatch, name, arguments):
    plain = run(capsys, *arguments)
    monkeypatch.setattr(sys, name, None)
    status, out, err = run(capsys, *arguments)
    assert status == plain[0]
    if name == "stderr":
        assert (out, err) == (plain[1], "")
    elif arguments != ["list", "--help"]:  # argparse shows help on the other stream then
        assert (out, err) == ("", plain[2])


NO_SPACE = "learned-augment: No space left on device.\n"
needs_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no device that is always full here"
)


@needs_full
def test_a_full_output_is_told_in_a_sentence_and_fails_no_more_at_exit(capsys, monkeypatch):
    with Path("/dev/full").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert run(capsys, "list") == (2, "", NO_SPACE)
        output.flush()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&-", 0),
        pytest.param(">/dev/full", 2, marks=needs_full),
    ],
)
def test_closed_and_full_outputs_end_without_a_traceback(redirection, code):
    command = f"{sys.executable} -m learned_augment list {redirection}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, NO_SPACE if code else "")


def completed(script, *words):
    """Return the completions that bash finds after these words, the last of them unfinished."""
    line = f"COMP_WORDS=({' '.join(map(repr, words))}) COMP_CWORD={len(words) - 1}"
    text = f"{script}\n{line}\n_learned_augment\necho ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_options_names_and_choices(capsys):
    script = run(capsys, "completion", "bash")[1]
    assert completed(script, "learned-augment", "s") == ["show", "search"]
    assert completed(script, "learned-augment", "compare", "--se") == ["--seeds"]
    assert completed(script, "learned-augment", "show", "dada-") == [
        name for name in learned_augment.list_policies() if name.startswith("dada-")
    ]
    assert completed(script, "learned-augment", "show", "triv") == []
    assert completed(script, "learned-augment", "compare", "--policies", "triv") == [
        "trivialaugment"
    ]
    assert completed(script, "learned-augment", "apply", "x", "--interpolation", "b") == [
        "bilinear",
        "bicubic",
    ]
    assert {"bash", "zsh"} < set(completed(script, "learned-augment", "completion", ""))


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_reads_its_completion(capsys, tmp_path):
    path = tmp_path / "completion"
    path.write_text("autoload -Uz compinit && compinit -u\n" + run(capsys, "completion", "zsh")[1])
    subprocess.run(["zsh", "-f", str(path)], check=True)


def test_names_of_files_that_are_no_text_are_written_escaped(capsys, tmp_path):
    folder = os.fsencode(tmp_path) + b"/br\xe9"
    for label in (b"a", b"b"):
        (Path(os.fsdecode(folder)) / os.fsdecode(label)).mkdir(parents=True)
        for index in range(12):
            image = Image.new("RGB", (16, 16), (20 * index, 9, 9))
            image.save(Path(os.fsdecode(folder + b"/" + label)) / f"{index}.png")
    Path(os.fsdecode(folder + b"/a/no\xe9.png")).write_bytes(b"no image")
    data = ["--data", f"folder:{os.fsdecode(folder)}", "--skip-unreadable", "--no-progress"]
    small = ["--epochs", 1, "--batch-size", 4]
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    given = ["compare", *data, *small, "--seeds", 2, "--workers", 1, "--policies", "none", "flip"]
    assert run(capsys, *given, "--out", out, "--html", page)[0] == 0
    assert "br\\udce9" in ComparisonResult.from_json(out.read_text()).data
    assert "br\\udce9" in page.read_text()
    path = tmp_path / "p.safetensors"
    assert run(capsys, "search", *data, *small, "--method", "dada", "--out", path)[0] == 0
    about = Policy.load(path).about
    assert "no\\udce9.png" in about["skipped"][0]


def test_version(capsys):
    status, out, _ = run(capsys, "--version")
    assert (status, out) == (0, f"learned-augment {learned_augment.__version__}\n")


def options(capsys, command):
    out = run(capsys, command, "--help")[1]
    return set(re.findall(r"--([a-z-]+)", out)) - {"help", "no-progress", "json", "quiet"}


def test_compare_offers_every_argument_of_the_function(capsys):
    names = {field.name.replace("_", "-") for field in fields(CompareConfig)}
    assert options(capsys, "compare") == names - {"extends"} | {"data", "out", "html"}


def test_search_offers_every_argument_of_the_function(capsys):
    renamed = {"options": "option", "tensorboard_folder": "tensorboard"}
    settings = {field.name for field in fields(SearchConfig)} - {"callbacks"}
    names = {renamed.get(name, name).replace("_", "-") for name in settings}
    assert options(capsys, "search") == names | {"data", "val", "dry-run"}


def test_help_states_the_defaults_that_the_functions_have(capsys):
    out = " ".join(run(capsys, "compare", "--help")[1].split())
    defaults = {field.name: field.default for field in fields(CompareConfig)}
    defaults["data"] = inspect.signature(compare).parameters["data"].default
    assert f"trainings of each policy ({defaults['seeds']})" in out
    assert f"crop-flip+trivialaugment ({' '.join(defaults['policies'])})" in out
    assert f"--network NAME ({defaults['network']})" in out
    assert f"folder:PATH ({defaults['data']})" in out
