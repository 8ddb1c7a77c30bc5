"""A training in pieces: cut anywhere and resumed, it ends with the same bits."""

import os
import signal
from itertools import pairwise

import pytest
import torch
from torch import nn

from benchmarks.papers.feeds import MemoryFeed
from benchmarks.papers.networks import ShakeDrop, ShakeShake
from benchmarks.papers.pictures import in_memory
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.papers.workers import Augment, Whole, WorkerFeed, WorkerSettings
from benchmarks.training_loop import run_training
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from learned_augment.training.normalize import level_statistics
from tests.training.test_training import CPU, made_data

RECIPE = PaperRecipe(
    epochs=3, batch_size=16, test_every=2, copies=2, cutout=4, lighting=0.1, decay_norms=False
)
STEPS = 9


class Restless(nn.Module):
    """Everything that draws inside a network, and running statistics."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.shakes, self.drop = ShakeShake(), ShakeDrop(0.5)
        self.rest = nn.Sequential(nn.Dropout(0.2), nn.Flatten(), nn.Linear(100, classes))

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.rest(self.drop(self.shakes(x, torch.tanh(x))))


def memory_feed(data):
    return MemoryFeed(data, named_policy("crop+trivialaugment"), CPU)


def worker_feed(data, workers=0):
    policies = named_policy("crop+trivialaugment").policies
    levels = level_statistics(data.train_images)
    settings = WorkerSettings(Augment(policies), Whole(), (), levels, workers)
    return WorkerFeed(*in_memory(data), len(data.classes), settings, CPU)


FEEDS = {"memory": memory_feed, "workers": worker_feed}


def fresh(feed="memory", recipe=RECIPE, network=Restless, seed=0):
    return PaperTrainer(FEEDS[feed](made_data()), network, recipe, seed, CPU)


def everything(trainer):
    state = trainer.state_dict()
    del state["seconds"]
    return state


def assert_equal(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def whole(feed="memory"):
    with isolated(0):
        trainer = fresh(feed)
        for _ in range(STEPS):
            trainer.step()
        return trainer.result(), everything(trainer)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7, STEPS])
def test_a_training_that_was_cut_ends_with_the_same_bits(feed, cut):
    result, state = whole(feed)
    with isolated(0):
        first = fresh(feed)
        for _ in range(cut):
            first.step()
        saved = first.state_dict()
    torch.rand(7)
    with isolated(5):
        second = fresh(feed)
        second.load_state_dict(saved)
        for _ in range(STEPS - cut):
            second.step()
        assert second.result() == result
        assert_equal(everything(second), state)


def in_pieces(path, feed="memory", config=None, **options):
    """Resume until finished; return the reasons of all stops, and the last trainer's end."""
    stops = []
    while True:
        with isolated(0):
            trainer = fresh(feed)
            stops.append(run_training(trainer, path, config or {}, CPU, **options))
            if stops[-1] == "finished":
                return stops, trainer.result(), everything(trainer)


def test_pieces_of_a_time_budget_make_the_same_training(tmp_path):
    stops, result, state = in_pieces(tmp_path / "run.pt", time_budget=0.0)
    assert stops == ["time budget"] * (STEPS - 1) + ["finished"]
    assert result == whole()[0]
    assert_equal(state, whole()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_request_to_end_finishes_the_step_and_saves(tmp_path, number):
    before = signal.getsignal(number)
    pressed = []

    def press(trainer):
        # Without a handler the signal would end the tests.
        if not pressed and signal.getsignal(number) is not before:
            pressed.append(trainer.done)
            os.kill(os.getpid(), number)

    stops, result, _ = in_pieces(tmp_path / "run.pt", on_epoch=press)
    assert stops == ["interrupted", "finished"]
    assert result == whole()[0]
    assert signal.getsignal(number) is before


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    path, done = tmp_path / "run.pt", []

    class KilledError(Exception):
        pass

    def kill(trainer):
        done.append(trainer.done)
        if len(done) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        in_pieces(path, save_every=0.0, on_epoch=kill)
    _, result, _ = in_pieces(path, on_epoch=kill)
    assert done == [3, 6, 6, 9]  # the second epoch's end had not been saved
    assert result == whole()[0]


def test_a_finished_training_is_not_trained_again(tmp_path):
    path, epochs = tmp_path / "run.pt", []
    in_pieces(path)
    stops, result, _ = in_pieces(path, on_epoch=epochs.append)
    assert (stops, epochs) == (["finished"], [])
    assert result == whole()[0]


def test_a_checkpoint_of_other_settings_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "run.pt"
    in_pieces(path, config={"rate": 0.1, "data": "made"})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"another training: rate is 0.1 there and 0.2 here\."):
        in_pieces(path, config={"rate": 0.2, "data": "made"})
    path.with_name("other.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint of a training"):
        in_pieces(path.with_name("other.pt"))
    assert path.read_bytes() == before


def test_a_training_that_diverges_says_so(tmp_path):
    recipe = PaperRecipe(3, 16, 1e30, clip=0)
    message = r"Step 3: train_loss is nan.*Lower the learning"
    with isolated(0), pytest.raises(ArithmeticError, match=message):
        run_training(fresh(recipe=recipe), tmp_path / "run.pt", {}, CPU)


def test_no_result_before_a_test():
    with isolated(0), pytest.raises(ValueError, match="No epoch has been tested after 0 of 9"):
        fresh().result()


def test_every_epoch_has_its_own_order():
    seen = []

    class Spy(nn.Module):
        def __init__(self, classes=3):
            super().__init__()
            self.head = nn.Linear(432, classes)

        def forward(self, x):
            if self.training:
                seen.append(x)
            return self.head(x.flatten(1))

    with isolated(0):
        feed = MemoryFeed(made_data(), named_policy("none"), CPU)
        trainer = PaperTrainer(feed, Spy, PaperRecipe(3, 16), 0, CPU)
        for _ in range(STEPS):
            trainer.step()
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, STEPS, 3)]
    for one, two in pairwise(epochs):
        assert not torch.equal(one, two)
        torch.testing.assert_close(one.sum(0), two.sum(0), atol=1e-3, rtol=0)
