"""Data sets of torch and other libraries, and arrays, read into memory as uint8 images."""

from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset
from torchvision.transforms.v2.functional import to_pil_image

from learned_augment._text import first_line
from learned_augment.datasets.folders import empty_images, rgb_pixels

__all__ = ["Items", "class_names", "is_arrays", "is_dataset", "read_arrays", "read_items"]

_IMAGE_KEYS, _LABEL_KEYS = ("image", "img"), ("label",)
_NO_DATASETS = (str, bytes, Mapping, tuple, Tensor, np.ndarray, IterableDataset)


class Items(Protocol):
    """A data set: a length, and items by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def is_dataset(part: object) -> bool:
    """Return whether `part` has a length and items by number, like a data set of torch."""
    sized = hasattr(part, "__len__") and hasattr(part, "__getitem__")
    return sized and not isinstance(part, _NO_DATASETS)


def is_arrays(part: object) -> bool:
    """Return whether `part` is an array or tensor of images with their labels.

    No part of a data set is an array alone. So a pair that begins with one is meant as such.
    """
    return isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], np.ndarray | Tensor)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Return the names of the classes if a data set knows them.

    Known are `classes` of torchvision, `features` of Hugging Face, and either behind a `Subset` or
    `ConcatDataset` of torch.

    Raises:
        ValueError: If the parts of a `ConcatDataset` have different classes.
    """
    if isinstance(dataset, Subset):
        return class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        each = {class_names(part) for part in dataset.datasets}
        if len(each) > 1:
            raise ValueError(f"Expected data sets of the same classes to join, got {each}.")
        return each.pop()
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):
        labels = [feature for feature in features.values() if hasattr(feature, "names")]
        chosen = next((features[key] for key in _LABEL_KEYS if key in features), None)
        feature = chosen if hasattr(chosen, "names") else labels[0] if len(labels) == 1 else None
        names = getattr(feature, "names", None)
    return tuple(str(name) for name in names) if names else None


def read_items(dataset: Any, size: int | None) -> tuple[Tensor, Tensor]:
    """Return uint8 images (N, 3, H, W) and int64 labels (N,) of every item, in order.

    Args:
        dataset: Has a length and items (image, class), or mappings of an image and a class. An
            image is a PIL image, or uint8 as a tensor (1 or 3, H, W) or an array (H, W) or
            (H, W, 1 or 3).
        size: Side in pixels to bring every image to, or None.

    Raises:
        TypeError: If an item is something else.
        ValueError: If there are no items, one cannot be read, their sizes differ, or a class is
            below 0.
    """
    images: NDArray[np.uint8] | None = None
    if size is not None and len(dataset) > 0:  # before a single image of this size is made
        images = empty_images(len(dataset), (3, size, size))
    labels: list[int] = []
    for index in range(len(dataset)):
        where = _Place(dataset, index)
        try:
            item = dataset[index]
        except MemoryError:
            raise
        except Exception as error:  # whatever the code of a data set raises
            raise ValueError(
                f"Expected to read {where}, but {type(error).__name__}: {first_line(error)}. "
                "Repair it or leave it out."
            ) from error
        image, label = _labeled(item, where)
        pixels = _pixels(image, where, size)
        if images is None:
            images = empty_images(len(dataset), pixels.shape)
        elif pixels.shape != images.shape[1:]:
            raise ValueError(
                f"Images of one size are needed: {where} is {pixels.shape}, item 0 is "
                f"{images.shape[1:]} (C, H, W). Give image_size= to resize."
            )
        images[index] = pixels
        labels.append(label)
    if images is None:
        raise ValueError("Expected a data set of images, got one without any.")
    return torch.from_numpy(images), torch.tensor(labels)


def read_arrays(arrays: Any, size: int | None) -> tuple[Tensor, Tensor]:
    """Return uint8 images (N, 3, H, W) and int64 labels (N,) of arrays or tensors.

    Args:
        arrays: Images, uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, and
            labels (N,), which may also be a list.
        size: As in `read_items`.

    Raises:
        TypeError: If images or labels have another type or shape.
        ValueError: As `read_items`, or if there is not one label for each image.
    """
    images, labels = arrays[0], _label_numbers(arrays[1])
    if images.dtype not in (torch.uint8, np.uint8) or images.ndim not in (3, 4):
        raise TypeError(
            "Expected images as uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), levels 0 to 255, "
            f"got {images.dtype} {tuple(images.shape)}. Convert levels from 0 to 255 to uint8; "
            "multiply levels from 0 to 1 by 255 first."
        )
    if isinstance(images, np.ndarray):  # torch takes memory in order that it may write to
        images = torch.from_numpy(np.require(images, requirements=("C", "W")))
    if len(images) != len(labels):
        raise ValueError(f"Expected a label for each of {len(images)} images, got {len(labels)}.")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    return read_items(_Pairs(images, labels), size)


def _label_numbers(given: Any) -> list[Any]:
    """Return the labels of arrays as numbers.

    Raises:
        TypeError: If they are not one whole number for each image.
    """
    labels = np.asarray(given.tolist() if isinstance(given, Tensor) else given)
    numbers = labels.ndim == 1 and labels.dtype.kind in "biuf" and np.isfinite(labels).all()
    if not numbers or (labels % 1).any():
        raise TypeError(
            "Expected labels as whole numbers from 0, one for each image, got an array "
            f"{labels.shape} that begins with {labels.ravel()[:3].tolist()!r:.80}. Number the "
            "classes, for example with np.unique(labels, return_inverse=True)[1]."
        )
    found: list[Any] = labels.tolist()
    return found


class _Pairs:
    def __init__(self, images: Tensor, labels: list[Any]) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self._images[index], self._labels[index]


@dataclass(frozen=True)
class _Place:
    """An item of a data set; in words only where a message needs it."""

    dataset: Any
    index: int

    def __str__(self) -> str:
        dataset, index, details = self.dataset, self.index, []
        while isinstance(dataset, Subset | ConcatDataset):
            dataset, index = _inner_item(dataset, index)
            details = [f"item {index} of {type(dataset).__name__}"]
        details += [file] if (file := _file(dataset, index)) else []
        known = f" ({', '.join(details)})" if details else ""
        return f"item {self.index}{known} of the data set"


def _inner_item(dataset: Any, index: int) -> tuple[Any, int]:
    """Return the data set from which a joined or smaller one takes an item, and its number."""
    if isinstance(dataset, Subset):
        return dataset.dataset, int(dataset.indices[index])
    part = bisect_right(dataset.cumulative_sizes, index)
    start = dataset.cumulative_sizes[part - 1] if part else 0
    return dataset.datasets[part], index - start


def _file(dataset: Any, index: int) -> str:
    """Return the file of an item, "" if the data set does not know it."""
    # Whatever the code of a data set raises here, another message is under way.
    with suppress(Exception):
        if hasattr(dataset, "samples"):  # torchvision's folders
            return str(dataset.samples[index][0])
        for column, feature in getattr(dataset, "features", {}).items():  # Hugging Face
            if hasattr(feature, "decode"):
                stored = dataset.cast_column(column, type(feature)(decode=False))
                return str(stored[index][column]["path"] or "")
    return ""


def _labeled(item: Any, where: _Place) -> tuple[object, int]:
    try:
        image, given = _from_mapping(item) if isinstance(item, Mapping) else item
        label = int(given)
        if label != given or label >= 2**63:
            raise ValueError
    except (TypeError, ValueError, LookupError, OverflowError):
        raise TypeError(
            f"Expected {where} as (image, class), the class a whole number, or as a mapping with "
            f"the keys 'image' and 'label', got {_in_words(item)}."
        ) from None
    if label < 0:
        raise ValueError(
            f"Expected classes from 0, got {label} at {where}. Number classes from 0 without gaps."
        )
    return image, label


def _in_words(item: Any) -> str:
    # The pixels of an image would hide its class.
    if isinstance(item, tuple | list) and len(item) > 1:
        return f"{len(item)} parts, the second {item[1]!r:.40}"
    return f"{item!r:.80}"


def _from_mapping(item: Mapping[str, Any]) -> tuple[object, Any]:
    """Return image and class: those under the usual keys, or the only ones of their kind."""
    images = [key for key, value in item.items() if isinstance(value, Image.Image)]
    labels = [key for key, value in item.items() if isinstance(value, int)]
    return item[_key(item, _IMAGE_KEYS, images)], item[_key(item, _LABEL_KEYS, labels)]


def _key(item: Mapping[str, Any], usual: tuple[str, ...], fitting: list[str]) -> str:
    found = [key for key in usual if key in item] or fitting
    if len(found) != 1:
        raise KeyError(found)
    return found[0]


def _pixels(image: object, where: _Place, size: int | None) -> NDArray[np.uint8]:
    """Return an image as RGB levels, (3, H, W)."""
    shape = image.size if isinstance(image, Image.Image) else getattr(image, "shape", ())
    if 0 in shape:
        raise ValueError(f"Expected {where} with pixels, got an image of {tuple(shape)}.")
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        channels_last = image if image.ndim == 3 else image[..., None]
        image = torch.from_numpy(channels_last.copy()).permute(2, 0, 1)
    if isinstance(image, Tensor) and _is_image(image):
        if size is None:
            return image.cpu().expand(3, *image.shape[1:]).numpy()
        image = to_pil_image(image)
    if isinstance(image, Image.Image):
        try:
            return rgb_pixels(image, size)
        except (ValueError, OSError, SyntaxError) as error:  # a file may be decoded only now
            raise ValueError(
                f"Expected to read {where}, but {first_line(error)}. Give whole images of 8 bits "
                "per channel."
            ) from error
    found: object = type(image)
    if isinstance(image, Tensor | np.ndarray):
        found = f"{image.dtype} {tuple(image.shape)}"
    raise TypeError(
        f"Expected {where} as (image, class) with a PIL image, a uint8 tensor (1 or 3, H, W) or a "
        f"uint8 array (H, W, 1 or 3), got {found}. Leave out transforms that make "
        "floats, and an alpha channel."
    )


def _is_image(tensor: Tensor) -> bool:
    return tensor.dtype == torch.uint8 and tensor.ndim == 3 and tensor.shape[0] in (1, 3)
