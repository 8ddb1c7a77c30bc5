"""Optional wing: search methods that turn labelled images into a policy.

``import learned_augment`` does not load it; ``learned_augment.search`` does.
"""

from learned_augment.search.api import search
from learned_augment.search.cost import Estimate, estimate
from learned_augment.search.loop import StepReport
from learned_augment.search.presets import PRESETS, Preset
from learned_augment.search.task import SEARCHERS, Task, prepare

__all__ = [
    "PRESETS",
    "SEARCHERS",
    "Estimate",
    "Preset",
    "StepReport",
    "Task",
    "estimate",
    "prepare",
    "search",
]
