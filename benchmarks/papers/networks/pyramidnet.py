"""PyramidNet with ShakeDrop: bottlenecks that widen a little at each block."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from benchmarks.papers.networks.shakes import ShakeDrop

__all__ = ["pyramidnet"]

_RATIO = 4  # a bottleneck's outputs to its inner channels


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, inner: int, stride: int, probability: float) -> None:
        super().__init__()
        self.stride = stride
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, _RATIO * inner, 1, bias=False),
            nn.BatchNorm2d(_RATIO * inner),
        )
        self.shake = ShakeDrop(probability)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shake(self.branch(x))
        shortcut = x if self.stride == 1 else avg_pool2d(x, 2, ceil_mode=True)
        # New channels have nothing to be added to.
        return y + pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))


class _PyramidNet(nn.Module):
    def __init__(self, depth: int, widening: int, num_classes: int) -> None:
        super().__init__()
        count = (depth - 2) // 3
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        blocks = []
        inputs, width = 16, 16.0
        for block in range(count):
            width += widening / count
            inner = round(width)
            stride = 2 if block in (count // 3, 2 * count // 3) else 1
            blocks.append(_Bottleneck(inputs, inner, stride, 0.5 * (block + 1) / count))
            inputs = _RATIO * inner
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.bn(self.blocks(self.stem_bn(self.stem(x)))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def pyramidnet(depth: int, widening: int, num_classes: int) -> nn.Module:
    """Build a bottleneck PyramidNet with ShakeDrop of a probability that grows to 1/2.

    Args:
        depth: number of layers, 9 n + 2: 272.
        widening: channels that all blocks together add to the inner 16, the papers' alpha: 200.
        num_classes: length of a row of logits.

    Raises:
        ValueError: if `depth` is not 9 n + 2 with n >= 1, or `widening` is negative.

    Han et al., Deep Pyramidal Residual Networks, arXiv:1610.02915.
    """
    if depth < 11 or (depth - 2) % 9:
        raise ValueError(f"The depth of a PyramidNet must be 9 n + 2 (11, ..., 272), got {depth}.")
    if widening < 0:
        raise ValueError(f"The widening of a PyramidNet must be 0 or more, got {widening}.")
    return _PyramidNet(depth, widening, num_classes)
