"""Move bounding boxes, masks and key points as a plan moves the pixels of their image."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from learned_augment.backends.lowering import rectangle
from learned_augment.backends.warp import crop_to, gather, nearest_sources
from learned_augment.ops import Geometric, Resample
from learned_augment.ops.region import center_crop
from learned_augment.policy import Plan, Step
from learned_augment.sampling import HOST

__all__ = ["move_boxes", "move_key_points", "move_mask", "move_masks"]

Boxes: TypeAlias = tv_tensors.BoundingBoxes
Format = tv_tensors.BoundingBoxFormat


_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
"""For unsigned dtypes the signed one of as many bits: older torch cannot gather unsigned ones."""


def move_mask(mask: Tensor, steps: Sequence[Step], size: int | None, fill: float = 0) -> Tensor:
    """Move masks (..., H, W) of any dtype, nearest neighbor, as the pixels of one image moved.

    Only ops that move pixels act. Ops that recolor or erase leave masks, boxes and key points as
    they are.
    """
    bits = _SIGNED.get(mask.dtype, mask.dtype)
    out = mask.view(bits).reshape(1, -1, *mask.shape[-2:]).clone()
    outside = torch.full((1, 1, 1, 1), fill, device=mask.device).to(mask.dtype).view(bits)
    for step in steps:
        kind, (height, width) = step.op.kind, out.shape[-2:]
        if isinstance(kind, Geometric):
            rows = kind.matrix(step.value, step.noise, width, height)
            matrix = np.array([[float(c) for c in rows]])
            out = gather(out, nearest_sources(matrix, width, height, out.device), outside)
        elif isinstance(kind, Resample):
            x0, y0, x1, y1 = _crop(step, kind, width, height, size)
            target = (size, size) if size else (height, width)
            out = _resized(out[..., y0:y1, x0:x1], target)
    out = crop_to(out, size) if size is not None else out
    return out.reshape(*mask.shape[:-2], *out.shape[-2:]).view(mask.dtype)


def move_masks(masks: Tensor, plan: Plan, size: int | None, fill: float = 0) -> Tensor:
    """Move masks (..., H, W) with their images.

    The plan has a row for each image, or one row for all.
    """
    if len(plan) == 1:
        return move_mask(masks, plan.steps(0), size, fill)
    shape = (*masks.shape[:-2], *(masks.shape[-2:] if size is None else (size, size)))
    if masks.numel() == 0:
        return masks.new_zeros(shape)
    each = masks.reshape(len(plan), -1, *masks.shape[-2:])
    moved = [move_mask(mask, plan.steps(i), size, fill) for i, mask in enumerate(each)]
    return torch.stack(moved).reshape(shape)


def _resized(mask: Tensor, target: tuple[int, int]) -> Tensor:
    """Return masks (1, N, H, W) at a height and width; each pixel reads the one at its center."""
    for axis, (size, length) in enumerate(zip(target, mask.shape[-2:], strict=True), start=2):
        # Whole numbers find the pixel exactly, and no label passes through a float.
        center = 2 * torch.arange(size, device=mask.device) + 1
        mask = mask.index_select(axis, center * length // (2 * size))
    return mask


def move_key_points(
    points: tv_tensors.KeyPoints, steps: Sequence[Step], size: int | None
) -> tv_tensors.KeyPoints:
    """Move key points (..., 2); those that leave the canvas lie outside of it, and are not lost.

    A key point (x, y) names the pixel of column x and row y, as torchvision's flip reads it.
    """
    matrix, canvas, _ = _forward(steps, points.canvas_size, size)
    plain = points.as_subclass(torch.Tensor)
    if matrix is None:
        return tv_tensors.wrap(plain.clone(), like=points, canvas_size=canvas)  # type: ignore[no-any-return]
    moved = _like(_transformed(plain.double() + 0.5, matrix) - 0.5, points.dtype)
    return tv_tensors.wrap(moved, like=points, canvas_size=canvas)  # type: ignore[no-any-return]


def move_boxes(boxes: Boxes, steps: Sequence[Step], size: int | None) -> Boxes:
    """Move boxes (N, K): upright ones become the upright hull of what they held.

    Coordinates are pixels from the image's top left corner, x to the right and y down.
    Boxes are clamped to the canvas in their own clamping mode. Where an op moved a part of the
    image out of sight, upright boxes lose that part, also if a later op moves the place back.
    Rotated formats stay rotated, with a sheared rectangle approximated by one through its first
    three corners.
    """
    matrix, canvas, seen = _forward(steps, boxes.canvas_size, size)
    plain = boxes.as_subclass(torch.Tensor)
    if matrix is None:
        return tv_tensors.wrap(plain.clone(), like=boxes, canvas_size=canvas)  # type: ignore[no-any-return]
    rotated = tv_tensors.is_rotated_bounding_format(boxes.format)
    between = Format.XYXYXYXY if rotated else Format.XYXY
    edges = functional.convert_bounding_box_format(plain.double(), boxes.format, between)
    corners = edges.reshape(-1, 4, 2) if rotated else _corners(edges)
    moved = _transformed(corners, matrix)
    if rotated:
        if torch.linalg.det(matrix[:2, :2]) < 0:
            moved = moved[:, [1, 0, 3, 2]]  # a mirror image keeps its corners in turning order
        edges = moved.reshape(-1, 8)
    else:
        edges = torch.cat([moved.amin(1), moved.amax(1)], 1)
        if getattr(boxes, "clamping_mode", "soft") is not None:
            seen = seen.to(edges)
            edges = edges.clamp(seen[:2].repeat(2), seen[2:].repeat(2))
    back = functional.convert_bounding_box_format(edges, between, boxes.format)
    # Clamped before whole numbers are made: few of their types hold what lies outside.
    exact = tv_tensors.wrap(back.reshape(plain.shape), like=boxes, canvas_size=canvas)
    clamped = functional.clamp_bounding_boxes(exact).as_subclass(torch.Tensor)
    if rotated:
        # torchvision divides by lengths, which are 0 in some shapes that are no rectangles.
        finite = clamped.isfinite().all(-1, keepdim=True)
        clamped = torch.where(finite, clamped, exact.as_subclass(torch.Tensor))
    return tv_tensors.wrap(_like(clamped, boxes.dtype), like=boxes, canvas_size=canvas)  # type: ignore[no-any-return]


def _corners(edges: Tensor) -> Tensor:
    """Return the corners (N, 4, 2) of upright boxes (N, 4) in XYXY."""
    x0, y0, x1, y1 = edges.reshape(-1, 4).unbind(1)
    return torch.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2)


def _like(coordinates: Tensor, dtype: torch.dtype) -> Tensor:
    """Return coordinates in a dtype; whole numbers that it does not hold become its nearest."""
    if dtype.is_floating_point:
        return coordinates.to(dtype)
    limits = torch.iinfo(dtype)
    most = min(limits.max, 2**62)  # a double rounds larger limits up, past the dtype's end
    return coordinates.round().clamp(max(limits.min, -most), most).to(dtype)


def _transformed(points: Tensor, matrix: Tensor) -> Tensor:
    matrix = matrix.to(points)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _forward(
    steps: Iterable[Step], canvas: tuple[int, int], size: int | None
) -> tuple[Tensor | None, tuple[int, int], Tensor]:
    """Return the 3x3 matrix from input to output points, None if nothing moves, and the canvas.

    The third value holds the edges (4,) in XYXY of what every canvas between two steps showed.
    """
    total, moved = torch.eye(3, dtype=torch.float64, device=HOST), False
    shown: list[Tensor] = []
    for matrix, following in _moves(steps, canvas, size):
        if moved:
            height, width = canvas
            edges = torch.tensor([[0, 0, width, height]], dtype=torch.float64, device=HOST)
            shown.append(_corners(edges)[0])
        shown = [_transformed(corners, matrix) for corners in shown]
        total, moved, canvas = matrix @ total, True, following
    endless = [-torch.inf, -torch.inf, torch.inf, torch.inf]
    seen = torch.tensor(endless, dtype=torch.float64, device=HOST)
    for corners in shown:
        seen[:2] = torch.maximum(seen[:2], corners.amin(0))
        seen[2:] = torch.minimum(seen[2:], corners.amax(0))
    return total if moved else None, canvas, seen


def _moves(
    steps: Iterable[Step], canvas: tuple[int, int], size: int | None
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Yield for each move of pixels its 3x3 matrix, and the canvas that it leads to."""
    height, width = canvas
    for step in steps:
        kind = step.op.kind
        if isinstance(kind, Geometric):
            rows = kind.matrix(step.value, step.noise, width, height)
            edges = [*(float(c) for c in rows), 0.0, 0.0, 1.0]
            backward = torch.tensor(edges, dtype=torch.float64, device=HOST)
            yield torch.linalg.inv(backward.reshape(3, 3)), (height, width)
        elif isinstance(kind, Resample):
            x0, y0, x1, y1 = _crop(step, kind, width, height, size)
            height, width = (size, size) if size else (height, width)
            yield _zoom(x0, y0, width / (x1 - x0), height / (y1 - y0)), (height, width)
    if size is not None and (height, width) != (size, size):
        x0, y0, *_ = center_crop(width, height, size)
        yield _zoom(x0, y0, 1.0, 1.0), (size, size)


def _crop(
    step: Step, kind: Resample, width: int, height: int, size: int | None
) -> tuple[int, int, int, int]:
    box = rectangle(kind, step.value, step.noise, width, height, size)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    return x0, y0, x1, y1


def _zoom(x0: float, y0: float, across: float, down: float) -> Tensor:
    rows = [[across, 0.0, -x0 * across], [0.0, down, -y0 * down], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64, device=HOST)
