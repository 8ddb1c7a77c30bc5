"""ResNet-200 of ImageNet."""

from torch import nn

from learned_augment.models.resnet import bottleneck_resnet

__all__ = ["resnet200"]


def resnet200(num_classes: int) -> nn.Module:
    """Build a ResNet-200 of torchvision's blocks, untrained, without in-place activations.

    The stride sits in the 3 x 3 convolution. The original 200-layer network puts normalization
    before each convolution; the papers' code puts it after, as here.

    He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
    """
    return bottleneck_resnet([3, 24, 36, 3], num_classes)
