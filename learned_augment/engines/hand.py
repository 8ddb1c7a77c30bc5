"""Policy + random numbers -> one image's program, in one compiled call: the DataLoader worker.

What takes Python a microsecond a step takes the compiled kernel as long as a handful of pixels.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np
import torch

from learned_augment.chances import Chances, refill
from learned_augment.engines.program import DRAWN, KEEP, OTHER, WIDTH, Book, Floats, Levels
from learned_augment.plan import NOISE, Step
from learned_augment.policy import Policy

__all__ = ["Hand", "drawn"]

NEW = OTHER + 1
"""Kind of a candidate that was never chosen before, and has yet to be resolved."""

FLIP, PAD_CROP, CUTOUT, CUTOUT_CLIPPED = range(NEW + 1, NEW + 5)
PLACED = {
    "Flip": FLIP,
    "PadCrop": PAD_CROP,
    "Cutout": CUTOUT,
    "CutoutClipped": CUTOUT_CLIPPED,
}
"""Kinds of candidates whose places ``choose`` draws itself; p0 is the value."""


class Hand(Sequence[Step]):
    """The steps of the image drawn last, at one image size; good until the next ``draw``.

    Args:
        chances: Of the policy.
        width: Of the image, pixels.
        height: Of the image, pixels.

    Attributes:
        highest: The highest kind among the steps of the last ``program``, ``KEEP`` if the image
            stays as it is; ``DRAWN`` or above says only that there was one at first.
    """

    highest: float = KEEP

    def __init__(self, chances: Chances, width: int, height: int) -> None:
        from learned_augment.engines.choose import choose  # needs Numba

        self.chances, self.book = chances, Book(chances.ops, width, height)
        self.candidates = _unresolved(chances).copy()
        self.chosen = np.empty(chances.layers, np.int64)
        self.rows: Floats = np.empty((1, chances.layers, WIDTH))
        self.numbers = np.empty(chances.numbers, np.float32)
        sums = chances.mixture_sums, chances.weight_sums
        self._choose = choose
        self._given = self.numbers, *sums, self.candidates, width, height, self.chosen, self.rows
        with torch.inference_mode(False):  # where it could not be refilled outside
            self._tensor = torch.from_numpy(self.numbers)

    def draw(self, generator: torch.Generator | None = None) -> None:
        """Draw the next image."""
        refill(self._tensor, generator)

    def program(self) -> tuple[Floats, Levels] | None:
        """Return the image's steps (1, L, 8) and tables; None if one is ``OTHER``."""
        self.highest = self._choose(*self._given)
        if self.highest >= DRAWN and not self._complete():
            return None
        return self.rows, self.book.tables

    def _complete(self) -> bool:
        """Fill in what the compiled call could not: new candidates, and places it does not know.

        Returns False if a step is ``OTHER``.
        """
        noise = self.numbers[1 + self.chances.layers :].reshape(-1, NOISE).tolist()
        for row, candidate, place in zip(self.rows[0], self.chosen, noise, strict=True):
            what = self.chances.candidates[candidate]
            if what is None:
                continue
            if row[0] == NEW:
                row[:] = self.candidates[candidate] = self.book.step(*what)
            if row[0] == OTHER:
                return False
            if row[0] == DRAWN:
                self.book.place(row, *what, place)
        return True

    @property
    def steps(self) -> list[Step]:
        """The same steps one by one."""
        return self.chances.steps(self.numbers.tolist())

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: Any) -> Any:
        return self.steps[index]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)


def drawn(policy: Policy, generator: torch.Generator | None, width: int, height: int) -> Hand:
    """Draw the steps of one image of a size; good until the same thread's next call."""
    hand = _hand(policy.chances, width, height, get_ident())
    hand.draw(generator)
    return hand


@lru_cache(maxsize=32)
def _unresolved(chances: Chances) -> Floats:
    """Return the candidates (S * L * C, 8) as far as they do not depend on the image's size."""
    candidates = np.full((len(chances.op), WIDTH), float(NEW))
    for number, name in enumerate(chances.ops):
        mine = chances.op == number
        if name in PLACED:
            candidates[mine, 0], candidates[mine, 1] = PLACED[name], chances.value[mine]
    candidates[[what is None for what in chances.candidates], 0] = KEEP
    return candidates


@lru_cache(maxsize=32)
def _hand(chances: Chances, width: int, height: int, thread: int) -> Hand:
    return Hand(chances, width, height)
