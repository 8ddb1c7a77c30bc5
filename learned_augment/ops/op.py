"""The row type of the op table and the five kinds of op."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

from PIL import Image
from torch import Tensor

from learned_augment.ops.array import Array, Noise

__all__ = [
    "GRAY",
    "Blend",
    "Erase",
    "Geometric",
    "Kind",
    "Op",
    "Opcode",
    "Pointwise",
    "Resample",
]

GRAY = (125, 123, 114)
"""Color of cutout and crop padding, as (R, G, B): the mean color of CIFAR-10, as in the papers."""


class Opcode(IntEnum):
    """Numbers that name the compiled arithmetic of an op.

    ``DEFINITION`` is an op without compiled arithmetic: images that draw it take a backend that
    runs definitions. ``AFFINE`` and ``ERASE`` ops are compiled from their definitions. ``TABLE``
    maps levels through a table that the op's definition has filled.

    Examples:
        >>> from learned_augment.ops import OPS
        >>> [OPS[name].opcode.name for name in ("Rotate", "Cutout", "ResizedCrop")]
        ['AFFINE', 'ERASE', 'DEFINITION']
    """

    DEFINITION = -1
    IDENTITY = 0
    AFFINE = 1
    ERASE = 2
    INVERT = 3
    SOLARIZE = 4
    POSTERIZE = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    AUTO_CONTRAST = 8
    EQUALIZE = 9
    COLOR = 10
    SHARPNESS = 11
    TABLE = 12


@dataclass(frozen=True)
class Geometric:
    """Moves pixels: output pixel (x, y) reads input (a x + b y + c, d x + e y + f).

    Coordinates follow ``PIL.Image.transform``: the origin is the top left corner of the image, and
    pixel centers are at +0.5.

    Attributes:
        matrix: (value, noise, width, height) -> the six coefficients (a, b, c, d, e, f).
        fill: What shows where the input ends: the caller's ``fill``, or the papers' gray.
        kornia: Name of the Kornia function that moves the pixels of floats.

    Examples:
        >>> left = Geometric(lambda value, noise, width, height: (1, 0, value * width, 0, 1, 0))
        >>> left.matrix(0.25, (0, 0, 0, 0), 32, 32)  # pixel (x, y) reads (x + 8, y)
        (1, 0, 8.0, 0, 1, 0)
    """

    matrix: Callable[[Array, Noise, int, int], tuple[Array, ...]]
    fill: Literal["user", "gray"] = "user"
    kornia: str = "kornia.geometry.transform.remap"


@dataclass(frozen=True)
class Pointwise:
    """Maps gray levels, for each image and channel.

    Attributes:
        level: (value, level, statistics) -> the new level of each of ``level`` (..., 256), whole
            numbers 0 to 255 of any dtype; value and statistics broadcast against it. The result
            is clipped to 0..255, and truncated for images of whole levels.
        statistics: What ``level`` needs to know of the image: nothing; the histogram of each
            channel (..., C, 256); or the rounded mean of the luma image (..., 1).
        floats: The op on floats through Kornia, differentiable: (images (n, C, H, W) in [0, 1],
            value (n, 1, 1, 1)) -> images. Without one, floats go through ``level`` and have the
            gradient of the identity.
        kornia: Name of the Kornia function that ``floats`` calls.
        pil: The op on one RGB or L image by PIL's own call: (image, value) -> image. Without one,
            PIL images go through ``level``.

    Examples:
        >>> import numpy as np
        >>> lighter = Pointwise(lambda value, level, statistics: (level + value).clip(0, 255))
        >>> lighter.level(20, np.array([0, 100, 250]), None).tolist()
        [20, 120, 255]
    """

    level: Callable[[Array, Array, Array], Array]
    statistics: Literal["none", "histogram", "mean luma"] = "none"
    floats: Callable[[Tensor, Tensor], Tensor] | None = None
    kornia: str = ""
    pil: Callable[[Image.Image, float], Image.Image] | None = None


@dataclass(frozen=True)
class Blend:
    """Mixes: degenerate + value * (image - degenerate), clipped to 0..255 and truncated.

    Attributes:
        degenerate: (..., C, H, W) integer levels -> the degenerate image, C or 1 channels.
        floats: As for ``Pointwise``: the whole op, with the blend.
        kornia: Name of the Kornia function that ``floats`` calls.
        pil: The degenerate image by PIL's own call: (image) -> image of the same mode.

    Examples:
        >>> import numpy as np
        >>> fade = Blend(lambda image: 0 * image + 128)  # value 0 is gray, value 1 the image
        >>> fade.degenerate(np.array([[[0, 100, 250]]])).tolist()
        [[[128, 128, 128]]]
    """

    degenerate: Callable[[Array], Array]
    floats: Callable[[Tensor, Tensor], Tensor] | None = None
    kornia: str = ""
    pil: Callable[[Image.Image], Image.Image] | None = None


@dataclass(frozen=True)
class Erase:
    """Paints a rectangle gray.

    Attributes:
        box: (value, noise, width, height, side) -> (x0, y0, x1, y1), whole pixels, x1 and y1
            excluded. ``side`` is the length in pixels that fractions of a side refer to: the
            shorter side of the image, or the output size that the caller asked for.
        kornia: Name of the Kornia function that finds the rectangle's pixels for floats.

    Examples:
        >>> edge = Erase(lambda value, noise, width, height, side: (0, 0, value * side, height))
        >>> edge.box(0.25, (0, 0, 0, 0), 48, 32, 32)  # a quarter of the side, at the left
        (0, 0, 8.0, 32)
    """

    box: Callable[[Array, Noise, int, int, int], tuple[Array, ...]]
    kornia: str = "kornia.geometry.bbox.bbox_to_mask"


@dataclass(frozen=True)
class Resample:
    """Cuts out a rectangle and resizes it (bicubic) to the output size.

    Attributes:
        box: (value, noise, width, height, aspect) -> (x0, y0, x1, y1), whole pixels, x1 and y1
            excluded. ``aspect`` is the output's width over its height.
        kornia: Empty: floats are resized with PIL's weights, see the documentation's page on ops.

    Examples:
        >>> half = Resample(lambda value, noise, width, height, aspect: (0, 0, width // 2, height))
        >>> half.box(0.5, (0, 0, 0, 0), 48, 32, 1.0)  # the left half
        (0, 0, 24, 32)
    """

    box: Callable[[Array, Noise, int, int, float], tuple[Array, ...]]
    kornia: str = ""


Kind: TypeAlias = Geometric | Pointwise | Blend | Erase | Resample


@dataclass(frozen=True, eq=False)
class Op:
    """One row of the op table: a named change of an image. A row equals itself alone.

    A definition takes a value and the plan's noise as floats, NumPy arrays or tensors alike, so
    that all backends run the same definition. Pixels are gray levels 0 to 255.

    Attributes:
        name: The op's name in policies and files.
        unit: What the value counts; empty when the op has no value (its value is then 0).
        low: Smallest legal value. Ranges and signs that a paper searches are in ``SPACES``.
        high: Largest legal value.
        identity_value: The value that leaves every image as it is; None when there is none.
        kind: How the op acts, with its definition.
        random: Whether the plan's noise matters, because the op chooses a place.
        opcode: Which compiled arithmetic runs it.

    Examples:
        >>> from learned_augment.ops import OPS
        >>> rotate = OPS["Rotate"]
        >>> rotate.unit, rotate.low, rotate.high, rotate.kind_name
        ('degrees, counter-clockwise', -360.0, 360.0, 'geometric')
    """

    name: str
    unit: str
    low: float
    high: float
    identity_value: float | None
    kind: Kind
    random: bool = False
    opcode: Opcode = Opcode.DEFINITION

    @property
    def kind_name(self) -> str:
        """The kind of op as a word: geometric, pointwise, blend, erase or resample."""
        return type(self.kind).__name__.lower()
