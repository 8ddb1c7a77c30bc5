"""Image files in class folders, decoded into one uint8 tensor.

Every image becomes RGB, (3, H, W); nothing is cached on disk and nothing is random. Files are read
by threads (Pillow decodes outside the interpreter lock), always in the order of their names.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from learned_augment._text import first_line, leading

__all__ = ["Decoded", "class_files", "decode_files", "image_files", "rgb_image", "rgb_pixels"]

_THREADS = 8
_PIECE = 64  # files per task: small images cost less than handing them to a thread


class Decoded(NamedTuple):
    """Images of one size with what could not be read.

    Attributes:
        images: uint8, (N, 3, H, W).
        kept: for each image its place in the list of files.
        skipped: the unreadable files, each with the reason.
    """

    images: Tensor
    kept: tuple[int, ...]
    skipped: tuple[str, ...]


def class_files(folder: Path) -> dict[str, list[Path]]:
    """Return the image files under each class folder of `folder`, sorted by name.

    What is hidden is ignored, and so are files that do not end like an image.

    Raises:
        FileNotFoundError: if `folder` is no folder, has no class folders, or one of them has no
            image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No folder {str(folder)!r}. Expected a folder with one sub-folder of images per class."
        )
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise FileNotFoundError(
            f"{str(folder)!r} has no sub-folders. Expected one sub-folder of images per class."
        )
    files = {path.name: image_files(path, IMG_EXTENSIONS) for path in classes}
    empty = [str(folder / name) for name, found in files.items() if not found]
    if empty:
        raise FileNotFoundError(
            f"No images in {leading(empty)}. Expected files ending in "
            f"{', '.join(IMG_EXTENSIONS)}; remove class folders that are not used."
        )
    return files


def decode_files(
    files: Sequence[Path], image_size: int | None = None, skip_unreadable: bool = False
) -> Decoded:
    """Decode image files to one tensor.

    Args:
        files: at least one path.
        image_size: side in pixels; resizes the shorter side and crops the centre. None expects
            files that all have the size of the first.
        skip_unreadable: leave unreadable files out and list them in the result.

    Raises:
        ValueError: if sizes differ, files are unreadable, or the images do not fit in memory.
    """
    images: NDArray[np.uint8] | None = None
    kept: list[int] = []
    skipped: list[str] = []
    for place, pixels in enumerate(_decode_all(files, image_size)):
        if isinstance(pixels, str):
            skipped.append(f"{files[place]}: {pixels}")
            continue
        if images is None:
            images = _room_for(len(files), pixels)
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
    if images is None:
        raise ValueError(f"None of {len(files)} image files can be read: {broken}.")
    return Decoded(torch.from_numpy(images[: len(kept)]), tuple(kept), tuple(skipped))


def rgb_pixels(image: Image.Image, image_size: int | None = None) -> NDArray[np.uint8]:
    """Return an image as RGB levels, (3, H, W), resized to `image_size` if that is given.

    Raises:
        ValueError: if the image has more than 8 bits per channel.
    """
    image = rgb_image(image)
    if image_size is not None:
        image = _resized(image, image_size)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def rgb_image(image: Image.Image) -> Image.Image:
    """Return an image as RGB.

    Raises:
        ValueError: if the image has more than 8 bits per channel.
    """
    if image.mode.startswith(("I", "F")):
        # Pillow would clip these to 255, which turns most of a 16-bit image white.
        raise ValueError(f"mode {image.mode} has more than 8 bits per channel")
    return image.convert("RGB")


def _resized(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def image_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files of a folder and all folders in it that end so, by name; hidden ones not."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")  # macOS puts a ._a.jpg beside a.jpg
        and path.is_file()
    )


def _decode_all(files: Sequence[Path], image_size: int | None) -> Iterator[NDArray[np.uint8] | str]:
    def decode(start: int) -> list[NDArray[np.uint8] | str]:
        return [_decode(path, image_size) for path in files[start : start + _PIECE]]

    threads = min(_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, len(files), _PIECE)
        # Round by round, so that a failure at the start does not wait for the whole folder.
        for first in range(0, len(starts), 4 * threads):
            for piece in pool.map(decode, starts[first : first + 4 * threads]):
                yield from piece


def _decode(path: Path, image_size: int | None) -> NDArray[np.uint8] | str:
    try:
        with Image.open(path) as image:
            if image_size is not None:
                # A large JPEG may decode at a fraction of its size, never below this one.
                image.draft(None, (2 * image_size, 2 * image_size))
            return rgb_pixels(image, image_size)
    except Exception as error:  # a broken file makes decoders raise nearly anything
        return first_line(error)


def _room_for(count: int, first: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        return np.empty((count, *first.shape), np.uint8)
    except MemoryError:
        raise ValueError(
            f"{count} images of {first.shape[2]} x {first.shape[1]} pixels need "
            f"{count * first.size / 1e9:.0f} GB of memory, more than there is. Use a smaller "
            "image_size= or fewer files."
        ) from None


def _sizes_differ(
    first: Path, expected: NDArray[np.uint8], path: Path, found: NDArray[np.uint8]
) -> str:
    return (
        f"Images of one size are needed: {path} is {found.shape[2]} x {found.shape[1]} pixels, but "
        f"{first} is {expected.shape[2]} x {expected.shape[1]}. Give image_size=, for example "
        f"image_size={min(expected.shape[1:])}, to resize the shorter side and crop the centre."
    )
