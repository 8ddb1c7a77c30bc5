"""Contact sheets: a row for each image, with its augmented copies beside it."""

from collections.abc import Callable, Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from learned_augment.reporting.image_files import ImageFile, read_images

__all__ = ["contact_sheet"]

CELL = 128
"""Side in pixels of an image's square on a contact sheet."""

LONGEST = 200
"""Largest number of images on a contact sheet."""

WIDEST = 50
"""Largest number of copies of an image on a contact sheet."""

GAP = 6
TEXT = 12
LETTER = 7
"""Largest width of a label's letter in pixels."""


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
        ValueError: As ``read_images``, or if there are more than ``LONGEST`` files or more than
            ``WIDEST`` copies.
    """
    if len(files) > LONGEST:
        raise ValueError(
            f"A contact sheet has room for {LONGEST} images, got {len(files)}; name fewer."
        )
    if variants > WIDEST:
        raise ValueError(
            f"A contact sheet has room for {WIDEST} copies of an image, got {variants}; ask for "
            "fewer, or write files with --out FOLDER."
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
