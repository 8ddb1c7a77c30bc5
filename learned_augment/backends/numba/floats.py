"""Apply a plan to float batches in compiled code, on a CPU, forward and backward."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends import kornia_float
from learned_augment.backends.lowering import WIDTH, Colors, Floats, colors
from learned_augment.backends.numba.float_backward import backward, needs_input, passes
from learned_augment.backends.numba.float_forward import run_instruction
from learned_augment.backends.numba.jit import checksum, compiled, kept
from learned_augment.backends.numba.lowering import PlanArrays, lower, plan_arrays
from learned_augment.backends.numba.lut import copy
from learned_augment.backends.numba.opcodes import IDENTITY
from learned_augment.backends.numba.parallel import (
    Queue,
    mark_done,
    next_image,
    run_on_threads,
    wait_for_all,
)
from learned_augment.backends.numba.warp import Pixels, Shape
from learned_augment.policy import Plan
from learned_augment.sampling import NOISE, Integers

__all__ = ["apply_floats"]

Entry: TypeAlias = Callable[..., None]


def apply_floats(images: Tensor, plan: Plan, fill: tuple[float, ...] | None = None) -> Tensor:
    """Apply a plan to a float32 or float64 CPU batch (B, C, H, W); a new, differentiable tensor.

    Values are those of ``kornia_float``. Ops without compiled arithmetic are left out.

    Args:
        images: In [0, 1], never written to; any strides.
        plan: B rows; ``plan.value`` requires no gradient.
        fill: 1 or C numbers in [0, 1] outside the image; None is 0, and gray for crop padding.
    """

    def plain(given: Tensor) -> Tensor:
        return kornia_float.apply(given, plan, fill=fill)

    outside = colors(images.shape[1], fill, _DTYPES[images.dtype])
    out: Tensor = _Apply.apply(images.contiguous(), plan_arrays(plan), outside, plain)
    return out


_DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class _Apply(torch.autograd.Function):
    """A whole plan as one node of autograd's graph, which saves only its input.

    ``plain`` applies the same plan in torch, whose gradients have gradients of their own.
    """

    @staticmethod
    def forward(images: Tensor, plan: Any, colors: Any, plain: Any) -> Tensor:
        out = torch.empty_like(images)
        _run(_forward, [images, out], plan, colors)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, *ctx.given = inputs
        ctx.save_for_backward(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (images,), (plan, colors, plain) = ctx.saved_tensors, ctx.given
        if torch.is_grad_enabled():
            out = plain(images)
            (slope,) = torch.autograd.grad(out, images, gradient, create_graph=True)
        else:
            slope = torch.empty_like(images)
            _run(_backward, [images, gradient.contiguous(), slope], plan, colors)
        return slope, None, None, None


def _run(entry: Entry, batches: list[Tensor], plan: tuple[Any, ...], colors: Colors) -> None:
    shape = tuple(batches[0].shape[1:])
    # An imaginary part may be a view that is negated as it is read.
    arrays = [batch.detach().resolve_neg().numpy().reshape(len(batch), -1) for batch in batches]
    run_on_threads(entry, arrays, plan, shape, colors)


@compiled
def _run_image(
    image: Pixels, out: Pixels, spare: Pixels, shape: Shape, instructions: Floats, colors: Pixels
) -> None:
    """Run one image's instructions; the last of them writes to ``out``."""
    left = 0
    for code in instructions[:, 0]:
        left += code != IDENTITY
    if left == 0:
        copy(image, out)
    current = image
    for layer in range(len(instructions)):
        if instructions[layer, 0] != IDENTITY:
            left -= 1
            target = out if left % 2 == 0 else spare
            run_instruction(current, target, shape, instructions[layer], colors)
            current = target


@compiled
def _run_inputs(
    image: Pixels,
    inputs: Pixels,
    which: Integers,
    shape: Shape,
    instructions: Floats,
    colors: Pixels,
) -> None:
    """Run one image as far as gradients need the inputs of its instructions.

    The input of instruction l is row which[l] of ``inputs``; row -1 is the image itself.
    """
    last = -1
    for layer in range(len(instructions)):
        last = layer if needs_input(instructions[layer, 0]) else last
    row = -1
    for layer in range(len(instructions)):
        which[layer] = row
        if layer < last and instructions[layer, 0] != IDENTITY:
            source = inputs[row] if row >= 0 else image
            row += 1
            run_instruction(source, inputs[row], shape, instructions[layer], colors)


@compiled
def _run_image_backward(
    image: Pixels,
    given: Pixels,
    out: Pixels,
    spare: Pixels,
    inputs: Pixels,
    which: Integers,
    shape: Shape,
    instructions: Floats,
) -> None:
    """Write the gradients of one image from those of its result."""
    left = 0
    for code in instructions[:, 0]:
        left += not passes(code)
    if left == 0:
        copy(given, out)
    current = given
    for layer in range(len(instructions) - 1, -1, -1):
        if not passes(instructions[layer, 0]):
            left -= 1
            target = out if left % 2 == 0 else spare
            source = inputs[which[layer]] if which[layer] >= 0 else image
            backward(source, current, target, shape, instructions[layer])
            current = target


def _entries(version: int) -> tuple[Entry, Entry]:
    @kept
    def forward_entry(
        images: Pixels,
        out: Pixels,
        arrays: tuple[Any, ...],
        shape: Shape,
        colors: Pixels,
        queue: Queue,
        stay: bool,
    ) -> None:
        plan = PlanArrays(*arrays)
        layers = plan.numbers.shape[1] // (1 + NOISE)
        instructions, spare = np.empty((layers, WIDTH)), np.empty(images.shape[1], images.dtype)
        if not version:  # never: so that it encloses the checksum, see `kept`
            return
        i = next_image(queue)
        while i < len(images):
            lower(plan, i, shape[2], shape[1], instructions)
            _run_image(images[i], out[i], spare, shape, instructions, colors)
            mark_done(queue)
            i = next_image(queue)
        if stay:
            wait_for_all(queue, len(images))

    @kept
    def backward_entry(
        images: Pixels,
        given: Pixels,
        out: Pixels,
        arrays: tuple[Any, ...],
        shape: Shape,
        colors: Pixels,
        queue: Queue,
        stay: bool,
    ) -> None:
        plan = PlanArrays(*arrays)
        layers, size = plan.numbers.shape[1] // (1 + NOISE), images.shape[1]
        inputs, spare = np.empty((layers, size), images.dtype), np.empty(size, images.dtype)
        which, instructions = np.empty(layers, np.int64), np.empty((layers, WIDTH))
        if not version:  # never: so that it encloses the checksum, see `kept`
            return
        i = next_image(queue)
        while i < len(images):
            lower(plan, i, shape[2], shape[1], instructions)
            _run_inputs(images[i], inputs, which, shape, instructions, colors)
            _run_image_backward(
                images[i], given[i], out[i], spare, inputs, which, shape, instructions
            )
            mark_done(queue)
            i = next_image(queue)
        if stay:
            wait_for_all(queue, len(images))

    return forward_entry, backward_entry


_forward, _backward = _entries(checksum())
"""Run the images of a batch that no other thread has taken, forward or backward.

Arguments as of ``uint8.run``, for float32 or float64. ``_backward`` also takes the gradients of the
result, after the images, and writes those of the images.
"""
