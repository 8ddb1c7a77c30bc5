"""Training one network on one data set under one policy, on CPU or GPU.

A seed fixes initial weights, batch order and augmentation, each from its own generator, so that two
policies at one seed differ in nothing else.
"""

from learned_augment.training.recipe import Recipe
from learned_augment.training.single import Trained, check_network, find_device, train_network

__all__ = ["Recipe", "Trained", "check_network", "find_device", "train_network"]
