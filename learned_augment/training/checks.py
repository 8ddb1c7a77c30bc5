"""Checks of device and network before a training."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learned_augment._text import first_line, leading
from learned_augment.datasets.image_data import ImageData
from learned_augment.models import NetworkChoice, build_network
from learned_augment.runtime.rng import isolated

__all__ = ["check_network", "find_device"]


def find_device(device: str | torch.device | None) -> torch.device:
    """Return the device to train on; None is the first GPU, or the CPU where there is none.

    Raises:
        ValueError: If there is no such device here.

    Examples:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # the device "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch asserts when it was built without CUDA.
        raise ValueError(
            f"Device {str(device)!r} cannot be used: {first_line(error)}. Use 'cpu'."
        ) from None
    return found


def check_network(network: NetworkChoice, data: ImageData, device: torch.device) -> None:
    """Check a network by a forward pass of two images through a copy.

    Raises:
        ValueError: If the network does not turn the images into one logit per class, has weights
            that are not initialized, or has no weight to train on which the logits depend.

    Examples:
        >>> from learned_augment.datasets.load import load_images
        >>> data, cpu = load_images("digits"), torch.device("cpu")
        >>> check_network("small-cnn", data, cpu)
        >>> try:
        ...     check_network(nn.Flatten(), data, cpu)
        ... except ValueError as error:
        ...     print(str(error).partition(", but ")[2])
        the network returned (2, 3072).
    """
    images = data.train_images[:2]
    with isolated(0):
        built = build_network(network, len(data.classes))
        _check_initialized(built)
        model = deepcopy(built).to(device).eval()
        try:
            logits = model(images.to(device) / 255)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise ValueError(
                f"Expected a network that takes images {tuple(images.shape)} of {data.name}, but "
                f"it failed on them: {first_line(error)}."
            ) from error
    expected = (len(images), len(data.classes))
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if found != expected:
        raise ValueError(
            f"Expected logits {expected}, one per class of {data.name}, but the network returned "
            f"{found}."
        )
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ValueError(
            "Expected a network with weights to train, but none of its parameters requires a "
            "gradient; set network.requires_grad_(True), or at least that of its last layers."
        )
    if not logits.requires_grad:
        raise ValueError(
            "Expected a network that can be trained, but its logits depend on no weight that "
            "requires a gradient; look for torch.no_grad or detach in its forward."
        )


def _check_initialized(network: nn.Module) -> None:
    state = [*network.named_parameters(), *network.named_buffers()]
    lazy = [name for name, tensor in state if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"Expected a network with initialized weights, but {leading(lazy)} are not; run it on "
            "a batch of images first."
        )
