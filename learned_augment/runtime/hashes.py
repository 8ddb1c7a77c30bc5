"""Fingerprints: what tells two jobs apart, as a short text."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["hashed", "module_hash"]


def hashed(parts: Iterable[str | Tensor]) -> str:
    """Return a hash of texts and of tensors' types, shapes and bits, in order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            found.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(f"{part!r} ".encode())
    return found.hexdigest()[:32]


def module_hash(module: nn.Module) -> str:
    """Return a hash of a module's structure and state; the code of its ``forward`` is not seen."""
    named = [part for name, state in module.state_dict().items() for part in (name, state)]
    return hashed([repr(module), *named])
