"""ResNets of ImageNet, built of torchvision's blocks."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

__all__ = ["bottleneck_resnet", "resnet50"]


def resnet50(num_classes: int) -> nn.Module:
    """Build torchvision's ResNet-50, untrained, without in-place activations.

    Examples:
        >>> resnet50(num_classes=10).fc
        Linear(in_features=2048, out_features=10, bias=True)
    """
    return bottleneck_resnet([3, 4, 6, 3], num_classes)


def bottleneck_resnet(blocks: Sequence[int], num_classes: int) -> nn.Module:
    """Build an untrained ResNet of bottleneck blocks, without in-place activations.

    Args:
        blocks: Number of blocks in each of the four stages.
        num_classes: Length of a row of logits.
    """
    network: nn.Module = ResNet(Bottleneck, list(blocks), num_classes=num_classes)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network
