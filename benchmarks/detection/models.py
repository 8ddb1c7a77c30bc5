"""Build RetinaNet, Faster R-CNN and Mask R-CNN on a given ResNet-50."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

__all__ = ["MODELS", "build_detector", "load_backbone"]

State = Mapping[str, Tensor]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "retinanet": RetinaNet,
    "fasterrcnn": FasterRCNN,
    "maskrcnn": MaskRCNN,
}
"""Detectors by name; each takes a backbone, a number of classes and the sizes of images."""

LONGEST = 1333 / 800


def build_detector(
    name: str, classes: int, backbone: State | None = None, min_size: int = 800
) -> nn.Module:
    """Build a detector as torchvision's reference does, with a feature pyramid.

    With a given backbone, batch normalization is frozen and the last three of the five stages
    train. With random weights, batch normalization and all five stages train.

    Args:
        name: A name of ``MODELS``.
        classes: Number of classes, without the background.
        backbone: Weights of a ResNet-50 as ``load_backbone`` returns them; None for random ones.
        min_size: Shorter side in pixels to which images are resized; the longer one is at most
            1333/800 of it.

    Raises:
        ValueError: If no detector has this name.
    """
    if name not in MODELS:
        raise ValueError(f"No detector named {name!r}. Available: {', '.join(MODELS)}.")
    body = _pyramid(name, trained=backbone is not None)
    if backbone is not None:
        body.body.load_state_dict(backbone)
    longest = round(min_size * LONGEST)
    return MODELS[name](body, classes + 1, min_size=min_size, max_size=longest)


def _pyramid(name: str, trained: bool) -> BackboneWithFPN:
    # RetinaNet leaves the finest level out: it would hold most of its anchors.
    own = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
    return resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d if trained else nn.BatchNorm2d,
        trainable_layers=3 if trained else 5,
        **(own if name == "retinanet" else {}),
    )


def load_backbone(path: Path) -> dict[str, Tensor]:
    """Return the weights of a ResNet-50 without its classifier, from a file of ``torch.save``.

    The file is a state dict under torchvision's names, or a checkpoint of ``train.py``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a state dict of a ResNet-50; says where it differs.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r} with a ResNet-50's state dict.")
    try:
        # Weights only: a file from elsewhere must not execute anything.
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the broken bytes lead to
        raise ValueError(
            f"{path} is not a file of weights ({type(error).__name__}); expected torch.save of a "
            "ResNet-50's state dict."
        ) from error
    return _fitting(path, _network(state))


def _network(read: Any) -> Any:
    """Return the network of a training's checkpoint; anything else as it is."""
    training = read.get("state") if isinstance(read, Mapping) else None
    return training.get("network") if isinstance(training, Mapping) else read


def _fitting(path: Path, state: Any) -> dict[str, Tensor]:
    found = state if isinstance(state, Mapping) else {}
    with torch.device("meta"):
        expected = _pyramid("fasterrcnn", trained=True).body.state_dict()
    wrong = [
        f"{name} is {_shape(found.get(name))}, not {_shape(weight)}"
        for name, weight in expected.items()
        if _shape(found.get(name)) != _shape(weight)
    ]
    if wrong:
        raise ValueError(
            f"{path} does not hold a ResNet-50: {len(wrong)} of its {len(expected)} tensors are "
            f"missing or of another shape, first {wrong[0]}. Train one with "
            "python -m benchmarks.papers.train."
        )
    return {name: found[name] for name in expected}


def _shape(weight: Any) -> Any:
    return tuple(weight.shape) if isinstance(weight, Tensor) else "missing"
