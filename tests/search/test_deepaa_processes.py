"""A DeepAA search on one process and on two."""

import pytest
import torch

from learned_augment import Policy
from learned_augment.runtime.distributed import rank
from learned_augment.search import search
from tests.search.test_deepaa import FORWARD, GRAM
from tests.search.test_methods import SMALL, images, smooth_network

# Gradients of the network are added up in another order; its layers differ by no more.
TOLERANCE = 1e-4


def save_policies(folder):
    """Search with both kinds of rewards; every process saves what it found."""
    given = {**SMALL, "network": smooth_network}
    for name, chosen in {"gram": GRAM, "forward": FORWARD}.items():
        policy = search(
            images(), method="deepaa", **given, options=chosen, device="cpu", progress=False
        )
        policy.save(f"{folder}/{name}-{rank()}.safetensors")


@pytest.fixture(scope="module")
def results(tmp_path_factory, from_two_processes):
    folder = tmp_path_factory.mktemp("one")
    save_policies(folder)
    return folder, from_two_processes / "deepaa"


@pytest.mark.parametrize("rewards", ["gram", "forward"])
def test_every_process_ends_with_the_same_policy_bit_for_bit(results, rewards):
    files = [(results[1] / f"{rewards}-{rank}.safetensors").read_bytes() for rank in range(2)]
    assert files[0] == files[1]


@pytest.mark.parametrize("rewards", ["gram", "forward"])
def test_two_processes_give_the_policy_of_one(results, rewards):
    one, two = (Policy.load(folder / f"{rewards}-0.safetensors") for folder in results)
    torch.testing.assert_close(two.weights, one.weights, rtol=0, atol=TOLERANCE)
    assert torch.equal(two.value, one.value)
