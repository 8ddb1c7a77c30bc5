"""Search spaces: the ranges that turn a magnitude in [0, 1] into an op's value, for each paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from learned_augment.ops import OPS

__all__ = ["SPACES", "Range", "Space", "levels", "mirror", "with_all_ops"]


@dataclass(frozen=True)
class Range:
    """The values that magnitudes 0 to 1 stand for: low + magnitude * (high - low).

    Attributes:
        low: Value at magnitude 0, in the op's unit.
        high: Value at magnitude 1.
        mirrored: Whether the paper replaces the value by its mirror image about the op's identity
            value with probability one half, each time that the op is applied.
        whole: Whether values are rounded to whole numbers.

    Examples:
        >>> Range(0.0, 30.0).value(0.5)
        15.0
    """

    low: float = 0.0
    high: float = 0.0
    mirrored: bool = False
    whole: bool = False

    def value(self, magnitude: float) -> float:
        """Return the value at ``magnitude``; raise ValueError outside [0, 1]."""
        if not 0 <= magnitude <= 1:
            raise ValueError(f"Expected a magnitude in [0, 1], got {magnitude}.")
        value = self.low + magnitude * (self.high - self.low)
        return float(round(value)) if self.whole else value


Space = Mapping[str, Range]

_MIRRORED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_FACTORS = ("Contrast", "Color", "Brightness", "Sharpness")


def _signed(shear: float, translate: float, rotate: float, *, low: bool) -> dict[str, Range]:
    """Return the five mirrored rows, from -limit (``low``) or from 0 up to their limit."""
    limits = (shear, shear, translate, translate, rotate)
    return {
        name: Range(-limit if low else 0.0, limit, mirrored=True)
        for name, limit in zip(_MIRRORED, limits, strict=True)
    }


def _factors(low: float, high: float, *, mirrored: bool = False) -> dict[str, Range]:
    return {name: Range(low, high, mirrored) for name in _FACTORS}


# Li et al., DADA, ECCV 2020, arXiv:2003.03780; Lim et al., Fast AutoAugment, NeurIPS 2019,
# arXiv:1905.00397: the same fifteen ops and ranges.
_DADA = {
    **_signed(0.3, 0.45, 30.0, low=True),
    "AutoContrast": Range(),
    "Invert": Range(),
    "Equalize": Range(),
    "Solarize": Range(0.0, 256.0),
    "Posterize": Range(4.0, 8.0),
    **_factors(0.1, 1.9),
    "Cutout": Range(0.0, 0.2),
}

# Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172. The last three have one level each:
# flip at one half, cutout of 16 in 32 pixels, padding of 4 in 32 pixels.
_DEEPAA = {
    "Identity": Range(),
    **{name: row for name, row in _DADA.items() if name != "Cutout"},
    "Flip": Range(0.5, 0.5),
    "CutoutClipped": Range(0.5, 0.5),
    "PadCrop": Range(0.125, 0.125),
}

# The same for ImageNet: cutout of 60 in 224 pixels, resized crop of 8 % of the area or more.
_DEEPAA_IMAGENET = {
    **{name: row for name, row in _DEEPAA.items() if name != "PadCrop"},
    "CutoutClipped": Range(60 / 224, 60 / 224),
    "ResizedCrop": Range(0.08, 0.08),
}

# Cubuk et al., AutoAugment, CVPR 2019, arXiv:1805.09501, in torchvision's reading.
_AUTOAUGMENT = {
    **_signed(0.3, 150 / 331, 30.0, low=False),
    "AutoContrast": Range(),
    "Invert": Range(),
    "Equalize": Range(),
    "Solarize": Range(255.0, 0.0),
    "Posterize": Range(8.0, 4.0, whole=True),
    **_factors(1.0, 1.9, mirrored=True),
}

# Cubuk et al., RandAugment, NeurIPS 2020, arXiv:1909.13719, in torchvision's reading.
_RANDAUGMENT = {
    "Identity": Range(),
    **{name: row for name, row in _AUTOAUGMENT.items() if name != "Invert"},
}

# Müller and Hutter, TrivialAugment, ICCV 2021, arXiv:2103.10158, the wide space. Its translation
# is 32 pixels at any image size; here it is a fraction, 32 of ImageNet's 224.
_TRIVIALAUGMENT = {
    **_RANDAUGMENT,
    **_signed(0.99, 32 / 224, 135.0, low=False),
    "Posterize": Range(8.0, 2.0, whole=True),
    **_factors(1.0, 1.99, mirrored=True),
}

# For screening, from no paper: the base augmentation is among the ops, in the order of application.
# Flip has one value; a design sets its probability. A crop of magnitude 0.4 is the usual one, of 4
# pixels of 32.
_SCREENING = {
    "PadCrop": Range(0.0, 0.3125),
    "Flip": Range(1.0, 1.0),
    **_signed(0.3, 0.25, 30.0, low=False),
    **_factors(1.0, 1.9, mirrored=True),
    "Posterize": Range(8.0, 4.0, whole=True),
    "Solarize": Range(256.0, 128.0),
    "AutoContrast": Range(),
    "Equalize": Range(),
    "Invert": Range(),
    "Cutout": Range(0.0, 0.5),
}

SPACES: Mapping[str, Space] = MappingProxyType(
    {
        "dada": _DADA,
        "fast-autoaugment": _DADA,
        "deepaa": _DEEPAA,
        "deepaa-imagenet": _DEEPAA_IMAGENET,
        "autoaugment": _AUTOAUGMENT,
        "randaugment": _RANDAUGMENT,
        "trivialaugment": _TRIVIALAUGMENT,
        "screening": _SCREENING,
    }
)
"""Every space by the name of its paper or method. Adding one is adding a dictionary."""


# Ranges for a search whose space lacks these ops; the papers' spaces hold a single value of each.
_RANDOM = {
    "Flip": Range(1.0, 1.0),
    "PadCrop": Range(0.0, 0.25),
    "CutoutClipped": Range(0.0, 0.5),
    "ResizedCrop": Range(1.0, 0.08),
}


def with_all_ops(space: Space) -> Space:
    """Return a space extended by every other op except Identity.

    An op that is not in ``space`` has the range of the first search space that has it, or else all
    of its legal values. Flip, PadCrop, CutoutClipped and ResizedCrop have ranges for this purpose.

    Examples:
        >>> space = with_all_ops(SPACES["dada"])
        >>> "PadCrop" in SPACES["dada"], space["PadCrop"].high
        (False, 0.25)
    """
    others = [name for name in OPS if name not in space and name != "Identity"]
    return {**space, **{name: _usual_range(name) for name in others}}


def _usual_range(name: str) -> Range:
    found = [space[name] for space in (_RANDOM, *SPACES.values()) if name in space]
    return found[0] if found else Range(OPS[name].low, OPS[name].high)


def mirror(op: str, value: float) -> float:
    """Return ``value`` on the other side of the op's identity value.

    Raises:
        ValueError: If the op has no identity value.

    Examples:
        >>> mirror("Brightness", 1.25)
        0.75
    """
    identity_value = OPS[op].identity_value
    if identity_value is None:
        raise ValueError(f"{op} has no identity value to mirror about.")
    return 2 * identity_value - value


def levels(op: str, span: Range, count: int) -> list[float]:
    """Return ``count`` evenly spaced values of a range, without the identity value.

    A range of a single value gives that value, whether it is the identity value or not (Identity).

    Raises:
        ValueError: If ``count`` is below 2 and the range has more than one value.

    Examples:
        >>> levels("Rotate", Range(-30.0, 30.0), 5)
        [-30.0, -15.0, 15.0, 30.0]
    """
    if span.low == span.high:
        return [span.low]
    if count < 2:
        raise ValueError(f"Expected 2 or more levels for {op}, got {count}.")
    values = [span.value(level / (count - 1)) for level in range(count)]
    identity = OPS[op].identity_value
    return [value for value in values if identity is None or abs(value - identity) > 1e-9]
