"""The meaning of every op, written once: a table of rows, one row an op."""

from collections.abc import Iterable

from learned_augment.ops.blend import BLEND
from learned_augment.ops.geometric import GEOMETRIC
from learned_augment.ops.op import Blend, Erase, Geometric, Kind, Op, Opcode, Pointwise, Resample
from learned_augment.ops.pointwise import POINTWISE
from learned_augment.ops.region import REGION

__all__ = [
    "BUILT_IN",
    "OPS",
    "Blend",
    "Erase",
    "Geometric",
    "Kind",
    "Op",
    "Opcode",
    "Pointwise",
    "Resample",
    "check_ops",
    "register_op",
    "registered_ops",
]

OPS: dict[str, Op] = {op.name: op for op in [*POINTWISE, *GEOMETRIC, *BLEND, *REGION]}
"""Every op by its name. Adding one is adding a row to one of the four lists."""

BUILT_IN = tuple(OPS.values())
"""The rows of the package itself. Compiled code is made of these alone, whatever is added."""


def register_op(op: Op) -> Op:
    """Add an op of your own to the table and return it.

    Policies, files, every backend, pictures and searches then know it by its name. Register it
    before a policy that names it is built or loaded.

    Raises:
        TypeError: If this is no ``Op``, or its kind is none of the five.
        ValueError: If another op has this name, or the range of the op does not hold its identity
            value, or is no range.

    Examples:
        >>> from learned_augment.ops import OPS, Op, Pointwise, register_op
        >>> darker = Pointwise(lambda value, level, statistics: level // 2 + 0 * value)
        >>> _ = register_op(Op("Darker", "", 0.0, 0.0, None, darker))
        >>> "Darker" in OPS
        True
        >>> _ = OPS.pop("Darker")
    """
    if not isinstance(op, Op) or not isinstance(op.kind, Kind):
        given = f"kind {op.kind!r}" if isinstance(op, Op) else repr(op)
        raise TypeError(
            f"Expected an Op of kind Geometric, Pointwise, Blend, Erase or Resample, got {given}."
        )
    identity = op.low if op.identity_value is None else op.identity_value
    if not op.low <= identity <= op.high:
        raise ValueError(
            f"Expected a range of {op.name!r} from low to high that holds its identity value, got "
            f"{op.low} to {op.high} and {op.identity_value}."
        )
    if OPS.get(op.name, op) is not op:
        raise ValueError(f"There is an op named {op.name!r} already; choose another name.")
    OPS[op.name] = op
    return op


def registered_ops(names: Iterable[str]) -> tuple[Op, ...]:
    """Return those of the named ops that are not built in, but added to the table."""
    return tuple(OPS[name] for name in names if OPS[name] not in BUILT_IN)


def check_ops(names: Iterable[str]) -> None:
    """Raise ValueError for the first name that is no op's."""
    for name in names:
        if name not in OPS:
            raise ValueError(f"Unknown op {name!r}. Known ops: {', '.join(OPS)}.")
