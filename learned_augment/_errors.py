"""Errors that torch raises without a class of their own."""

import torch

__all__ = ["is_out_of_memory"]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is too little memory, on a CPU or a GPU.

    Examples:
        >>> try:
        ...     torch.empty(2**60)
        ... except RuntimeError as error:
        ...     is_out_of_memory(error)
        True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
