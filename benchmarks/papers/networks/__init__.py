"""Networks of the papers' tables by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from benchmarks.papers.networks.pyramidnet import pyramidnet
from benchmarks.papers.networks.resnet import resnet200
from benchmarks.papers.networks.shake_shake import shake_shake
from benchmarks.papers.networks.shakes import ShakeDrop, ShakeShake
from learned_augment.models import NETWORKS as PACKAGE_NETWORKS

__all__ = ["NETWORKS", "ShakeDrop", "ShakeShake", "pyramidnet", "resnet200", "shake_shake"]

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    **PACKAGE_NETWORKS,
    "shake-shake-26-2x32d": partial(shake_shake, 26, 32),
    "shake-shake-26-2x96d": partial(shake_shake, 26, 96),
    "shake-shake-26-2x112d": partial(shake_shake, 26, 112),
    "pyramidnet-272": partial(pyramidnet, 272, 200),
    "resnet200": resnet200,
}
"""Each turns a number of classes into an untrained network."""
