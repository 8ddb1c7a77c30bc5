"""Plan + images -> images: one meaning, executed three ways. The kind of input picks the engine."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from learned_augment.backends.fast import apply_fast, compiled_code
from learned_augment.backends.groups import beside
from learned_augment.backends.hand import Hand
from learned_augment.backends.kornia_float import apply_smooth
from learned_augment.backends.smooth_fast import apply_fast_smooth
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.backends.triton.launch import apply_fused, suits
from learned_augment.plan import HOST, Plan

__all__ = ["apply_batch"]


def apply_batch(
    images: Tensor,
    plan: Plan | Hand,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: float | tuple[float, ...] | None = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a batch: uint8 bit for bit as PIL does, floats differentiably.

    Args:
        images: (B, C, H, W) with C = 1 or 3; uint8, or floats in [0, 1]. Never written to.
        plan: One row an image; what ``draw_images`` drew serves nearest neighbour without a size.
        interpolation: Nearest, bilinear or bicubic, for geometric ops.
        fill: Colour outside the image in the image's own scale; None is 0, and the papers' grey
            for crop padding.
        size: If given, resized crops come out at this side, and so does every image.

    Returns:
        A new tensor of the same dtype and device, and of the same shape unless ``size`` is given.

    Raises:
        ValueError: If the plan does not have one row an image.
    """
    if len(plan) != len(images):
        raise ValueError(f"Expected a plan of {len(images)} rows, one an image, got {len(plan)}.")
    if images.numel() == 0:
        return images.clone() if size is None else images.new_zeros(*images.shape[:2], size, size)
    colour = None
    if fill is not None:
        colour = torch.as_tensor(fill, dtype=torch.float64, device=HOST).reshape(-1)
    if isinstance(plan, Hand):
        return apply_fast(images, plan, _levels(colour))
    if size is not None and len(images) > 1:
        # Images part ways in size after a resized crop: each runs alone.
        parts = [(images[i : i + 1], plan.rows(slice(i, i + 1))) for i in range(len(images))]
        options = {"interpolation": interpolation, "fill": fill, "size": size}
        return torch.cat([apply_batch(*part, **options) for part in parts])  # type: ignore[arg-type]
    levels = images.dtype == torch.uint8
    if levels:
        plan = replace(plan, value=plan.value.detach())
    nearest = interpolation == InterpolationMode.NEAREST and size is None
    suited = nearest and images.device.type == "cpu" and not plan.value.requires_grad
    compiled = suited and compiled_code() is not None
    if levels:
        if compiled:
            return apply_fast(images, plan, _levels(colour))
        if nearest and suits(images):
            return apply_fused(images, plan, _levels(colour))
        outside = None if colour is None else colour.to(images, non_blocking=True)
        return apply_exact(images, plan, interpolation=interpolation, fill=outside, size=size)
    floats = images if images.dtype in (torch.float32, torch.float64) else images.float()
    with beside(images), _full_precision(images.device.type):
        if compiled:
            shown = None if colour is None else tuple(colour.tolist())
            return apply_fast_smooth(floats, plan, shown).to(images.dtype)
        outside = None if colour is None else colour.to(floats, non_blocking=True)
        result = apply_smooth(floats, plan, interpolation=interpolation, fill=outside, size=size)
    return result.to(images.dtype)


def _levels(colour: Tensor | None) -> tuple[int, ...] | None:
    return None if colour is None else tuple(colour.to(torch.uint8).tolist())


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Switch autocast off: a resized crop's products would lose levels."""
    lossy = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if lossy else nullcontext()
