"""The one table that says which backend applies a plan to which images."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from learned_augment.backends import kornia_float, pil, torch_uint8
from learned_augment.backends.lowering import compiled_opcode, identity_values
from learned_augment.backends.triton import launch
from learned_augment.backends.warp import to_device
from learned_augment.ops import Op, Opcode
from learned_augment.policy import Plan
from learned_augment.sampling import HOST, Integers

__all__ = ["TABLE", "Row", "apply_batch", "apply_image", "backend_for"]

NEAREST = InterpolationMode.NEAREST

MANY, LARGE = 64, 1 << 18
"""Fewer than ``MANY`` images of more than ``LARGE`` pixels leave most of a GPU idle, as the Triton
kernel runs one image a block; torch spreads one image over all of it."""

Fill: TypeAlias = tuple[float, ...] | None
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


class Request(NamedTuple):
    """A call's images and settings, in the words of a `Row`.

    A field is None where the call asks for something that no row has a word for.
    """

    images: str
    device: torch.device
    interpolation: str | None
    size: str | None
    value: str | None
    work: str | None


@dataclass(frozen=True)
class Row:
    """One row of the table: the images and settings it fits, and the backend that runs them.

    A field of None fits everything. The first row that fits decides, for each image.

    Attributes:
        backend: Name of the backend.
        images: "PIL RGB or L", "PIL" (of any mode), "uint8" or "float".
        device: "cpu" or "cuda".
        interpolation: "nearest": no other mode asked for.
        size: "own": no output size asked for.
        value: "fixed": no gradient asked for in the plan's values.
        work: "small or many": images that are small, or many enough to fill a GPU.
        ops: "compiled": the image draws only ops with compiled arithmetic.
        compiler: What the backend needs: "numba", "triton", or Numba and a Pillow that keeps an
            image in an array.
    """

    backend: str
    images: Literal["PIL RGB or L", "PIL", "uint8", "float"]
    device: str | None = None
    interpolation: Literal["nearest"] | None = None
    size: Literal["own"] | None = None
    value: Literal["fixed"] | None = None
    work: Literal["small or many"] | None = None
    ops: Literal["compiled"] | None = None
    compiler: Literal["numba", "numba, Pillow", "triton"] | None = None

    def fits(self, request: Request, ops: str | None) -> bool:
        """Return whether the row fits a call and its ops, and what it needs is there.

        Args:
            request: What the call asks for.
            ops: "compiled" if the images draw only ops with compiled arithmetic; else None.
        """
        pairs = (
            (self.device, request.device.type),
            (self.interpolation, request.interpolation),
            (self.size, request.size),
            (self.value, request.value),
            (self.work, request.work),
            (self.ops, ops),
        )
        return (
            request.images.startswith(self.images)  # "PIL" fits "PIL RGB or L", too
            and all(wanted in (None, given) for wanted, given in pairs)
            and (self.compiler is None or _compiles(self.compiler, request.device))
        )


_COMPILED: dict[str, Any] = {"interpolation": "nearest", "size": "own", "ops": "compiled"}

TABLE = (
    Row("numba.uint8", "PIL RGB or L", compiler="numba, Pillow", **_COMPILED),
    Row("pil", "PIL"),
    Row("numba.uint8", "uint8", device="cpu", compiler="numba", **_COMPILED),
    Row("triton", "uint8", device="cuda", work="small or many", compiler="triton", **_COMPILED),
    Row("torch_uint8", "uint8"),
    Row("numba.floats", "float", device="cpu", value="fixed", compiler="numba", **_COMPILED),
    Row("kornia_float", "float"),
)
"""Which backend runs what; the first row that fits decides."""


def backend_for(
    images: Tensor | Image.Image,
    plan: Plan,
    interpolation: InterpolationMode = NEAREST,
    size: int | None = None,
) -> str:
    """Return the name of the backend that ``TABLE`` gives for images and settings.

    If only some images of a batch draw an op without compiled arithmetic, these take another
    backend. The result then is both names, joined by "and".
    """
    backend, others = _backends(images, plan, interpolation, size)
    return backend if others is None else f"{backend} and {others[0]}"


def _backends(
    images: Tensor | Image.Image, plan: Plan, interpolation: InterpolationMode, size: int | None
) -> tuple[str, tuple[str, Integers] | None]:
    """Return the backend of a plan, and a second one with the images that take it instead."""
    ops = plan.op_rows
    compiled, general, uncompiled = _choices(ops, _request(images, plan, interpolation, size))
    if uncompiled is None:
        return compiled, None
    op, value = plan.op.numpy(), plan.value.detach().numpy()
    rest = np.flatnonzero((uncompiled[op] & (value != identity_values(ops)[op])).any(1))
    if len(rest) == 0:
        return compiled, None
    return (general, None) if len(rest) == len(plan) else (compiled, (general, rest))


def _request(
    images: Tensor | Image.Image, plan: Plan, interpolation: InterpolationMode, size: int | None
) -> Request:
    nearest = "nearest" if interpolation == NEAREST else None
    own = "own" if size is None else None
    if isinstance(images, Image.Image):
        kind = "PIL RGB or L" if images.mode in ("RGB", "L") else "PIL"
        if images.mode not in pil.MODES:
            raise TypeError(f"Expected a mode of {', '.join(pil.MODES)}, got {images.mode!r}.")
        return Request(kind, HOST, nearest, own, None, None)
    kind = "uint8" if images.dtype == torch.uint8 else "float"
    if kind == "float" and not images.is_floating_point():
        raise TypeError(f"Expected images of uint8 or floating point, got {images.dtype}.")
    value = None if plan.requires_grad else "fixed"
    small_or_many = images.shape[-2] * images.shape[-1] <= LARGE or len(plan) >= MANY
    work = "small or many" if small_or_many else None
    return Request(kind, images.device, nearest, own, value, work)


@lru_cache(maxsize=256)
def _choices(ops: tuple[Op, ...], request: Request) -> tuple[str, str, Mask | None]:
    """Return the backends of a call, and which ops decide between them.

    The first backend is for images that draw only ops with compiled arithmetic, the second for all
    other images. The mask (O,) marks the ops without compiled arithmetic. It is None if there are
    none, or if both backends are the same one.
    """
    compiled, general = _first_fit(request, "compiled"), _first_fit(request, None)
    uncompiled = np.array([compiled_opcode(op) == Opcode.DEFINITION for op in ops])
    return compiled, general, uncompiled if compiled != general and uncompiled.any() else None


def _first_fit(request: Request, ops: str | None) -> str:
    # There is one: for each kind of images, the last row of the table fits everything.
    return next(row.backend for row in TABLE if row.fits(request, ops))


def _compiles(compiler: str, device: torch.device) -> bool:
    if compiler == "numba":
        return _numba() is not None
    if compiler == "numba, Pillow":
        return _numba() is not None and _numba().maps_arrays()  # type: ignore[no-any-return]
    return launch.works_on(device)


@cache
def _numba() -> Any:
    """Return the Numba backend; None where Numba is missing, switched off or cannot be imported."""
    try:
        from numba import config
    except ModuleNotFoundError:
        return None
    except ImportError as problem:
        warnings.warn(
            f"Numba is installed, but cannot be imported ({problem}). Images on a CPU take plain "
            "torch and Pillow: the same result, more slowly. Install versions of Numba and NumPy "
            "that fit each other, or uninstall Numba.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    if config.DISABLE_JIT:
        return None
    from learned_augment.backends import numba as compiled

    return compiled


def apply_image(
    image: Image.Image,
    plan: Plan,
    *,
    interpolation: InterpolationMode = NEAREST,
    fill: Fill = None,
    size: int | None = None,
) -> Image.Image:
    """Apply a plan of one row to a PIL image of a mode in ``pil.MODES``; a new image.

    The result has the image's ``info`` (EXIF data, ICC profile), whatever was drawn; only the
    transparent index of a palette goes, since the palette is made anew.

    Args:
        image: Never written to.
        plan: One row.
        interpolation: Nearest, bilinear or bicubic, for geometric ops.
        fill: Levels 0 to 255 outside the image; None is 0, and the papers' gray for crop padding.
        size: If given, resized crops come out at this side, and so does the result.

    Raises:
        TypeError: If the mode is another one.
        ValueError: If the plan does not have one row.
    """
    _check_rows(plan, 1)
    if _backends(image, plan, interpolation, size)[0] == "pil":
        result = pil.apply(image, plan, interpolation=interpolation, fill=fill, size=size)
    else:
        result = _numba().apply_to_pil(image, plan, fill)
    if image.mode == "P":
        kept = {key: value for key, value in image.info.items() if key != "transparency"}
        result.info = {**kept, **result.info}
    else:
        result.info = {**image.info}
    return result


def apply_batch(
    images: Tensor,
    plan: Plan,
    *,
    interpolation: InterpolationMode = NEAREST,
    fill: Fill = None,
    size: int | None = None,
) -> Tensor:
    """Apply a plan to a batch: uint8 bit for bit as PIL does, floats differentiably.

    Args:
        images: (..., C, H, W) with C = 1 or 3; uint8, or floats in [0, 1]. Never written to.
        plan: One row an image.
        interpolation: Nearest, bilinear or bicubic, for geometric ops.
        fill: 1 or C numbers outside the image, in the image's own scale; None is 0, and the papers'
            gray for crop padding.
        size: If given, resized crops come out at this side, and so does every image.

    Returns:
        A new tensor of the same dtype and device, and of the same shape unless ``size`` is given.

    Raises:
        TypeError: If the dtype is another one.
        ValueError: If the plan does not have one row an image.
    """
    _check_rows(plan, images.shape[:-3].numel())
    if images.numel() == 0:
        return images.clone() if size is None else images.new_zeros(*images.shape[:-2], size, size)
    backend, others = _backends(images, plan, interpolation, size)
    out = _run(backend, images, plan, interpolation, fill, size)
    if others is not None:
        other, rest = others
        index = to_device(rest, images.device)
        given = images.reshape(-1, *images.shape[-3:]).index_select(0, index)
        done = _run(other, given, plan.rows(torch.from_numpy(rest)), interpolation, fill, size)
        out.view(-1, *out.shape[-3:]).index_copy_(0, index, done)
    return out


def _check_rows(plan: Plan, count: int) -> None:
    if len(plan) != count:
        rows = "1 row" if count == 1 else f"{count} rows"
        raise ValueError(f"Expected a plan of {rows}, one an image, got {len(plan)}.")


def _run(
    backend: str,
    images: Tensor,
    plan: Plan,
    interpolation: InterpolationMode,
    fill: Fill,
    size: int | None,
) -> Tensor:
    """Apply a plan to images (..., C, H, W) by the backend of that name."""
    if backend == "numba.uint8":
        return _numba().apply_uint8(images, plan, fill)  # type: ignore[no-any-return]
    batch = images.reshape(-1, *images.shape[-3:])
    settings: dict[str, Any] = {"interpolation": interpolation, "fill": fill, "size": size}
    if backend == "triton":
        out = launch.apply(batch, plan, fill)
    elif backend == "torch_uint8":
        out = _by_size(torch_uint8.apply, batch, plan, **settings)
    elif backend == "numba.floats":
        out = _in_full_precision(batch, lambda floats: _numba().apply_floats(floats, plan, fill))
    elif backend == "kornia_float":
        out = _in_full_precision(
            batch, lambda floats: _by_size(kornia_float.apply, floats, plan, **settings)
        )
    else:
        raise NotImplementedError(f"The table names {backend!r}; say here how it applies a plan.")
    return out.reshape(*images.shape[:-2], *out.shape[-2:])  # type: ignore[no-any-return]


def _by_size(
    apply: Callable[..., Tensor], images: Tensor, plan: Plan, *, size: int | None, **settings: Any
) -> Tensor:
    """Apply to all images at once, or one by one: a resized crop may change their sizes."""
    if size is None or len(images) == 1:
        return apply(images, plan, size=size, **settings)
    rows = (slice(i, i + 1) for i in range(len(images)))
    return torch.cat([apply(images[row], plan.rows(row), size=size, **settings) for row in rows])


def _in_full_precision(images: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply to float32 or float64 images, without autocast: its products would lose levels."""
    floats = images if images.dtype in (torch.float32, torch.float64) else images.float()
    device = images.device.type
    lossy = torch.is_autocast_enabled(device)
    precise: AbstractContextManager[object] = (
        torch.autocast(device, enabled=False) if lossy else nullcontext()
    )
    with precise:
        return apply(floats).to(images.dtype)
