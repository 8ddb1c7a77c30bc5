"""Detectors: a COCO folder is read, objects follow their pixels, a cut run ends as a whole one."""

import json
import math
import multiprocessing
import os
import re
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from benchmarks import record
from benchmarks.detection import train as detect
from benchmarks.detection.coco import CocoSplit, Photo, read_split, with_objects
from benchmarks.detection.evaluation import evaluate
from benchmarks.detection.models import MODELS, build_detector, load_backbone
from benchmarks.detection.training import DetectorTraining, Schedule, augmentation, sample
from benchmarks.training_loop import run_training
from learned_augment import builders
from learned_augment.builders import from_layers
from learned_augment.models import resnet50

CPU = torch.device("cpu")
SIDE = 64


def rectangle_runs(x, y, w, h):
    """The run-length code of a rectangle, column by column."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y : y + h, x : x + w] = True
    flat = mask.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return {"size": [SIDE, SIDE], "counts": np.diff([0, *edges, flat.size]).tolist()}


def outline(kind, x, y, w, h):
    if kind == "runs":
        return rectangle_runs(x, y, w, h)
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def write_coco(folder, boxes=((8, 12, 30, 20), (20, 6, 25, 40), (5, 5, 50, 30), (30, 30, 20, 22))):
    """Four images with a bright rectangle each, one outlined by runs; categories 3 and 17."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        images, annotations = [], []
        for i, (x, y, w, h) in enumerate(boxes):
            pixels = np.full((SIDE, SIDE, 3), 20, dtype=np.uint8)
            pixels[y : y + h, x : x + w] = 230
            Image.fromarray(pixels).save(folder / split / f"{i}.png")
            images.append({"id": 70 - i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE})
            shape = outline("runs" if i == 1 else "polygon", x, y, w, h)
            annotations.append({"id": i, "image_id": 70 - i, "category_id": (17, 3)[i % 2]})
            annotations[-1] |= {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            annotations[-1] |= {"segmentation": shape}
        images.append({"id": 99, "file_name": "0.png", "height": SIDE, "width": SIDE})
        document = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 17, "name": "dog"}, {"id": 3, "name": "car"}],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco")


def change(folder, edit, split="train2017"):
    path = folder / "annotations" / f"instances_{split}.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def small_detector(classes=2):
    """A Faster R-CNN on two convolutions: it draws its anchors and its proposals."""
    torch.manual_seed(1)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=4, padding=1)
    )
    backbone.out_channels = 8
    anchors = AnchorGenerator(((16, 32, 48),), ((1.0,),))
    sizes = {"min_size": SIDE, "max_size": SIDE, "box_detections_per_img": 20}
    sizes |= {"rpn_batch_size_per_image": 8, "box_batch_size_per_image": 8}
    return FasterRCNN(backbone, classes + 1, rpn_anchor_generator=anchors, **sizes)


def new_training(folder, epochs=3, workers=0, policy=None, **schedule):
    return DetectorTraining(
        small_detector(),
        with_objects(read_split(folder, "train")),
        Schedule(epochs=epochs, batch_size=2, warm_up=1, drops=(), **schedule),
        policy=policy or builders.trivial_augment(SIDE),
        masks=False,
        device=CPU,
        workers=workers,
    )


def test_a_folder_is_read(coco):
    split = read_split(coco, "train")
    assert split.classes == ("car", "dog")  # in the order of the ids 3, 17
    assert len(split.photos) == 5
    assert len(with_objects(split).photos) == 4
    photo = split.photos[1]
    assert (photo.items[0].label, photo.items[0].box) == (1, (20.0, 6.0, 45.0, 46.0))
    assert [p.items[0].label for p in split.photos[:4]] == [2, 1, 2, 1]


def test_boxes_without_area_and_crowds_are_not_trained_on(coco):
    def edit(document):
        document["annotations"][0]["bbox"][2] = 0
        document["annotations"][1]["iscrowd"] = 1

    change(coco, edit)
    assert len(with_objects(read_split(coco, "train")).photos) == 2


@pytest.mark.parametrize("row", range(4))
def test_outlines_cover_their_pixels(coco, row):
    image, target = sample(read_split(coco, "train").photos[row], masks=True)
    assert torch.equal(target["masks"][0] > 0, image[0] > 100)


def single(op, value):
    return from_layers([[(op, 1.0, value)]], {"name": op, "placement": "replaces"})


MOVES = [
    ("Rotate", 20.0),
    ("Rotate", -45.0),
    ("Flip", 1.0),
    ("TranslateX", 0.2),
    ("TranslateY", -0.15),
    ("ShearX", 0.2),
    ("Invert", 0.0),
]


@pytest.mark.parametrize(("op", "value"), MOVES)
def test_objects_follow_their_pixels(coco, op, value):
    image, target = sample(read_split(coco, "train").photos[0], masks=True)
    augment = augmentation(single(op, value))
    moved, moved_target = augment(image, target)
    plain, mask = moved[0] > 100, moved_target["masks"][0] > 0
    # An inverted rectangle is dark on bright.
    bright = ~plain if op == "Invert" else plain
    assert bright.sum() > 100
    assert torch.equal(mask, bright)
    rows, columns = bright.nonzero().T
    hull = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    box = moved_target["boxes"][0]
    # Nearest neighbor loses at most a pixel of a turned corner's tip.
    assert (box - torch.tensor([float(edge) for edge in hull])).abs().max() <= 1.5
    assert op == "Invert" or (box - target["boxes"][0]).abs().max() > 2


def test_a_flip_comes_first_unless_the_policy_replaces_it(coco):
    image, target = sample(read_split(coco, "train").photos[0], masks=False)

    def distinct(policy):
        return len(
            {augmentation(policy)(image, target)[1]["boxes"][0, 0].item() for _ in "12345678"}
        )

    beside = from_layers([[("Identity", 1.0, 0.0)]], {"name": "a", "placement": "after"})
    assert distinct(beside) == 2
    assert distinct(single("Identity", 0.0)) == 1


def test_vanished_objects_go_with_masks_and_labels(coco):
    x, y, w, h = 0, 40, 10, 20

    def edit(document):
        second = {"id": 9, "image_id": 70, "category_id": 3, "bbox": [x, y, w, h], "iscrowd": 0}
        document["annotations"].append(second | {"segmentation": outline("polygon", x, y, w, h)})

    change(coco, edit)
    image, target = sample(read_split(coco, "train").photos[0], masks=True)
    assert target["labels"].tolist() == [2, 1]
    # The sign is found rather than assumed: one direction pushes the second object out.
    kept = [augmentation(single("TranslateX", v))(image, target)[1] for v in (-0.2, 0.2)]
    sizes = sorted(len(each["labels"]) for each in kept)
    assert sizes == [1, 2]
    short = min(kept, key=lambda each: len(each["labels"]))
    assert short["labels"].tolist() == [2]
    assert short["boxes"].shape == (1, 4)
    assert short["masks"].shape == (1, SIDE, SIDE)


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "resnet50.pt"
    torch.manual_seed(3)
    torch.save(resnet50(10).state_dict(), path)
    return path


@pytest.mark.parametrize(
    "name", ["retinanet", *(pytest.param(n, marks=pytest.mark.slow) for n in list(MODELS)[1:])]
)
def test_a_step_on_a_trained_backbone(coco, backbone_file, name):
    given = torch.load(backbone_file, weights_only=True)
    model = build_detector(name, 2, load_backbone(backbone_file), min_size=SIDE)
    body = model.backbone.body
    assert torch.equal(body.layer4[2].conv3.weight, given["layer4.2.conv3.weight"])
    training = DetectorTraining(
        model,
        with_objects(read_split(coco, "train")),
        Schedule(epochs=1, batch_size=4, warm_up=0),
        policy=builders.identity(),
        masks=name == "maskrcnn",
        device=CPU,
    )
    training.step()
    assert training.done == training.steps == 1
    # Two of five stages are frozen, and so is every statistic.
    assert torch.equal(body.layer1[0].conv1.weight, given["layer1.0.conv1.weight"])
    assert torch.equal(body.layer4[2].bn3.running_mean, given["layer4.2.bn3.running_mean"])
    assert not torch.equal(body.layer4[2].conv3.weight, given["layer4.2.conv3.weight"])
    photos = read_split(coco, "val")
    found = evaluate(model, photos, masks=name == "maskrcnn", device=CPU)
    assert found["boxes"]["AP"] is not None
    assert ("masks" in found) == (name == "maskrcnn")


def test_the_loss_falls(coco):
    training = new_training(coco, epochs=30, policy=builders.identity(), learning_rate=0.08)
    while training.done < training.steps:
        training.step()
    assert len(training.losses) == 30
    assert np.mean(training.losses[-3:]) < 0.9 * np.mean(training.losses[:3])


def test_a_loss_that_is_not_finite_is_not_learnt_from(coco):
    training = new_training(coco, learning_rate=1e30)
    training.step()
    before = weights(training)
    with pytest.raises(ArithmeticError, match=r"Step 2: expected a finite loss, got .* Lower the"):
        training.step()
    assert training.done == 1
    assert_same(before, weights(training))


class Oracle(nn.Module):
    """A detector that has seen the answers, by the place of its image."""

    def __init__(self, photos):
        super().__init__()
        self.answers = [sample(photo, masks=True)[1] for photo in photos]

    def forward(self, images):
        target = self.answers.pop(0)
        count = len(target["labels"])
        masks = target["masks"][:, None].float().reshape(count, 1, *images[0].shape[1:])
        found = {"boxes": target["boxes"], "labels": target["labels"], "masks": masks}
        return [found | {"scores": torch.full((count,), 0.9)}]


def test_a_detector_that_knows_the_answers_scores_100(coco):
    split = read_split(coco, "val")
    result = evaluate(Oracle(split.photos), split, masks=True, device=CPU)
    for kind in ("boxes", "masks"):
        found = result[kind]
        assert (found["AP"], found["AP small"], found["AP medium"]) == (100.0, 100.0, 100.0)
    wrong = CocoSplit(split.photos[1:] + split.photos[:1], split.classes)
    assert evaluate(Oracle(wrong.photos), split, masks=False, device=CPU)["boxes"]["AP"] < 60


def weights(training):
    return {name: weight.clone() for name, weight in training.model.state_dict().items()}


def run(training, checkpoint, budget=math.inf):
    return run_training(training, checkpoint, {"a": 1}, CPU, time_budget=budget)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def test_a_run_cut_anywhere_goes_on_as_if_it_had_not_been(coco, tmp_path):
    whole, path = new_training(coco), tmp_path / "run.pt"
    assert (whole.steps, run(whole, tmp_path / "whole.pt")) == (6, "finished")
    cuts = 0
    while run(cut := new_training(coco), path, budget=1e-9) != "finished":
        cuts += 1
        torch.manual_seed(cuts)  # what the rest of a process draws must not matter
    assert cuts == 5
    assert_same(weights(whole), weights(cut))
    assert whole.losses == cut.losses


def test_processes_that_read_images_change_nothing(coco, tmp_path):
    here, there = new_training(coco, epochs=1), new_training(coco, epochs=1, workers=1)
    run(here, tmp_path / "here.pt")
    run(there, tmp_path / "there.pt")
    assert_same(weights(here), weights(there))


def test_processes_that_read_images_leave_signals_alone_and_end_with_the_last_step(coco):
    here, there = new_training(coco, epochs=1), new_training(coco, epochs=1, workers=1)
    others = multiprocessing.active_children()  # of tests that ran before in this process
    there.step()
    workers = [worker for worker in multiprocessing.active_children() if worker not in others]
    assert workers
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(workers[0].pid, number)
    there.step()
    assert there.done == there.steps
    assert not {*workers} & {*multiprocessing.active_children()}
    for _ in range(here.steps):
        here.step()
    assert_same(weights(here), weights(there))


def test_a_broken_image_loses_nothing(coco, tmp_path):
    whole, path = new_training(coco), tmp_path / "run.pt"
    run(whole, tmp_path / "whole.pt")
    image = coco / "train2017" / "2.png"
    good = image.read_bytes()
    image.write_bytes(good[: len(good) // 2])
    broken = new_training(coco, policy=builders.trivial_augment(SIDE))
    with pytest.raises(ValueError, match=r"2\.png cannot be read as an image .* replace the file"):
        run(broken, path)
    assert torch.load(path, weights_only=True)["state"]["job"]["done"] == broken.done < 2
    image.write_bytes(good)
    resumed = new_training(coco)
    assert run(resumed, path) == "finished"
    assert_same(weights(whole), weights(resumed))


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def command(folder, *more):
    return detect.main(
        ["--data", str(folder), "--model", "retinanet", "--epochs", "1", "--batch-size", "4",
         "--min-size", str(SIDE), "--device", "cpu", "--checkpoint", f"{folder}.pt",
         *map(str, more)]
    )  # fmt: skip


def test_the_command_trains_measures_and_resumes(coco, results, monkeypatch, capsys):
    monkeypatch.setattr(detect, "build_detector", lambda name, n, *rest: small_detector(n))
    options = ("--policy", "dada-imagenet", "--epochs", "2")
    assert command(coco, *options, "--time-budget", "1e-9") == 3
    assert "(time budget) at step 1 of 2" in capsys.readouterr().out
    assert not results.exists()
    assert command(coco, *options) == 0
    found = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert found["boxes"]["AP"] is not None
    saved = json.loads((results / "detect-retinanet-scratch-dada-imagenet-seed0.json").read_text())
    assert saved["rows"] == [found]
    assert saved["settings"]["training_images"] == 4
    assert command(coco, *options) == 0  # only measured again
    assert json.loads(capsys.readouterr().out) == found
    assert command(coco, *options, "--learning-rate", "0.5") == 2
    assert "learning_rate is None there and 0.5 here" in capsys.readouterr().err
    # A policy's file may change under its name.
    for op in ("Invert", "Flip"):
        from_layers([[(op, 1.0, 0.0)]]).save(results / "mine.safetensors")
        options = ("--policy", results / "mine.safetensors", "--checkpoint", results / "mine.pt")
        assert command(coco, *options) == (0 if op == "Invert" else 2)
    assert "policy_sha256 is " in capsys.readouterr().err


def test_a_result_of_other_settings_is_not_replaced(coco, results, monkeypatch, capsys):
    monkeypatch.setattr(detect, "build_detector", lambda name, n, *rest: small_detector(n))
    named = ("--name", "x", "--policy")
    assert command(coco, *named, "dada-imagenet") == 0
    path = results / "detect-x.json"
    before = path.read_text()
    fresh = ("--checkpoint", results / "other.pt")
    for other, differs in (
        ("trivialaugment", "policy_sha256"),
        ("dada-imagenet", "batch_size is 4 there and 2 here"),
    ):
        assert command(coco, *named, other, "--batch-size", "2", *fresh) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path} holds a result of another configuration: ")
        assert differs in error
        assert error.endswith("Give the same settings, or another --name.\n")
    # Other annotations are other data, however many images and objects there are.
    change(coco, lambda d: d["annotations"][0]["bbox"].__setitem__(0, 9), "val2017")
    for options in ((), fresh):
        assert command(coco, *named, "dada-imagenet", *options) == 2
        assert "annotations_sha256 is " in capsys.readouterr().err
    assert path.read_text() == before
    path.write_text("[]")
    assert command(coco, *named, "dada-imagenet") == 2
    assert "is not a result file" in capsys.readouterr().err


ENDS = {
    "interrupted": (KeyboardInterrupt(), 130, "Interrupted. The same command goes on"),
    "memory": (MemoryError(), 2, "error: out of memory; give a smaller --batch-size"),
    "cuda": (torch.OutOfMemoryError("CUDA out of memory. Tried"), 2, "error: out of memory; "),
    "cpu": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: out of memory"),
    "killed": (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 2, "error"),
}


@pytest.mark.parametrize("place", ["_splits", "check_readable", "_training", "evaluate"])
@pytest.mark.parametrize("case", ENDS)
def test_interrupts_and_full_memory_end_in_a_sentence(
    coco, results, monkeypatch, capsys, case, place
):
    error, status, message = ENDS[case]

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(detect, "build_detector", lambda name, n, *rest: small_detector(n))
    monkeypatch.setattr(detect, place, fail)
    assert command(coco) == status
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_other_errors_keep_their_traceback(coco, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a defect")

    monkeypatch.setattr(detect, "_splits", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        command(coco)


def drop(key):
    return lambda document: document.pop(key)


def nothing(coco):
    """No change."""


def truncated(path):
    path.write_bytes(path.read_bytes()[:40])


BAD = {
    "no folder": (lambda c: c.rename(c.with_name("x")), "No folder"),
    "no split": (
        lambda c: (c / "annotations/instances_val2017.json").unlink(),
        "No split 'val': expected .*found instances_train2017.json",
    ),
    "two of a split": (
        lambda c: (c / "annotations/instances_train2014.json").write_text("{}"),
        "Expected one file annotations/instances_train",
    ),
    "not json": (
        lambda c: truncated(c / "annotations/instances_train2017.json"),
        "is not JSON .* is it a whole file",
    ),
    "not coco": (lambda c: change(c, drop("categories")), "it lacks categories"),
    "no image folder": (
        lambda c: (c / "train2017").rename(c / "elsewhere"),
        "No folder of images: expected one of",
    ),
    "missing image": (
        lambda c: (c / "train2017/3.png").unlink(),
        r"1 of 5 images of instances_train2017.json are not in .*3\.png",
    ),
    "corrupt image": (lambda c: truncated(c / "val2017/1.png"), r"1\.png cannot be read"),
    "other size": (
        lambda c: Image.new("RGB", (9, 7)).save(c / "val2017/1.png"),
        r"1\.png: expected 64x64 pixels .* got 9x7",
    ),
    "no fields": (lambda c: change(c, lambda d: d["images"][0].pop("id")), "COCO's fields"),
    "unknown class": (
        lambda c: change(c, lambda d: d["annotations"][0].update(category_id=5)),
        "category_id 5, which is not among the 2 listed",
    ),
    "unknown image": (
        lambda c: change(c, lambda d: d["annotations"][0].update(image_id=5)),
        "image_id 5, which is not among the 5 listed",
    ),
    "a box of three": (
        lambda c: change(c, lambda d: d["annotations"][0].update(bbox=[1, 2, 3])),
        "bbox as 4 finite numbers",
    ),
    "an id twice": (
        lambda c: change(c, lambda d: d["images"].append(d["images"][0])),
        "every id of images once, got 70 again",
    ),
    "no objects": (
        lambda c: change(c, lambda d: d["annotations"].clear()),
        "None of the 5 training images has an object",
    ),
    "other classes": (
        lambda c: change(c, lambda d: d["categories"].append({"id": 4, "name": "x"}), "val2017"),
        r"same classes in both splits, got 2 in train .* and 3 in val",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_with_the_way_out(coco, capsys, case):
    spoil, message = BAD[case]
    spoil(coco)
    assert command(coco) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)


BAD_OPTIONS = {
    ("--time-budget", "0"): "Expected --time-budget > 0 minutes, got 0.0",
    ("--name", "a/b"): "A name has letters, digits, '.', '-' and '_' only",
    ("--min-size", "3"): "Expected --min-size of 32 or more, got 3",
    ("--epochs", "0"): "epochs must be 1 or more",
    ("--learning-rate", "-1"): "learning_rate > 0",
    ("--policy", "dada"): "No policy named 'dada'",
    ("--device", "abacus"): "Device 'abacus' cannot be used",
    ("--backbone", "nowhere.pt"): "No file 'nowhere.pt'",
    ("--checkpoint", "nowhere/run.pt"): "No folder 'nowhere' for --checkpoint",
}


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=" ".join)
def test_bad_options_are_refused(coco, capsys, options):
    assert command(coco, *options) == 2
    assert BAD_OPTIONS[options] in capsys.readouterr().err


def test_masks_without_outlines_are_refused(coco):
    change(coco, lambda d: d["annotations"][0].pop("segmentation"))
    photo = read_split(coco, "train").photos[0]
    with pytest.raises(ValueError, match=r"0\.png, object 1: expected an outline as polygons"):
        sample(photo, masks=True)
    assert sample(photo, masks=False)[1]["boxes"].shape == (1, 4)


def test_files_that_are_no_backbone_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is not a file of weights"):
        load_backbone(path)
    torch.save(nn.Linear(3, 3).state_dict(), path)
    with pytest.raises(ValueError, match="does not hold a ResNet-50: 265 of its 265 tensors"):
        load_backbone(path)
    state = resnet50(10).state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(3)
    torch.save({"format": 1, "config": {}, "state": {"network": state}}, path)
    with pytest.raises(
        ValueError, match=r"first layer1.0.conv1.weight is \(3,\), not \(64, 64, 1, 1\)"
    ):
        load_backbone(path)
    good = resnet50(10).state_dict()
    torch.save({"format": 1, "config": {}, "state": {"network": good}}, path)
    assert torch.equal(load_backbone(path)["conv1.weight"], good["conv1.weight"])
    with pytest.raises(ValueError, match="No detector named 'yolo'"):
        build_detector("yolo", 2)


def test_the_schedule_is_the_references():
    schedule = Schedule()
    rates = [schedule.rate(step, 7000) for step in (0, 500, 1000, 16 * 7000, 22 * 7000)]
    assert rates == pytest.approx([2e-5, 0.01001, 0.02, 0.002, 0.0002])
    assert Schedule(batch_size=2).rate(10**4, 7000) == pytest.approx(0.0025)
    assert Schedule().rate(6, 5) == 0.02  # a short first epoch is all the warm-up there is


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as an image"):
        Photo(tmp_path / "none.png", 4, 4, ()).pixels()
