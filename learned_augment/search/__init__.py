"""Search methods that turn labeled images into a policy."""

from learned_augment.search.api import METHODS, PreparedSearch, estimate, prepare, search
from learned_augment.search.callbacks import SearchReport
from learned_augment.search.config import SearchConfig
from learned_augment.search.cost import CostEstimate, Phase
from learned_augment.search.method import SearchMethod
from learned_augment.search.presets import PRESETS, MethodSettings

__all__ = [
    "METHODS",
    "PRESETS",
    "CostEstimate",
    "MethodSettings",
    "Phase",
    "PreparedSearch",
    "SearchConfig",
    "SearchMethod",
    "SearchReport",
    "estimate",
    "prepare",
    "search",
]
