"""One search on several processes: who does which images, and sums over all of them.

Every process draws the same random numbers and holds the same data, weights and policy; only the
images of a batch are shared out. Without `torch.distributed` there is one process and a total is
the tensor itself.
"""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["BatchNormOverAll", "agree", "connect", "rank", "share", "synchronise", "total", "world"]

TorchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def connect(device: torch.device) -> None:
    """Join the processes that ``torchrun`` started; nothing to do for a single one.

    Under ``torchrun``, ``device`` "cuda" is from now on this process's own GPU.

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
        # Some totals of a search on GPUs lie on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; process 0 writes files and shows progress."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(count: int) -> slice:
    """Return which of ``count`` images are this process's own."""
    return slice(count * rank() // world(), count * (rank() + 1) // world())


class _Total(torch.autograd.Function):
    """Sum over processes; its derivative, forwards and backwards, is the same sum."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        out = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep nothing: the sum is linear."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return total(slope)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return total(tangent)


def total(tensor: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over all processes, the same bits on each; differentiable."""
    if world() == 1:
        return tensor
    out: Tensor = _Total.apply(tensor)
    return out


def agree(flag: bool, device: torch.device) -> bool:
    """Return whether any process raised ``flag``, so that all of them stop at the same step."""
    return bool(total(torch.tensor(float(flag), device=device)) > 0)


class BatchNormOverAll(nn.Module):
    """Batch normalisation whose training statistics are those of the batch of all processes.

    Takes over the parameters and buffers of a batch normalisation of torch under the same names.

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
                "Several processes need batch normalisations with affine=True and "
                f"track_running_stats=True, got {norm}; search on one process."
            )
        self.eps = norm.eps
        self.momentum = 0.1 if norm.momentum is None else norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) channel by channel, in float32 or better."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.training:
            mean, var = self.running_mean, self.running_var
        else:
            mean, var = self._statistics(x)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return x * _wide(scale, x) + _wide(self.bias - mean * scale, x)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count = total(x.new_tensor(float(x.numel() // x.shape[1])))
        others = [axis for axis in range(x.dim()) if axis != 1]
        mean = total(x.sum(others)) / count
        var = total((x - _wide(mean, x)).square().sum(others)) / count
        with torch.no_grad():
            unbiased = var * count / (count - 1)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(unbiased.detach(), self.momentum)
        return mean, var


def _wide(channels: Tensor, like: Tensor) -> Tensor:
    """Return (C,) as (1, C, 1, ...), to go with ``like``."""
    return channels.view(1, -1, *[1] * (like.dim() - 2))


def synchronise(network: nn.Module) -> nn.Module:
    """Replace the batch normalisations of ``network`` in place by `BatchNormOverAll`."""
    for name, child in network.named_children():
        if isinstance(child, TorchNorm):
            setattr(network, name, BatchNormOverAll(child))
        else:
            synchronise(child)
    return network
