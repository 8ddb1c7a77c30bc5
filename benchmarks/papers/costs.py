"""Count multiply-adds and memory of a forward pass of every network of the papers.

    python -m benchmarks.papers.costs

Classifiers are counted on 1 image of their data's size, without computing anything; detectors on a
training pass of one image of 800 x 1066 pixels with one object, which is computed. Convolutions and
matrix products count; the rest of a network does not. What is kept is what autograd saves of a
classifier's forward pass in float32 for the backward pass, weights apart.
"""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.detection.models import MODELS, build_detector
from benchmarks.papers.presets import PRESETS, Preset
from benchmarks.record import save_result

__all__ = ["classifier_cost", "detector_cost", "kept_bytes"]


def classifier_cost(preset: Preset) -> int:
    """Return the multiply-adds of one image's forward pass."""
    with torch.device("meta"):
        network = preset.build(preset.facts.classes).eval()
        image = torch.empty(1, 3, preset.facts.side, preset.facts.side)
    return _counted(network, image)


def kept_bytes(preset: Preset) -> int:
    """Return the bytes that one image's forward pass keeps for its backward pass."""
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, or its place could be another's next
        return tensor

    with torch.device("meta"):
        network = preset.build(preset.facts.classes).train()
        images = torch.empty(2, 3, preset.facts.side, preset.facts.side)
        labels = torch.zeros(2, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nn.functional.cross_entropy(network(images), labels)
    for weight in (*network.parameters(), *network.buffers()):
        kept.pop(weight.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in kept.values()) // 2


def detector_cost(name: str) -> int:
    """Return the multiply-adds of one image's forward pass in training, of COCO's 80 classes."""
    torch.manual_seed(0)
    model = build_detector(name, 80).train()
    box = torch.tensor([[200.0, 200.0, 500.0, 500.0]])
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64)}
    target["masks"] = torch.ones(1, 800, 1066, dtype=torch.uint8)
    return _counted(model, [torch.rand(3, 800, 1066)], [target])


def _counted(model: nn.Module, *inputs: object) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    # It counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2


def main() -> None:
    """Count and save."""
    networks = {(p.network, p.facts.side, p.facts.classes): p for p in PRESETS.values()}
    rows = [
        {
            "network": preset.network,
            "side": side,
            "classes": classes,
            "madds": classifier_cost(preset),
            "kept_bytes": kept_bytes(preset),
        }
        for (_, side, classes), preset in networks.items()
    ]
    rows += [
        {"network": name, "side": 800, "classes": 80, "madds": detector_cost(name)}
        for name in MODELS
    ]
    for row in rows:
        print(row)
    save_result("papers_costs", rows, settings={"detector_image": [800, 1066]})


if __name__ == "__main__":
    main()
