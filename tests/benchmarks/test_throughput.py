"""Throughput: equal peers, images of varying size, rows and ratios, cases in other processes."""

from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugmentPolicy

from benchmarks import tables, throughput
from benchmarks.papers_code import papers_transform
from benchmarks.throughput_cases import Case, Images, Input, Worker
from benchmarks.throughput_peers import albumentations_transform
from learned_augment import LearnedAugment
from learned_augment.builders import from_layers, from_torchvision
from tests.conftest import smooth_image


def test_sizes_vary_within_two_fifths_the_same_in_every_process():
    given = Input(None, 50, 0)
    sides = [side for image in Images(given).pil for side in image.size]
    assert 30 <= min(sides) < 35
    assert 65 < max(sides) <= 70
    assert sides == [side for image in Images(given).pil for side in image.size]
    fixed = Images(Input(None, 32, 100))
    assert {image.size for image in fixed.pil} == {(32, 32)}
    assert fixed.batch().shape == (100, 3, 32, 32)


ALONE = [
    ("Invert", 0.0, 0),
    ("Posterize", 4.0, 0),
    ("Equalize", 0.0, 0),
    ("AutoContrast", 0.0, 1),
    ("Brightness", 0.6, 1),
    ("Contrast", 1.5, 1),
    ("Color", 0.4, 2),
    ("Solarize", 100.0, 0),
]
MOVED = [
    ("TranslateX", 0.25),
    ("TranslateY", -0.125),
    ("Rotate", 25.0),
]


def both(op, value):
    pytest.importorskip("albumentations")
    policy = from_layers([[(op, 1.0, value)]], {"name": op})
    array = smooth_image(48, 48).permute(1, 2, 0).numpy()
    ours = np.array(LearnedAugment(policy)(Image.fromarray(array))).astype(int)
    return ours, albumentations_transform(policy)(array).astype(int)


@pytest.mark.parametrize(("op", "value", "levels"), ALONE)
def test_albumentations_recolors_as_we_do(op, value, levels):
    ours, theirs = both(op, value)
    assert abs(ours - theirs).max() <= levels


@pytest.mark.parametrize(("op", "value"), MOVED)
def test_albumentations_moves_pixels_where_we_do(op, value):
    ours, theirs = both(op, value)
    # Nearest neighbors differ by a pixel here and there, the other direction by far more.
    assert abs(ours - theirs).mean() < 8
    assert abs(both(op, -value)[0] - theirs).mean() > 20


def test_albumentations_takes_a_whole_policy():
    pytest.importorskip("albumentations")
    equal = albumentations_transform(from_torchvision(AutoAugmentPolicy.IMAGENET))
    array = smooth_image(40, 30).permute(1, 2, 0).numpy()
    results = {equal(array).tobytes() for _ in range(20)}
    assert len(results) > 5


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_the_papers_code_applies_what_it_draws(one_at_a_time):
    layers = [[("Invert", 0.5, 0.0), ("Identity", 0.5, 0.0)]]
    policy = from_layers(layers, {"name": "x"})
    transform = papers_transform(policy, one_at_a_time)
    image = Image.new("L", (5, 4), 10)
    found = [transform(image).getpixel((0, 0)) for _ in range(400)]
    assert set(found) == {10, 245}
    assert 140 < found.count(10) < 260


def case(whose, seconds, given="PIL", images=1):
    return Case(given, whose, "AutoAugment", "per image", images, 1, lambda calls: calls * seconds)


def test_rows_hold_images_per_second():
    rows = throughput.time_cases([case("ours", 1e-3), case("x", 4e-3, images=2)], rounds=3)
    assert [row["images_per_s"] for row in rows] == [1000, 500]
    assert [row["rounds_images_per_s"] for row in rows] == [[1000] * 3, [500] * 3]
    assert [row["calls_a_round"] for row in rows] == [64, 16]


def test_ratios_are_held_to_their_targets():
    document = {
        "rows": [
            {"size": 32, "rounds_images_per_s": rates, **vars(case(whose, 1.0, given))}
            for whose, given, rates in (
                ("ours", "PIL", [1000, 3000, 2000]),
                ("torchvision v2", "PIL", [200, 500, 500]),
                ("ours", "PIL, varying sizes", [700]),
                ("torchvision v2", "PIL, varying sizes", [100]),
            )
        ],
        "machine": {"cpu": "chip", "cores": 2, "gpu": None},
        "versions": {"torch": "2", "pillow": "13"},
        "date": "day",
        "command": "python -m benchmarks.throughput",
    }
    lines = tables.throughput(document)
    against = "torchvision v2, per image"
    assert f"| one image, PIL | {against} | 5.0x (target 6x, missed) |" in lines
    assert f"| one image, PIL, varying sizes | {against} | 7.0x (target 6x) |" in lines
    assert len(lines) == 2 + 2 + 2


@pytest.mark.slow
def test_a_worker_times_the_package_without_a_compiler():
    with closing(Worker("plain", without=["numba"])) as worker:
        cases = worker.cases(Input(None, 16, 2))
        assert {c.whose for c in cases} == {"plain"}
        assert {"uint8", "uint8 batch", "float batch, backward"} <= {c.given for c in cases}
        assert all(c.seconds(1) > 0 for c in cases)
    assert torch.get_num_threads() == 1
