"""The one way to load labeled images, from every source that compare and search accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Subset
from torchvision import datasets as torchvision_datasets

from learned_augment._settings import whole_number
from learned_augment._text import leading
from learned_augment.datasets.folders import PART_NAMES, class_files, decode_files, find_parts
from learned_augment.datasets.image_data import ImageData, LabeledImages, train_test_split
from learned_augment.datasets.items import (
    Items,
    class_names,
    is_arrays,
    is_dataset,
    read_arrays,
    read_items,
)

__all__ = ["Source", "load_all_images", "load_images"]

_Stored = TypeVar("_Stored")

_FORMS = "digits, cifar10:ROOT, cifar100:ROOT, svhn:ROOT, folder:PATH"
_TEST_FRACTION = 0.2  # of a folder or data set that comes without a test part

Source = str | ImageData | Items | tuple[Any, Any] | Mapping[str, Any]
"""A string, an `ImageData`, a data set, arrays, or training and test part; see `load_images`."""

_Parts = tuple[LabeledImages, LabeledImages | float]
"""Training part, and test part or the fraction of the training part to split off for tests."""


def load_images(
    source: Source, *, image_size: int | None = None, skip_unreadable: bool = False, seed: int = 0
) -> ImageData:
    """Load labeled images into memory, as a training and a test part.

    Images are RGB, (N, 3, H, W) uint8. Nothing is downloaded.

    Args:
        source: One of

            * "digits": scikit-learn's 1,797 scans (needs the `demo` extra), half of them to test;
            * "cifar10:ROOT", "cifar100:ROOT", "svhn:ROOT" as torchvision stores them;
            * "folder:PATH": one sub-folder of images per class, either inside PATH/train and
              PATH/test (or PATH/val) or, without these, split 4 to 1. EXIF orientation is applied;
            * a data set, split 4 to 1: a length and items (image, class), or mappings with the keys
              "image" and "label" as Hugging Face's. An image is a PIL image, or uint8 as a tensor
              (1 or 3, H, W) or an array (H, W) or (H, W, 1 or 3). Images are taken as the data
              set gives them;
            * arrays or tensors (images, labels), split 4 to 1: images uint8, (N, H, W),
              (N, H, W, C) or (N, C, H, W) with C = 1 or 3; labels (N,), whole numbers from 0;
            * a pair (train, test) of data sets or of arrays, or a mapping with the keys "train"
              and "test" (or "val", or other names that folders may have);
            * an `ImageData`, returned as it is.
        image_size: Side in pixels, 8 or more, to which every image of a folder or data set is
            brought, by resizing its shorter side and cropping the center.
        skip_unreadable: Whether to leave out files of a folder that cannot be read, and list them.
        seed: Chooses the split, where the source has no test part.

    Raises:
        ValueError: If the source is not one of these forms, or its images do not make a data set.
        FileNotFoundError: If files are missing, naming them and their place.
        TypeError: If a data set has items of another form.
        ModuleNotFoundError: If scikit-learn (digits) or SciPy (SVHN) is missing.

    Examples:
        >>> load_images("digits")
        ImageData('digits', 10 classes, 899 training and 898 test images of 3 x 32 x 32)
    """
    if isinstance(source, ImageData):
        if image_size is not None:
            raise _no_size(source)
        return source
    train, test = _load_parts(source, image_size, skip_unreadable)
    if isinstance(test, float):
        return train_test_split(train, test, seed)
    return ImageData.from_parts(train, test)


def load_all_images(
    source: Source, *, image_size: int | None = None, skip_unreadable: bool = False
) -> LabeledImages:
    """Load labeled images into memory, training and test images together; see `load_images`."""
    if isinstance(source, ImageData):
        return source.joined()
    train, test = _load_parts(source, image_size, skip_unreadable)
    return train if isinstance(test, float) else ImageData.from_parts(train, test).joined()


def _load_parts(source: Source, image_size: int | None, skip_unreadable: bool) -> _Parts:
    if image_size is not None and whole_number("image_size", image_size) < 8:
        raise ValueError(f"image_size must be 8 pixels or more, got {image_size}.")
    if not isinstance(source, str):
        return _from_datasets(source, image_size)
    kind, _, place = source.partition(":")
    if kind == "folder" and place:
        return _from_folder(Path(place).expanduser(), image_size, skip_unreadable)
    if image_size is not None:
        raise _no_size(source)
    if source == "digits":
        return _digits()
    if kind in _TORCHVISION and place:
        return _TORCHVISION[kind](Path(place).expanduser())
    hint = f" Did you mean folder:{source}?" if Path(source).is_dir() else ""
    raise ValueError(f"No data source {source!r}. Expected one of: {_FORMS}.{hint}")


def _no_size(source: Source) -> ValueError:
    return ValueError(
        f"image_size= works for folder:PATH, data sets and arrays, not for {source!r}."
    )


def _digits() -> _Parts:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'The data source "digits" needs scikit-learn: pip install "learned-augment[demo]".'
        ) from None
    scans = load_digits()
    images = torch.from_numpy(scans.images).float()[:, None] * (255 / 16)  # (N, 1, 8, 8)
    # 32 pixels are what the CIFAR policies are made for: a 16-pixel cutout hides a quarter.
    pixels = interpolate(images, size=32, mode="bilinear").round().to(torch.uint8)
    labels = torch.from_numpy(scans.target).long()
    classes = tuple(str(name) for name in scans.target_names)
    # Half to test: 898 images tell policies apart by 0.1 points, 360 only by 0.3.
    return LabeledImages(
        "digits", classes, pixels.repeat(1, 3, 1, 1), labels, flip_keeps_class=False
    ), 0.5


def _cifar(kind: str, maker: Callable[..., Any], files: str) -> Callable[[Path], _Parts]:
    def load(root: Path) -> _Parts:
        stored = (
            _stored(kind, root, files, partial(maker, root, train=train)) for train in (True, False)
        )
        train, test = (
            LabeledImages(
                f"{kind}:{root}",
                tuple(part.classes),
                torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
                torch.tensor(part.targets),
            )
            for part in stored
        )
        return train, test

    return load


def _svhn(root: Path) -> _Parts:
    files = "train_32x32.mat and test_32x32.mat"
    stored = (
        _stored("svhn", root, files, partial(torchvision_datasets.SVHN, root, split=split))
        for split in ("train", "test")
    )
    train, test = (
        LabeledImages(
            f"svhn:{root}",
            tuple("0123456789"),
            torch.from_numpy(part.data),
            torch.from_numpy(part.labels).long(),
            flip_keeps_class=False,
        )
        for part in stored
    )
    return train, test


_TORCHVISION = {
    "cifar10": _cifar("cifar10", torchvision_datasets.CIFAR10, "cifar-10-batches-py/"),
    "cifar100": _cifar("cifar100", torchvision_datasets.CIFAR100, "cifar-100-python/"),
    "svhn": _svhn,
}


def _stored(kind: str, root: Path, files: str, read: Callable[[], _Stored]) -> _Stored:
    try:
        return read()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The data source {kind!r} needs {error.name}: pip install {error.name}."
        ) from None
    except (RuntimeError, OSError):  # RuntimeError: "Dataset not found or corrupted."
        raise FileNotFoundError(
            f"{kind}:{root} is missing or damaged. Expected {files} inside {str(root)!r}, as "
            "torchvision.datasets stores it when it is constructed with download=True."
        ) from None


def _from_folder(path: Path, size: int | None, skip_unreadable: bool) -> _Parts:
    name = f"folder:{path}"
    parts = find_parts(path)
    test_path = parts.get("test") or parts.get("val")
    if test_path and "train" not in parts:
        raise FileNotFoundError(f"{name}: found {test_path.name}/ but no train/ beside it; add it.")
    train_path = parts.get("train", path)
    read = partial(_read_classes, name, size=size, skip_unreadable=skip_unreadable)
    if test_path is None:
        return read(class_files(train_path)), _TEST_FRACTION
    train, test = class_files(train_path), class_files(test_path)
    _check_same_classes(name, (f"{train_path.name}/", train), (f"{test_path.name}/", test))
    return read(train), read(test)


def _read_classes(
    name: str, files: dict[str, list[Path]], size: int | None, skip_unreadable: bool
) -> LabeledImages:
    paths = [path for found in files.values() for path in found]
    labels = [label for label, found in enumerate(files.values()) for _ in found]
    images, kept, skipped = decode_files(paths, size, skip_unreadable)
    kept_labels = torch.tensor([labels[place] for place in kept])
    return LabeledImages(name, tuple(files), images, kept_labels, skipped=skipped)


def _check_same_classes(name: str, *parts: tuple[str, Mapping[str, Any] | tuple[str, ...]]) -> None:
    (first, train), (second, test) = parts
    if list(train) == list(test):
        return
    both = ((first, sorted(set(train) - set(test))), (second, sorted(set(test) - set(train))))
    alone = [f"only in {part}: {leading(names)}" for part, names in both if names]
    raise ValueError(
        f"{name}: {first} and {second} must hold the same classes in the same order; "
        f"{'; '.join(alone) or 'they differ in order'}."
    )


def _from_datasets(source: object, size: int | None) -> _Parts:
    parts = _dataset_parts(source)
    if any(isinstance(part, DataLoader) for part in parts):
        raise TypeError(
            "Expected a data set, got a DataLoader, which gives batches: pass loader.dataset."
        )
    if not all(is_dataset(part) or is_arrays(part) for part in parts):
        raise TypeError(
            "Expected the data as a string, an ImageData, a data set with a length and items by "
            "number, arrays (images, labels), or a pair (train, test) of data sets or arrays, got "
            f"{source!r:.80}. Forms of the string: {_FORMS}."
        )
    name = "arrays" if is_arrays(parts[0]) else type(parts[0]).__name__
    known = [None if is_arrays(part) else class_names(part) for part in parts]
    if len(parts) == 2 and known[0] and known[1]:
        _check_same_classes(name, ("the training set", known[0]), ("the test set", known[1]))
    read = [(read_arrays if is_arrays(part) else read_items)(part, size) for part in parts]
    count = 1 + max(int(labels.max()) for _, labels in read)
    images = sum(len(labels) for _, labels in read)
    if count > images and not any(known):
        raise ValueError(
            f"{name}: got {images} images, and one of class {count - 1}. Number classes from 0 "
            "without gaps."
        )
    classes = _classes(parts, known, count)
    train, *tests = (LabeledImages(name, classes, *part) for part in read)
    return train, tests[0] if tests else _TEST_FRACTION


def _dataset_parts(source: object) -> tuple[Any, ...]:
    """Return a training and perhaps a test part.

    Raises:
        ValueError: If a mapping has a training part and others, but none to test on.
    """
    if isinstance(source, Mapping):
        named = {part: key for part, names in PART_NAMES.items() for key in source if key in names}
        if "train" not in named:
            return (source,)
        tests = [source[named[part]] for part in ("test", "val") if part in named]
        if not tests and len(source) > 1:
            raise ValueError(
                f"Expected a mapping with the keys 'train' and 'test' (or 'val'), got "
                f"{list(source)}. Rename the key of the part to test on, or leave it out."
            )
        return source[named["train"]], *tests[:1]
    if isinstance(source, tuple) and len(source) == 2 and not is_arrays(source):
        return source
    return (source,)


def _classes(
    parts: tuple[Any, ...], known: Sequence[tuple[str, ...] | None], count: int
) -> tuple[str, ...]:
    names = next(filter(None, known), None) or tuple(map(str, range(count)))
    # A subset may leave out the last classes.
    return names[:count] if isinstance(parts[0], Subset) else names
