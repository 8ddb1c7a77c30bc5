"""One training on two processes."""

import pytest
import torch
from torch import nn

from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from learned_augment.runtime.distributed import init_processes, rank
from learned_augment.runtime.rng import isolated
from tests.benchmarks.test_papers_resume import FEEDS, Restless
from tests.training.test_training import CPU, made_data

# Sums over processes are added up in another order, and nine steps enlarge the difference.
TOLERANCE = 1e-5


def steady(classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(100, classes),
    )


def trained(feed, network, cut=None):
    recipe = PaperRecipe(3, 16, test_every=1, copies=2, cutout=4, lighting=0.1)
    with isolated(0):
        trainer = PaperTrainer(FEEDS[feed](made_data()), network, recipe, 0, CPU)
        for step in range(9):
            if step == cut:
                state = trainer.state_dict()
                trainer = PaperTrainer(FEEDS[feed](made_data()), network, recipe, 0, CPU)
                trainer.load_state_dict(state)
            trainer.step()
        state = trainer.state_dict()
        del state["seconds"]
        return state


def all_trained():
    found = {feed: trained(feed, steady) for feed in FEEDS}
    restless = {"restless": trained("memory", Restless), "cut": trained("memory", Restless, cut=4)}
    return found | restless


def save_states(folder):
    """Train on all processes; each saves what it has."""
    init_processes(CPU)
    torch.save(all_trained(), folder / f"{rank()}.pt")


@pytest.fixture(scope="module")
def results(from_two_processes):
    files = [from_two_processes / "papers" / f"{rank}.pt" for rank in range(2)]
    return all_trained(), [torch.load(file) for file in files]


@pytest.mark.parametrize("feed", ["memory", "workers"])
def test_two_processes_train_as_one_does(results, feed):
    one, (two, _) = results
    ours, theirs = two[feed]["network"], one[feed]["network"]
    for name in ours.keys() - {"1.num_batches_tracked"}:  # which nothing reads
        torch.testing.assert_close(ours[name], theirs[name], rtol=TOLERANCE, atol=TOLERANCE)
    assert two[feed]["losses"] == pytest.approx(one[feed]["losses"], rel=TOLERANCE)
    # A test image may lie on the border between two classes: one of 20 is 5 percent.
    for (epoch, ours), (same, theirs) in zip(two[feed]["tests"], one[feed]["tests"], strict=True):
        assert epoch == same
        assert abs(ours - theirs) <= 5


@pytest.mark.parametrize("feed", ["memory", "workers", "restless"])
def test_both_processes_hold_the_same_bits(results, feed):
    first, second = results[1]
    for key in ("network", "losses", "tests", "draws", "order", "global"):
        torch.testing.assert_close(first[feed][key], second[feed][key], rtol=0, atol=0)


def test_two_processes_resume_with_the_same_bits(results):
    first, _ = results[1]
    torch.testing.assert_close(first["cut"], first["restless"], rtol=0, atol=0)


def test_what_networks_draw_differs_between_processes(results):
    first, _ = results[1]
    one, two = first["restless"]["global"]
    assert not torch.equal(one, two)
