"""Training of one network on images in memory under one policy."""

from learned_augment.training.checks import check_network, find_device
from learned_augment.training.recipe import Recipe
from learned_augment.training.trainer import Trained, Trainer, train_network

__all__ = ["Recipe", "Trained", "Trainer", "check_network", "find_device", "train_network"]
