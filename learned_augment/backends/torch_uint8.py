"""Apply a plan to uint8 batches in torch, on CPU and GPU, bit for bit as PIL does."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from learned_augment.backends import pil
from learned_augment.backends.lowering import (
    Floats,
    Group,
    boxes,
    gray_levels,
    layer_groups,
    level_table,
    matrices,
    outside_colors,
)
from learned_augment.backends.warp import (
    crop_to,
    gather,
    inside_box,
    nearest_sources,
    on_device_of,
    resize,
    resize_weights,
    sources,
    to_device,
)
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.blend import luma, mix
from learned_augment.policy import Plan

__all__ = ["apply", "level_tables"]

PRECISION = 22
"""Fractional bits of PIL's whole-number weights for resizing."""


def apply(
    images: Tensor,
    plan: Plan,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: tuple[float, ...] | None = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a uint8 batch (B, C, H, W); a new tensor.

    Each layer runs all its geometric ops in one call, and each other op in a call of its own. The
    plan stays on the CPU, and nothing waits for the device.

    Args:
        images: C = 1 or 3, gray levels 0 to 255. Never written to.
        plan: B rows.
        interpolation: For geometric ops: nearest, bilinear or bicubic.
        fill: 1 or C levels outside the image; None is 0, and gray for crop padding.
        size: If given, B must be 1: resized crops and the result have this side.
    """
    with on_device_of(images):
        outside = None if fill is None else to_device(np.array(fill, np.uint8), images.device)
        out = images.clone(memory_format=torch.contiguous_format)
        for layer in range(plan.op.shape[1]):
            groups = layer_groups(plan, layer)
            if moved := groups.get(Geometric):
                _replace(out, moved, _move(out, moved, interpolation, outside))
            for group in groups.get(Pointwise, []):
                _replace(out, [group], _map_levels(out, group))
            for group in groups.get(Blend, []):
                _replace(out, [group], _blend(out, group))
            for group in groups.get(Erase, []):
                _replace(out, [group], _erase(out, group, size))
            for group in groups.get(Resample, []):
                out = _resample(out, group, size)
        return out if size is None else crop_to(out, size)


def _index(groups: list[Group], device: torch.device) -> Tensor:
    return torch.cat([group.index for group in groups]).to(device, non_blocking=True)


def _replace(out: Tensor, groups: list[Group], images: Tensor) -> None:
    out.index_copy_(0, _index(groups, out.device), images)


def _picked(out: Tensor, groups: list[Group]) -> Tensor:
    return out.index_select(0, _index(groups, out.device))


def _gray(images: Tensor) -> Tensor:
    return torch.from_numpy(gray_levels(images.shape[1])).to(images, non_blocking=True)


def _move(
    out: Tensor, groups: list[Group], interpolation: InterpolationMode, fill: Tensor | None
) -> Tensor:
    images, (height, width) = _picked(out, groups), out.shape[-2:]
    matrix = matrices(groups, width, height)
    outside = outside_colors(groups, fill, _gray(out))[:, :, None, None]
    if interpolation != InterpolationMode.NEAREST:
        return _interpolate(images, matrix, outside, interpolation)
    return gather(images, nearest_sources(matrix, width, height, out.device), outside)


def _map_levels(out: Tensor, group: Group) -> Tensor:
    kind, images = group.op.kind, _picked(out, [group])
    assert isinstance(kind, Pointwise)
    if kind.statistics == "none":
        table = to_device(level_table(kind, group.arrays[0])[:, None], images.device)
    else:
        value = group.value.detach().to(images.device, non_blocking=True)
        table = level_tables(kind, value, images).clamp(0, 255).to(torch.uint8)
    table = table.expand(-1, images.shape[1], 256)
    return table.gather(2, images.flatten(2).long()).view_as(images)


def level_tables(kind: Pointwise, value: Tensor, images: Tensor) -> Tensor:
    """Return the new level of each of 256 levels, (n, C, 256), for uint8 images and values (n,).

    Levels are those of the op's definition, in double precision, neither clipped nor rounded.
    """
    level = torch.arange(256.0, device=images.device, dtype=torch.float64)
    statistics = _STATISTICS[kind.statistics](images)
    table = kind.level(value.double()[:, None, None], level, statistics)
    return table.expand(*images.shape[:2], 256)  # type: ignore[no-any-return]


def _histogram(images: Tensor) -> Tensor:
    """Return the number of pixels at each level, (n, C, 256)."""
    counts = torch.zeros(*images.shape[:2], 256, dtype=torch.int64, device=images.device)
    levels = images.flatten(2).long()
    return counts.scatter_add_(2, levels, torch.ones_like(levels))


def _mean_luma(images: Tensor) -> Tensor:
    """Return the rounded mean of each luma image, (n, 1, 1)."""
    total = luma(images.int()).sum((1, 2, 3), dtype=torch.float64)
    # Tensor by tensor: on a GPU torch multiplies by the rounded reciprocal of a number.
    mean = torch.floor(total / torch.full_like(total, images[0, 0].numel()) + 0.5)
    return mean[:, None, None]


_STATISTICS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "none": lambda images: None,
    "histogram": _histogram,
    "mean luma": _mean_luma,
}


def _blend(out: Tensor, group: Group) -> Tensor:
    kind = group.op.kind
    assert isinstance(kind, Blend)
    factor = group.value.detach().to(out.device, torch.float32, non_blocking=True)
    levels = _picked(out, [group]).int()
    return mix(kind.degenerate(levels), levels, factor[:, None, None, None]).to(torch.uint8)  # type: ignore[no-any-return]


def _erase(out: Tensor, group: Group, size: int | None) -> Tensor:
    height, width = out.shape[-2:]
    box = boxes(group, width, height, size)
    inside = inside_box(to_device(box, out.device), width, height)
    return torch.where(inside, _gray(out)[None, :, None, None], _picked(out, [group]))


def _resample(out: Tensor, group: Group, size: int | None) -> Tensor:
    height, width = out.shape[-2:]
    box = boxes(group, width, height, size).astype(int).tolist()
    resized = _resize_by_pil if out.device.type == "cpu" else _resize_by_weights
    target = (size, size) if size else (width, height)
    images = resized(_picked(out, [group]), box, target)
    if size is not None:
        return images
    _replace(out, [group], images)
    return out


def _resize_by_pil(images: Tensor, box: list[list[int]], target: tuple[int, int]) -> Tensor:
    """Resize by PIL's own call, one plane at a time."""
    planes = [
        np.asarray(pil.resized(Image.fromarray(plane), (x0, y0, x1, y1), target))
        for image, (x0, y0, x1, y1) in zip(images.numpy(), box, strict=True)
        for plane in image
    ]
    return torch.from_numpy(np.stack(planes)).unflatten(0, tuple(images.shape[:2]))  # type: ignore[no-any-return]


def _resize_by_weights(images: Tensor, box: list[list[int]], target: tuple[int, int]) -> Tensor:
    """Resize on any device as PIL does: columns first, in whole-number weights."""
    (height, width), one = images.shape[-2:], 1 << PRECISION
    across = resize_weights([(x0, x1) for x0, _, x1, _ in box], width, target[0])
    down = resize_weights([(y0, y1) for _, y0, _, y1 in box], height, target[1])
    for axis, (pixels, weights) in ((3, across), (2, down)):
        # PIL rounds weights half away from zero; whole numbers are exact in double precision.
        whole = np.trunc(weights * one + np.where(weights < 0, -0.5, 0.5))
        total = resize(images.double(), pixels, whole, axis)
        images = ((total + one // 2) / one).floor().clamp(0, 255).to(torch.uint8)
    return images


def _interpolate(
    images: Tensor, matrix: Floats, outside: Tensor, interpolation: InterpolationMode
) -> Tensor:
    """Sample images (n, C, H, W) through coefficients (n, 6) in PIL's double precision."""
    first, mix_taps = _TAPS[interpolation]
    height, width = images.shape[-2:]
    x, y, inside = sources(to_device(matrix, images.device), width, height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    dx, dy = (x - left)[:, None], (y - top)[:, None]
    offsets = range(first, 2 - first)

    def at(i: int, j: int) -> Tensor:
        flat = (top + j).clamp(0, height - 1) * width + (left + i).clamp(0, width - 1)
        index = flat.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, index).view_as(images).double()

    lines = [mix_taps([at(i, j) for i in offsets], dx) for j in offsets]
    levels = mix_taps(lines, dy).clamp(0, 255).to(torch.uint8)
    return torch.where(inside, levels, outside)


def _linear(taps: list[Tensor], fraction: Tensor) -> Tensor:
    return taps[0] + (taps[1] - taps[0]) * fraction


def _cubic(taps: list[Tensor], fraction: Tensor) -> Tensor:
    """Interpolate with a = -1, the cubic of PIL's transforms (its resizing has a = -1/2)."""
    v1, v2, v3, v4 = taps
    p2, p3, p4 = v3 - v1, 2 * (v1 - v2) + v3 - v4, v2 - v1 - v3 + v4
    return v2 + fraction * (p2 + fraction * (p3 + fraction * p4))


_TAPS: dict[InterpolationMode, tuple[int, Callable[[list[Tensor], Tensor], Tensor]]] = {
    InterpolationMode.BILINEAR: (0, _linear),
    InterpolationMode.BICUBIC: (-1, _cubic),
}
"""Offset of the first neighbor, and how neighbors mix at a fraction of a pixel."""
