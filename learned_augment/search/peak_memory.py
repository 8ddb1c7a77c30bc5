"""The peak memory of all tensors while a function runs, on any device."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(work: Callable[[], object], *existing: object) -> int:
    """Return the most bytes that tensors take at once while ``work`` runs.

    A tensor counts from its creation until it is freed: results of operations, tensors that
    autograd saves for a backward pass, and tensors that exist before. Tensors with one storage
    count once; working memory inside kernels does not count.

    Args:
        work: May use forward mode and `torch.func`, unlike hooks on saved tensors.
        existing: Tensors that exist before, or objects that refer to some through attributes,
            mappings and sequences, at any depth.

    Examples:
        >>> import torch
        >>> kept = {"a": torch.zeros(10)}
        >>> peak_bytes(lambda: (kept["a"] + 1) * 2, kept)
        120
    """
    storages = _Storages()
    storages.add(_tensors(existing))
    with storages:
        work()
    return storages.peak


class _Storages(TorchDispatchMode):
    """Counts the bytes of all storages in use, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages of ``tensors`` that are new, until they are freed."""
        for tensor in tensors:
            if tensor.is_meta or tensor._is_zerotensor():
                continue  # placeholders of forward mode, which have no memory
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            if size == 0 or address in self.sizes:
                continue
            self.sizes[address] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, address).atexit = False

    def _remove(self, address: int) -> None:
        self.now -= self.sizes.pop(address)


def _tensors(objects: Iterable[object]) -> list[Tensor]:
    """Return all tensors that can be reached from ``objects``."""
    left, seen, found = list(objects), set[int](), []
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, Mapping):
            left += item.values()
        elif isinstance(item, list | tuple):
            left += item
        elif not isinstance(item, type | ModuleType):
            left += getattr(item, "__dict__", {}).values()
    return found
