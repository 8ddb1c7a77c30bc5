"""Learned augmentation policies as a drop-in for torchvision's AutoAugment.

Public names: ``LearnedAugment``, ``Policy``, ``list_policies``, ``compare``, ``search``.
"""

from typing import Any

from learned_augment.files import list_policies
from learned_augment.policy import Policy
from learned_augment.transform import LearnedAugment

__all__ = ["LearnedAugment", "Policy", "compare", "list_policies", "search"]

__version__ = "0.1.0"

_LAZY = {"compare": "learned_augment.comparison.verdict", "search": "learned_augment.searchers"}
"""Training code is imported when it is asked for: a transform should not wait for it."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'learned_augment' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
