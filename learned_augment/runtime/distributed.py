"""Collective operations over the processes that ``torchrun`` started."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "SyncedBatchNorm",
    "all_gather",
    "all_reduce_sum",
    "any_process",
    "init_processes",
    "rank",
    "shard",
    "sync_batch_norms",
    "world_size",
]

TorchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def init_processes(device: torch.device) -> None:
    """Initialize communication between the processes of ``torchrun``; a single process needs none.

    All processes draw the same random numbers and hold the same data, weights and policy; each
    computes on its own part of a batch. Under ``torchrun``, device "cuda" becomes the GPU of this
    process.

    Raises:
        ValueError: If a machine has fewer GPUs than processes.
    """
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        mine, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if mine >= count:
            raise ValueError(
                f"Expected a GPU for every process of a machine, got {count} for process "
                f'{mine + 1}; start {count} with --nproc-per-node, or give device="cpu".'
            )
        torch.cuda.set_device(mine)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # A search on GPUs also sums tensors on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; process 0 writes files and shows progress."""
    return dist.get_rank() if dist.is_initialized() else 0


def shard(count: int) -> slice:
    """Return the rows, of a batch of ``count`` images, that this process computes on."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes; its derivative, in forward and backward mode, is the same sum."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        out = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Save nothing, since the sum is linear."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return all_reduce_sum(slope)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return all_reduce_sum(tangent)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over all processes, the same bits on each; differentiable.

    With a single process it is the tensor itself.
    """
    if world_size() == 1:
        return tensor
    out: Tensor = _AllReduceSum.apply(tensor)
    return out


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether ``flag`` is true in any process; the answer is the same in all of them."""
    return bool(all_reduce_sum(torch.tensor(float(flag), device=device)) > 0)


def all_gather(tensor: Tensor, device: torch.device) -> list[Tensor]:
    """Return the tensors of all processes, in the order of their ranks, on the CPU."""
    if world_size() == 1:
        return [tensor]
    tensors = [torch.empty_like(tensor, device=device) for _ in range(world_size())]
    dist.all_gather(tensors, tensor.to(device))
    return [each.cpu() for each in tensors]


class SyncedBatchNorm(nn.Module):
    """Batch normalization with the statistics of the batches of all processes, in training.

    It uses the parameters and buffers of a batch normalization of torch, under the same names.

    Raises:
        ValueError: If ``norm`` has no scale and shift, or keeps no running statistics.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: TorchNorm) -> None:
        super().__init__()
        if not (norm.affine and norm.track_running_stats):
            raise ValueError(
                "Several processes need batch normalizations with affine=True and "
                f"track_running_stats=True, got {norm}; search on one process."
            )
        self.eps = norm.eps
        self.momentum = 0.1 if norm.momentum is None else norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, ...) channel by channel, in float32 or better."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.training:
            mean, var = self.running_mean, self.running_var
        else:
            mean, var = self._statistics(x)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return x * _broadcast(scale, x) + _broadcast(self.bias - mean * scale, x)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count = all_reduce_sum(x.new_tensor(float(x.numel() // x.shape[1])))
        others = [axis for axis in range(x.dim()) if axis != 1]
        mean = all_reduce_sum(x.sum(others)) / count
        var = all_reduce_sum((x - _broadcast(mean, x)).square().sum(others)) / count
        with torch.no_grad():
            unbiased = var * count / (count - 1)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(unbiased.detach(), self.momentum)
        return mean, var


def _broadcast(channels: Tensor, like: Tensor) -> Tensor:
    """Return (C,) as (1, C, 1, ...), with as many dimensions as ``like``."""
    return channels.view(1, -1, *[1] * (like.dim() - 2))


def sync_batch_norms(network: nn.Module) -> nn.Module:
    """Replace the batch normalizations of ``network`` in place by `SyncedBatchNorm`."""
    for name, child in network.named_children():
        if isinstance(child, TorchNorm):
            setattr(network, name, SyncedBatchNorm(child))
        else:
            sync_batch_norms(child)
    return network
