"""The interface of a search method: one step at a time, a policy at any time."""

from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from learned_augment.policy import Policy
from learned_augment.runtime.loop import Job
from learned_augment.search.cost import Phase
from learned_augment.search.options import Options
from learned_augment.search.presets import MethodSettings
from learned_augment.search.split import Split

__all__ = ["SearchMethod"]


class SearchMethod(Job, Protocol):
    """A search in progress: a `runtime.loop.Job` that has a policy at any time.

    To add a method, write a package ``search/<name>/`` with two classes. One is a frozen dataclass
    of its options, derived from `options.Options`; the other has the members of this class. Then
    add one row to `api.METHODS`. All else is shared: `api.search` checks the settings, loads and
    splits the images, builds the network, runs the loop and writes the policy. The loop has
    checkpoints, callbacks and a time budget. ``tests/search/test_methods.py`` holds every row to
    these rules:

    * A method draws random numbers only from ``generator`` (CPU), from generators that this one
      seeds, and from torch's global generators (dropout, initial weights). The loop saves the
      global ones; the others belong to `state_dict`. So a search that is stopped and resumed gives
      the policy of an uninterrupted one, bit for bit.
    * All processes of a `torchrun` draw the same numbers. Each works on its own rows of a batch
      (`runtime.distributed`), or on steps of its own whose results all of them exchange.
    * A method trains on ``split.train_images`` and evaluates on ``split.val_images``. Test images
      are not part of the split. Unless ``split.given``, it may split all these images anew.

    Args:
        split: Images and labels on the search's device.
        network: A fresh network with one logit per class; the method owns it.
        settings: Training settings, ops and excluded ops; see `presets.MethodSettings`.
        options: The method's own options, read and checked: an instance of ``options_type``.
        generator: Source of all randomness, seeded; CPU.

    Attributes:
        options_type: The class of the method's own options.

    Raises:
        ValueError: If the network, the ops or the images do not fit the method.
    """

    options_type: ClassVar[type[Options]]

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        settings: MethodSettings,
        options: Any,
        generator: torch.Generator,
    ) -> None: ...

    @property
    def steps(self) -> int:
        """Number of steps of the whole search: ``done`` plus all that remain."""
        ...

    def policy(self) -> Policy:
        """Return the best policy so far.

        Its ``about`` has "method", "paper" if there is one, "placement" ("replaces" the base
        augmentation or comes "after" it), "options", "ops", "steps", "metrics" and "parameters"
        (what was learned).
        """
        ...

    def phases(self) -> list[Phase]:
        """Return the cost of each phase; takes a few trial steps, which spoil the search.

        `cost.measured_phase` does it for a method whose steps all cost the same.
        """
        ...
