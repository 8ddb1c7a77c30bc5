"""Long work leaves torch's global state as it was, and processes on GPUs can add on the CPU too."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import BackendConfig

from learned_augment.runtime.distributed import init_processes
from learned_augment.runtime.rng import isolated


def test_generators_are_seeded_and_restored():
    before = torch.get_rng_state()
    with isolated(3):
        first = torch.rand(3)
    with isolated(3):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precise", [True, False])
def test_products_are_precise_where_asked_for_and_as_the_user_set_them_after(precise):
    try:
        torch.set_float32_matmul_precision("high")
        with isolated(0, precise=precise):
            inside = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        assert inside == (("highest", False) if precise else ("high", True))
        assert torch.get_float32_matmul_precision() == "high"
        with pytest.raises(KeyError), isolated(0, precise=precise):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_group_on_gpus_adds_tensors_on_the_cpu_too(monkeypatch):
    asked = []
    monkeypatch.setattr(dist, "init_process_group", asked.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    init_processes(torch.device("cuda"))
    backends = BackendConfig(dist.Backend(asked[0])).get_device_backend_map()
    assert backends == {"cpu": "gloo", "cuda": "nccl"}


def test_no_device_context_slows_down_the_calls_of_torch():
    with isolated(0):
        assert torch._C._len_torch_function_stack() == 0


def numbers():
    """Return a product as a network makes it, its gradient, and a new tensor."""
    weight = torch.rand(3, 3, requires_grad=True)
    product = torch.rand(2, 3) @ weight
    product.sum().backward()
    return product.detach(), weight.grad, torch.zeros(1)


@pytest.mark.parametrize(
    "setting",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
)
def test_the_callers_settings_decide_no_number_inside(setting):
    with isolated(1):
        plain = numbers()
    with setting():
        with isolated(1):
            inside = numbers()
        assert torch.is_grad_enabled() == (setting not in (torch.no_grad, torch.inference_mode))
        assert torch.is_inference_mode_enabled() == (setting is torch.inference_mode)
    assert all(map(torch.equal, inside, plain))


def test_the_default_dtype_is_float32_inside_and_the_callers_after():
    try:
        torch.set_default_dtype(torch.float64)
        with isolated(0):
            assert torch.zeros(1).dtype == torch.float32
        assert torch.zeros(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
