"""A layer of a plan sorted by kind: which images move, which are recoloured, which are mixed.

Host side only: plans live on the CPU, so nothing here waits for an accelerator.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learned_augment.ops import OPS, Erase, Geometric, Kind, Op, Resample
from learned_augment.ops.blend import luma
from learned_augment.ops.op import GREY
from learned_augment.plan import HOST, Plan

__all__ = [
    "Group",
    "beside",
    "boxes",
    "grey_levels",
    "index_of",
    "layer_groups",
    "matrices",
    "outside_colours",
    "sent",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Group:
    """The images of a layer that one op acts on.

    Attributes:
        op: The op.
        index: (n,) int64 CPU tensor, which images of the batch.
        value: (n,) float64 tensor, in the op's unit; keeps its gradient.
        noise: (n, 4) float64 tensor.
    """

    op: Op
    index: Tensor
    value: Tensor
    noise: Tensor

    @property
    def arrays(self) -> tuple[Floats, tuple[Floats, ...]]:
        """Value and noise as NumPy arrays."""
        return self.value.detach().cpu().numpy(), tuple(self.noise.numpy().T)


def layer_groups(plan: Plan, layer: int) -> dict[type[Kind], list[Group]]:
    """Return the groups of one layer by their law; images that nothing changes are in none."""
    op, value, noise = plan.op[:, layer].numpy(), plan.value[:, layer], plan.noise[:, layer]
    # A differentiable value keeps its op even where it changes nothing: its slope counts.
    acting = value.requires_grad | (value.detach().numpy() != _neutral(plan.ops)[op])
    order = np.flatnonzero(acting)
    order = order[op[order].argsort(kind="stable")]
    counts = np.bincount(op[order])
    which = np.flatnonzero(counts)
    index, sizes = torch.from_numpy(order), counts[which].tolist()
    parts = (part.split(sizes) for part in (index, value[index], noise[index].double()))
    groups: dict[type[Kind], list[Group]] = defaultdict(list)
    for number, rows, values, places in zip(which.tolist(), *parts, strict=True):
        row = OPS[plan.ops[number]]
        groups[type(row.kind)].append(Group(row, rows, values, places))
    return groups


@cache
def _neutral(ops: tuple[str, ...]) -> Floats:
    """Return the value at which each op changes nothing; NaN for an op without one."""
    values = (OPS[name].identity_value for name in ops)
    return np.array([np.nan if value is None else value for value in values])


def sent(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on ``device``, without waiting for it.

    From pinned memory to a GPU: the driver may wait for what lies in any other.
    """
    host = torch.from_numpy(array)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


def beside(images: Tensor) -> AbstractContextManager[object]:
    """Let new tensors lie on the images' device, whatever the user's default device is."""
    return nullcontext() if torch.get_default_device() == HOST else images.device


def index_of(groups: Sequence[Group], device: torch.device) -> Tensor:
    """Return the images of several groups, (n,) int64 on ``device``."""
    return torch.cat([group.index for group in groups]).to(device, non_blocking=True)


def matrices(groups: Sequence[Group], width: int, height: int) -> Floats:
    """Return the coefficients (a, b, c, d, e, f) of geometric groups, (n, 6) float64."""
    return np.concatenate([_matrix(group, width, height) for group in groups])


def _matrix(group: Group, width: int, height: int) -> Floats:
    law = group.op.kind
    assert isinstance(law, Geometric)
    value, noise = group.arrays
    out = np.empty((len(value), 6))
    for column, coefficient in enumerate(law.matrix(value, noise, width, height)):
        out[:, column] = coefficient
    return out


def boxes(group: Group, width: int, height: int, relative: float) -> Floats:
    """Return the rectangles (x0, y0, x1, y1) of a group, (n, 4).

    ``relative`` is what its law refers to: the side for Erase, the output's aspect for Resample.
    """
    law = group.op.kind
    assert isinstance(law, Erase | Resample)
    value, noise = group.arrays
    return np.stack(law.box(value, noise, width, height, relative), axis=1)  # type: ignore[arg-type]


def outside_colours(groups: Sequence[Group], fill: Tensor | None, grey: Tensor) -> Tensor:
    """Return what shows outside each moved image, (n, C): ``fill``, 0, or the papers' grey."""
    outside = torch.zeros_like(grey) if fill is None else fill.expand_as(grey)
    rows = []
    for group in groups:
        law = group.op.kind
        padded = isinstance(law, Geometric) and law.fill == "grey" and fill is None
        rows.append((grey if padded else outside).expand(len(group.index), -1))
    return torch.cat(rows)


def grey_levels(channels: int) -> Floats:
    """Return the papers' grey, 0 to 255, for images of 1 or 3 channels."""
    levels = np.array(GREY)
    return (levels if channels == 3 else luma(levels.reshape(3, 1, 1)).reshape(1)).astype(float)
