"""What a DeepAA search costs: passes counted from its options, seconds from a few small passes."""

import time
from collections.abc import Callable, Mapping

import torch

from learned_augment.search.deepaa.frozen import Frozen
from learned_augment.search.deepaa.grams import products
from learned_augment.search.deepaa.pretraining import Pretraining
from learned_augment.search.phases import Phase

__all__ = ["layer_phases", "training_phase"]

SAMPLE = 256
SLOW_SAMPLE = 64


def training_phase(pretraining: Pretraining) -> Phase:
    """Return what training the network costs; takes two of its steps."""
    pretraining.step()
    seconds = _seconds(lambda: pretraining.step())
    passes = {"training gradients": pretraining.batch}
    return Phase("network", pretraining.steps, passes, seconds)


def layer_phases(
    frozen: Frozen,
    images: torch.Tensor,
    passes: Callable[[bool], Mapping[str, int]],
    *,
    steps: int,
    layers: int,
    gram: bool,
    judges: int,
) -> list[Phase]:
    """Return what validation gradients of whole classes cost, the first layer, and all others.

    Args:
        frozen: The network, trained or not.
        images: Some network input.
        passes: Images a step by purpose, in the first layer or a later one.
        steps: A layer.
        layers: At most.
        gram: Whether training gradients are taken image by image.
        judges: Validation images that are seen once for the whole search.
    """
    inputs = images[: min(SAMPLE if gram else SLOW_SAMPLE, frozen.chunk, len(images))]
    inputs = inputs[: len(inputs) // 2 * 2]
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    tangent = frozen.gradient(inputs, labels)
    together = _seconds(lambda: frozen.gradient(inputs, labels)) / len(inputs)
    forward = alone = together
    if gram:
        alone = _seconds(lambda: _products(frozen, inputs, labels)) / len(inputs)
    else:
        forward = _seconds(lambda: frozen.slopes(inputs, labels, tangent)) / len(inputs)
    pace = {"validation gradients": together, "training gradients": alone, "rewards": forward}
    once = {"validation gradients": judges}
    found = [Phase("whole classes", 1, once, together * judges)] if judges else []
    for name, first, count in (("layer 1", True, 1), ("each later layer", False, layers - 1)):
        each = passes(first)
        seconds = sum(pace[what] * images for what, images in each.items())
        if count:
            found.append(Phase(name, count * steps, each, seconds))
    return found


def _products(frozen: Frozen, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    for _, _, gradients in frozen.each(inputs, labels):
        products(gradients.flatten(1).unflatten(0, (2, -1)))


def _seconds(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
