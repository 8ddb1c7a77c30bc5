"""The networks that compare and search train: a small one for CPU cores, and those of the papers.

Convention: images are float batches (B, 3, H, W) of any size from 16 pixels up, already normalised;
the result is one row of logits per image, (B, num_classes). Nothing works in place, so that
`torch.func.jvp` can push a tangent through every network of this file.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet50 as torchvision_resnet50

__all__ = ["NETWORKS", "WideResNet", "build_network", "resnet50", "small_cnn", "wide_resnet"]

NetworkChoice = str | nn.Module | Callable[[int], nn.Module]


def _conv_bn_relu(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    # A convolution bias before batch norm is cancelled by it, so there is none.
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def small_cnn(num_classes: int, channels: int = 3) -> nn.Module:
    """Build a four-convolution BatchNorm network, sized for two CPU cores.

    Every convolution but the last halves the side; 2.8 million multiply-adds at 32 x 32 pixels.

    Args:
        num_classes: length of a row of logits.
        channels: channels of the images.
    """
    return nn.Sequential(
        _conv_bn_relu(channels, 24, stride=2),
        _conv_bn_relu(24, 48, stride=2),
        _conv_bn_relu(48, 96, stride=2),
        _conv_bn_relu(96, 96, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, num_classes),
    )


class _WideBlock(nn.Module):
    """Pre-activation residual block; the stride sits in the second convolution.

    The original Wide-ResNet strides in the first. Both papers' codes use this form: only with it
    does WRN-40-2 cost the 0.356 G multiply-adds that they measure.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        shortcut: Tensor = self.shortcut(x)
        return y + shortcut


class WideResNet(nn.Module):
    """Wide-ResNet of three stages of pre-activation blocks; see `wide_resnet`."""

    def __init__(
        self, depth: int, width: int, num_classes: int, *, channels: int, conv_bias: bool
    ) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        sides = (16 * width, 32 * width, 64 * width)
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=conv_bias)
        stages = []
        inputs = 16
        for index, outputs in enumerate(sides):
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stages.append(_WideBlock(inputs, outputs, stride, conv_bias))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W)."""
        features = torch.relu(self.bn(self.blocks(self.stem(x))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def wide_resnet(
    depth: int, width: int, num_classes: int, *, channels: int = 3, conv_bias: bool = True
) -> WideResNet:
    """Build a Wide-ResNet as the DADA and DeepAA codes train it.

    No dropout, convolution biases, PyTorch's initialisation. The original Wide-ResNet has no
    convolution biases: `conv_bias=False`.

    Args:
        depth: number of layers, 6 n + 4: 16, 22, 28, 40.
        width: factor on the 16, 32 and 64 channels of the stages.
        num_classes: length of a row of logits.
        channels: channels of the images.
        conv_bias: whether convolutions have biases.

    Raises:
        ValueError: if `depth` is not 6 n + 4 with n >= 1, or `width` is below 1.

    Zagoruyko and Komodakis, Wide Residual Networks, arXiv:1605.07146.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            f"The depth of a Wide-ResNet must be 6 n + 4 (10, 16, 22, 28, 40, ...), got {depth}."
        )
    if width < 1:
        raise ValueError(f"The width of a Wide-ResNet must be 1 or more, got {width}.")
    return WideResNet(depth, width, num_classes, channels=channels, conv_bias=conv_bias)


def resnet50(num_classes: int) -> nn.Module:
    """Build torchvision's ResNet-50, untrained, without in-place activations."""
    network: nn.Module = torchvision_resnet50(num_classes=num_classes)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


def _wide(depth: int, width: int) -> Callable[[int], nn.Module]:
    return lambda num_classes: wide_resnet(depth, width, num_classes)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "small-cnn": small_cnn,
    "wrn-16-1": _wide(16, 1),
    "wrn-40-2": _wide(40, 2),
    "wrn-28-10": _wide(28, 10),
    "resnet50": resnet50,
}
"""Networks by name; each row turns a number of classes into a fresh network."""


def build_network(network: NetworkChoice, num_classes: int) -> nn.Module:
    """Return a network for `num_classes`, from a name, a factory or a finished module.

    Args:
        network: a name of `NETWORKS`, a callable that takes the number of classes, or a module,
            which is returned as it is.
        num_classes: length of a row of logits.

    Raises:
        ValueError: if no network has this name.
        TypeError: if `network` is of another kind, or a factory returned no module.
    """
    if isinstance(network, nn.Module):
        return network
    if isinstance(network, str):
        if network not in NETWORKS:
            raise ValueError(f"No network named {network!r}. Available: {', '.join(NETWORKS)}.")
        return NETWORKS[network](num_classes)
    if not callable(network):
        raise TypeError(
            "Expected a network as a name, a torch.nn.Module or a callable that takes the number "
            f"of classes, got {type(network).__name__}."
        )
    built = network(num_classes)
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"Expected the network factory to return a torch.nn.Module, got {type(built).__name__}."
        )
    return built
