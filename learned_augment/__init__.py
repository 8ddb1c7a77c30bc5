"""Learned augmentation policies as a drop-in for torchvision's AutoAugment."""
