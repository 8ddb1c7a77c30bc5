"""Build the optional peers that ``throughput.py`` times."""

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from learned_augment import Policy

__all__ = [
    "albumentations_compose",
    "albumentations_transform",
    "dali_auto_augment",
    "timm_auto_augment",
]


def timm_auto_augment(width: int) -> Any:
    """Return timm's AutoAugment of PIL images of a width, nearest neighbor; None without timm."""
    try:
        from timm.data.auto_augment import auto_augment_transform
    except ImportError:
        return None
    given = {"translate_const": int(width * 0.45), "img_mean": (125, 123, 114), "interpolation": 0}
    return auto_augment_transform("original", given)


def albumentations_transform(policy: Policy) -> Callable[[Any], Any] | None:
    """Return a call that augments a NumPy image by AlbumentationsX; None where it is missing."""
    whole = albumentations_compose(policy)
    return None if whole is None else lambda image: whole(image=image)["image"]


def albumentations_compose(policy: Policy) -> Any:
    """Return AlbumentationsX's equal of a policy, its ``Compose``; None where it is missing.

    A sub-policy is a ``Sequential`` of layers, a layer a ``OneOf`` of the candidates that change an
    image, applied with their total weight. Its shears keep the center in place, and its sharpening
    is another one; the cost is about the same.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError:
        return None

    def jitter(which: str) -> Callable[[float, float], Any]:
        still = {f"{name}_range": (1.0, 1.0) for name in ("brightness", "contrast", "saturation")}
        still["hue_range"] = (0.0, 0.0)
        return lambda v, p: albumentations.ColorJitter(**{**still, f"{which}_range": (v, v)}, p=p)

    def affine(**given: Callable[[float], Any]) -> Callable[[float, float], Any]:
        return lambda v, p: albumentations.Affine(
            **{k: f(v) for k, f in given.items()}, interpolation=0, p=p
        )

    def degrees(v: float) -> tuple[float, float]:
        return (math.degrees(math.atan(v)),) * 2

    calls: dict[str, Callable[[float, float], Any]] = {
        "ShearX": affine(shear=lambda v: {"x": degrees(v), "y": (0.0, 0.0)}),
        "ShearY": affine(shear=lambda v: {"x": (0.0, 0.0), "y": degrees(v)}),
        "TranslateX": affine(translate_percent=lambda v: {"x": (-v, -v), "y": (0.0, 0.0)}),
        "TranslateY": affine(translate_percent=lambda v: {"x": (0.0, 0.0), "y": (-v, -v)}),
        "Rotate": affine(rotate=lambda v: (v, v)),
        "AutoContrast": lambda v, p: albumentations.AutoContrast(method="pil", p=p),
        "Equalize": lambda v, p: albumentations.Equalize(mode="pil", p=p),
        "Invert": lambda v, p: albumentations.InvertImg(p=p),
        "Posterize": lambda v, p: albumentations.Posterize(num_bits=(int(v), int(v)), p=p),
        "Solarize": lambda v, p: albumentations.Solarize(threshold_range=(v / 255, v / 255), p=p),
        "Brightness": jitter("brightness"),
        "Contrast": jitter("contrast"),
        "Color": jitter("saturation"),
        "Sharpness": lambda v, p: albumentations.Sharpen((abs(v - 1),) * 2, (1.0, 1.0), p=p),
    }

    def one_of(layer: list[tuple[str, float, float]]) -> Any:
        chosen = [(name, w, v) for name, w, v in layer if name != "Identity"]
        total = sum(w for _, w, _ in chosen)
        return albumentations.OneOf([calls[name](v, w) for name, w, v in chosen], p=min(1.0, total))

    subs = [
        albumentations.Sequential([one_of(layer) for layer in policy.layers(s)], p=probability)
        for s, probability in enumerate(policy.mixture.tolist())
    ]
    return albumentations.Compose([albumentations.OneOf(subs, p=1.0)], seed=0, telemetry=False)


def dali_auto_augment(
    images: Tensor, threads: int, gpu: bool = False
) -> Callable[[], object] | None:
    """Return a call that augments uint8 images (B, C, H, W) by DALI; None where it is missing.

    The policy is AutoAugment's for ImageNet, the only one that DALI ships, with a draw per image.
    With ``gpu`` it augments there; the batch then comes from the host, as DALI's sources do.
    """
    try:
        from nvidia.dali import fn, pipeline_def
        from nvidia.dali.auto_aug import auto_augment
    except ImportError:
        return None
    batch = [np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]

    # Nothing is made ahead: it would be made while the others are timed.
    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=len(batch),
        num_threads=threads,
        device_id=0 if gpu else None,
        enable_conditionals=True,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    def pipeline() -> object:
        given = fn.external_source(source=lambda: batch, batch=True, layout="HWC")
        given = given.gpu() if gpu else given
        return auto_augment.auto_augment(given, shape=batch[0].shape)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = pipeline(seed=0)
        built.build()
    return built.run  # type: ignore[no-any-return]
