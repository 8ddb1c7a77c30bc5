"""The items of a torch data set, read into memory as uint8 images."""

from collections.abc import Sized
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import to_pil_image

from learned_augment.datasets.folders import rgb_pixels

__all__ = ["read_items"]


def read_items(dataset: Dataset[Any], size: int | None) -> tuple[Tensor, Tensor]:
    """Return uint8 images (N, 3, H, W) and int64 labels (N,) of every item, in order.

    Args:
        dataset: of (PIL image or uint8 tensor, class); has a length.
        size: side in pixels to bring every image to, or None.

    Raises:
        TypeError: if an item is something else.
        ValueError: if there are none, their sizes differ, or a class is below 0.
    """
    images: list[Tensor] = []
    labels: list[int] = []
    for index in range(len(cast(Sized, dataset))):
        image, label = _labelled(dataset[index], index)
        pixels = _pixels(image, index, size)
        if images and pixels.shape != images[0].shape:
            raise ValueError(
                f"Images of one size are needed: item {index} is {tuple(pixels.shape)}, item 0 is "
                f"{tuple(images[0].shape)} (C, H, W). Give image_size= to resize."
            )
        images.append(pixels)
        labels.append(label)
    if not images:
        raise ValueError(f"The data set {type(dataset).__name__} is empty.")
    return torch.stack(images), torch.tensor(labels)


def _labelled(item: Any, index: int) -> tuple[object, int]:
    try:
        image, given = item
        label = int(given)
        if label != given:
            raise ValueError
    except (TypeError, ValueError):
        raise TypeError(
            f"Expected item {index} of the data set as (image, class), the class a whole number, "
            f"got {item!r:.80}."
        ) from None
    if label < 0:
        raise ValueError(f"Expected classes from 0, got {label} at item {index} of the data set.")
    return image, label


def _pixels(image: object, index: int, size: int | None) -> Tensor:
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape[0] in (1, 3):
        if size is None:
            return image.expand(3, *image.shape[1:])
        image = to_pil_image(image)
    if isinstance(image, Image.Image):
        return torch.from_numpy(rgb_pixels(image, size))
    found = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image)
    raise TypeError(
        f"Expected item {index} of the data set as (image, class) with a PIL image or a uint8 "
        f"tensor (1 or 3, H, W), got {found}. Leave out transforms that make floats."
    )
