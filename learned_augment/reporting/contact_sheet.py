"""Image files in, augmented copies out: one file a copy, or all of them on one contact sheet.

PIL images of any mode that ``LearnedAugment`` takes; all randomness is the transform's.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from learned_augment.backends.pil import MODES
from learned_augment.datasets.folders import image_files, read_image

__all__ = [
    "Picture",
    "check_suffix",
    "contact_sheet",
    "copy_paths",
    "encode_image",
    "find_pictures",
    "read_picture",
    "read_pictures",
]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

CELL = 128
"""Side in pixels of the square on a contact sheet that holds one image."""

LONGEST = 200
"""Rows that a contact sheet may have."""

GAP = 6
TEXT = 12
LETTER = 7
"""Width in pixels that a letter of a label takes at most."""


class Picture(NamedTuple):
    """An image file and what to call it: its path below the folder that was named."""

    path: Path
    name: Path


def find_pictures(places: Sequence[str | Path]) -> list[Picture]:
    """Return the image files among ``places``; folders are searched to the bottom, by name.

    Hidden files of a folder are left out: macOS puts a ``._a.jpg`` beside ``a.jpg``, no image.

    Raises:
        ValueError: If a place does not exist, or a folder holds no image.
    """
    return [picture for place in places for picture in _pictures_at(Path(place))]


def read_picture(path: Path) -> Image.Image:
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


def read_pictures(
    pictures: Sequence[Picture], skipped: list[str] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Yield each picture's place and its pixels.

    Args:
        pictures: What to read, one at a time.
        skipped: Takes in why a file was left out; without it an unreadable file is an error.

    Raises:
        ValueError: As ``read_picture``, or if no picture at all can be read.
    """
    for place, picture in enumerate(pictures):
        try:
            image = read_picture(picture.path)
        except ValueError as error:
            if skipped is None:
                raise ValueError(f"{error} Leave such files out with --skip-unreadable.") from error
            skipped.append(str(error).removesuffix("."))
        else:
            yield place, image
    if skipped and len(skipped) == len(pictures):
        raise ValueError(f"None of {len(pictures)} image files can be read: {skipped[0]}.")


def copy_paths(pictures: Sequence[Picture], folder: Path, label: str, variants: int) -> list[Path]:
    """Return where the copies go, ``variants`` an image: FOLDER/NAME-LABEL-1.png and so on.

    Pictures that differ in their suffix alone keep it in their copies' names.

    Raises:
        ValueError: If two pictures would share a copy's name, or a copy would replace a picture.
    """
    stems = [picture.name.with_suffix("") for picture in pictures]
    shared = Counter(stems)
    names: dict[Path, Path] = {}
    for stem, picture in zip(stems, pictures, strict=True):
        name = stem if shared[stem] == 1 else picture.name
        if name in names:
            raise ValueError(
                f"{names[name]} and {picture.path} would have copies of the same name; name the "
                "folder that holds both instead."
            )
        names[name] = picture.path
    paths = [
        folder / name.parent / f"{name.name}-{label}-{variant + 1}.png"
        for name in names
        for variant in range(variants)
    ]
    originals = {picture.path.resolve() for picture in pictures}
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
        raise ValueError(f"Expected a file ending in .png or another image's, got {str(path)!r}.")
    return path


def encode_image(image: Image.Image, suffix: str = ".png") -> bytes:
    """Return an image as the bytes of a file of the kind that ``suffix`` names."""
    buffer = io.BytesIO()
    if image.mode == "CMYK":
        image = image.convert("RGB")
        image.info.pop("icc_profile", None)  # it speaks of inks
    image.save(buffer, format=Image.registered_extensions()[suffix.lower()])
    return buffer.getvalue()


def contact_sheet(
    pictures: Sequence[Picture],
    augment: Callable[[Image.Image], Image.Image],
    variants: int,
    title: str,
    skipped: list[str] | None = None,
) -> Image.Image:
    """Return one RGB image: for each picture a row of its label, itself and ``variants`` copies.

    Small pictures are enlarged by whole factors, large ones reduced to the cell; those that were
    ``skipped``, as ``read_pictures`` does, have no row.

    Raises:
        ValueError: As ``read_pictures``, or if there are more than ``LONGEST`` pictures.
    """
    if len(pictures) > LONGEST:
        raise ValueError(
            f"A contact sheet has room for {LONGEST} images, got {len(pictures)}; name fewer."
        )
    labels = [_shortened(str(picture.name)) for picture in pictures]
    margin = max(map(len, labels)) * LETTER + 2 * GAP
    top, step = 2 * TEXT + 4 * GAP, CELL + GAP
    size = (margin + (variants + 1) * step, top + len(pictures) * step)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    draw.text((GAP, GAP), title, "black", font)
    heads = ["original", *[str(variant + 1) for variant in range(variants)]]
    for column, head in enumerate(heads):
        middle = margin + column * step + CELL // 2
        draw.text((middle, top - GAP), head, "black", font, anchor="ms")
    end = top
    for place, original in read_pictures(pictures, skipped):
        draw.text((margin - GAP, end + CELL // 2), labels[place], "black", font, anchor="rm")
        for column, image in enumerate(_row(original, augment, variants)):
            sheet.paste(_fitted(image), _placed(image, margin + column * step, end))
        end += step
    return sheet.crop((0, 0, sheet.width, end))


def _pictures_at(place: Path) -> Iterator[Picture]:
    if place.is_file():
        yield Picture(place, Path(place.name))
        return
    if not place.is_dir():
        raise ValueError(f"No image or folder at {str(place)!r}.")
    files = image_files(place, SUFFIXES)
    if not files:
        raise ValueError(f"No images in the folder {str(place)!r}: {', '.join(SUFFIXES)}.")
    yield from (Picture(path, path.relative_to(place)) for path in files)


def _row(
    original: Image.Image, augment: Callable[[Image.Image], Image.Image], variants: int
) -> Iterator[Image.Image]:
    yield original
    for _ in range(variants):
        yield augment(original)


def _fitted(image: Image.Image) -> Image.Image:
    """Return a picture at the size it has on a sheet, on white where it is transparent."""
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
