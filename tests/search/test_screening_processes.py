"""A screening on two processes of torchrun finds the policy of one, bit for bit."""

from learned_augment import Policy
from learned_augment.runtime.distributed import rank, world_size
from learned_augment.search import search
from tests.search.test_methods import ITS_OWN, SMALL, images
from tests.training.test_training import linear

# An odd number of trials: the last round leaves a process without one.
OPTIONS = {**ITS_OWN["screening"]["options"], "designs": 5}


def found(checkpoint=None, **changes):
    given = {**SMALL, "network": linear, "epochs": 2, "options": OPTIONS, "checkpoint": checkpoint}
    given |= changes
    data = images(per_class=16)
    return search(data, method="screening", device="cpu", progress=False, **given)


def save_policy(folder):
    """Search on all processes; each saves what it found."""
    assert world_size() == 1  # the search itself joins the processes
    policy = found(f"{folder}/search.pt")
    assert world_size() == 2
    policy.save(f"{folder}/{rank()}.safetensors")


def test_two_processes_give_the_policy_of_one_bit_for_bit(from_two_processes):
    folder = from_two_processes / "screening"
    first, second = ((folder / f"{rank}.safetensors").read_bytes() for rank in range(2))
    assert first == second
    whole = found()
    assert Policy.load(folder / "0.safetensors") == whole
    # One process can go on from the checkpoint of two.
    assert found(folder / "search.pt") == whole


def test_threads_change_nothing():
    assert found(threads=3) == found(threads=1)


def test_a_search_goes_on_with_other_workers(tmp_path):
    checkpoint = tmp_path / "search.pt"
    stopped = found(checkpoint, time_budget=1e-9)
    assert "stopped" in stopped.about
    assert found(checkpoint, options={**OPTIONS, "workers": 2}) == found()
