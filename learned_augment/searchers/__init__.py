"""Optional wing: search methods that turn labelled images into a policy.

``import learned_augment`` does not load it; ``learned_augment.search`` does.
"""

from learned_augment.searchers.estimate import Estimate, estimate
from learned_augment.searchers.loop import StepReport
from learned_augment.searchers.presets import PRESETS, Preset
from learned_augment.searchers.run import search
from learned_augment.searchers.task import SEARCHERS, Task, prepare

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
