"""A search on one process and on two."""

import json

import pytest
import torch
from torch import nn

from learned_augment.runtime.distributed import (
    SyncedBatchNorm,
    all_reduce_sum,
    init_processes,
    rank,
    shard,
    sync_batch_norms,
    world_size,
)
from learned_augment.search import search
from tests.search.test_methods import SMALL_DADA, images, smooth_network

# Sums over processes are added up in another order; the policy's parameters differ by no more.
TOLERANCE = 1e-4

OPTIONS = [{}, {"magnitude": "none", "derivative": "exact"}, {"mode": "released"}]


def save_policies(folder):
    """Search under each of ``OPTIONS``; every process saves what it found."""
    given = {**SMALL_DADA, "network": smooth_network}
    for number, chosen in enumerate(OPTIONS):
        policy = search(images(), **given, options=chosen, device="cpu", progress=False)
        policy.save(f"{folder}/{number}-{rank()}.safetensors")


@pytest.fixture(scope="module")
def results(tmp_path_factory, from_two_processes):
    folder = tmp_path_factory.mktemp("one")
    save_policies(folder)
    return folder, from_two_processes / "dada"


@pytest.mark.parametrize("number", range(3))
def test_every_process_ends_with_the_same_policy_bit_for_bit(results, number):
    _, two = results
    files = [(two / f"{number}-{rank}.safetensors").read_bytes() for rank in range(2)]
    assert files[0] == files[1]


@pytest.mark.parametrize("number", range(3))
def test_two_processes_give_the_policy_of_one(results, number):
    from learned_augment import Policy

    one, two = (Policy.load(folder / f"{number}-0.safetensors") for folder in results)
    # The release's gradients by magnitudes are near zero at its identity start, and Adam makes a
    # whole step of the sign of a rounding error.
    for name in ("alpha", "probability", "magnitude")[: 2 if number == 2 else 3]:
        torch.testing.assert_close(
            torch.tensor(two.about["parameters"][name]),
            torch.tensor(one.about["parameters"][name]),
            rtol=0,
            atol=TOLERANCE,
        )
    assert json.dumps(two.about["search"]) == json.dumps(one.about["search"])
    assert two.about["metrics"]["train_loss"] == pytest.approx(
        one.about["metrics"]["train_loss"], rel=1e-4
    )


def test_one_process_does_all_images_and_a_total_is_the_tensor_itself():
    assert world_size() == 1
    assert shard(7) == slice(0, 7)
    tensor = torch.randn(3)
    assert all_reduce_sum(tensor) is tensor


@pytest.fixture
def chosen(monkeypatch):
    """Two GPUs, of which every choice is noted."""
    gpus = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", gpus.append)
    return gpus


def test_every_process_of_a_machine_takes_its_own_gpu(chosen, monkeypatch):
    cuda = torch.device("cuda")
    init_processes(cuda)
    assert chosen == []  # not under torchrun
    monkeypatch.setenv("LOCAL_RANK", "1")
    init_processes(torch.device("cpu"))
    init_processes(torch.device("cuda", 0))  # asked for by number
    assert chosen == []
    init_processes(cuda)
    assert chosen == [1]


def test_more_processes_than_gpus_are_refused(chosen, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"got 2 for process 3; start 2 with --nproc-per-node"):
        init_processes(torch.device("cuda"))
    assert chosen == []


def test_synced_batch_norm_is_batch_norm_on_one_process():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    inner = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    copied = sync_batch_norms(nn.Sequential(nn.Conv2d(3, 4, 3), inner))
    assert isinstance(copied[1][0], SyncedBatchNorm)
    copied.load_state_dict(plain.state_dict())
    x = torch.randn(6, 3, 8, 8)
    torch.testing.assert_close(copied(x), plain(x), rtol=1e-4, atol=1e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(copied[1][0], name), getattr(plain[1][0], name))
    torch.testing.assert_close(copied.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
