"""Splits: which images a trial trains on, and whether images in a row look alike."""

import torch
from torch import Tensor

__all__ = ["likeness", "training_part"]

MOST_COMPARED, MOST_LEVELS = 500, 4096
"""Images of a class that are compared with one another, and levels of each that are compared."""

ALIKE, SURELY = 0.95, 5
"""Images in a row are alike if their distance is less than ``ALIKE`` times that of others, and
smaller by more than ``SURELY`` standard errors."""


def training_part(
    labels: Tensor, fraction: float, split: int, seed: int, places: Tensor | None = None
) -> Tensor:
    """Return which images train, (N,) bool: of every class the same fraction.

    Every class gives at least one image, and keeps one back if it has two. In each class's order, a
    split goes on where the one before it ended. So training parts do not overlap until all images
    have trained. (With a fraction above 0.5 this holds for validation parts.) Then the splits go
    through the class once more: in a new random order, or from another beginning.

    Args:
        labels: (N,).
        fraction: Fraction of the images that train, in (0, 1).
        split: Which split, counted from 0.
        seed: Seed of the order, or of its beginning.
        places: (N,) places of the images in their source. Successive images of each class train,
            from a random beginning, which is the same fraction of every class. None orders each
            class at random.
    """
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        count = min(max(round(fraction * len(rows)), 1), max(len(rows) - 1, 1))
        step = min(count, len(rows) - count)
        parts = round(len(rows) / step) if step else 1
        times = split // parts + 1
        if places is None:
            for _ in range(times):
                order = torch.randperm(len(rows), generator=generator)
        else:
            generator.manual_seed(seed)
            for _ in range(times):
                beginning = torch.rand((), generator=generator).item()
            order = places[rows].argsort().roll(-int(beginning * len(rows)))
        inside[rows[order].roll(-(split % parts) * step)[:count]] = True
    return inside


def likeness(images: Tensor, labels: Tensor, places: Tensor) -> float | None:
    """Return the distance of images in a row, as a part of the distance of others of their class.

    Each image is compared with the one before it, and with the one half of the class further on.
    Both are equally far on average if the images are in random order. Images in a row that are
    nearer may come in groups, such as photographs of one person.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,).
        places: (N,) places of the images in their source.

    Returns:
        The ratio, or None if the images in a row are not clearly nearer.
    """
    near, far = [], []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[places[rows].argsort()][:MOST_COMPARED]
        levels = images[rows].flatten(1)
        levels = levels[:, :: -(-levels.shape[1] // MOST_LEVELS)].float()
        near.append((levels - levels.roll(1, 0)).norm(dim=1))
        far.append((levels - levels.roll(len(rows) // 2, 0)).norm(dim=1))
    distance, other = torch.cat(near).double(), torch.cat(far).double()
    nearer = other - distance
    if not nearer.mean() > SURELY * nearer.std() / len(nearer) ** 0.5:
        return None
    ratio = (distance.mean() / other.mean()).item()
    return ratio if ratio < ALIKE else None
