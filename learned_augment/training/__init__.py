"""Training one network on one data set under one policy, on CPU or GPU.

A seed fixes initial weights, batch order and augmentation, each from its own generator, so that two
policies at one seed differ in nothing else.
"""

from learned_augment.training.feeds import MemoryFeed
from learned_augment.training.loop import run_training
from learned_augment.training.recipe import Recipe
from learned_augment.training.single import check_network, find_device, train_network
from learned_augment.training.trainer import Trained, Trainer

__all__ = [
    "MemoryFeed",
    "Recipe",
    "Trained",
    "Trainer",
    "check_network",
    "find_device",
    "run_training",
    "train_network",
]
