"""One uint8 tensor or PIL image, drawn and applied in compiled code: the DataLoader worker.

At 32 pixels a side the calls on the way take longer than the pixels: each is the shortest there is.
Needs Numba, as ``fast``; without it ``exact`` and ``pil`` do the same work.
"""

from threading import get_ident

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.backends.compiled import colours
from learned_augment.backends.fast import apply_fast, compiled_code
from learned_augment.backends.hand import at_hand
from learned_augment.backends.lowering import DRAWN, KEEP
from learned_augment.backends.pil import apply_image
from learned_augment.backends.pixels import are_heavy, run_program
from learned_augment.sampling import Chances

__all__ = ["Single"]

SMALL = 128 * 128
"""Pixels up to which compiled code is the way for a PIL image, whatever the steps."""


class Single:
    """What augments single images of a size, nearest neighbour; of one thread.

    Args:
        chances: Of the policy.
        shape: C, H, W of the images; 1 or 3 channels.
        fill: 1 or C levels outside the image; None is 0, and grey for crop padding.
    """

    def __init__(
        self, chances: Chances, shape: tuple[int, ...], fill: tuple[int, ...] | None
    ) -> None:
        channels, height, width = self.shape = tuple(shape)
        self.hand, self.fill = at_hand(chances, 1, width, height, get_ident()), fill
        self.colours, self._run = colours(channels, fill), compiled_code().run_drawn
        self.large = height * width > SMALL

    def tensor(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw for a uint8 CPU image and apply; a new tensor."""
        hand = self.hand
        hand.draw(generator)
        source, out = image.contiguous(), np.empty(self.shape, np.uint8)
        tables = hand.candidates.book.tables
        if self._run(hand.layout, tables, self.colours, source.data_ptr(), out) < DRAWN:
            return torch.from_numpy(out)
        return apply_fast(source[None], hand, self.fill)[0]

    def picture(self, image: Image.Image, generator: torch.Generator | None = None) -> Image.Image:
        """Draw for an image of mode RGB or L and apply; a new image."""
        hand = self.hand
        hand.draw(generator)
        if self.large and not are_heavy(steps := hand.steps):
            return apply_image(image, steps, fill=self.fill)
        program = hand.program()
        if program is None:
            return apply_image(image, hand.steps, fill=self.fill)
        if hand.highest == KEEP:
            return image.copy()
        return run_program(image, *program, self.colours)
