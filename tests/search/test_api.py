import builtins
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from learned_augment import _io
from learned_augment.builders import identity
from learned_augment.datasets.image_data import ImageData, LabeledImages, train_test_split
from learned_augment.datasets.load import load_images
from learned_augment.policy import Policy
from learned_augment.runtime.checkpoint import load_checkpoint
from learned_augment.runtime.process_pool import WorkerError
from learned_augment.search import METHODS, PRESETS, SearchConfig, estimate, prepare, search
from learned_augment.search.callbacks import ProgressLine, SearchReport, tensorboard
from learned_augment.search.dada.search import DADA
from learned_augment.search.screening.factors import choose_factors
from learned_augment.search.split import train_val_split
from tests.search.test_methods import SMALL_DADA, images, network

CPU = torch.device("cpu")


def found(data=None, **changes):
    return search(data or images(), **{**SMALL_DADA, "progress": False, **changes})


def labeled(counts, side=16):
    labels = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    pixels = pixels.expand(-1, 3, side, side).contiguous()
    names = tuple(f"class{label}" for label in range(len(counts)))
    return ImageData("counted", names, pixels, labels, pixels, labels)


def test_unknown_methods_and_presets_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"No search method 'dara'\. Available: screening"):
        found(method="dara")
    with pytest.raises(ValueError, match=r"No preset named 'cifar'\. Available: cifar10"):
        found(preset="cifar")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": 1}, "batch_size must be 2 or more, got 1"),
        ({"learning_rate": -1.0}, "Expected learning_rate > 0"),
        ({"reduce": 2}, "reduce must be 4 or more, got 2"),
        (
            {"base": "jitter"},
            "No base augmentation named 'jitter'. Available: none",
        ),
        ({"cutout": 1.5}, "Expected cutout as a fraction"),
        ({"device": "abacus"}, "Device 'abacus' cannot be used"),
        ({"network": "lenet"}, "No network named 'lenet'. Available: small-cnn"),
        ({"seed": -1}, "Expected seed from 0"),
        ({"time_budget": -3}, "Expected time_budget in seconds from 0"),
        ({"time_budget": float("nan")}, "Expected time_budget in seconds from 0"),
        ({"save_every": -1}, "Expected save_every in seconds from 0"),
        ({"checkpoint": "nowhere/search.pt"}, "No folder 'nowhere' to write"),
        ({"checkpoint": "/tmp"}, "Expected a file to write, got the folder"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_first_step(wrong, message):
    with pytest.raises(ValueError, match=message):
        found(**wrong, callbacks=[lambda report: pytest.fail("a step was taken")])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reduce": 10.5}, r"reduce as a whole number, got 10\.5"),
        ({"epochs": 1.5}, r"epochs as a whole number, got 1\.5"),
        ({"image_size": 32.5}, r"image_size as a whole number, got 32\.5"),
        ({"ops": "Rotate"}, "ops as several names of ops, got 'Rotate' alone"),
        ({"exclude": None}, "exclude as several names of ops, got None"),
        ({"seed": None}, "seed as a whole number, got None"),
        ({"image_size": "16"}, "image_size as a whole number, got '16'"),
        ({"learning_rate": "0.1"}, "learning_rate as a number, got '0.1'"),
        ({"cutout": [0.5]}, r"cutout as a number, got \[0.5\]"),
        ({"time_budget": "60"}, "time_budget as a number, got '60'"),
        ({"save_every": None}, "save_every as a number, got None"),
        ({"skip_unreadable": "false"}, "skip_unreadable to be True or False, got 'false'"),
        ({"progress": "no"}, "progress to be True or False, got 'no'"),
        ({"options": ["designs=4"]}, r"options as a mapping by name, got \['designs=4'\]"),
        ({"config": {"epochs": 2}}, r"config as a SearchConfig, got \{'epochs': 2\}"),
    ],
)
def test_settings_of_another_type_are_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        found(**wrong)


def test_settings_are_checked_however_they_are_made():
    quick = PRESETS["quick"]
    for name in ("reduce", "epochs", "batch_size"):
        with pytest.raises(TypeError, match=rf"{name} as a whole number, got 40\.5"):
            replace(quick, **{name: 40.5})
        assert type(getattr(replace(quick, **{name: np.int64(40)}), name)) is int
    with pytest.raises(ValueError, match="No base augmentation named 'nothing'"):
        replace(quick, base="nothing")


def test_presets_have_the_papers_settings():
    for name, figures in (("cifar10", (128, 0.1, 2e-4)), ("cifar100", (32, 0.025, 5e-4))):
        cifar = PRESETS[name]
        assert (cifar.network, cifar.reduce, cifar.epochs) == ("wrn-40-2", 4000, 20)
        assert (cifar.batch_size, cifar.learning_rate, cifar.weight_decay) == figures
        assert (cifar.base, cifar.cutout) == ("crop-flip", 16 / 32)
    svhn = PRESETS["svhn"]
    assert (svhn.network, svhn.reduce, svhn.learning_rate) == ("wrn-28-10", 1000, 0.00125)
    assert PRESETS["imagenet"].cutout == 0


def test_data_that_must_not_be_mirrored_are_not_flipped_by_the_base_augmentation():
    digits = images()
    object.__setattr__(digits, "flip_keeps_class", False)
    assert prepare(images(), **SMALL_DADA).settings.base == "crop-flip"
    assert prepare(digits, **SMALL_DADA).settings.base == "crop"
    assert prepare(digits, **SMALL_DADA, base="crop-flip").settings.base == "crop-flip"


def test_a_split_is_stratified_disjoint_and_exhaustive():
    split = train_val_split(labeled([7, 5, 9]), None, None, 0, CPU)
    a, b = split.train_images[:, 0, 0, 0].tolist(), split.val_images[:, 0, 0, 0].tolist()
    assert sorted(a + b) == list(range(21))
    counts = [part.bincount() for part in (split.train_labels, split.val_labels)]
    assert (counts[0] - counts[1]).abs().max() <= 1
    assert abs(len(a) - len(b)) <= 1


def test_both_parts_of_a_split_are_in_random_order():
    split = train_val_split(labeled([60, 60, 60]), None, None, 0, CPU)
    for labels in (split.train_labels, split.val_labels):
        assert labels[:20].bincount(minlength=3).min() >= 2


def test_no_seed_uses_the_test_images_of_compare():
    pytest.importorskip("sklearn")
    trained = load_images("digits").train_images
    split = prepare("digits", network="small-cnn", seed=3).split
    both = torch.cat([split.train_images, split.val_images])
    assert sorted(image.numpy().tobytes() for image in both) == sorted(
        image.numpy().tobytes() for image in trained
    )


def test_a_split_knows_the_places_of_its_images_in_their_source():
    data = labeled([40, 20, 60])  # the level of an image is its place
    subset = data.subset(60, seed=1)
    for given, reduce in ((data, None), (data, 30), (subset, None), (subset, 24)):
        split = train_val_split(given, None, reduce, 0, CPU)
        levels = torch.cat([split.train_images, split.val_images])[:, 0, 0, 0]
        assert split.order.tolist() == levels.tolist()
        assert levels.tolist() != sorted(levels.tolist())
    whole = LabeledImages("counted", data.classes, data.train_images, data.train_labels)
    parts = train_test_split(whole, 0.2, seed=0)
    assert parts.order.tolist() == parts.train_images[:, 0, 0, 0].tolist()
    val = whole._replace(images=255 - whole.images)
    split = train_val_split(subset, val, 80, 0, CPU)
    assert split.order[:40].tolist() == split.train_images[:, 0, 0, 0].tolist()
    assert split.order[40:].tolist() == (255 - split.val_images[:, 0, 0, 0]).tolist()


def test_reduction_keeps_the_proportions():
    split = train_val_split(labeled([40, 20, 60]), None, 24, 0, CPU)
    assert split.train_labels.bincount().tolist() == [4, 2, 6]
    assert split.val_labels.bincount().tolist() == [4, 2, 6]


def test_too_few_images_of_a_class_are_refused_by_name():
    with pytest.raises(ValueError, match=r"each need .* class1 \(1\); raise reduce"):
        train_val_split(labeled([4, 1, 4]), None, None, 0, CPU)


class Pairs(list):
    classes = ("class0", "class1")


def test_validation_images_of_a_data_set_need_no_split():
    data = labeled([6, 6])
    image = 255 - data.train_images[0].permute(1, 2, 0).numpy()
    val = Pairs([(image, 0), (image, 1), (image, 0)])  # one image of the second class
    split = prepare(data, val=val, network="small-cnn", seed=1).split
    assert split.val_labels.tolist() == [0, 1, 0]
    assert len(split.train_labels) == 12
    with pytest.raises(ValueError, match="every class, got none of class1"):
        prepare(data, val=Pairs(val[::2]), network="small-cnn")


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        labeled([8])


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "search.pt"

    class Breaks(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.linear = nn.Linear(3, classes)
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x):
            self.passes += 1  # counted by the passes that keep their statistics, one a step
            return self.linear(x.mean((2, 3))) * torch.where(self.passes > 3, torch.nan, 1.0)

    with pytest.raises(ArithmeticError, match=r"Step 3: val_loss is nan.* good checkpoint is kept"):
        found(network=Breaks, checkpoint=path, save_every=0)
    config = torch.load(path, weights_only=True)["config"]
    assert load_checkpoint(path, config)["job"]["proxy"]["done"] == 2


def test_a_checkpoint_of_another_search_says_what_differs(tmp_path):
    path = tmp_path / "search.pt"
    found(epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="seed is 0 there and 3 here") as error:
        found(epochs=1, checkpoint=path, seed=3)
    assert "epochs" not in str(error.value)
    with pytest.raises(ValueError, match="epochs is 1 there and 2 here"):
        found(epochs=2, checkpoint=path)
    with pytest.raises(ValueError, match=r"another search: options\.keep is 25 there and 9 here\."):
        found(epochs=1, checkpoint=path, options={"keep": 9})


def test_a_checkpoint_belongs_to_the_images_wherever_they_lie(tmp_path):
    path, data = tmp_path / "search.pt", images()
    ops = ["Rotate", "Invert", "Color"]
    cut = found(data, checkpoint=path, ops=ops, time_budget=0)
    assert "stopped" in cut.about
    moved = replace(data, name="folder:elsewhere")
    again = found(moved, checkpoint=path, ops=reversed(ops))
    assert again.encode() == found(moved, ops=ops).encode()


@pytest.mark.parametrize("ops", [("Rotate", "ResizedCrop", "CutoutClipped")])
def test_the_order_of_ops_decides_nothing(ops):
    pixels = images().train_images
    assert choose_factors(ops, (), pixels) == choose_factors(ops[::-1], (), pixels)


def test_a_search_cut_short_replaces_no_finished_policy(tmp_path):
    out, beside = tmp_path / "mine.safetensors", tmp_path / "mine-stopped.safetensors"
    cut = found(out=out, time_budget=0)
    assert Policy.load(out) == cut
    whole = found(out=out)
    assert Policy.load(out) == whole
    with pytest.warns(RuntimeWarning, match=r"stays as it is.*mine-stopped\.safetensors"):
        cut = found(out=out, time_budget=0)
    assert (Policy.load(out), Policy.load(beside)) == (whole, cut)
    out.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"mine\.safetensors is there and is no policy; choose"):
        found(out=out, time_budget=0)
    assert out.read_bytes() == b"something else"


def test_a_lost_process_leaves_a_checkpoint(tmp_path, monkeypatch):
    path, real = tmp_path / "search.pt", DADA.step

    def step(self):
        if self.done == 2:
            raise WorkerError("A process ended.")
        return real(self)

    with monkeypatch.context() as patched:
        patched.setattr(DADA, "step", step)
        with pytest.raises(WorkerError):
            found(checkpoint=path)
    first = []
    assert found(checkpoint=path, callbacks=[first.append]) == found()
    assert first[0].step == 3


def test_validation_images_that_are_images_of_the_data_are_noted():
    data = images()
    shared = LabeledImages("some", data.classes, data.train_images, data.train_labels)
    with pytest.warns(RuntimeWarning, match="24 of 24 validation images are images of the data"):
        train_val_split(data, shared, None, 0, CPU)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "search.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint of a search"):
        found(checkpoint=path)


def test_a_checkpoint_of_another_module_is_refused(tmp_path):
    def module(width):
        torch.manual_seed(width)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, width), nn.Linear(width, 3))

    path = tmp_path / "search.pt"
    found(network=module(4), epochs=1, checkpoint=path)
    for other in (module(5), lambda classes: module(6)):
        with pytest.raises(ValueError, match=r"belongs to another search: .*network"):
            found(network=other, epochs=1, checkpoint=path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_ends_no_search():
    with pytest.warns(RuntimeWarning, match=r"The log /dev/full could not be written .*goes on"):
        policy = found(log="/dev/full")
    assert "stopped" not in policy.about


def test_a_full_disk_leaves_the_old_checkpoint_and_the_search_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "search.pt"
    found(checkpoint=path, time_budget=0)
    old = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_io, "fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        policy = found(checkpoint=path)
    assert "stopped" not in policy.about
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["search.pt"]


def test_ctrl_c_finishes_the_step_saves_and_returns_the_policy_so_far(tmp_path):
    path = tmp_path / "search.pt"
    before = signal.getsignal(signal.SIGINT)

    def press(report):
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    cut = found(checkpoint=path, callbacks=[press])
    assert cut.about["stopped"] == "interrupted after step 2 of 6"
    assert signal.getsignal(signal.SIGINT) is before
    assert found(checkpoint=path) == found()


def test_a_second_ctrl_c_interrupts_at_once():
    def press(report):
        # Unlike kill, this returns when the handler has run: two signals do not become one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        found(callbacks=[press])


def test_the_time_budget_stops_the_search_and_it_can_go_on(tmp_path):
    path = tmp_path / "search.pt"
    cut = found(checkpoint=path, time_budget=0)
    assert cut.about["stopped"] == "time budget after step 1 of 6"
    assert found(checkpoint=path) == found()


def test_the_log_has_one_json_object_a_step_and_goes_on_after_a_resume(tmp_path):
    log, path = tmp_path / "log.jsonl", tmp_path / "search.pt"
    found(log=log, checkpoint=path, time_budget=0)
    found(log=log, checkpoint=path)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {"train_loss", "val_loss", "alignment", "seconds"} <= set(rows[0])
    with pytest.raises(ValueError, match="No folder"):
        found(log=tmp_path / "nowhere" / "log.jsonl")


def test_tensorboard_gets_every_metric_of_every_step(tmp_path):
    reason = "needs TensorBoard: pip install 'learned-augment[tensorboard]'"
    pytest.importorskip("tensorboard", reason=reason)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = tmp_path / "log.jsonl"
    found(log=log, tensorboard_folder=tmp_path / "events")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    metrics = set(rows[0]) - {"step", "steps", "seconds", "time"}
    assert set(events.Tags()["scalars"]) == metrics
    for name in metrics:
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]


def test_tensorboard_is_asked_for_when_it_is_missing(tmp_path, monkeypatch):
    real = builtins.__import__

    def fake(name, *rest):
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .learned-augment\[tensorboard\]."):
        tensorboard(tmp_path)


def test_progress_is_silent_without_a_terminal_and_shows_the_leading_ops(capsys):
    found(epochs=1, progress=None)
    assert capsys.readouterr().err == ""
    found(epochs=1, progress=True)
    shown = capsys.readouterr().err
    assert "step 2/2, train loss" in shown
    assert "most applied: " in shown
    assert " left" in shown


def test_a_progress_line_that_is_not_shown_asks_for_no_policy():
    report = SearchReport(1, 2, 0.1, "policy", 1.0, True, {}, lambda: pytest.fail("asked"))
    ProgressLine(shown=False)(report)


def test_a_policy_that_does_nothing_applies_no_op_most(capsys):
    report = SearchReport(1, 4, 1.0, "designs", 3.0, True, {}, policy=identity)
    ProgressLine(shown=True)(report)
    assert "designs: step 1/4, most applied: no op, 0 min 03 s left" in capsys.readouterr().err


def test_estimate_returns_sizes_memory_and_time():
    cost = estimate(images(), **SMALL_DADA)
    assert (cost.train_images, cost.val_images, cost.classes, cost.steps) == (12, 12, 3, 6)
    assert cost.data_bytes == 24 * 3 * 16 * 16 + 24 * 8
    assert cost.memory_bytes > cost.data_bytes
    assert cost.seconds > 0
    assert "base augmentation: crop-flip; 6 steps" in str(cost)


def test_data_sets_of_images_of_two_sizes_are_refused():
    class Two(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.zeros(3, 16 + index // 4, 16, dtype=torch.uint8), index % 2

    with pytest.raises(ValueError, match="image_size="):
        found(data=Two())


def test_unreadable_files_are_named_or_skipped(tmp_path):
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index in range(10):
            Image.new("RGB", (16, 16), (20 * index, 9, 9)).save(tmp_path / label / f"{index}.png")
    (tmp_path / "cat" / "broken.png").write_bytes(b"oops")
    with pytest.raises(ValueError, match=r"broken\.png"):
        found(data=f"folder:{tmp_path}")
    policy = found(data=f"folder:{tmp_path}", epochs=1, skip_unreadable=True)
    assert len(policy.about["skipped"]) == 1
    assert "broken.png" in policy.about["skipped"][0]


@pytest.mark.parametrize("wrong", [{"base": "crop"}, {"cutout": 0.5}])
def test_a_screening_refuses_a_base_augmentation_that_it_would_not_apply(wrong):
    with pytest.raises(ValueError, match="Expected no base and no cutout for a screening"):
        SearchConfig(**wrong)
    config = SearchConfig(base="none", cutout=0, preset="cifar10")
    assert config.method == "screening"
    _, settings = config.for_data("cifar10:data", flip_keeps_class=True)
    assert (settings.base, settings.cutout, settings.epochs) == ("none", 0.0, 20)


def test_without_mirror_images_the_flip_of_a_preset_is_left_out():
    for preset, base in (("cifar10", "crop"), ("imagenet", "resized-crop")):
        config = SearchConfig(method="dada", preset=preset)
        assert config.for_data("svhn:data", flip_keeps_class=False)[1].base == base
        assert config.for_data("svhn:data", flip_keeps_class=True)[1].base == f"{base}-flip"


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(TypeError, match=r"no setting 'epoch'\. Settings: method, .*progress"):
        found(epoch=3)
    for function in (search, prepare, estimate):
        with pytest.raises(TypeError, match="no setting 'beside'"):
            function(images(), beside="crop")


def test_keywords_change_the_settings_of_a_config_for_one_call():
    config = SearchConfig(**SMALL_DADA, progress=False, seed=2)
    assert search(images(), config=config) == found(seed=2)
    assert search(images(), config=config, seed=0) == found()
    assert config.seed == 2
    assert prepare(images(), config=config).record == prepare(images(), **SMALL_DADA, seed=2).record


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "deepa"},
        {"preset": "cifar", "epochs": 2},
        {"method": "dada", "options": {"estimator": "adam"}},
        {"batch_size": 1},
        {"base": "jitter"},
    ],
    ids=lambda wrong: " ".join(wrong),
)
def test_wrong_settings_are_refused_before_the_data_are_read(wrong):
    class Unread(torch.utils.data.Dataset):
        def __len__(self):
            pytest.fail("the data were read")

    with pytest.raises(ValueError, match=r"No |Expected|must be"):
        search(Unread(), **wrong)


def test_a_search_writes_its_policy(tmp_path):
    path = tmp_path / "mine.safetensors"
    policy = found(out=path, epochs=1)
    assert Policy.load(path) == policy
    with pytest.raises(ValueError, match=r"Expected out ending in \.safetensors, got"):
        found(out=tmp_path / "mine.pt")


def never(report):
    pytest.fail("a step was taken")


@pytest.mark.parametrize(
    "names", [("out", "checkpoint"), ("out", "log"), ("checkpoint", "log"), ("log", "folder")]
)
def test_two_outputs_at_one_path_are_refused(tmp_path, names):
    names = [{"folder": "tensorboard_folder"}.get(name, name) for name in names]
    (tmp_path / "link").symlink_to(tmp_path)
    paths = tmp_path / "x.safetensors", tmp_path / "link" / ".." / tmp_path.name / "x.safetensors"
    with pytest.raises(ValueError, match=f"{names[0]} and {names[1]} are both .*give two paths"):
        found(**dict(zip(names, paths, strict=True)), callbacks=[never])
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_the_network_of_deepaa_is_an_output_too(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="out and network_file are both"):
        found(method="deepaa", out=path, options={"network_file": str(path)}, callbacks=[never])


@pytest.mark.parametrize("name", ["out", "checkpoint", "log"])
def test_an_output_that_cannot_be_written_is_refused_before_the_first_step(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "full.safetensors").mkdir()
    for path in (tmp_path / "file" / "x.safetensors", tmp_path / "full.safetensors"):
        with pytest.raises(ValueError, match=r"No folder|Expected a file to write"):
            found(**{name: path}, callbacks=[never])
        with pytest.raises(ValueError, match=r"No folder|Expected a file to write"):
            estimate(images(), **SMALL_DADA, **{name: path})
    if Path("/proc/self").exists():
        with pytest.raises(ValueError, match="No file can be written to the folder '/proc'"):
            found(**{name: "/proc/x.safetensors"}, callbacks=[never])


def test_a_checkpoint_may_have_any_name(tmp_path):
    for name in ("search.safetensors", "search", "search.json"):
        path = tmp_path / name
        cut = found(checkpoint=path, time_budget=0)
        assert cut.about["stopped"] == "time budget after step 1 of 6"
        assert found(checkpoint=path) == found()


@pytest.mark.parametrize("method", METHODS)
def test_frozen_and_lazy_networks_are_refused(method):
    frozen = network(3, dropout=0.0).requires_grad_(False)
    with pytest.raises(ValueError, match=r"none of its parameters requires a gradient; set "):
        found(method=method, network=frozen, callbacks=[never])

    def lazy(classes):
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3))

    with pytest.raises(ValueError, match=r"initialized weights, but 0\.weight.* are not; run it"):
        found(method=method, network=lazy, callbacks=[never])


def test_partly_frozen_networks_are_searched_with():
    def partly(classes):
        built = network(classes, dropout=0.0)
        built[0].requires_grad_(False)
        return built

    for method in ("dada", "deepaa"):
        options = {"steps": 2, "depth": 1} if method == "deepaa" else {}
        assert isinstance(found(method=method, network=partly, options=options), Policy)


def test_a_folder_that_goes_during_a_search_costs_no_policy(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.warns(RuntimeWarning, match=r"not written to .*, only returned: No"):
        policy = found(out=folder / "mine.safetensors", callbacks=[lambda _: _removed(folder)])
    assert policy == found()


def _removed(folder):
    if folder.exists():
        folder.rmdir()
