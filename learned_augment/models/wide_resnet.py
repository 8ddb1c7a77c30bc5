"""Wide-ResNet, the network with which both papers search and evaluate."""

import torch
from torch import Tensor, nn

__all__ = ["WideResNet"]


class _WideBlock(nn.Module):
    """Pre-activation residual block; the stride sits in the second convolution.

    The original Wide-ResNet strides in the first. Both papers' codes use this form: only with it
    does WRN-40-2 cost the 0.356 G multiply-adds that they measure.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        shortcut: Tensor = self.shortcut(x)
        return y + shortcut


class WideResNet(nn.Module):
    """A Wide-ResNet of pre-activation blocks, as the DADA and DeepAA codes train it.

    Its convolutions have biases, which those of the original lack. It has PyTorch's initialization
    and no dropout.

    Args:
        depth: Number of layers, 6 n + 4: 10, 16, 22, 28, 40, ...
        width: Factor on the 16, 32 and 64 channels of the stages.
        num_classes: Length of a row of logits.

    Raises:
        ValueError: If `depth` is not 6 n + 4 with n >= 1, or `width` is below 1.

    Zagoruyko and Komodakis, Wide Residual Networks, arXiv:1605.07146.

    Examples:
        >>> network = WideResNet(40, 2, num_classes=10)
        >>> sum(weight.numel() for weight in network.parameters())
        2246474
        >>> network(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(
                "The depth of a Wide-ResNet must be 6 n + 4 (10, 16, 22, 28, 40, ...), got "
                f"{depth}."
            )
        if width < 1:
            raise ValueError(f"The width of a Wide-ResNet must be 1 or more, got {width}.")
        blocks = (depth - 4) // 6
        sides = (16 * width, 32 * width, 64 * width)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        stages = []
        inputs = 16
        for index, outputs in enumerate(sides):
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stages.append(_WideBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W)."""
        features = torch.relu(self.bn(self.blocks(self.stem(x))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits
