"""ResNets of ImageNet, as torchvision builds them."""

from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

__all__ = ["resnet50", "resnet200"]


def resnet50(num_classes: int) -> nn.Module:
    """Build torchvision's ResNet-50, untrained, without in-place activations."""
    return _resnet([3, 4, 6, 3], num_classes)


def resnet200(num_classes: int) -> nn.Module:
    """Build a ResNet-200 of torchvision's blocks, untrained, without in-place activations.

    The stride sits in the 3 x 3 convolution. The original 200-layer network puts normalisation
    before each convolution; the papers' code puts it after, as here.

    He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
    """
    return _resnet([3, 24, 36, 3], num_classes)


def _resnet(blocks: list[int], num_classes: int) -> nn.Module:
    network: nn.Module = ResNet(Bottleneck, blocks, num_classes=num_classes)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network
