"""Whether a network's per-image derivatives mean anything, and can be computed: checked at once."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from learned_augment.networks import ShakeDrop, ShakeShake
from learned_augment.networks.norms import NORMS, norm_parameters
from learned_augment.searchers.alignment import Tensors, slopes_exact
from learned_augment.searchers.deepaa.image_gradients import check_layer

__all__ = ["check_suitable"]


def check_suitable(network: nn.Module, images: Tensor, *, gram: bool) -> None:
    """Refuse a network whose gradients DeepAA cannot use.

    Args:
        network: In whatever mode; left as it was.
        images: (2, C, H, W) network input.
        gram: Whether every image's own gradient will be asked for.

    Raises:
        ValueError: If a layer drops out, works in place, draws at random or refuses forward mode,
            or if nothing normalises; names the layer and the way out.
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
        if isinstance(layer, ShakeShake | ShakeDrop):
            raise ValueError(
                f"Layer {name!r} is {layer}, random in training only: the network that is frozen "
                "would not be the one that was trained. Search with a Wide-ResNet or a ResNet."
            )
        if isinstance(layer, _BatchNorm) and not layer.track_running_stats:
            raise ValueError(
                f"Layer {name!r} is {layer}, through which the images of a batch meet also in "
                "inference; build it with track_running_stats=True."
            )
        if getattr(layer, "inplace", False):
            raise ValueError(
                f"Layer {name!r} is {layer}, which overwrites what derivatives need; build it with "
                "inplace=False."
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
        _try_forward_mode(network.eval(), images)
    finally:
        network.train(training)


def _try_forward_mode(network: nn.Module, images: Tensor) -> None:
    entered: list[str] = []
    handles = [
        layer.register_forward_pre_hook(lambda m, g, name=name: entered.append(name))  # type: ignore[misc]
        for name, layer in network.named_modules()
    ]
    weights = {name: w.detach() for name, w in network.named_parameters()}
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def losses(w: Tensors) -> Tensor:
        return F.cross_entropy(functional_call(network, w, (images,)), labels, reduction="none")

    try:
        slopes_exact(losses, weights, weights)
    except (RuntimeError, NotImplementedError) as error:
        where = entered[-1] if entered else ""
        raise ValueError(
            f"Forward-mode differentiation stops in or after layer {where!r}: "
            f"{str(error).splitlines()[0]} Write that operation without inplace=True, += or a name "
            "ending in _."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        steady = torch.equal(losses(weights), losses(weights))
    if not steady:
        raise ValueError(
            "The network gives the same images different losses in inference mode; take out what "
            "draws at random there."
        )
