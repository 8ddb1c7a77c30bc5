"""Plan + uint8 batch -> uint8 batch, on CPU and GPU, bit for bit what PIL does.

Images are (B, C, H, W) with C = 1 or 3, grey levels 0 to 255. Each layer runs a few batched
kernels, one a law; the plan stays on the CPU and nothing waits for the device.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from learned_augment.backends import taps
from learned_augment.backends.groups import (
    Group,
    beside,
    boxes,
    grey_levels,
    index_of,
    layer_groups,
    matrices,
    outside_colours,
    sent,
)
from learned_augment.backends.lowering import Floats
from learned_augment.backends.resample import PRECISION, resize_weights, whole_weights
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.blend import luma, mix
from learned_augment.ops.region import centre_crop
from learned_augment.plan import Plan

__all__ = [
    "apply_exact",
    "crop_to",
    "gather",
    "inside_box",
    "nearest_sources",
    "resize_matrices",
]


def apply_exact(
    images: Tensor,
    plan: Plan,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: Tensor | None = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a uint8 batch (B, C, H, W); a new tensor.

    Args:
        images: uint8, never written to.
        plan: B rows.
        interpolation: For geometric ops: nearest, bilinear or bicubic.
        fill: (1,) or (C,) levels outside the image; None is 0, and grey for crop padding.
        size: If given, B must be 1: resized crops and the result have this side.
    """
    with beside(images):
        out = images.clone(memory_format=torch.contiguous_format)
        for layer in range(plan.op.shape[1]):
            groups = layer_groups(plan, layer)
            if moved := groups.get(Geometric):
                _replace(out, moved, _move(out, moved, interpolation, fill))
            if recoloured := groups.get(Pointwise):
                _recolour(out, recoloured)
            for group in groups.get(Blend, []):
                _replace(out, [group], _blend(out, group))
            for group in groups.get(Erase, []):
                _replace(out, [group], _erase(out, group, size))
            for group in groups.get(Resample, []):
                out = _resample(out, group, size)
        return out if size is None else crop_to(out, size)


def _replace(out: Tensor, groups: list[Group], images: Tensor) -> None:
    out.index_copy_(0, index_of(groups, out.device), images)


def _picked(out: Tensor, groups: list[Group]) -> Tensor:
    return out.index_select(0, index_of(groups, out.device))


def _grey(images: Tensor) -> Tensor:
    return torch.from_numpy(grey_levels(images.shape[1])).to(images, non_blocking=True)


def _move(
    out: Tensor, groups: list[Group], interpolation: InterpolationMode, fill: Tensor | None
) -> Tensor:
    images, (height, width) = _picked(out, groups), out.shape[-2:]
    matrix = matrices(groups, width, height)
    outside = outside_colours(groups, fill, _grey(out))[:, :, None, None]
    if interpolation != InterpolationMode.NEAREST:
        return taps.interpolate(images, matrix, outside, interpolation)
    return gather(images, nearest_sources(matrix, width, height, out.device), outside)


def nearest_sources(matrix: Floats, width: int, height: int, device: torch.device) -> Tensor:
    """Return the input pixel of every output pixel, (n, H * W) int64, as PIL finds it; -1 outside.

    PIL steps along rows in 16.16 fixed point, and along separate axes in floating point where the
    matrix does not mix them. Both sums are exact here, ties included.

    Args:
        matrix: (n, 6), from output to input in pixels.
        width: Of the images.
        height: Of the images.
        device: Where the result goes.
    """
    a, b, c, d, e, f = matrix.T
    steps = np.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5])
    fixed = sent(np.floor(steps * 65536.0 + 0.5).astype(np.int64), device)
    across, down, first = fixed.view(2, 3, -1, 1, 1).unbind(1)  # each for x and for y
    columns = torch.arange(width, device=device)
    rows = torch.arange(height, device=device)[:, None]
    x, y = (first + across * columns + down * rows) >> 16
    separate = (b == 0) & (d == 0)
    if separate.any():
        mask = sent(separate, device)[:, None, None]
        x = torch.where(mask, _stepped(matrix[:, [0, 2]], width, device)[:, None, :], x)
        y = torch.where(mask, _stepped(matrix[:, [4, 5]], height, device)[:, :, None], y)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, -1).flatten(1)


def _stepped(axis: Floats, length: int, device: torch.device) -> Tensor:
    """Return the source of each position on one axis: a running sum, truncated, -1 outside."""
    step, offset = axis.T
    first = offset + step * 0.5
    sums = np.repeat(step[:, None], length, axis=1)
    sums[:, 0] = first
    positions = np.cumsum(sums, axis=1)
    return sent(np.where(positions < 0, -1, np.trunc(positions)).astype(np.int64), device)


def gather(images: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
    """Read images (n, C, H, W) at pixels (n, H * W); ``outside`` (n, C, 1, 1) where they are -1."""
    inside = (pixels >= 0).view(-1, 1, *images.shape[-2:])
    index = pixels.clamp(min=0)[:, None].expand(-1, images.shape[1], -1)
    return torch.where(inside, images.flatten(2).gather(2, index).view_as(images), outside)


def _recolour(out: Tensor, groups: list[Group]) -> None:
    images = _picked(out, groups)
    _replace(out, groups, _lookup(images, _tables(images, groups)))


def _tables(images: Tensor, groups: list[Group]) -> Tensor:
    """Return the tables (n, C, 256) uint8 of pointwise groups; ``images`` are theirs, in order."""
    channels, start, rows = images.shape[1], 0, []
    for group in groups:
        law, stop = group.op.kind, start + len(group.index)
        assert isinstance(law, Pointwise)
        if law.statistics == "none":
            table = sent(law.table(group.arrays[0], None), images.device)
        else:
            statistics = _STATISTICS[law.statistics](images[start:stop])
            value = group.value.detach().to(images.device, non_blocking=True)
            table = law.table(value, statistics)
        table = table if table.dim() == 3 else table[:, None, :].expand(-1, channels, -1)
        rows.append(table.to(torch.uint8))
        start = stop
    return torch.cat(rows)


def _lookup(images: Tensor, table: Tensor) -> Tensor:
    """Map every level of images (n, C, H, W) through its table (n, C, 256)."""
    return table.gather(2, images.flatten(2).long()).view_as(images)


def _histogram(images: Tensor) -> Tensor:
    counts = torch.zeros(*images.shape[:2], 256, dtype=torch.int64, device=images.device)
    levels = images.flatten(2).long()
    return counts.scatter_add_(2, levels, torch.ones_like(levels))


def _mean_luma(images: Tensor) -> Tensor:
    total = luma(images.int()).sum((1, 2, 3), dtype=torch.float64)
    return torch.floor(total / torch.full_like(total, images[0, 0].numel()) + 0.5)


_STATISTICS = {"histogram": _histogram, "mean luma": _mean_luma}


def _blend(out: Tensor, group: Group) -> Tensor:
    law = group.op.kind
    assert isinstance(law, Blend)
    images = _picked(out, [group])
    factor = group.value.detach().to(out.device, torch.float32, non_blocking=True)
    levels = images.int()
    return mix(law.degenerate(levels), levels, factor[:, None, None, None]).to(torch.uint8)  # type: ignore[no-any-return]


def _erase(out: Tensor, group: Group, size: int | None) -> Tensor:
    height, width = out.shape[-2:]
    box = torch.from_numpy(boxes(group, width, height, size or min(width, height)))
    inside = inside_box(box.to(out.device, non_blocking=True), width, height)
    return torch.where(inside, _grey(out)[None, :, None, None], _picked(out, [group]))


def inside_box(box: Tensor, width: int, height: int) -> Tensor:
    """Return which pixels lie in each rectangle (n, 4): (n, 1, H, W) bool."""
    x0, y0, x1, y1 = (edge[:, None, None, None] for edge in box.unbind(1))
    column = torch.arange(width, device=box.device)
    row = torch.arange(height, device=box.device)[:, None]
    return (column >= x0) & (column < x1) & (row >= y0) & (row < y1)


def _resample(out: Tensor, group: Group, size: int | None) -> Tensor:
    images = _picked(out, [group])
    for axis, weights in resize_matrices(group, out, size):
        whole = torch.from_numpy(whole_weights(weights)).to(out.device, non_blocking=True)
        levels = images.double()
        total = levels @ whole.mT if axis == 3 else whole @ levels
        half = 1 << (PRECISION - 1)
        images = ((total + half) / (1 << PRECISION)).floor().clamp(0, 255).to(torch.uint8)
    if size is not None:
        return images
    _replace(out, [group], images)
    return out


def resize_matrices(group: Group, out: Tensor, size: int | None) -> list[tuple[int, np.ndarray]]:  # type: ignore[type-arg]
    """Return (axis, weights (n, 1, out, in)), columns first, as PIL resizes."""
    height, width = out.shape[-2:]
    box = boxes(group, width, height, 1.0 if size else width / height).astype(int)
    across = [resize_weights(x0, x1, width, size or width) for x0, _, x1, _ in box]
    down = [resize_weights(y0, y1, height, size or height) for _, y0, _, y1 in box]
    return [(3, np.stack(across)[:, None]), (2, np.stack(down)[:, None])]


def crop_to(images: Tensor, size: int) -> Tensor:
    """Return the central square of a side; zeros where a smaller image ends."""
    height, width = images.shape[-2:]
    x0, y0, x1, y1 = centre_crop(width, height, size)
    return torch.nn.functional.pad(images, (-x0, x1 - width, -y0, y1 - height))
