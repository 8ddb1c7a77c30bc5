"""benchmarks/papers/train.py: from arguments to results, in pieces, and what it refuses."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks import record
from benchmarks.papers import data as train_data
from benchmarks.papers import records as train_records
from benchmarks.papers import train
from benchmarks.papers.presets import DATASETS, PRESETS
from benchmarks.papers.run import parser, read_run
from learned_augment.datasets.load import load_images
from learned_augment.policy import Policy

SMALL = replace(PRESETS["cifar10-wrn-16-1"], network="small-cnn")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of three classes, in the folders of a training and a test part."""
    place = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 10), ("test", 4)):
        for label, name in enumerate("abc"):
            folder = place / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 60, (32, 32, 3), generator=generator) + 80 * label
                Image.fromarray(pixels.byte().numpy()).save(folder / f"{number}.png")
    return place


@pytest.fixture(autouse=True)
def world(photos, tmp_path, monkeypatch):
    """Results, checkpoints and images in a folder of the test; small networks of both kinds."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(PRESETS, "cifar10-small", SMALL)
    large = replace(PRESETS["imagenet-resnet50"], network="small-cnn")
    monkeypatch.setitem(PRESETS, "imagenet-small", large)
    shutil.copytree(photos, tmp_path / "data")
    return tmp_path


def run(world, *arguments, preset="cifar10-small", policy="trivialaugment", **options):
    given = {"data": f"folder:{world / 'data'}", "checkpoints": world / "ck", "name": "x"}
    given |= {"classes": 3, "epochs": 2, "batch-size": 10, "device": "cpu"} | options
    named = [str(part) for key, value in given.items() for part in (f"--{key}", value) if value]
    return train.main(["--preset", preset, "--policy", policy, *named, *arguments])


def results(name="x"):
    found = json.loads((record.RESULTS / f"train-{name}.json").read_text())
    for row in found["rows"]:
        assert row.pop("training_seconds") > 0
    return found


@pytest.mark.parametrize("preset", sorted(set(PRESETS)))
def test_every_preset_says_what_it_would_train(preset, capsys):
    assert train.main(["--preset", preset, "--policy", "trivialaugment", "--dry-run"]) == 0
    said = capsys.readouterr().out
    figures = PRESETS[preset]
    recipe, facts = figures.recipe, DATASETS[figures.data]
    steps = facts.images // recipe.batch_size
    assert f"{figures.network}, " in said
    assert f"{recipe.epochs} epochs of {steps:,} = {recipe.epochs * steps:,}" in said
    place = "before" if "deepaa" in preset else "after"
    assert f"trivialaugment: {place} {facts.default}" in said
    assert f"results/train-{preset}-trivialaugment.json" in said


def test_the_list_shows_every_preset(capsys):
    assert train.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in PRESETS)
    assert "26,210,842" in said  # PyramidNet-272 on 10 classes


def test_a_policys_control_goes_under_a_name_of_its_own(world, capsys):
    path = str(Policy.load("dada-cifar10").save(world / "mine.safetensors"))
    for policy in (path, f"random:{path}", "random:dada-cifar10"):
        assert train.main(["--preset", "cifar10-small", "--policy", policy, "--dry-run"]) == 0
    said = capsys.readouterr().out
    for name in ("mine", "random-mine", "random-dada-cifar10"):
        assert f"results/train-cifar10-small-{name}.json" in said


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ((), "0.1 to 0.4 in 5 epochs, then cosine to 0; weight decay 0.0002"),
        (("--learning-rate", "0.05"), "0.0125 to 0.05 in 5 epochs"),
        (("--learning-rate", "0.05", "--start", "0.05"), "0.05 to 0.05 in 5 epochs"),
        (("--start", "0"), "0 to 0.4 in 5 epochs"),
        (("--weight-decay", "1e-3"), "weight decay 0.001"),
    ],
)
def test_rates_and_decay_can_be_chosen(options, rates, capsys):
    assert train.main(["--preset", "cifar10-small", "--dry-run", *options]) == 0
    assert rates in capsys.readouterr().out


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_option_changes_no_recipe(preset):
    given = parser("").parse_args(["--preset", preset])
    assert read_run(given).recipe == PRESETS[preset].recipe


def test_results_hold_last_and_best_epoch_of_every_seed(world, capsys):
    assert run(world, "--seeds", "1", "0") == 0
    found = results()
    assert found["seeds"] == [0, 1]
    assert [row["seed"] for row in found["rows"]] == [0, 1]
    for row in found["rows"]:
        tests = dict(row["epoch_accuracies_percent"])
        assert list(tests) == [1, 2]
        assert row["last_epoch_accuracy_percent"] == tests[2]
        assert row["best_epoch_accuracy_percent"] == max(tests.values()) == tests[row["best_epoch"]]
    assert found["settings"]["placement"] == "after crop-flip, then Cutout 16"
    assert str(world) not in json.dumps(found)
    assert "2 seeds" in capsys.readouterr().out


def test_pieces_of_a_time_budget_give_the_results_of_one_run(world, capsys):
    assert run(world, "--seeds", "0", "1", name="whole") == 0
    statuses = [run(world, "--seeds", "0", "1", "--time-budget", "1e-9") for _ in range(11)]
    assert "Stopped (time budget): seed 0, step 1 of 6" in capsys.readouterr().out
    assert statuses == [3] * 10 + [0]  # a step each; the last of a seed goes on to the next
    assert results()["rows"] == results("whole")["rows"]


def test_ctrl_c_is_a_piece_too(world, monkeypatch, capsys):
    assert run(world, name="whole") == 0
    tell = train._tell

    def press(*arguments):
        tell(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "_tell", press)
    assert run(world) == 130
    monkeypatch.setattr(train, "_tell", tell)
    assert run(world) == 0
    assert results()["rows"] == results("whole")["rows"]
    assert "Stopped (interrupted): seed 0, step 3 of 6" in capsys.readouterr().out


def test_ctrl_c_before_the_training_is_one_sentence(world, monkeypatch, capsys):
    def press(data):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fingerprint", press)
    assert run(world) == 130
    assert capsys.readouterr().err.startswith("Interrupted. The same command goes on")


def test_too_little_memory_is_one_sentence(world, monkeypatch, capsys):
    def full(*arguments, **options):
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(train, "run_training", full)
    said = refused(capsys, run(world))
    assert said == "error: out of memory; give a smaller --batch-size, or fewer --images.\n"

    def broken(*arguments, **options):
        raise RuntimeError("of another kind")

    monkeypatch.setattr(train, "run_training", broken)
    with pytest.raises(RuntimeError, match="of another kind"):
        run(world)


def test_processes_go_on_by_the_command_that_started_them(world, monkeypatch):
    assert train._launcher() == "python"
    monkeypatch.setattr(train, "world_size", lambda: 8)
    assert train._launcher() == "torchrun --nproc-per-node 8"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert train._launcher() == "torchrun --nnodes 2 --nproc-per-node 4"


def test_finished_seeds_are_kept_and_others_added(world, capsys):
    run(world)
    first = results()["rows"]
    capsys.readouterr()
    assert run(world, "--seeds", "0", "2") == 0
    assert "seed 0, epoch" not in capsys.readouterr().out
    assert results()["rows"][0] == first[0]
    assert [row["seed"] for row in results()["rows"]] == [0, 2]


def test_seeds_that_finish_meanwhile_are_kept(world, monkeypatch):
    train_one = train.run_training

    def overtaken(*arguments, **options):
        monkeypatch.setattr(train, "run_training", train_one)
        assert run(world, "--seeds", "1", "0") == 0  # by another process, say
        return train_one(*arguments, **options)

    monkeypatch.setattr(train, "run_training", overtaken)
    assert run(world, "--seeds", "0", "2") == 0
    assert [row["seed"] for row in results()["rows"]] == [0, 1, 2]
    assert results()["seeds"] == [0, 1, 2]


def test_one_process_at_a_time_adds_to_a_result_file(world):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    with (
        train_records._alone("x"),
        (record.RESULTS / ".train-x.lock").open("w") as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def refused(capsys, status):
    assert status == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "none"}, "policy is 'trivialaugment' there and 'none' here"),
        ({"epochs": 3}, "epochs is 2 there and 3 here"),
        ({"images": 9}, "training_images is 30 there and 9 here"),
        ({"augment": "workers", "workers": "0"}, "augmented is 'device' there and 'workers' here"),
    ],
)
def test_another_configuration_under_one_name_is_refused(world, capsys, changes, message):
    run(world)
    before = results()
    said = refused(capsys, run(world, **changes))
    assert message in said
    assert "or another --name" in said
    assert results() == before


def test_a_checkpoint_of_another_configuration_is_refused_too(world, capsys):
    assert run(world, "--time-budget", "1e-9") == 3
    said = refused(capsys, run(world, epochs=3))
    assert "belongs to another training: epochs is 2 there and 3 here" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "expected 10 classes, got 3; cifar10 has 10"),
        ({"data": None}, "Which data?"),
        ({"data": "folder:missing"}, "expected train/ and test/ (or val/)"),
        ({"data": "cifar10:missing"}, "cifar10:missing is missing or damaged"),
        ({"policy": "deepa"}, "No policy named 'deepa'"),
        ({"policy": "gone.safetensors"}, "No policy file at 'gone.safetensors'"),
        ({"seeds": "-1"}, "different seeds from 0 up"),
        ({"name": "a/b"}, "A name has letters"),
        ({"checkpoints": __file__}, "Expected --checkpoints as a folder, got the file"),
        ({"start": "1"}, "from 0 to the learning rate, 0.4, got 1.0"),
        ({"time-budget": "-2"}, "--time-budget above 0"),
        ({"images": "2"}, "a subset needs 3"),
        ({"device": "cuda:99"}, "Device 'cuda:99' cannot be used"),
        ({"preset": "imagenet-small", "data": "digits"}, "ImageNet comes as folder:PATH"),
        ({"data": "digits"}, "Expected cifar10:ROOT, which the preset is for, or folder:PATH"),
        ({"data": "svhn:missing"}, "got 'svhn:missing'; --list shows"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(world, capsys, changes, message):
    assert message in refused(capsys, run(world, **changes))
    assert not (world / "results").exists()
    assert not list(world.glob("ck/*"))


def test_images_of_another_size_are_refused(world, capsys):
    for path in world.glob("data/*/*/*.png"):
        Image.open(path).resize((40, 36)).save(path)
    assert "32 x 32 pixels, these have 40 x 36" in refused(capsys, run(world))
    path = world / "data" / "train" / "a" / "0.png"
    Image.open(path).resize((32, 32)).save(path)
    said = refused(capsys, run(world))
    assert "is 40 x 36 pixels" in said
    assert said.endswith(". Resize the images first.\n")


def test_a_broken_image_is_named(world, capsys):
    victim = world / "data" / "train" / "b" / "3.png"
    victim.write_bytes(victim.read_bytes()[:50])
    said = refused(capsys, run(world))
    assert "b/3.png" in said
    assert said.endswith(". Repair or remove them.\n")
    said = refused(capsys, run(world, "--workers", "0", preset="imagenet-small"))
    assert "b/3.png cannot be read" in said


def test_a_result_file_that_is_none_is_left_alone(world, capsys):
    record.RESULTS.mkdir()
    path = record.RESULTS / "train-x.json"
    path.write_text("{")
    assert "is not a result file" in refused(capsys, run(world))
    assert path.read_text() == "{"


def test_imagenet_comes_from_folders_through_workers_or_the_device(world, capsys):
    for augment in ("workers", "device"):
        name, options = f"large-{augment}", ("--augment", augment, "--workers", "0")
        status = run(world, *options, preset="imagenet-small", epochs=1, name=name)
        assert status == 0
        assert results(name)["settings"]["augmented"] == augment
    options = ("--augment", "device")
    status = run(world, *options, preset="imagenet-small", policy="deepaa-imagenet")
    assert "crops by itself" in refused(capsys, status)


@pytest.mark.parametrize("preset", ["cifar10-small", "imagenet-small"])
def test_every_preset_tests_on_test_and_without_it_on_val(world, preset):
    def images():
        source = f"folder:{world / 'data'}"
        return train_data.load_source(source, PRESETS[preset], classes=3, extra=False)

    shutil.copytree(world / "data" / "test", world / "data" / "val")
    for path in world.glob("data/val/*/0.png"):
        path.unlink()
    assert train_data.sizes(images()) == (30, 12)
    shutil.rmtree(world / "data" / "test")
    assert train_data.sizes(images()) == (30, 9)
    if preset == "imagenet-small":  # whose test images come without labels
        (world / "data" / "test").mkdir()
        (world / "data" / "test" / "0.png").touch()
        assert train_data.sizes(images()) == (30, 9)


def test_svhn_asks_for_its_extra_images(world):
    data = load_images(f"folder:{world / 'data'}")
    with pytest.raises(FileNotFoundError, match=r"extra_32x32.mat is missing.*--without-extra"):
        train_data._with_extra(data, world)
