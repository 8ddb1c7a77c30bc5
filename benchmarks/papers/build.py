"""Network and optimizer of a recipe, prepared for one or several processes."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.papers.recipe import PaperRecipe
from learned_augment.models.norms import norm_parameters
from learned_augment.runtime.distributed import synchronise, world
from learned_augment.training.trainer import sgd

__all__ = ["from_all", "one_norm", "optimizer", "share_out", "wrapped"]


def share_out(recipe: PaperRecipe, count: int) -> int:
    """Return how many of `count` images a step learns from.

    Raises:
        ValueError: if the processes cannot share them out evenly.
    """
    batch = min(recipe.batch_size, count)
    if batch % world():
        raise ValueError(
            f"{world()} processes cannot share out batches of {batch} images evenly; choose a "
            "batch size that is a multiple of the number of processes."
        )
    return batch


def one_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalization see the whole batch of all processes."""
    if world() == 1:
        return network
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return]
    return synchronise(network)


def wrapped(
    network: nn.Module, recipe: PaperRecipe, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """Return the network as it tests, and as it learns: there, processes average gradients."""
    ready: nn.Module = torch.compile(network) if recipe.compile else network  # type: ignore[assignment]
    if world() == 1:
        return ready, ready
    devices = [device] if device.type == "cuda" else None
    return ready, DistributedDataParallel(ready, device_ids=devices)


def optimizer(network: nn.Module, recipe: PaperRecipe) -> torch.optim.SGD:
    """Return the recipe's SGD; the trainer sets its learning rate."""
    undecayed = frozenset() if recipe.decay_norms else frozenset(norm_parameters(network))
    return sgd(network, recipe.weight_decay, undecayed)


def from_all(state: Tensor, device: torch.device) -> list[Tensor]:
    """Return the generator states of all processes, on the CPU."""
    if world() == 1:
        return [state]
    states = [torch.empty_like(state, device=device) for _ in range(world())]
    dist.all_gather(states, state.to(device))
    return [one.cpu() for one in states]
