"""Checks of inputs, made before anything is drawn."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import is_pure_tensor

from learned_augment._settings import positive_number
from learned_augment.backends.pil import MODES

__all__ = [
    "check_fill",
    "check_generator",
    "check_interpolation",
    "check_sample",
    "check_size",
    "fill_for",
    "first_image",
    "is_image",
    "mask_fill",
]

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
FillValue = float | Sequence[float] | None
Numbers = tuple[float, ...] | None
_MODES = {0: InterpolationMode.NEAREST, 2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}


def check_interpolation(interpolation: InterpolationMode | str | int) -> InterpolationMode:
    """Return the mode for an enum, its name, or Pillow's number; ValueError for anything else."""
    # Pillow's constants are whole numbers of a type of their own.
    whole = isinstance(interpolation, Integral) and not isinstance(interpolation, bool)
    wanted = _MODES.get(int(interpolation)) if whole else interpolation
    for mode in _MODES.values():
        if wanted is mode or (isinstance(wanted, str) and wanted == mode.value):
            return mode
    names = ", ".join(repr(mode.value) for mode in _MODES.values())
    raise ValueError(f"Expected an interpolation of {names}, got {interpolation!r}.")


def check_size(size: int | None) -> int | None:
    """Return ``size`` if it is None or a whole number of at least 1; ValueError for others."""
    return None if size is None else positive_number("size", size)


def check_generator(generator: Any) -> torch.Generator | None:
    """Return ``generator`` if it is None or a generator of the CPU; TypeError for anything else."""
    cpu = isinstance(generator, torch.Generator) and generator.device.type == "cpu"
    if generator is not None and not cpu:
        raise TypeError(
            f"Expected generator to be None or a torch.Generator on the CPU, got {generator!r}; "
            "for a seed, give torch.Generator().manual_seed(seed)."
        )
    return generator  # type: ignore[no-any-return]


def check_fill(fill: Any) -> FillValue | dict[type | str, FillValue]:
    """Return a copy of ``fill``: None, a number, a sequence, or {type or "others": one of these}.

    Raises:
        TypeError: If it is anything else.
        ValueError: If a number is not finite.
    """
    if isinstance(fill, Mapping):
        return {_fill_key(key): _fill_value(value) for key, value in fill.items()}
    return _fill_value(fill)


def _fill_key(key: Any) -> type | str:
    if isinstance(key, type) or key == "others":
        return key  # type: ignore[no-any-return]
    raise TypeError(f'Expected the keys of fill to be types or "others", got {key!r}.')


def _fill_value(fill: Any) -> FillValue:
    if fill is None:
        return None
    if _is_number(fill):
        return _finite(fill)
    if isinstance(fill, Sequence | np.ndarray | Tensor) and not isinstance(fill, str):
        numbers = fill.tolist() if isinstance(fill, np.ndarray | Tensor) else list(fill)
        flat = isinstance(numbers, list) and all(map(_is_number, numbers))
        if flat and 1 <= len(numbers) <= 4:
            return tuple(map(_finite, numbers))
    raise TypeError(
        "Expected fill to be None, a number, 1 to 4 numbers, or a dict of these by type, "
        f"got {fill!r}."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _finite(level: float) -> float:
    if not isfinite(level):
        raise ValueError(f"Expected finite numbers in fill, got {level}.")
    return int(level) if isinstance(level, Integral) else float(level)


def fill_for(fill: FillValue | dict[type | str, FillValue], image: Any) -> tuple[float, ...] | None:
    """Return the fill of an image, by its type, as a tuple of numbers, or None."""
    if fill is None:
        return None
    if isinstance(fill, dict):
        # Files that Pillow opens are of types of their own.
        kind = PIL.Image.Image if isinstance(image, PIL.Image.Image) else type(image)
        named = [value for key, value in fill.items() if isinstance(key, type) and kind is key]
        fill = named[0] if named else fill.get("others")
    if fill is None or isinstance(fill, Sequence):
        return None if fill is None else tuple(fill)
    return (fill,)


def mask_fill(fill: FillValue | dict[type | str, FillValue], mask: Tensor) -> float:
    """Return what shows outside a mask: what the dict names for masks, else 0.

    Raises:
        ValueError: If it is more than one number, or a number that the mask's dtype cannot hold.
    """
    named = fill.get(tv_tensors.Mask) if isinstance(fill, dict) else None
    numbers = (0,) if named is None else named if isinstance(named, Sequence) else (named,)
    level = numbers[0]
    whole = not mask.dtype.is_floating_point and mask.dtype != torch.bool
    limits = torch.iinfo(mask.dtype) if whole else None
    fits = limits is None or (limits.min <= level <= limits.max and level == int(level))
    if len(numbers) > 1 or not fits:
        raise ValueError(
            f"Expected one number that {mask.dtype} can hold as the fill of masks, got {named!r}."
        )
    return level


_IMAGES = (PIL.Image.Image, tv_tensors.Image, tv_tensors.Video)


def is_image(item: Any) -> bool:
    """Say whether an item is what the transform augments, rather than a target."""
    return type(item) is Tensor or isinstance(item, _IMAGES) or is_pure_tensor(item)


def first_image(items: Any) -> Any:
    """Return the first image of a list; TypeError if this is no list, or if it holds none."""
    if not isinstance(items, Tensor | PIL.Image.Image):
        for item in items:
            if is_image(item):
                return item
    raise TypeError(
        "Expected a list that holds the image, as make_params([image]), got "
        f"{type(items).__name__}{'' if is_image(items) else ' without an image'}."
    )


def _check_pil(mode: str, size: tuple[int, int], fill: Numbers) -> None:
    """Check mode and size of a PIL image, and that ``fill`` fits channels and levels.

    Raises:
        TypeError: For a mode that is not supported.
        ValueError: For a size or fill that does not fit.
    """
    if mode not in MODES:
        raise TypeError(
            f"Expected a PIL image of mode {', '.join(MODES)}, got {mode!r}; "
            'convert it first, for example with image.convert("RGB").'
        )
    if 0 in size:
        raise ValueError(f"Expected an image of at least one pixel, got {size[0]} x {size[1]}.")
    channels, alpha = (1 if mode in ("L", "LA") else 3), mode in ("RGBA", "LA")
    _check_fits(fill, channels, levels=True, alpha=alpha)


def _check_tensor(image: Tensor, fill: Numbers) -> None:
    """Check dtype, layout and shape of an image tensor, and that ``fill`` fits it.

    Raises:
        TypeError: For a dtype or layout that is not supported, or a tensor without data.
        ValueError: For a shape or fill that does not fit.
    """
    dtype = image.dtype
    if dtype not in DTYPES:
        raise TypeError(
            f"Expected an image tensor of dtype uint8 or floating point in [0, 1], got "
            f"{dtype}; convert it first, for example with v2.ToDtype(torch.uint8)."
        )
    if image.layout != torch.strided or image.is_nested or image.is_meta:
        kind = "nested" if image.is_nested else "meta" if image.is_meta else image.layout
        raise TypeError(
            f"Expected a dense image tensor that holds its pixels, got a tensor of kind {kind}; "
            "convert it first, for example with images.to_dense()."
        )
    shape = image.shape
    channels, height, width = shape[-3:] if len(shape) >= 3 else (0, 1, 1)
    if channels not in (1, 3):
        raise ValueError(
            "Expected an image tensor of shape [..., C, H, W] with 1 or 3 channels, got "
            f"{tuple(shape)}."
        )
    if height == 0 or width == 0:
        raise ValueError(f"Expected an image of at least one pixel, got {tuple(shape)}.")
    _check_fits(fill, channels, levels=dtype == torch.uint8)


def _check_fits(fill: Numbers, channels: int, levels: bool, alpha: bool = False) -> None:
    if fill is None:
        return
    if levels and not all(0 <= level <= 255 for level in fill):
        raise ValueError(f"Expected fill from 0 to 255 for an image of these levels, got {fill}.")
    lengths = [1, *([channels] if channels > 1 else []), *([channels + 1] if alpha else [])]
    if len(fill) not in lengths:
        counts = " or ".join(map(str, lengths))
        raise ValueError(
            f"Expected fill of {counts} number{'s' if counts != '1' else ''} for an image of "
            f"{channels} color channel{'s' if channels > 1 else ''}"
            f"{' and alpha' if alpha else ''}, got {len(fill)}: {fill}."
        )


def check_sample(items: list[Any], fill: FillValue | dict[type | str, FillValue] = None) -> None:
    """Check that a sample holds one image that is supported, and that targets and ``fill`` fit.

    The draw does not matter: a sample is accepted with every draw or refused with every draw.

    Raises:
        TypeError: If there is no image or more than one, or a mode, dtype or layout is not
            supported.
        ValueError: If boxes or key points come with a batch, a target has another size, or a shape
            or ``fill`` does not fit.
    """
    images = items if len(items) == 1 and is_image(items[0]) else list(filter(is_image, items))
    if len(images) != 1:
        found = "no image"
        way_out = "convert yours to one of these types; a container is a tuple, list or dict"
        if images:
            found = f"{len(images)} images"
            way_out = (
                "stack images that belong together into one batch and set same_on_batch, and wrap "
                "a mask in tv_tensors.Mask"
            )
        raise TypeError(
            "Expected one image in the sample (PIL, tensor, tv_tensors.Image or Video), found "
            f"{found}; {way_out}."
        )
    (image,) = images
    if isinstance(image, PIL.Image.Image):
        _check_pil(image.mode, image.size, fill_for(fill, image))
    else:
        _check_tensor(image, fill_for(fill, image))
    if len(items) > 1:
        _check_targets([item for item in items if item is not image], image, fill)


def _check_targets(
    targets: list[Any], image: Any, fill: FillValue | dict[type | str, FillValue]
) -> None:
    batched = not isinstance(image, PIL.Image.Image) and image.dim() > 3
    size = image.size[::-1] if isinstance(image, PIL.Image.Image) else tuple(image.shape[-2:])
    for target in targets:
        mask = isinstance(target, tv_tensors.Mask)
        if mask:
            _check_mask(target, image, batched)
            mask_fill(fill, target)
        elif batched and not (_is_clip(image) and len(image)):
            raise ValueError(
                f"Expected one image or video beside {type(target).__name__}, got a batch of shape "
                f"{tuple(image.shape)}; transform the images one by one."
            )
        elif isinstance(target, tv_tensors.BoundingBoxes):
            _check_boxes(target)
        given = tuple(target.shape[-2:] if mask else target.canvas_size)
        if given != size:
            raise ValueError(
                f"Expected {type(target).__name__} of (height, width) {size} like the image, "
                f"got {given}."
            )


def _is_clip(image: Tensor) -> bool:
    return isinstance(image, tv_tensors.Video) and image.dim() == 4


def _check_boxes(boxes: tv_tensors.BoundingBoxes) -> None:
    if boxes.requires_grad and tv_tensors.is_rotated_bounding_format(boxes.format):
        raise ValueError(
            "Expected rotated boxes without a gradient, which torchvision's conversions of their "
            "formats do not support; detach them."
        )


def _check_mask(mask: Tensor, image: Any, batched: bool) -> None:
    if mask.is_complex():
        raise TypeError(f"Expected a mask of real numbers or truth values, got {mask.dtype}.")
    if batched and mask.shape[: image.dim() - 3] != image.shape[:-3]:
        raise ValueError(
            f"Expected a mask with the leading dimensions of the batch, "
            f"{tuple(image.shape[:-3])}, got a mask of shape {tuple(mask.shape)}."
        )
