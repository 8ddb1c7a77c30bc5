"""The batch path on a CUDA device: same bits as the CPU, and never waiting for the device."""

import pytest
import torch

from learned_augment import LearnedAugment, list_policies
from learned_augment.backends.dispatch import apply_batch
from learned_augment.backends.triton.launch import works_on
from learned_augment.builders import deep_trivial_augment
from tests.backends.plans import SIZES, images, random_plan
from tests.conftest import noise_images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
if torch.cuda.is_available():
    assert works_on(torch.device("cuda")), "plain torch would stand in for the kernel"
POLICIES = [*list_policies(), deep_trivial_augment(6), deep_trivial_augment(4, "deepaa-imagenet")]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("size", [32, 224])
def test_uint8_is_bit_equal_to_the_cpu(policy, size):
    transform, images = LearnedAugment(policy), noise_images(48, size, size)
    plan = transform.make_params([images])["plan"]
    assert torch.equal(apply_batch(images.cuda(), plan).cpu(), apply_batch(images, plan))


@pytest.mark.parametrize("fill", [None, 9.0, (1.0, 2.0, 3.0)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_random_plans_are_bit_equal_to_the_cpu(size, fill):
    fill = fill if size[0] == 3 or not isinstance(fill, tuple) else None
    batch, plan = images(48, *size), random_plan(48, 6, seed=size[1])
    there = apply_batch(batch.cuda(), plan, fill=fill)
    assert torch.equal(there.cpu(), apply_batch(batch, plan, fill=fill))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_floats_agree_with_the_cpu_forward_and_backward(policy):
    transform, images = LearnedAugment(policy), noise_images(48) / 255
    plan = transform.make_params([images])["plan"]
    results = []
    for device in ("cpu", "cuda"):
        given = images.to(device).requires_grad_()
        out = apply_batch(given, plan)
        (out * torch.linspace(0, 1, 32, device=device)).sum().backward()
        results.append((out.detach().cpu(), given.grad.cpu()))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fill", [None, 1.0])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("policy", ["dada-imagenet", "deepaa-imagenet", "deepaa-cifar10"])
def test_the_batch_path_never_waits_for_the_device(policy, floats, fill):
    images = noise_images(64, 64, 64).cuda()
    images = images / 255 if floats else images
    transform = LearnedAugment(policy, fill=fill)
    transform(images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        transform(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
