"""A screening on two processes of torchrun finds the policy of one, bit for bit."""

from learned_augment import Policy
from learned_augment.search import search
from tests.conftest import run_on
from tests.search.test_methods import ITS_OWN, SMALL, images
from tests.training.test_training import linear

# An odd number of trials: the last round leaves a process without one.
OPTIONS = {**ITS_OWN["screening"]["options"], "designs": 5, "finals": 1}

SCRIPT = """
import sys
import torch
from tests.search.test_screening_processes import found
from learned_augment.runtime.distributed import rank, world_size
torch.set_num_threads(1)
assert world_size() == 1  # the search itself joins the processes
policy = found(f"{sys.argv[1]}/search.pt")
assert world_size() == 2
policy.save(f"{sys.argv[1]}/{rank()}.safetensors")
"""


def found(checkpoint=None, **changes):
    given = {**SMALL, "model": linear, "epochs": 2, "options": OPTIONS, "checkpoint": checkpoint}
    given |= changes
    data = images(per_class=16)
    return search(data, method="screening", device="cpu", progress=False, **given)


def test_two_processes_give_the_policy_of_one_bit_for_bit(tmp_path):
    folder = run_on(2, SCRIPT, tmp_path / "two")
    first, second = ((folder / f"{rank}.safetensors").read_bytes() for rank in range(2))
    assert first == second
    whole = found()
    assert Policy.load(folder / "0.safetensors") == whole
    # One process can go on from the checkpoint of two.
    assert found(folder / "search.pt") == whole


def test_threads_change_nothing():
    assert found(threads=3) == found(threads=1)
