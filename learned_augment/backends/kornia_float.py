"""Apply a plan to float batches through Kornia's functions, on any device."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from learned_augment.backends.lowering import (
    Group,
    boxes,
    gray_levels,
    layer_groups,
    matrices,
    outside_colors,
    rectangle,
)
from learned_augment.backends.torch_uint8 import level_tables
from learned_augment.backends.warp import (
    crop_to,
    gather,
    nearest_sources,
    on_device_of,
    resize,
    resize_weights,
    sources,
    to_device,
)
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.array import keep_nan, whole_levels, with_gradients
from learned_augment.policy import Plan
from learned_augment.sampling import HOST

__all__ = ["apply"]

CHUNK = 1 << 21
"""Bytes of a batch that a CPU works on at a time: what fits its cache, allocated without delay."""

FAR = 3.0
"""A normalized coordinate that lies outside every image, whose own are -1 to 1."""


def apply(
    images: Tensor,
    plan: Plan,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: tuple[float, ...] | None = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a float32 or float64 batch (B, C, H, W) in [0, 1]; a new tensor.

    The result is that of the uint8 backends without their rounding. It is differentiable in the
    images and in the plan's values. Some ops have no useful derivative in their value: nearest
    neighbor, thresholds, the edges of a cutout. Their gradient is that of a smooth approximation.

    Args:
        images: C = 1 or 3. Never written to.
        plan: B rows; ``plan.value`` may require a gradient.
        interpolation: For geometric ops: nearest, bilinear or bicubic.
        fill: 1 or C numbers in [0, 1], outside the image; None is 0, and gray for crop padding.
        size: If given, B must be 1: resized crops and the result have this side.
    """
    rows = max(1, CHUNK // images[0].nbytes)
    with on_device_of(images):
        outside = None if fill is None else to_device(np.array(fill), images.device).to(images)
        if len(images) <= rows or images.device.type != "cpu":
            return _run(images, plan, interpolation, outside, size)
        chunks = [
            _run(part, plan.rows(slice(start, start + rows)), interpolation, outside, size)
            for start, part in zip(range(0, len(images), rows), images.split(rows), strict=True)
        ]
        return torch.cat(chunks)


def _run(
    images: Tensor,
    plan: Plan,
    interpolation: InterpolationMode,
    fill: Tensor | None,
    size: int | None,
) -> Tensor:
    order = torch.arange(len(images), device=HOST)
    for layer in range(plan.op.shape[1]):
        images, sorted_by = _layer(images, layer_groups(plan, layer), interpolation, fill, size)
        if sorted_by is not None:
            # The plan follows the images, so that the order is undone once, at the end.
            plan, order = plan.rows(sorted_by), order[sorted_by]
    images = images.index_select(0, order.argsort().to(images.device, non_blocking=True))
    return images if size is None else crop_to(images, size)


def _layer(
    images: Tensor,
    groups: dict[type, list[Group]],
    interpolation: InterpolationMode,
    fill: Tensor | None,
    size: int | None,
) -> tuple[Tensor, Tensor | None]:
    """Sort the images by their op and change each part; return them and their new order."""
    # All geometric ops of a layer move their images together, other ops act one by one.
    acting: list[list[Group]] = [groups[Geometric]] if Geometric in groups else []
    acting += [[group] for kind in groups if kind is not Geometric for group in groups[kind]]
    if not acting:
        return images, None
    changed = torch.cat([group.index for part in acting for group in part])
    rest = torch.ones(len(images), dtype=torch.bool, device=HOST).index_fill_(0, changed, False)
    order = torch.cat([changed, rest.nonzero().squeeze(1)])
    counts = [sum(len(group.index) for group in part) for part in acting]
    if len(images) > 1:
        images = images.index_select(0, order.to(images.device, non_blocking=True))
    *parts, kept = images.split([*counts, len(images) - len(changed)])
    done = [
        _change(part, given, interpolation, fill, size)
        for part, given in zip(parts, acting, strict=True)
    ]
    return torch.cat([*done, kept]) if len(kept) or len(done) > 1 else done[0], order


def _change(
    images: Tensor,
    groups: list[Group],
    interpolation: InterpolationMode,
    fill: Tensor | None,
    size: int | None,
) -> Tensor:
    """Apply the groups of a part; ``images`` are theirs, in order."""
    kind, value = groups[0].op.kind, groups[0].value
    if isinstance(kind, Geometric):
        return _move(images, groups, interpolation, fill)
    if isinstance(kind, Erase):
        return _erase(images, groups[0], size)
    if isinstance(kind, Resample):
        return _resample(images, groups[0], size)
    value = value.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)
    if kind.floats is not None:
        return kind.floats(images, value)
    return _by_levels(images, value, kind)


def _by_levels(images: Tensor, value: Tensor, kind: Pointwise | Blend) -> Tensor:
    """Apply an op that is defined on gray levels alone; the gradient is that of the identity."""
    known = whole_levels(images)
    if isinstance(kind, Pointwise):
        table = level_tables(kind, value.detach().flatten(), known.to(torch.uint8))
        result = table.gather(2, known.flatten(2).long()).view_as(known)
    else:
        low = kind.degenerate(known.int()).to(images)
        result = low + value.detach() * (known - low)
    result = keep_nan((result.to(images) / 255).clamp(0, 1), images)
    return with_gradients(result, images)


def _gray(images: Tensor) -> Tensor:
    return torch.from_numpy(gray_levels(images.shape[1]) / 255).to(images, non_blocking=True)


def _move(
    images: Tensor, groups: list[Group], interpolation: InterpolationMode, fill: Tensor | None
) -> Tensor:
    outside = outside_colors(groups, fill, _gray(images))[:, :, None, None]
    if interpolation != InterpolationMode.NEAREST:
        return _remap(images, _matrix(groups, images), outside, interpolation.value)
    height, width = images.shape[-2:]
    pixels = nearest_sources(matrices(groups, width, height), width, height, images.device)
    if images.is_cuda and torch.are_deterministic_algorithms_enabled():
        moved = gather(images, pixels, outside)  # remap has no deterministic gradient there
    else:
        moved = _remap_nearest(images, pixels, outside)
    if not any(group.value.requires_grad for group in groups):
        return moved
    # The image has the gradient of nearest neighbor, the value that of bilinear interpolation.
    matrix = _matrix(groups, images)
    smooth = _remap(images.detach(), matrix, outside.detach(), "bilinear")
    return with_gradients(moved, smooth)


def _remap_nearest(images: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
    """Read images (n, C, H, W) at whole pixels (n, H * W); ``outside`` where they are -1."""
    from kornia.geometry.transform import remap

    height, width = images.shape[-2:]
    inside = (pixels >= 0).view(-1, height, width)
    column, row = (pixels % width).view_as(inside), (pixels // width).view_as(inside)
    x, y = (2 * column + 1).to(images) / width - 1, (2 * row + 1).to(images) / height - 1
    x = torch.where(inside, x, FAR)
    moved = remap(
        images, x, y, "nearest", "zeros", align_corners=False, normalized_coordinates=True
    )
    return torch.where(inside[:, None], moved, outside)


def _remap(images: Tensor, matrix: Tensor, outside: Tensor, mode: str) -> Tensor:
    """Sample images (n, C, H, W) through coefficients (n, 6) in pixels, centers at +0.5."""
    from kornia.geometry.transform import remap

    height, width = images.shape[-2:]
    x, y, inside = sources(matrix, width, height)
    x, y = (2 * x / width - 1).to(images.dtype), (2 * y / height - 1).to(images.dtype)
    moved = remap(images, x, y, mode, "border", align_corners=False, normalized_coordinates=True)
    return torch.where(inside, moved.clamp(0, 1) if mode == "bicubic" else moved, outside)


def _matrix(groups: list[Group], images: Tensor) -> Tensor:
    """Return the coefficients (n, 6) of geometric groups, differentiable in their values."""
    height, width = images.shape[-2:]
    rows = []
    for group in groups:
        kind = group.op.kind
        assert isinstance(kind, Geometric)
        coefficients = kind.matrix(group.value, group.noise.unbind(1), width, height)
        rows.append(torch.stack([c + 0 * group.value for c in coefficients], 1))
    return torch.cat(rows).to(images.device, non_blocking=True)


def _erase(images: Tensor, group: Group, size: int | None) -> Tensor:
    from kornia.geometry.bbox import bbox_to_mask

    height, width = images.shape[-2:]
    x0, y0, x1, y1 = boxes(group, width, height, size).T
    # Kornia's rectangles include their last row and column.
    corners = np.stack([x0, y0, x1 - 1, y0, x1 - 1, y1 - 1, x0, y1 - 1], 1).reshape(-1, 4, 2)
    inside = bbox_to_mask(to_device(corners, images.device), width, height)[:, None] > 0
    gray = _gray(images)[:, None, None]
    erased = torch.where(inside, gray, images)
    if not group.value.requires_grad:
        return erased
    kind = group.op.kind
    assert isinstance(kind, Erase)
    box = rectangle(kind, group.value, group.noise.unbind(1), width, height, size)
    edges = torch.stack([edge + 0 * group.value for edge in box], 1)  # an edge may be a number
    cover = _soft_inside(edges.to(images, non_blocking=True), width, height)
    smooth = cover * (gray - images.detach())
    return with_gradients(erased, smooth)


def _soft_inside(box: Tensor, width: int, height: int) -> Tensor:
    """Return how far each pixel lies inside (n, 4) rectangles, (n, 1, H, W) in (0, 1)."""
    x0, y0, x1, y1 = (edge[:, None, None, None] for edge in box.unbind(1))
    column = torch.arange(width, device=box.device, dtype=box.dtype) + 0.5
    row = (torch.arange(height, device=box.device, dtype=box.dtype) + 0.5)[:, None]
    across = torch.sigmoid(2 * (column - x0)) * torch.sigmoid(2 * (x1 - column))
    return across * torch.sigmoid(2 * (row - y0)) * torch.sigmoid(2 * (y1 - row))


def _resample(images: Tensor, group: Group, size: int | None) -> Tensor:
    """Resize rectangles by PIL's weights.

    Kornia's crop differs from PIL's by up to two levels, and waits for the device. PIL clips levels
    between the two directions, too.
    """
    height, width = images.shape[-2:]
    box = boxes(group, width, height, size).astype(int).tolist()
    across = resize_weights([(x0, x1) for x0, _, x1, _ in box], width, size or width)
    down = resize_weights([(y0, y1) for _, y0, _, y1 in box], height, size or height)
    return resize(resize(images, *across, 3).clamp(0, 1), *down, 2).clamp(0, 1)
