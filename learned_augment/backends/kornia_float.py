"""Plan + float batch -> float batch, differentiable in the images and in the plan's values.

Images are (B, C, H, W) in [0, 1] with C = 1 or 3. Forward values are those of the exact engine,
without its rounding. Where an op's forward value has no useful derivative in its value (nearest
neighbour, thresholds, edges of a cutout), the gradient passes through a smooth twin.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms import InterpolationMode

from learned_augment.backends.groups import (
    Group,
    boxes,
    grey_levels,
    layer_groups,
    matrices,
    outside_colours,
)
from learned_augment.backends.torch_uint8 import (
    crop_to,
    gather,
    inside_box,
    nearest_sources,
    resize_matrices,
)
from learned_augment.ops import Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.ops.blend import smooth_mix
from learned_augment.plan import HOST, Plan

__all__ = ["apply_smooth", "warp"]

CHUNK = 1 << 21
"""Bytes of a batch that a CPU works on at a time: what fits its cache, allocated without delay."""


def apply_smooth(
    images: Tensor,
    plan: Plan,
    *,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: Tensor | None = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a float32 or float64 batch (B, C, H, W) in [0, 1]; a new tensor.

    Args:
        images: Never written to.
        plan: B rows; ``plan.value`` may require a gradient.
        interpolation: For geometric ops: nearest, bilinear or bicubic.
        fill: (1,) or (C,) in [0, 1], outside the image; None is 0, and grey for crop padding.
        size: If given, B must be 1: resized crops and the result have this side.
    """
    rows = max(1, CHUNK // images[0].nbytes)
    if len(images) <= rows or images.device.type != "cpu":
        return _run(images, plan, interpolation, fill, size)
    chunks = [
        _run(part, plan.rows(slice(start, start + rows)), interpolation, fill, size)
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
        images, turned = _layer(images, layer_groups(plan, layer), interpolation, fill, size)
        if turned is not None:
            # The plan follows the images, so that the order is undone once, at the end.
            plan, order = plan.rows(turned), order[turned]
    images = images.index_select(0, order.argsort().to(images.device, non_blocking=True))
    return images if size is None else crop_to(images, size)


def _layer(
    images: Tensor,
    groups: dict[type, list[Group]],
    interpolation: InterpolationMode,
    fill: Tensor | None,
    size: int | None,
) -> tuple[Tensor, Tensor | None]:
    """Sort the images by what happens to them, change each part; return them and their order."""
    acting: list[list[Group]] = [groups[Geometric]] if Geometric in groups else []
    acting += [[group] for law in _ONE_BY_ONE for group in groups.get(law, [])]
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


_ONE_BY_ONE = (Pointwise, Blend, Erase, Resample)
"""Laws whose ops act group by group; geometric ones move all images of a layer together."""


def _change(
    images: Tensor,
    groups: list[Group],
    interpolation: InterpolationMode,
    fill: Tensor | None,
    size: int | None,
) -> Tensor:
    """Apply the groups of a part; ``images`` are theirs, in order."""
    law = groups[0].op.kind
    if isinstance(law, Geometric):
        return _move(images, groups, interpolation, fill)
    if isinstance(law, Pointwise):
        return law.smooth(images, _value(groups[0], images))
    if isinstance(law, Blend):
        return smooth_mix(law.smooth(images), images, _value(groups[0], images))
    if isinstance(law, Erase):
        return _erase(images, groups[0], size)
    return _resample(images, groups[0], size)


def _value(group: Group, images: Tensor) -> Tensor:
    return group.value.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    return torch.from_numpy(grey_levels(images.shape[1]) / 255).to(images, non_blocking=True)


def _move(
    images: Tensor, groups: list[Group], interpolation: InterpolationMode, fill: Tensor | None
) -> Tensor:
    outside = outside_colours(groups, fill, _grey(images))[:, :, None, None]
    if interpolation != InterpolationMode.NEAREST:
        mode = "bilinear" if interpolation == InterpolationMode.BILINEAR else "bicubic"
        return warp(images, _matrix(groups, images), outside, mode)
    height, width = images.shape[-2:]
    pixels = nearest_sources(matrices(groups, width, height), width, height, images.device)
    moved = gather(images, pixels, outside)
    if not any(group.value.requires_grad for group in groups):
        return moved
    # The image's gradient is nearest neighbour's own; the value's comes from a bilinear twin.
    twin = warp(images.detach(), _matrix(groups, images), outside.detach(), "bilinear")
    return moved + (twin - twin.detach())


def _matrix(groups: list[Group], images: Tensor) -> Tensor:
    """Return the coefficients (n, 6) of geometric groups, differentiable in their values."""
    height, width = images.shape[-2:]
    rows = []
    for group in groups:
        law = group.op.kind
        assert isinstance(law, Geometric)
        coefficients = law.matrix(group.value, group.noise.unbind(1), width, height)
        rows.append(torch.stack([c + 0 * group.value for c in coefficients], 1))
    return torch.cat(rows).to(images.device, non_blocking=True)


def warp(images: Tensor, matrix: Tensor, outside: Tensor, mode: str) -> Tensor:
    """Sample images (n, C, H, W) through coefficients (n, 6) in pixels, centres at +0.5.

    Equals ``kornia.geometry.transform.warp_affine`` with the inverse matrix inside the image;
    outside it shows ``outside`` (n, C, 1, 1) without darkened borders. No host synchronisation.
    """
    height, width = images.shape[-2:]
    a, b, c, d, e, f = matrix[:, :, None, None].unbind(1)
    column = torch.arange(width, device=images.device, dtype=matrix.dtype) + 0.5
    row = (torch.arange(height, device=images.device, dtype=matrix.dtype) + 0.5)[:, None]
    x, y = a * column + b * row + c, d * column + e * row + f
    inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height))[:, None]
    grid = torch.stack((2 * x / width - 1, 2 * y / height - 1), -1).to(images.dtype)
    sampled = grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    return torch.where(inside, sampled.clamp(0, 1) if mode == "bicubic" else sampled, outside)


def _erase(images: Tensor, group: Group, size: int | None) -> Tensor:
    height, width = images.shape[-2:]
    side = size or min(width, height)
    box = torch.from_numpy(boxes(group, width, height, side)).to(images.device, non_blocking=True)
    grey = _grey(images)[:, None, None]
    erased = torch.where(inside_box(box, width, height), grey, images)
    if not group.value.requires_grad:
        return erased
    law = group.op.kind
    assert isinstance(law, Erase)
    edges = torch.stack(law.box(group.value, group.noise.unbind(1), width, height, side), 1)
    edges = edges.to(images, non_blocking=True)
    cover = _soft_inside(edges, width, height)
    twin = cover * (grey - images.detach())
    return erased + (twin - twin.detach())


def _soft_inside(box: Tensor, width: int, height: int) -> Tensor:
    """Return how far each pixel lies inside (n, 4) rectangles, (n, 1, H, W) in (0, 1)."""
    x0, y0, x1, y1 = (edge[:, None, None, None] for edge in box.unbind(1))
    column = torch.arange(width, device=box.device, dtype=box.dtype) + 0.5
    row = (torch.arange(height, device=box.device, dtype=box.dtype) + 0.5)[:, None]
    across = torch.sigmoid(2 * (column - x0)) * torch.sigmoid(2 * (x1 - column))
    return across * torch.sigmoid(2 * (row - y0)) * torch.sigmoid(2 * (y1 - row))


def _resample(images: Tensor, group: Group, size: int | None) -> Tensor:
    for axis, weights in resize_matrices(group, images, size):
        matrix = torch.from_numpy(weights).to(images.device, images.dtype, non_blocking=True)
        images = images @ matrix.mT if axis == 3 else matrix @ images
    return images.clamp(0, 1)
