"""What every op means, each meaning written once: a table of rows, one row an op."""

from collections.abc import Iterable
from types import MappingProxyType

from learned_augment.ops.blend import BLEND
from learned_augment.ops.geometric import GEOMETRIC
from learned_augment.ops.op import Blend, Erase, Geometric, Kind, Op, Pointwise, Resample
from learned_augment.ops.pointwise import POINTWISE
from learned_augment.ops.region import REGION

__all__ = [
    "OPS",
    "Blend",
    "Erase",
    "Geometric",
    "Kind",
    "Op",
    "Pointwise",
    "Resample",
    "check_ops",
]

OPS = MappingProxyType({op.name: op for op in [*POINTWISE, *GEOMETRIC, *BLEND, *REGION]})
"""Every op by its name. Adding one is adding a row to one of the four lists."""


def check_ops(names: Iterable[str]) -> None:
    """Raise ValueError for the first name that is no op's."""
    for name in names:
        if name not in OPS:
            raise ValueError(f"Unknown op {name!r}. Known ops: {', '.join(OPS)}.")
