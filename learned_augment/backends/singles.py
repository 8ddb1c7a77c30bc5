"""What is worked out once for all single images of a kind: their checks, and what augments them."""

from functools import lru_cache
from typing import Any

import torch

from learned_augment import _validation as checks
from learned_augment.backends.fast import compiled_code
from learned_augment.backends.single import Single
from learned_augment.sampling import Chances

__all__ = ["single_for"]


@lru_cache(maxsize=32)
def single_for(
    chances: Chances,
    kind: torch.dtype | str,
    shape: Any,
    fill: checks.Numbers,
    plain: bool,
    thread: int,
) -> Single | None:
    """Check what images of a dtype or mode and a shape or size have in common.

    Returns what augments single ones, or None where something else does; always where they are not
    ``plain``: on a CPU, nearest neighbour, at their own size.
    """
    if isinstance(kind, str):
        checks.check_pil(kind, shape, fill)
        known = kind in ("RGB", "L")
        shape = len(kind), *shape[::-1]
    else:
        checks.check_tensor(kind, shape, fill)
        known = kind == torch.uint8 and len(shape) == 3
    if not plain or not known or compiled_code() is None:
        return None
    return Single(chances, shape, None if fill is None else tuple(map(int, fill)))
