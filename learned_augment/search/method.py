"""What the loop knows of a method, and the data that every method is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from learned_augment.policy import Policy
from learned_augment.search.presets import Preset

__all__ = ["Halves", "Method", "Searcher"]


class Halves(NamedTuple):
    """The two halves of the reduced data set, on the search's device.

    Attributes:
        train_images: (N, C, H, W) uint8, what the network trains on.
        train_labels: (N,) int64.
        val_images: (M, C, H, W) uint8, what the policy is judged by; never augmented.
        val_labels: (M,) int64.
        classes: Class names, indexed by label.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]


class Searcher(Protocol):
    """A method under way: one `step` at a time, a policy at any time.

    A searcher does nothing random except from generators whose state is in `state_dict`, so that a
    search cut and resumed gives the policy of an uninterrupted one, bit for bit.
    """

    @property
    def steps(self) -> int:
        """Number of steps of the whole search."""
        ...

    @property
    def done(self) -> int:
        """Number of steps taken."""
        ...

    @property
    def ahead(self) -> Mapping[str, int]:
        """Steps still to take, by phase in their order; those of a phase take about as long."""
        ...

    def step(self) -> dict[str, float]:
        """Take one step and return what there is to log; a value that is not finite is an error."""
        ...

    def policy(self) -> Policy:
        """Return the best policy so far, its provenance in ``about``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes: tensors, numbers, strings and containers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        ...


class Method(Protocol):
    """A row of `task.SEARCHERS`: what starts a searcher.

    ``options`` are the method's own, by name, as the caller gave them; the method checks them.
    ``ops`` is None for the method's usual ones; ``exclude`` are left out of either.
    """

    def __call__(
        self,
        halves: Halves,
        network: nn.Module,
        preset: Preset,
        options: Mapping[str, Any],
        *,
        ops: tuple[str, ...] | None,
        exclude: tuple[str, ...],
        generator: torch.Generator,
    ) -> Searcher:
        """Return a searcher at its start."""
        ...
