"""Plan + float batch on CPU -> float batch, in compiled code: the values of ``smooth``, faster.

Differentiable in the images; a plan whose values require a gradient takes ``smooth``. Needs Numba
(extra ``fast``), as ``fast`` does.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends.compiled import apply_compiled, colours
from learned_augment.backends.groups import beside
from learned_augment.backends.kornia_float import apply_smooth
from learned_augment.backends.lowering import Floats, Levels
from learned_augment.backends.numba.parallel import share_out
from learned_augment.plan import Plan

__all__ = ["apply_fast_smooth"]


def apply_fast_smooth(images: Tensor, plan: Plan, fill: tuple[float, ...] | None = None) -> Tensor:
    """Apply a plan to a float32 or float64 CPU batch (B, C, H, W), nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: B rows; ``plan.value`` requires no gradient.
        fill: 1 or C numbers in [0, 1] outside the image; None is 0, and grey for crop padding.
    """

    def plain(images: Tensor, plan: Plan) -> Tensor:
        outside = None if fill is None else images.new_tensor(fill)
        with beside(images):
            return apply_smooth(images, plan, fill=outside)

    def run(images: Tensor, steps: Floats, _: Levels) -> Tensor:
        again = partial(plain, plan=plan)
        out: Tensor = _Steps.apply(images.contiguous(), steps, fill, again)
        return out

    return apply_compiled(images, plan, run, plain)


class _Steps(torch.autograd.Function):
    """A program as one node of the graph; a gradient of its gradient takes ``plain``."""

    @staticmethod
    def forward(images: Tensor, steps: Floats, fill: Any, plain: Any) -> Tensor:
        out = torch.empty_like(images)
        _run(_compiled().run, [images, out], steps, fill)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, *ctx.given = inputs
        ctx.save_for_backward(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (images,), (steps, fill, plain) = ctx.saved_tensors, ctx.given
        if torch.is_grad_enabled():
            out = plain(images)
            (slope,) = torch.autograd.grad(out, images, gradient, create_graph=True)
        else:
            slope = torch.empty_like(images)
            batches = [images, gradient.contiguous(), slope]
            _run(_compiled().run_back, batches, steps, fill)
        return slope, None, None, None


def _compiled() -> Any:
    # Imported here because it brings Numba.
    from learned_augment.backends import smooth_runs

    return smooth_runs


def _run(kernel: Any, batches: list[Tensor], steps: Floats, fill: Any) -> None:
    shown = colours(batches[0].shape[1], fill, batches[0].detach().numpy().dtype)
    share_out(kernel, batches, steps, shown)
