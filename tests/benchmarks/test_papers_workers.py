"""DataLoader workers: the same images whoever makes them; broken files; image folders."""

import multiprocessing
import os
import signal

import pytest
import torch
from PIL import Image

from benchmarks.papers.feeds import MemoryFeed, RandomSource
from benchmarks.papers.pictures import read_folders
from benchmarks.papers.pixels import IMAGENET
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.papers.workers import Augment, Center, WorkerFeed, WorkerSettings
from benchmarks.training_loop import run_training
from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from tests.benchmarks.test_papers_resume import assert_equal, everything, worker_feed
from tests.training.test_training import CPU, linear, made_data

ROWS = torch.arange(12).view(2, 6)


def draws(seed=3):
    return RandomSource(torch.Generator().manual_seed(seed), seed)


def batches(feed, rows=ROWS, copies=2, first=0):
    return list(feed.batches(rows, copies, first, draws()))


def test_the_number_of_workers_changes_nothing():
    one, two = (batches(worker_feed(made_data(), workers)) for workers in (0, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_signals_to_the_process_that_trains(number):
    feed = worker_feed(made_data(), workers=1)
    rows = torch.arange(48).view(12, 4)
    given = feed.batches(rows, 1, 0, draws())
    others = multiprocessing.active_children()  # of tests that ran before in this process
    found = [next(given)]
    workers = [worker for worker in multiprocessing.active_children() if worker not in others]
    assert workers
    for worker in workers:
        os.kill(worker.pid, number)
    found += given
    torch.testing.assert_close(found, batches(worker_feed(made_data()), rows, 1), rtol=0, atol=0)


def test_draws_depend_on_the_step_not_on_where_an_epoch_was_entered():
    feed = worker_feed(made_data())
    late = batches(feed, ROWS[1:], first=1)
    torch.testing.assert_close(batches(feed)[2:], late, rtol=0, atol=0)


def test_the_same_images_in_another_step_are_drawn_for_anew():
    for feed in (worker_feed(made_data()), MemoryFeed(made_data(), CROP, CPU)):
        first, second = batches(feed, ROWS[[0, 0]], copies=1)
        assert torch.equal(first[1], second[1])
        assert not torch.equal(first[0], second[0])


def test_copies_are_the_same_images_under_other_draws():
    for feed in (worker_feed(made_data()), MemoryFeed(made_data(), CROP, CPU)):
        (one, labels), (two, again), *_ = batches(feed)
        assert torch.equal(labels, again)
        assert torch.equal(labels, made_data().train_labels[:6])
        assert not torch.equal(one, two)


CROP = named_policy("crop")


def test_the_networks_generator_is_left_to_the_network():
    feed = worker_feed(made_data())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    batches(feed)
    assert torch.equal(torch.rand(4), expected)


def test_workers_apply_what_the_device_would():
    # Without anything random, both ways give the same pixels.
    invert = from_layers([[("Invert", 1.0, 0.0)]], {"placement": "replaces"})
    data = made_data()
    settings = WorkerSettings(Augment((invert,)), Augment(()), (), IMAGENET, 0)
    from benchmarks.papers.pictures import in_memory

    feed = WorkerFeed(*in_memory(data), 3, settings, CPU)
    device = MemoryFeed(data, named_policy(invert), CPU)
    torch.testing.assert_close(batches(feed), batches(device), rtol=0, atol=0)
    tested = [torch.cat(parts) for parts in zip(*feed.tests(), strict=True)]
    torch.testing.assert_close(tested, [data.test_images, data.test_labels], rtol=0, atol=0)


@pytest.fixture
def folders(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 8), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                level = (
                    torch.randint(0, 60, (40 + number, 52, 3), generator=generator) + 120 * label
                )
                Image.fromarray(level.byte().numpy()).save(folder / f"{number}.png")
    return tmp_path


def folder_trainer(path, epochs=2):
    data = read_folders(path)
    settings = WorkerSettings(
        Augment(named_policy("resized-crop-flip").policies, 28),
        Center(28),
        (),
        IMAGENET,
        0,
    )
    feed = WorkerFeed(data.train, data.test, len(data.classes), settings, CPU)
    return PaperTrainer(feed, linear, PaperRecipe(epochs, 4), 0, CPU)


def test_folders_of_images_of_any_size_are_trained_on(folders, tmp_path):
    with isolated(0):
        trainer = folder_trainer(folders, epochs=6)
        assert run_training(trainer, tmp_path / "run.pt", {}, CPU) == "finished"
        assert trainer.result().accuracy == 100


@pytest.mark.parametrize("broken", ["train/dog/5.png", "val/dog/2.png"])
def test_a_broken_file_is_named_and_after_its_repair_nothing_is_lost(folders, tmp_path, broken):
    with isolated(0):
        expected = folder_trainer(folders)
        run_training(expected, tmp_path / "whole.pt", {}, CPU)
    victim = folders / broken
    good = victim.read_bytes()
    victim.write_bytes(good[:60])
    for _ in range(2):
        with (
            isolated(0),
            pytest.raises(ValueError, match=f"{broken} .*; put a whole image"),
        ):
            run_training(folder_trainer(folders), tmp_path / "run.pt", {}, CPU)
    victim.write_bytes(good)
    assert (tmp_path / "run.pt").exists()
    with isolated(0):
        trainer = folder_trainer(folders)
        run_training(trainer, tmp_path / "run.pt", {}, CPU)
        assert trainer.result() == expected.result()
        assert_equal(everything(trainer), everything(expected))


def test_an_image_of_16_bits_is_refused_instead_of_clipped(folders):
    path = folders / "train" / "cat" / "0.png"
    Image.new("I;16", (40, 40), 30_000).save(path)
    with pytest.raises(ValueError, match=r"cat/0.png cannot be read: mode I;16 has more than 8"):
        read_folders(folders).train.image(0)


def test_the_center_of_a_test_image_is_cut_out():
    image = Image.new("RGB", (100, 64))
    image.paste((255, 0, 0), (18, 0, 82, 64))  # the middle square
    out = Center(56)(image, torch.Generator())  # 64 is brought to 64: 56 of them are kept
    assert out.size == (56, 56)
    assert out.getextrema() == ((255, 255), (0, 0), (0, 0))


def test_a_subset_of_folders_is_stratified(folders):
    data = read_folders(folders).subset(6)
    assert data.train.labels.bincount().tolist() == [3, 3]
    assert all(
        path.parent.name == data.classes[label]
        for path, label in zip(data.train.paths, data.train.labels.tolist(), strict=True)
    )
    with pytest.raises(ValueError, match="a subset needs 2"):
        data.subset(7)


def test_missing_parts_and_other_classes_are_refused(folders):
    (folders / "val" / "dog").rename(folders / "val" / "wolf")
    with pytest.raises(ValueError, match=r"same two or more classes.*dog, wolf"):
        read_folders(folders)
    (folders / "val").rename(folders / "held-out")
    with pytest.raises(ValueError, match=r"held-out' holds images too"):
        read_folders(folders)
    (folders / "held-out").rename(folders / ".held-out")
    with pytest.raises(FileNotFoundError, match=r"expected train/ and test/ \(or val/\)"):
        read_folders(folders)
