"""The most memory that tensors take at once while something runs, on whatever device."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(work: Callable[[], object], *held: object) -> int:
    """Return the most bytes that tensors take at once while ``work`` runs.

    Every tensor counts as long as it lives: what an operation makes, what autograd keeps for a
    backward pass, and what was there before. Two tensors on one memory count once; what a kernel
    takes to work in does not.

    Args:
        work: Also forward mode and `torch.func`, which hooks on saved tensors do not allow.
        held: What was there before: tensors, or what refers to some through attributes, mappings
            and sequences, however deep.

    Example:
        >>> import torch
        >>> kept = {"a": torch.zeros(10)}
        >>> peak_bytes(lambda: (kept["a"] + 1) * 2, kept)
        120
    """
    live = _Live()
    live.count(_tensors(held))
    with live:
        work()
    return live.most


class _Live(TorchDispatchMode):
    """Counts the bytes of living tensors, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.count(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count the memory of ``tensors``, where it is new, until it is given back."""
        for tensor in tensors:
            if tensor.is_meta or tensor._is_zerotensor():
                continue  # forward mode's stand-ins, which have no memory
            memory = tensor.untyped_storage()
            address, size = memory.data_ptr(), memory.nbytes()
            if size == 0 or address in self.sizes:
                continue
            self.sizes[address] = size
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(memory, self._forget, address).atexit = False

    def _forget(self, address: int) -> None:
        self.now -= self.sizes.pop(address)


def _tensors(held: Iterable[object]) -> list[Tensor]:
    """Return all tensors that can be reached from ``held``."""
    left, seen, found = list(held), set[int](), []
    while left:
        thing = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            found.append(thing)
        elif isinstance(thing, Mapping):
            left += thing.values()
        elif isinstance(thing, list | tuple):
            left += thing
        elif not isinstance(thing, type | ModuleType):
            left += getattr(thing, "__dict__", {}).values()
    return found
