"""One uint8 tensor: drawn, resolved and written in one compiled call.

At 32 pixels a side the calls on the way take longer than the pixels: each is the shortest there is.
Needs Numba, as ``fast``.
"""

from threading import get_ident

import numpy as np
import torch
from torch import Tensor

from learned_augment.chances import Chances, refill
from learned_augment.engines.compiled import colours
from learned_augment.engines.fast import apply_fast, compiled_code
from learned_augment.engines.hand import at_hand
from learned_augment.engines.program import DRAWN

__all__ = ["Single"]


class Single:
    """What augments single uint8 CPU images of a shape, nearest neighbour; of one thread.

    Args:
        chances: Of the policy.
        shape: C, H, W of the images.
        fill: 1 or C levels outside the image; None is 0, and grey for crop padding.
    """

    def __init__(
        self, chances: Chances, shape: tuple[int, ...], fill: tuple[int, ...] | None
    ) -> None:
        channels, height, width = self.shape = tuple(shape)
        self.hand, self.fill = at_hand(chances, 1, width, height, get_ident()), fill
        self.colours, self._run = colours(channels, fill), compiled_code().run_drawn

    def augment(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw for an image and apply; a new tensor."""
        hand = self.hand
        refill(hand.numbers, generator)
        source, out = image.contiguous(), np.empty(self.shape, np.uint8)
        tables = hand.candidates.book.tables
        if self._run(hand.layout, tables, self.colours, source.data_ptr(), out) < DRAWN:
            return torch.from_numpy(out)
        return apply_fast(source[None], hand, self.fill)[0]
