"""Learned augmentation policies as a drop-in for torchvision's AutoAugment."""

from learned_augment._version import __version__
from learned_augment.evaluation.compare import compare
from learned_augment.policy import Policy
from learned_augment.search.api import search
from learned_augment.serialization import list_policies
from learned_augment.transform import LearnedAugment

__all__ = ["LearnedAugment", "Policy", "__version__", "compare", "list_policies", "search"]
