"""A DeepAA search on two processes; each starts Python twice, so there is one run for all tests."""

import pytest
import torch

from learned_augment import Policy
from tests.conftest import run_on

# Gradients of the network are added up in another order; its layers differ by no more.
TOLERANCE = 1e-4

SCRIPT = """
import sys
import torch
from torch import nn
from tests.search.test_deepaa import FORWARD, GRAM
from tests.search.test_methods import SMALL, images
from learned_augment.search import search
from learned_augment.runtime.distributed import rank
torch.set_num_threads(1)

def smooth(classes):
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Tanh(),
                         nn.Flatten(), nn.Linear(6 * 7 * 7, classes))

for name, chosen in {"gram": GRAM, "forward": FORWARD}.items():
    policy = search(images(), method="deepaa", **{**SMALL, "model": smooth}, options=chosen,
                    device="cpu", progress=False)
    policy.save(f"{sys.argv[1]}/{name}-{rank()}.safetensors")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return run_on(1, SCRIPT, folder / "one"), run_on(2, SCRIPT, folder / "two")


@pytest.mark.parametrize("rewards", ["gram", "forward"])
def test_every_process_ends_with_the_same_policy_bit_for_bit(results, rewards):
    files = [(results[1] / f"{rewards}-{rank}.safetensors").read_bytes() for rank in range(2)]
    assert files[0] == files[1]


@pytest.mark.parametrize("rewards", ["gram", "forward"])
def test_two_processes_give_the_policy_of_one(results, rewards):
    one, two = (Policy.load(folder / f"{rewards}-0.safetensors") for folder in results)
    torch.testing.assert_close(two.weights, one.weights, rtol=0, atol=TOLERANCE)
    assert torch.equal(two.value, one.value)
