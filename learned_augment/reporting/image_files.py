"""Image files to augment, and the names and bytes of their augmented copies."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from learned_augment.backends.pil import MODES
from learned_augment.datasets.folders import SUFFIXES, image_files, read_image

__all__ = [
    "ImageFile",
    "check_suffix",
    "copy_paths",
    "encode_image",
    "find_images",
    "read_images",
]


class ImageFile(NamedTuple):
    """An image file with its name: its path relative to the folder that was searched."""

    path: Path
    name: Path


def find_images(places: Sequence[str | Path]) -> list[ImageFile]:
    """Return the image files at ``places``, and those in folders and their sub-folders, sorted.

    Hidden files of a folder are left out. A place that is given twice counts once.

    Raises:
        ValueError: If a place does not exist, or a folder holds no image.
    """
    return list(dict.fromkeys(file for place in places for file in _files_at(Path(place))))


def read_images(
    files: Sequence[ImageFile], skipped: list[str] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Yield the index and the pixels of each file, turned upright.

    Args:
        files: The files, read one at a time.
        skipped: A list that receives the reason for each file that is left out; None makes an
            unreadable file an error.

    Raises:
        ValueError: If a file cannot be read as an image, or is not of 8-bit colors or grays; or if
            no file at all can be read.
    """
    for index, file in enumerate(files):
        try:
            image = _read(file.path)
        except ValueError as error:
            if skipped is None:
                raise ValueError(
                    f"{error}. Leave such files out with --skip-unreadable."
                ) from error
            skipped.append(str(error))
        else:
            yield index, image
    if skipped and len(skipped) == len(files):
        raise ValueError(f"None of {len(files)} image files can be read: {skipped[0]}.")


def copy_paths(files: Sequence[ImageFile], folder: Path, label: str, variants: int) -> list[Path]:
    """Return the paths of the copies, FOLDER/NAME-LABEL-1.png and so on, ``variants`` an image.

    If the names of two images differ only in the suffix, their copies keep it in their names.

    Raises:
        ValueError: If two copies have the same path, or a copy has the path of an image.
    """
    stems = [file.name.with_suffix("") for file in files]
    shared = Counter(stems)
    names: dict[Path, Path] = {}
    for stem, file in zip(stems, files, strict=True):
        name = stem if shared[stem] == 1 else file.name
        if name in names:
            raise ValueError(
                f"{names[name]} and {file.path} would have copies of the same name; name the "
                "folder that holds both instead."
            )
        names[name] = file.path
    paths = [
        folder / name.parent / f"{name.name}-{label}-{variant + 1}.png"
        for name in names
        for variant in range(variants)
    ]
    originals = {file.path.resolve() for file in files}
    for path in paths:
        if path.resolve() in originals:
            raise ValueError(f"{path} is one of the images to augment; choose another folder.")
    return paths


def check_suffix(path: Path) -> Path:
    """Return ``path`` if Pillow writes images with its suffix.

    Raises:
        ValueError: If it does not.
    """
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(
            f"Expected a file ending in .png or another suffix of images, got {str(path)!r}."
        )
    return path


def encode_image(image: Image.Image, suffix: str = ".png") -> bytes:
    """Return an image as the bytes of a file with this suffix."""
    buffer = io.BytesIO()
    if image.mode == "CMYK":
        image = image.convert("RGB")
        image.info.pop("icc_profile", None)  # it is one of inks
    image.save(buffer, format=Image.registered_extensions()[suffix.lower()])
    return buffer.getvalue()


def _files_at(place: Path) -> Iterator[ImageFile]:
    if place.is_file():
        yield ImageFile(place, Path(place.name))
        return
    if not place.is_dir():
        raise ValueError(f"No image or folder at {str(place)!r}.")
    files = image_files(place)
    if not files:
        raise ValueError(f"No images in the folder {str(place)!r}: {', '.join(SUFFIXES)}.")
    yield from (ImageFile(path, path.relative_to(place)) for path in files)


def _read(path: Path) -> Image.Image:
    image = read_image(path)
    if image.mode not in MODES:
        known = ", ".join(MODES)
        raise ValueError(f"{path} is of mode {image.mode}; convert it to one of {known}")
    return image
