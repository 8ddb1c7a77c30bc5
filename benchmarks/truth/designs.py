"""Policies of the table of truth: random ones by a factorial design, and those of no search."""

from collections.abc import Iterator, Mapping

import torch

from learned_augment import Policy
from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import named_policy

__all__ = ["BASELINES", "STRENGTHS", "Design", "baseline", "design", "design_policy", "job_names"]

INCLUSION = 0.3
PROBABILITY = 0.5
EMPTY_EVERY = 10

STRENGTHS: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "PadCrop": ((0.0625,), (0.125,), (0.25,)),
    "Flip": ((1.0,),),
    **{op: tuple((-s, s) for s in (0.1, 0.2, 0.3)) for op in ("ShearX", "ShearY")},
    **{op: tuple((-s, s) for s in (0.0625, 0.125, 0.25)) for op in ("TranslateX", "TranslateY")},
    "Rotate": ((-8.0, 8.0), (-15.0, 15.0), (-30.0, 30.0)),
    **{
        op: tuple((1 - s, 1 + s) for s in (0.25, 0.5, 0.9))
        for op in ("Brightness", "Contrast", "Color", "Sharpness")
    },
    "Posterize": ((6.0,), (5.0,), (4.0,)),
    "Solarize": ((224.0,), (192.0,), (128.0,)),
    "AutoContrast": ((0.0,),),
    "Equalize": ((0.0,),),
    "Invert": ((0.0,),),
    "Cutout": ((0.15,), (0.3,), (0.5,)),
}
"""The values of each op at each strength, weak to strong; those of one are equally likely."""

Design = tuple[tuple[str, int], ...]
"""The ops that are in, each with its strength, a position in its row of `STRENGTHS`."""


def design(number: int) -> Design:
    """Return the ops and strengths of random policy `number`; every tenth is empty."""
    if number % EMPTY_EVERY == 0:
        return ()
    generator = torch.Generator().manual_seed(number)
    chosen = torch.rand(len(STRENGTHS), generator=generator) < INCLUSION
    strengths = torch.rand(len(STRENGTHS), generator=generator)
    drawn = zip(STRENGTHS, chosen.tolist(), strengths.tolist(), strict=True)
    return tuple((op, int(place * len(STRENGTHS[op]))) for op, within, place in drawn if within)


def design_policy(chosen: Design) -> tuple[Policy, ...]:
    """Return the policy of a design: each op in turn, applied to half of the images."""
    layers = []
    for op, strength in chosen:
        values = STRENGTHS[op][strength]
        candidates = [(op, PROBABILITY / len(values), value) for value in values]
        layers.append([*candidates, ("Identity", 1 - PROBABILITY, 0.0)])
    return (from_layers(layers, {"name": "random"}),) if layers else ()


_FIRST = (
    "none",
    "crop-flip",
    "trivialaugment",
    "randaugment-2-9",
    "crop",
    "crop-flip+randaugment-2-9",
    "crop-flip+trivialaugment",
    "crop+randaugment-2-9",
)
_REST = (
    "randaugment-1-9",
    "randaugment-2-5",
    "crop+trivialaugment",
    "autoaugment",
    "dada-cifar10",
    "crop-flip+dada-cifar10",
    "deepaa-cifar10",
    "randaugment-2-14",
    "crop-flip+randaugment-1-9",
    "crop-flip+autoaugment",
    "randaugment-3-5",
    "flip",
    "crop-flip+randaugment-2-5",
    "randaugment-1-5",
    "dada-svhn",
    "dada-imagenet",
    "deepaa-imagenet",
    "crop-flip+randaugment-2-14",
    "randaugment-3-9",
    "crop-flip+dada-imagenet",
)
BASELINES = (*_FIRST, *_REST)
"""Policies of no search, by name: BASE+POLICY is a base augmentation before a policy."""


def baseline(name: str, image_size: int) -> tuple[Policy, ...]:
    """Return the policies of a baseline, in their order."""
    # Two policies, as the table was measured; "crop-flip" as one policy would draw otherwise.
    parts = name.replace("crop-flip", "crop+flip").split("+")
    named = [named_policy(part, image_size=image_size) for part in parts]
    return tuple(policy for one in named for policy in one.policies)


def job_names(policies: int) -> Iterator[str]:
    """Yield names of all policies, most useful first: main baselines, then random ones and others.

    Args:
        policies: how many random ones.
    """
    yield from _FIRST
    rest = iter(_REST)
    for number in range(policies):
        yield f"random-{number}"
        if number % 4 == 3:
            yield from (name for name in [next(rest, None)] if name)
    yield from rest
