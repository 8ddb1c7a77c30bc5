"""Network and optimizer of a recipe, prepared for one or several processes."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.papers.recipe import PaperRecipe
from learned_augment.models.norms import norm_parameters
from learned_augment.runtime.distributed import sync_batch_norms, world_size
from learned_augment.training.trainer import sgd

__all__ = ["one_norm", "optimizer", "share_out", "wrapped"]


def share_out(recipe: PaperRecipe, count: int) -> int:
    """Return how many of `count` images a step learns from.

    Raises:
        ValueError: if the processes cannot share them out evenly.
    """
    batch = min(recipe.batch_size, count)
    if batch % world_size():
        raise ValueError(
            f"{world_size()} processes cannot share out batches of {batch} images evenly; choose a "
            "batch size that is a multiple of the number of processes."
        )
    return batch


def one_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalization see the whole batch of all processes."""
    if world_size() == 1:
        return network
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return]
    return sync_batch_norms(network)


def wrapped(
    network: nn.Module, recipe: PaperRecipe, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """Return the network as it tests, and as it learns: there, processes average gradients."""
    ready: nn.Module = torch.compile(network) if recipe.compile else network  # type: ignore[assignment]
    if world_size() == 1:
        return ready, ready
    devices = [device] if device.type == "cuda" else None
    return ready, DistributedDataParallel(ready, device_ids=devices)


def optimizer(network: nn.Module, recipe: PaperRecipe) -> torch.optim.SGD:
    """Return the recipe's SGD; the trainer sets its learning rate."""
    undecayed = frozenset() if recipe.decay_norms else frozenset(norm_parameters(network))
    return sgd(network, recipe.weight_decay, undecayed)
