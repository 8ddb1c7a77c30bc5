"""Read a folder in COCO's format: its images and the objects on them."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from learned_augment._text import leading
from learned_augment.datasets.folders import rgb_pixels

__all__ = ["CocoSplit", "Item", "Photo", "annotations_sha256", "read_split", "with_objects"]


class Item(NamedTuple):
    """One object of an image.

    Attributes:
        label: Its class, from 1 in the order of the category ids, which need not be contiguous; 0
            is the background.
        box: (x0, y0, x1, y1) in pixels, of positive width and height.
        outline: Polygons or a run-length code, as in the file; None if it has none.
        crowd: Whether it stands for a group of objects: never trained on, and no detection on it
            is an error.
        area: In square pixels, as the file says: its class of size.
    """

    label: int
    box: tuple[float, float, float, float]
    outline: Any
    crowd: bool
    area: float


class Photo(NamedTuple):
    """One image file, its size as listed, and its objects."""

    path: Path
    height: int
    width: int
    items: tuple[Item, ...]

    def pixels(self) -> Tensor:
        """Return the image, (3, height, width) uint8.

        Raises:
            ValueError: If the file cannot be read, or has another size than listed.
        """
        try:
            with Image.open(self.path) as image:
                pixels = torch.from_numpy(rgb_pixels(image).copy())
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{self.path} cannot be read as an image ({error}); replace the file, or take it "
                "out of the annotations."
            ) from error
        if pixels.shape[1:] != (self.height, self.width):
            raise ValueError(
                f"{self.path}: expected {self.width}x{self.height} pixels as its annotations say, "
                f"got {pixels.shape[2]}x{pixels.shape[1]}; correct either."
            )
        return pixels


class CocoSplit(NamedTuple):
    """The images of one split and the names of the classes, in the order of their labels."""

    photos: tuple[Photo, ...]
    classes: tuple[str, ...]


def read_split(folder: Path, name: str) -> CocoSplit:
    """Read the annotations of a split, and check that every image they list is there.

    The annotations of the training split are FOLDER/annotations/instances_train*.json. The part of
    the name after ``instances_`` is the folder of its images: FOLDER/train*/. They may also be in
    FOLDER/images/train*/ or in FOLDER/images/. The split "val" is named likewise.

    Args:
        folder: In COCO's layout.
        name: "train" or "val".

    Raises:
        FileNotFoundError: If the folder, the annotations or an image is missing.
        ValueError: If the annotations are not COCO's, or contradict themselves.
    """
    path = _annotations(folder, name)
    document = _document(path)
    try:
        return _split(path, document, _image_folder(folder, path.stem.removeprefix("instances_")))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected COCO's fields (images: id, file_name, height, width; annotations: "
            f"image_id, category_id, bbox; categories: id, name), got {error!r}."
        ) from error


def with_objects(split: CocoSplit) -> CocoSplit:
    """Leave out the images that show no object but crowds, as torchvision's reference does.

    Raises:
        ValueError: If none is left.
    """
    kept = tuple(photo for photo in split.photos if any(not item.crowd for item in photo.items))
    if not kept:
        raise ValueError(
            f"None of the {len(split.photos)} training images has an object; expected at least one."
        )
    return CocoSplit(kept, split.classes)


def annotations_sha256(folder: Path) -> str:
    """Return a hash of the annotations of both splits: what tells one data set from another."""
    digest = hashlib.sha256()
    for name in ("train", "val"):
        digest.update(_annotations(folder, name).read_bytes())
    return digest.hexdigest()[:16]


def _annotations(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {str(folder)!r}; expected one in COCO's layout.")
    found = sorted((folder / "annotations").glob(f"instances_{name}*.json"))
    if not found:
        there = sorted(path.name for path in (folder / "annotations").glob("*.json"))
        raise FileNotFoundError(
            f"No split {name!r}: expected {folder}/annotations/instances_{name}*.json, found "
            f"{leading(there) if there else 'no .json file there'}."
        )
    if len(found) > 1:
        raise ValueError(
            f"Expected one file annotations/instances_{name}*.json in {folder}, got "
            f"{leading([path.name for path in found])}; move the others away."
        )
    return found[0]


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); is it a whole file?") from error
    missing = {"images", "annotations", "categories"} - set(document)
    if not isinstance(document, dict) or missing:
        raise ValueError(f"{path}: not COCO's annotations, it lacks {', '.join(sorted(missing))}.")
    return document


def _image_folder(folder: Path, name: str) -> Path:
    places = [folder / name, folder / "images" / name, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"No folder of images: expected one of {leading(list(map(str, places)))}."
    )


def _split(path: Path, document: Mapping[str, Any], images: Path) -> CocoSplit:
    names = {row["id"]: str(row["name"]) for row in document["categories"]}
    listed = {row["id"]: row for row in document["images"]}
    for kind, kept in (("categories", names), ("images", listed)):
        if len(kept) < len(document[kind]):
            twice = Counter(row["id"] for row in document[kind]).most_common(1)[0][0]
            raise ValueError(f"{path}: expected every id of {kind} once, got {twice!r} again.")
    _check_files(path, images, [str(row["file_name"]) for row in document["images"]])
    labels = {category: label for label, category in enumerate(sorted(names), 1)}
    items: dict[Any, list[Item]] = defaultdict(list)
    for row in document["annotations"]:
        _check_known(path, row, listed, names)
        if (item := _item(path, row, labels[row["category_id"]])) is not None:
            items[row["image_id"]].append(item)
    photos = [
        Photo(images / row["file_name"], int(row["height"]), int(row["width"]), tuple(items[key]))
        for key, row in listed.items()
    ]
    return CocoSplit(tuple(photos), tuple(names[category] for category in sorted(names)))


def _check_files(path: Path, images: Path, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"{path}: expected images, got none.")
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} images of {path.name} are not in {images}: "
            f"{leading(missing)}. Add them, or take them out of the annotations."
        )


def _check_known(
    path: Path, row: Mapping[str, Any], listed: Mapping[Any, Any], names: Mapping[Any, str]
) -> None:
    for field, known in (("image_id", listed), ("category_id", names)):
        if row[field] not in known:
            raise ValueError(
                f"{path}: annotation {row.get('id')} has {field} {row[field]!r}, which is not "
                f"among the {len(known)} listed."
            )


def _item(path: Path, row: Mapping[str, Any], label: int) -> Item | None:
    """Return an object, None if its box has no area: COCO itself holds a few of those."""
    box = [float(number) for number in row["bbox"]]
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(
            f"{path}: annotation {row.get('id')}: expected bbox as 4 finite numbers [x, y, width, "
            f"height], got {row['bbox']}."
        )
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return None
    area = float(row.get("area", width * height))
    outline, crowd = row.get("segmentation"), bool(row.get("iscrowd", 0))
    return Item(label, (x, y, x + width, y + height), outline, crowd, area)
