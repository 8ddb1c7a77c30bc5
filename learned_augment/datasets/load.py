"""Labelled images as uint8 tensors, from every source that compare and search accept.

Images are RGB, (N, 3, H, W) uint8. Whole data sets are held in memory: policies are compared and
searched on data that fits there. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torchvision import datasets as torchvision_datasets

from learned_augment._text import leading
from learned_augment.datasets.folders import class_files, decode_files
from learned_augment.datasets.image_data import ImageData, split_images
from learned_augment.datasets.items import read_items

__all__ = ["ImageData", "Source", "load_images"]

_Stored = TypeVar("_Stored")

_FORMS = "digits, cifar10:ROOT, cifar100:ROOT, svhn:ROOT, folder:PATH"
_TEST_SHARE = 0.2  # of a folder or data set that comes without a test part


Source = str | ImageData | Dataset[Any] | tuple[Dataset[Any], Dataset[Any]]


def load_images(
    source: Source, *, image_size: int | None = None, skip_unreadable: bool = False, seed: int = 0
) -> ImageData:
    """Load labelled images into memory.

    Args:
        source: `digits`, scikit-learn's 1,797 real scans (needs the `demo` extra), half of them to
            train and half to test; `cifar10:ROOT`, `cifar100:ROOT`, `svhn:ROOT` as torchvision
            stores them, nothing is downloaded; `folder:PATH`, one sub-folder of images per class,
            either inside PATH/train and PATH/test (or PATH/val) or, without these, split 4 to 1; a
            torch data set of (PIL image or uint8 tensor, class), split 4 to 1; two such data sets,
            (train, test); or an `ImageData`, returned as it is.
        image_size: folders and data sets only: side in pixels to which every image is brought, by
            resizing its shorter side and cropping the centre.
        skip_unreadable: folders only: leave out files that cannot be read, and list them.
        seed: chooses the split where there is none.

    Raises:
        ValueError: if the source is not one of these forms, or its images do not make a data set.
        FileNotFoundError: if files are missing, saying what was expected where.
        TypeError: if a data set yields neither PIL images nor uint8 tensors.
        ModuleNotFoundError: if scikit-learn (digits) or SciPy (SVHN) is missing.

    Example:
        >>> load_images("digits")
        ImageData('digits', 10 classes, 899 training and 898 test images of 3 x 32 x 32)
    """
    if isinstance(source, ImageData):
        return source
    if image_size is not None and image_size < 8:
        raise ValueError(f"image_size must be 8 pixels or more, got {image_size}.")
    if not isinstance(source, str):
        return _from_datasets(source, image_size, seed)
    kind, _, place = source.partition(":")
    if kind == "folder" and place:
        return _from_folder(Path(place).expanduser(), image_size, skip_unreadable, seed)
    if image_size is not None:
        raise ValueError(f"image_size= works for folder:PATH and data sets, not for {source!r}.")
    if source == "digits":
        return _digits(seed)
    if kind in _TORCHVISION and place:
        return _TORCHVISION[kind](Path(place).expanduser())
    hint = f" Did you mean folder:{source}?" if Path(source).is_dir() else ""
    raise ValueError(f"No data source {source!r}. Expected one of: {_FORMS}.{hint}")


def _digits(seed: int) -> ImageData:
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
    return split_images(
        "digits", classes, pixels.repeat(1, 3, 1, 1), labels, 0.5, seed, mirrors=False
    )


def _cifar(kind: str, maker: Callable[..., Any], files: str) -> Callable[[Path], ImageData]:
    def load(root: Path) -> ImageData:
        train, test = (
            _stored(kind, root, files, partial(maker, root, train=train)) for train in (True, False)
        )
        return ImageData(
            f"{kind}:{root}",
            tuple(train.classes),
            torch.from_numpy(train.data).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(train.targets),
            torch.from_numpy(test.data).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(test.targets),
        )

    return load


def _svhn(root: Path) -> ImageData:
    files = "train_32x32.mat and test_32x32.mat"
    train, test = (
        _stored("svhn", root, files, partial(torchvision_datasets.SVHN, root, split=split))
        for split in ("train", "test")
    )
    return ImageData(
        f"svhn:{root}",
        tuple("0123456789"),
        torch.from_numpy(train.data),
        torch.from_numpy(train.labels).long(),
        torch.from_numpy(test.data),
        torch.from_numpy(test.labels).long(),
        mirrors=False,
    )


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


def _from_folder(path: Path, size: int | None, skip_unreadable: bool, seed: int) -> ImageData:
    name = f"folder:{path}"
    train_path = path / "train"
    tests = [path / part for part in ("test", "val") if (path / part).is_dir()]
    if tests and not train_path.is_dir():
        raise FileNotFoundError(f"{name}: found {tests[0].name}/ but no train/ beside it.")
    if not tests:
        files = class_files(train_path if train_path.is_dir() else path)
        images, labels, skipped = _read_classes(files, size, skip_unreadable)
        return split_images(name, tuple(files), images, labels, _TEST_SHARE, seed, skipped=skipped)
    train, test = class_files(train_path), class_files(tests[0])
    if set(train) != set(test):
        raise ValueError(_classes_differ(name, tests[0].name, set(train), set(test)))
    images, labels, skipped = _read_classes(train, size, skip_unreadable)
    test_images, test_labels, test_skipped = _read_classes(test, size, skip_unreadable)
    return ImageData(
        name,
        tuple(train),
        images,
        labels,
        test_images,
        test_labels,
        skipped=skipped + test_skipped,
    )


def _read_classes(
    files: dict[str, list[Path]], size: int | None, skip_unreadable: bool
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    paths = [path for found in files.values() for path in found]
    labels = [label for label, found in enumerate(files.values()) for _ in found]
    images, kept, skipped = decode_files(paths, size, skip_unreadable)
    return images, torch.tensor([labels[place] for place in kept]), skipped


def _classes_differ(name: str, part: str, train: set[str], test: set[str]) -> str:
    both = (("train", sorted(train - test)), (part, sorted(test - train)))
    alone = [f"only in {where}/: {leading(names)}" for where, names in both if names]
    return f"{name}: train/ and {part}/ must hold the same classes; {'; '.join(alone)}."


def _from_datasets(source: object, size: int | None, seed: int) -> ImageData:
    parts = source if isinstance(source, tuple) else (source,)
    if len(parts) not in (1, 2) or not all(map(_has_items, parts)):
        raise TypeError(
            "Expected the data as a string, an ImageData, a torch Dataset with a length or a "
            f"(train, test) pair of them, got {source!r:.80}. Forms of the string: {_FORMS}."
        )
    read = [read_items(part, size) for part in parts]
    count = 1 + max(int(labels.max()) for _, labels in read)
    names = getattr(parts[0], "classes", None) or range(count)
    classes = tuple(str(name) for name in names)
    if len(parts) == 1:
        return split_images(type(source).__name__, classes, *read[0], _TEST_SHARE, seed)
    return ImageData(type(parts[0]).__name__, classes, *read[0], *read[1])


def _has_items(part: object) -> bool:
    return isinstance(part, Dataset) and isinstance(part, Sized)
