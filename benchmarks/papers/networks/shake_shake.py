"""Shake-Shake residual networks of CIFAR and SVHN: two branches, mixed at random."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.papers.networks.shakes import ShakeShake

__all__ = ["shake_shake"]


class _Shortcut(nn.Module):
    """Halves the side by two interleaved samplings, one of them a pixel further."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        further = pad(x, (-1, 1, -1, 1))
        stride = self.stride
        both = (
            self.conv1(x[..., ::stride, ::stride]),
            self.conv2(further[..., ::stride, ::stride]),
        )
        out: Tensor = self.bn(torch.cat(both, dim=1))
        return out


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    )


class _ShakeBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _Shortcut(inputs, outputs, stride)
        self.first = _branch(inputs, outputs, stride)
        self.second = _branch(inputs, outputs, stride)
        self.mix = ShakeShake()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.mix(self.first(x), self.second(x))
        return out


class _ShakeResNet(nn.Module):
    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        blocks = []
        inputs = 16
        for stage, outputs in enumerate((width, 2 * width, 4 * width)):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_ShakeBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, num_classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.blocks(self.stem(x)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def shake_shake(depth: int, width: int, num_classes: int) -> nn.Module:
    """Build Shake-Shake `depth` 2 x `width` d as the papers' code trains it.

    Shares are drawn for each image, apart for the forward and the backward pass.

    Args:
        depth: number of layers, 6 n + 2: 26.
        width: channels of the first stage, even: 32, 96, 112.
        num_classes: length of a row of logits.

    Raises:
        ValueError: if `depth` is not 6 n + 2 with n >= 1, or `width` is not even.

    Gastaldi, Shake-Shake regularization, arXiv:1705.07485.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"The depth of a Shake-Shake network must be 6 n + 2 (26), got {depth}.")
    if width < 2 or width % 2:
        raise ValueError(f"The width of a Shake-Shake network must be even, got {width}.")
    return _ShakeResNet(depth, width, num_classes)
