"""Augmented copies of image files: one file for each copy, or one contact sheet of all."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from learned_augment.backends.pil import MODES
from learned_augment.datasets.folders import image_files, read_image

__all__ = [
    "ImageFile",
    "check_suffix",
    "contact_sheet",
    "copy_paths",
    "encode_image",
    "find_images",
    "read_file",
    "read_images",
]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

CELL = 128
"""Side in pixels of an image's square on a contact sheet."""

LONGEST = 200
"""Largest number of rows of a contact sheet."""

GAP = 6
TEXT = 12
LETTER = 7
"""Largest width of a label's letter in pixels."""


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


def read_file(path: Path) -> Image.Image:
    """Return the pixels of an image file that ``LearnedAugment`` takes, turned upright.

    Raises:
        ValueError: If it cannot be read as an image, or is not of 8-bit colors or grays.
    """
    try:
        image = read_image(path)
    except ValueError as error:
        raise ValueError(f"{error}.") from error
    if image.mode not in MODES:
        known = ", ".join(MODES)
        raise ValueError(f"{path} is of mode {image.mode}; convert it to one of {known}.")
    return image


def read_images(
    files: Sequence[ImageFile], skipped: list[str] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Yield the index and the pixels of each file.

    Args:
        files: The files, read one at a time.
        skipped: A list that receives the reason for each file that is left out; None makes an
            unreadable file an error.

    Raises:
        ValueError: As ``read_file``, or if no file at all can be read.
    """
    for index, file in enumerate(files):
        try:
            image = read_file(file.path)
        except ValueError as error:
            if skipped is None:
                raise ValueError(f"{error} Leave such files out with --skip-unreadable.") from error
            skipped.append(str(error).removesuffix("."))
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


def contact_sheet(
    files: Sequence[ImageFile],
    augment: Callable[[Image.Image], Image.Image],
    variants: int,
    title: str,
    skipped: list[str] | None = None,
) -> Image.Image:
    """Return an RGB image with a row for each file: its name, the image, ``variants`` copies.

    Small images are enlarged by a whole factor, large ones are reduced to the cell. A file that
    ``read_images`` skips has no row.

    Raises:
        ValueError: As ``read_images``, or if there are more than ``LONGEST`` files.
    """
    if len(files) > LONGEST:
        raise ValueError(
            f"A contact sheet has room for {LONGEST} images, got {len(files)}; name fewer."
        )
    labels = [_shortened(str(file.name)) for file in files]
    margin = max(map(len, labels)) * LETTER + 2 * GAP
    top, pitch = 2 * TEXT + 4 * GAP, CELL + GAP
    size = (margin + (variants + 1) * pitch, top + len(files) * pitch)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    pen.text((GAP, GAP), title, "black", font)
    heads = ["original", *[str(variant + 1) for variant in range(variants)]]
    for column, head in enumerate(heads):
        middle = margin + column * pitch + CELL // 2
        pen.text((middle, top - GAP), head, "black", font, anchor="ms")
    end = top
    for index, original in read_images(files, skipped):
        pen.text((margin - GAP, end + CELL // 2), labels[index], "black", font, anchor="rm")
        for column, image in enumerate(_row(original, augment, variants)):
            sheet.paste(_fitted(image), _placed(image, margin + column * pitch, end))
        end += pitch
    return sheet.crop((0, 0, sheet.width, end))


def _files_at(place: Path) -> Iterator[ImageFile]:
    if place.is_file():
        yield ImageFile(place, Path(place.name))
        return
    if not place.is_dir():
        raise ValueError(f"No image or folder at {str(place)!r}.")
    files = image_files(place, SUFFIXES)
    if not files:
        raise ValueError(f"No images in the folder {str(place)!r}: {', '.join(SUFFIXES)}.")
    yield from (ImageFile(path, path.relative_to(place)) for path in files)


def _row(
    original: Image.Image, augment: Callable[[Image.Image], Image.Image], variants: int
) -> Iterator[Image.Image]:
    yield original
    for _ in range(variants):
        yield augment(original)


def _fitted(image: Image.Image) -> Image.Image:
    """Return an image at its size on the sheet, on white where it is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    kind = Image.Resampling.NEAREST if max(image.size) <= CELL else Image.Resampling.LANCZOS
    return Image.alpha_composite(white, image).convert("RGB").resize(_size(image), kind)


def _size(image: Image.Image) -> tuple[int, int]:
    longest = max(image.size)
    scale = CELL // longest if longest <= CELL else CELL / longest
    width, height = (max(1, round(side * scale)) for side in image.size)
    return width, height


def _placed(image: Image.Image, x: int, y: int) -> tuple[int, int]:
    width, height = _size(image)
    return x + (CELL - width) // 2, y + (CELL - height) // 2


def _shortened(label: str, length: int = 24) -> str:
    return label if len(label) <= length else "\N{HORIZONTAL ELLIPSIS}" + label[1 - length :]
