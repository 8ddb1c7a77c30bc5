"""Policy + random numbers -> program, for one image or a batch, in one compiled call.

What takes Python a microsecond a step takes the compiled kernel as long as a handful of pixels.
"""

from functools import lru_cache
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends.lowering import (
    DRAWN,
    KEEP,
    NEW,
    OTHER,
    PLACED,
    WIDTH,
    Book,
    Floats,
    Levels,
    Whole,
)
from learned_augment.plan import NOISE, Plan, Step
from learned_augment.policy import Policy
from learned_augment.sampling import Chances, refill

__all__ = ["Hand", "at_hand", "drawn"]


class Candidates:
    """The steps of a policy's candidates at one image size, each resolved when it is first chosen.

    Args:
        chances: Of the policy.
        width: Of the images, pixels.
        height: Of the images, pixels.

    Attributes:
        steps: (S * L * C, 8).
        book: What resolves them.
    """

    def __init__(self, chances: Chances, width: int, height: int) -> None:
        self.book = Book(chances.ops, width, height)
        self.steps = _unresolved(chances).copy()


@lru_cache(maxsize=32)
def _unresolved(chances: Chances) -> Floats:
    """Return the candidates' steps as far as they are the same at every size."""
    steps = np.full((len(chances.op), WIDTH), float(NEW))
    for number, name in enumerate(chances.ops):
        mine = chances.op == number
        if name in PLACED:
            steps[mine, 0], steps[mine, 1] = PLACED[name], chances.value[mine]
    steps[[what is None for what in chances.candidates], 0] = KEEP
    return steps


class Buffers(NamedTuple):
    """What draws for B images are written to, whatever their size; of one thread."""

    numbers: Tensor
    chosen: Whole
    rows: Floats
    layout: list[int]


@lru_cache(maxsize=32)
def _buffers(chances: Chances, images: int, thread: int) -> Buffers:
    chosen = np.empty((images, chances.layers), np.int64)
    rows: Floats = np.empty((images, chances.layers, WIDTH))
    with torch.inference_mode(False):  # where it could not be refilled outside
        numbers = torch.from_numpy(np.empty((images, chances.numbers), np.float32))
    sums = chances.mixture_sums, chances.weight_sums
    sizes = images, len(sums[0]), chances.layers, sums[1].shape[1]
    return Buffers(numbers, chosen, rows, [*sizes, *map(_address, (numbers, *sums, chosen, rows))])


def _address(array: Any) -> int:
    array = np.asarray(array)
    assert array.flags.c_contiguous
    address: int = array.ctypes.data
    return address


class Hand:
    """What was drawn last for B images of one size.

    It is good until the same thread draws for as many images by the same policy again.

    Args:
        chances: Of the policy.
        candidates: Of the policy at that size.
        images: B.

    Attributes:
        layout: (12,), what compiled code is told about the hand, in one piece since each array that
            it is given takes as long as a step: sizes, and addresses of arrays that live as long as
            the hand. In order: B, S, L, C, then where the numbers, both running sums, what is
            chosen and the steps are, width, height, and where the candidates' steps are.
        highest: The highest kind among the steps of the last ``program``, ``KEEP`` if the images
            stay as they are; ``DRAWN`` or above says only that there was one at first.
    """

    highest: float = KEEP

    def __init__(self, chances: Chances, candidates: Candidates, images: int) -> None:
        from learned_augment.backends.choose import choose  # needs Numba

        self.chances, self.candidates, self._choose = chances, candidates, choose
        self.numbers, self.chosen, self.rows, layout = _buffers(chances, images, get_ident())
        book, steps = candidates.book, _address(candidates.steps)
        self.layout: Whole = np.array([*layout, book.width, book.height, steps], np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, generator: torch.Generator | None = None) -> None:
        """Draw for the next images."""
        refill(self.numbers, generator)

    def program(self) -> tuple[Floats, Levels] | None:
        """Return the images' steps (B, L, 8) and tables; None if one is ``OTHER``."""
        self.highest = self._choose(self.layout)
        if self.highest >= DRAWN and not self._complete():
            return None
        return self.rows, self.candidates.book.tables

    def _complete(self) -> bool:
        """Fill in what the compiled call could not: new candidates, and places it does not know.

        Returns False if a step is ``OTHER``.
        """
        steps, book = self.candidates.steps, self.candidates.book
        for image, layer in np.argwhere(self.rows[:, :, 0] >= DRAWN).tolist():
            row, candidate = self.rows[image, layer], self.chosen[image, layer]
            what = self.chances.candidates[candidate]
            assert what is not None  # such a candidate is KEEP from the start
            op, value = what
            if steps[candidate, 0] == NEW:
                steps[candidate] = book.step(op, value)
            row[:] = steps[candidate]
            if row[0] == OTHER:
                return False
            if row[0] == DRAWN:
                first = 1 + self.chances.layers + NOISE * layer
                noise = self.numbers[image, first : first + NOISE].tolist()
                book.place(row, op, value, noise)
        return True

    @property
    def plan(self) -> Plan:
        """The same draws as a plan."""
        return self.chances.plan(self.numbers.clone())

    @property
    def steps(self) -> list[Step]:
        """The same draws of a single image as steps."""
        return self.chances.steps(self.numbers[0].tolist())


def drawn(
    policy: Policy, generator: torch.Generator | None, images: int, width: int, height: int
) -> Hand:
    """Draw for images of a size; see ``Hand`` for how long it is good."""
    hand = at_hand(policy.chances, images, width, height, get_ident())
    hand.draw(generator)
    return hand


@lru_cache(maxsize=32)
def at_hand(chances: Chances, images: int, width: int, height: int, thread: int) -> Hand:
    """Return the hand of a thread for as many images of a size."""
    return Hand(chances, _candidates(chances, width, height, thread), images)


@lru_cache(maxsize=32)
def _candidates(chances: Chances, width: int, height: int, thread: int) -> Candidates:
    return Candidates(chances, width, height)
