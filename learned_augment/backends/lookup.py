"""Compiled: levels through a table of 256, sixty-four at a time on processors that can.

An optimiser turns no loop over a table into vector code. x86 with AVX-512 VBMI has an instruction
that looks up 64 levels in 128 entries; two and a choice by the top bit make one table.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

from learned_augment.backends.numba.jit import Bytes, compiled

__all__ = ["look_up_each", "look_up_wide", "map_levels"]

LANES = 64
PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"


@intrinsic  # type: ignore[untyped-decorator]
def _look_up_64(
    typing: Any, source: Any, at: Any, target: Any, to: Any, table: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write target[to : to + 64] = table[source[at : at + 64]]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), LANES)

        def place(argument: int, offset: Any) -> Any:
            make = context.make_array(signature.args[argument])
            levels = make(context, builder, arguments[argument]).data
            return builder.bitcast(builder.gep(levels, [offset]), block.as_pointer())

        def load(argument: int, offset: Any) -> Any:
            return builder.load(place(argument, offset), align=1)

        kind = ir.FunctionType(block, (block,) * 3)
        permute = builder.module.declare_intrinsic(PERMUTE, (), kind)
        index = load(0, arguments[1])
        a, b, c, d = (load(4, ir.IntType(64)(LANES * part)) for part in range(4))
        lower, upper = (builder.call(permute, [p, index, q]) for p, q in ((a, b), (c, d)))
        in_upper = builder.icmp_signed("<", index, ir.Constant(block, [0] * LANES))
        levels = builder.select(in_upper, upper, lower)
        builder.store(levels, place(2, arguments[3]), align=1)
        return context.get_dummy_value()

    return types.void(source, at, target, to, table), generate


@compiled
def look_up_each(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map levels (n,) through a table (256,); ``target`` may be ``source``."""
    for k in range(source.size):
        target[k] = table[source[k]]


@compiled
def look_up_wide(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Do what ``look_up_each`` does, with AVX-512 VBMI."""
    whole = source.size // LANES * LANES
    for k in range(0, whole, LANES):
        _look_up_64(source, k, target, k, table)
    for k in range(whole, source.size):
        target[k] = table[source[k]]


def is_wide() -> bool:
    """Say whether this processor, and Numba as it is set up, know the instruction."""
    chosen = config.CPU_NAME or config.CPU_FEATURES
    return not chosen and bool(binding.get_host_cpu_features().get("avx512vbmi"))


map_levels = look_up_wide if is_wide() else look_up_each
"""The faster of the two here."""
