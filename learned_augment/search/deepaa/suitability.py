"""Whether a network's per-image derivatives mean anything, and can be computed: checked at once."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from learned_augment.models.norms import NORMS, norm_parameters
from learned_augment.search.deepaa.exactness import check_each, check_slopes
from learned_augment.search.deepaa.image_gradients import check_layer

__all__ = ["check_suitable"]


def check_suitable(network: nn.Module, images: Tensor, *, gram: bool) -> None:
    """Refuse a network whose gradients DeepAA cannot use.

    Args:
        network: In whatever mode; left as it was.
        images: (2, C, H, W) network input.
        gram: Whether every image's own gradient will be asked for, or forward-mode slopes.

    Raises:
        ValueError: If a layer drops out or draws at random, if nothing normalises, or if the
            derivatives asked for are not found; names the way out and, where known, the layer.
    """
    if not any(isinstance(layer, NORMS) for layer in network.modules()):
        kinds = sorted({type(m).__name__ for m in network.modules() if not any(m.children())})
        raise ValueError(
            "Expected a network with batch normalisation, which DeepAA's training figures need; "
            f"found none among {', '.join(kinds)}. Add a BatchNorm2d after each convolution, or "
            "another normalisation."
        )
    for name, layer in network.named_modules():
        if isinstance(layer, _DropoutNd) and layer.p > 0:
            raise ValueError(
                f"Layer {name!r} is {layer}: the network that is frozen would not be the one that "
                "was trained. Set its p to 0, or leave it out."
            )
        if isinstance(layer, _BatchNorm) and not layer.track_running_stats:
            raise ValueError(
                f"Layer {name!r} is {layer}, through which the images of a batch meet also in "
                "inference; build it with track_running_stats=True."
            )
    if (random := _random_layer(network, images)) is not None:
        name, layer = random
        raise ValueError(
            f"Layer {name!r} is {layer}, random in training only: the network that is frozen would "
            "not be the one that was trained. Search with a Wide-ResNet or a ResNet."
        )
    if gram:
        fixed = norm_parameters(network)
        for name, layer in network.named_modules():
            if any(
                f"{name}.{p}".lstrip(".") not in fixed
                for p, _ in layer.named_parameters(recurse=False)
            ):
                check_layer(name, layer)
    training = network.training
    try:
        _check_steady(network.eval(), images)
        (check_each if gram else check_slopes)(network, images)
    finally:
        network.train(training)


def _check_steady(network: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        before = _generators(images.device)
        first = network(images)
        # A rare draw may leave two passes equal, but not the generator.
        still = all(map(torch.equal, before, _generators(images.device)))
        steady = still and torch.equal(first, network(images))
    if not steady:
        raise ValueError(
            "The network draws at random, or gives the same images different logits, in inference "
            "mode; take out what draws at random there."
        )


def _random_layer(network: nn.Module, images: Tensor) -> tuple[str, nn.Module] | None:
    """Return the first layer that draws random numbers in training, with its name."""
    copy = deepcopy(network).train()
    before: dict[nn.Module, list[Tensor]] = {}
    found: list[nn.Module] = []

    def enter(layer: nn.Module, given: object) -> None:
        before[layer] = _generators(images.device)

    def leave(layer: nn.Module, given: object, result: object) -> None:
        if not all(map(torch.equal, before[layer], _generators(images.device))):
            found.append(layer)

    for layer in copy.modules():
        layer.register_forward_pre_hook(enter)
        layer.register_forward_hook(leave)
    with torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
        copy(images)
    # A layer ends before the layer that contains it, so the first one found is the innermost.
    names = {layer: name for name, layer in copy.named_modules()}
    return (names[found[0]], found[0]) if found else None


def _generators(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
