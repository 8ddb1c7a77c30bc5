"""Image files: found in folders, read upright, decoded into one uint8 tensor."""

import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from learned_augment._text import first_line, leading

__all__ = [
    "PART_NAMES",
    "SUFFIXES",
    "Decoded",
    "class_files",
    "decode_files",
    "empty_images",
    "find_parts",
    "image_files",
    "read_image",
    "read_rgb",
    "rgb_image",
    "rgb_pixels",
]

_THREADS = 8
_FILES_PER_TASK = 64  # handing a small image to a thread costs more than decoding it

SUFFIXES = tuple(sorted({*IMG_EXTENSIONS, ".gif"}))
"""Ends of the names of image files: those that torchvision knows, and GIF."""

PART_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
"""Names of the parts of a data set. The first name of each is what this package calls it."""

_WIDEST = 16
"""Ratio of the sides of an image above which it is cropped before it is resized."""


class Decoded(NamedTuple):
    """Images of one size, and the files that could not be read.

    Attributes:
        images: uint8, (N, 3, H, W).
        kept: For each image its place in the list of files.
        skipped: The unreadable files, each with the reason.
    """

    images: Tensor
    kept: tuple[int, ...]
    skipped: tuple[str, ...]


def read_image(path: Path, at_least: int | None = None) -> Image.Image:
    """Return the pixels of an image file, turned upright as its EXIF orientation says.

    Args:
        path: The file.
        at_least: Shorter side in pixels that is enough; a large JPEG then decodes faster, at a
            fraction of its size. None decodes every pixel.

    Raises:
        ValueError: If the file cannot be read as an image; the message is without its period.
    """
    try:
        with Image.open(path) as image:
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            return _upright(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that Pillow can read") from error
    except MemoryError:
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error


def read_rgb(path: Path, at_least: int | None = None) -> Image.Image:
    """Return the pixels of an image file as RGB; see `read_image`.

    Raises:
        ValueError: As `read_image`, and if the file has more than 8 bits per channel.
    """
    image = read_image(path, at_least)
    try:
        return rgb_image(image)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def rgb_image(image: Image.Image) -> Image.Image:
    """Return an image as RGB.

    Raises:
        ValueError: If the image has more than 8 bits per channel.
    """
    if image.mode.startswith(("I", "F")):
        # Pillow would clip these to 255, which turns most of a 16-bit image white.
        raise ValueError(f"mode {image.mode} has more than 8 bits per channel")
    return image.convert("RGB")


def rgb_pixels(image: Image.Image, image_size: int | None = None) -> NDArray[np.uint8]:
    """Return an image as RGB levels, (3, H, W), resized to `image_size` if that is given.

    Raises:
        ValueError: If the image has more than 8 bits per channel.
    """
    image = rgb_image(image)
    if image_size is not None:
        image = _resized(image, image_size)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def image_files(folder: Path) -> list[Path]:
    """Return the files under a folder whose names end with one of ``SUFFIXES``, sorted.

    Hidden files and folders are left out. Links to folders are followed.
    """
    return sorted(_files_under(folder, frozenset()))


def class_files(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class folder of `folder`, sorted by name.

    A class folder may have sub-folders, whose images belong to the class. Hidden files and folders
    are left out, as are files without the suffix of an image.

    Raises:
        FileNotFoundError: If `folder` is no folder or has no class folders, or if one of these has
            no image of its own.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No folder {str(folder)!r}. Expected a folder with one sub-folder of images per class."
        )
    classes = _sub_folders(folder)
    if not classes:
        raise FileNotFoundError(
            f"{str(folder)!r} has no sub-folders. Expected one sub-folder of images per class."
        )
    above = frozenset({folder.resolve()})  # a link to it would give a class the images of all
    files = {path.name: sorted(_files_under(path, above)) for path in classes}
    empty = [str(folder / name) for name, found in files.items() if not found]
    if empty:
        raise FileNotFoundError(
            f"No images in {leading(empty)}. Expected files ending in "
            f"{', '.join(SUFFIXES)}; remove class folders that are not used."
        )
    # These may be the parts of a data set, whose classes would be merged.
    nested = [
        str(folder / name)
        for name, found in files.items()
        if all(path.parent != folder / name for path in found)
    ]
    if nested:
        raise FileNotFoundError(
            f"No images but only sub-folders in {leading(nested)}. Expected one sub-folder of "
            "images per class. If these are parts of the data, name them train/ and test/ (or "
            "val/); if they are classes, put at least one image directly into each."
        )
    return files


def find_parts(folder: Path) -> dict[str, Path]:
    """Return the sub-folders of `folder` that are parts of a data set, by part.

    The parts are "train", "test" and "val". The folders may also be named "training", "testing",
    "valid" or "validation", in upper or lower case. A part has sub-folders of its own, unless
    `folder` holds nothing but parts.

    Raises:
        ValueError: If two sub-folders are the same part, or the only part may be a class.
    """
    folders = _sub_folders(folder) if folder.is_dir() else []
    named = [
        (part, path)
        for path in folders
        for part, names in PART_NAMES.items()
        if path.name.lower() in names
    ]
    found = [(part, path) for part, path in named if _sub_folders(path)]
    if not found and len(named) == len(folders):
        found = named
    parts: dict[str, Path] = {}
    for part, path in found:
        if part in parts:
            raise ValueError(
                f"Expected one folder for the {part} part, got {str(parts[part])!r} and "
                f"{str(path)!r}; rename or move one of them."
            )
        parts[part] = path
    if len(parts) == 1:
        (only,) = parts.values()
        known = {path for _, path in named}
        _check_is_no_class(only, [path for path in folders if path not in known])
    return parts


def _check_is_no_class(part: Path, others: Sequence[Path]) -> None:
    """Refuse the only part of a data set if other folders with images lie beside it."""
    for other in others:
        if next(_files_under(other, frozenset()), None) is not None:
            raise ValueError(
                f"{str(part)!r} may be a part of the data set or one of its classes, as "
                f"{str(other)!r} holds images too. If it is a part, move the other folders away, "
                "or name the other part train, test or val; if it is a class, rename it."
            )


def _visible(folder: Path) -> Iterator[Path]:
    """Yield what a folder holds, without hidden files: macOS puts a ._a.jpg beside a.jpg."""
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def decode_files(
    files: Sequence[Path], image_size: int | None = None, skip_unreadable: bool = False
) -> Decoded:
    """Decode image files to one tensor, in their order.

    Several threads read the files, as Pillow decodes outside the interpreter lock. Nothing is
    cached on disk.

    Args:
        files: At least one path.
        image_size: Side in pixels; resizes the shorter side and crops the center. None expects
            files that all have the size of the first.
        skip_unreadable: Leave unreadable files out and list them in the result.

    Raises:
        ValueError: If sizes differ, files are unreadable, or the images do not fit in memory.
    """
    images: NDArray[np.uint8] | None = None
    if image_size is not None:  # before a single image of this size is made
        images = empty_images(len(files), (3, image_size, image_size))
    kept: list[int] = []
    skipped: list[str] = []
    for place, pixels in enumerate(_decode_all(files, image_size)):
        if isinstance(pixels, str):
            skipped.append(pixels)
            continue
        if images is None:
            images = empty_images(len(files), pixels.shape)
        elif pixels.shape != images.shape[1:]:
            raise ValueError(_sizes_differ(files[kept[0]], images[0], files[place], pixels))
        images[len(kept)] = pixels
        kept.append(place)
    broken = leading(skipped, separator="; ")
    if skipped and not skip_unreadable:
        raise ValueError(
            f"{len(skipped)} of {len(files)} image files cannot be read: {broken}. Repair or "
            "remove them, or leave them out with skip_unreadable=True (--skip-unreadable)."
        )
    if images is None or not kept:
        raise ValueError(f"None of {len(files)} image files can be read: {broken}.")
    return Decoded(torch.from_numpy(images[: len(kept)]), tuple(kept), tuple(skipped))


def empty_images(count: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return memory for `count` images of `shape` (C, H, W).

    Raises:
        ValueError: If there is too little memory.
    """
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError:
        raise ValueError(
            f"{count} images of {shape[2]} x {shape[1]} pixels need "
            f"{count * np.prod(shape) / 1e9:.0f} GB of memory, more than there is. Use a smaller "
            "image_size= or fewer files."
        ) from None


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(path for path in _visible(folder) if path.is_dir())


def _files_under(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link to a folder that contains it
        return
    for path in _visible(folder):
        if path.is_dir():
            yield from _files_under(path, above | {real})
        elif path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink()):
            yield path  # a link to nothing is an image that cannot be read


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):  # broken EXIF data
        return image.copy()


def _resized(image: Image.Image, size: int) -> Image.Image:
    if max(image.size) > _WIDEST * min(image.size):  # as a whole it could fill the memory
        image = _central(image, *(min(side, 3 * min(image.size)) for side in image.size))
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return _central(image.resize((width, height), Image.Resampling.BILINEAR), size, size)


def _central(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _decode_all(files: Sequence[Path], image_size: int | None) -> Iterator[NDArray[np.uint8] | str]:
    def decode(start: int) -> list[NDArray[np.uint8] | str]:
        return [_decode(path, image_size) for path in files[start : start + _FILES_PER_TASK]]

    threads = min(_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, len(files), _FILES_PER_TASK)
        # In rounds, so that an error in the first files shows before the whole folder is read.
        for first in range(0, len(starts), 4 * threads):
            for piece in pool.map(decode, starts[first : first + 4 * threads]):
                yield from piece


def _decode(path: Path, image_size: int | None) -> NDArray[np.uint8] | str:
    try:
        image = read_rgb(path, None if image_size is None else 2 * image_size)
    except ValueError as error:
        return str(error)
    return rgb_pixels(image, image_size)


def _sizes_differ(
    first: Path, expected: NDArray[np.uint8], path: Path, found: NDArray[np.uint8]
) -> str:
    return (
        f"Images of one size are needed: {path} is {found.shape[2]} x {found.shape[1]} pixels, but "
        f"{first} is {expected.shape[2]} x {expected.shape[1]}. Give image_size=, for example "
        f"image_size={min(expected.shape[1:])}, to resize the shorter side and crop the center."
    )
