"""Example images that show what ops and policies do; nothing is downloaded."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from learned_augment.builders import from_layers
from learned_augment.policy import Policy
from learned_augment.transform import LearnedAugment

__all__ = ["AugmentedExample", "Example", "draw_examples", "example_images", "op_example"]

SIDE = 128
"""Side of an example image in pixels."""

_TRIES = 20


class Example(NamedTuple):
    """An image, with its content and its author in words."""

    name: str
    credit: str
    image: Image.Image


class AugmentedExample(NamedTuple):
    """An augmented image, with the ops that made it in words."""

    image: Image.Image
    ops: str


@cache
def example_images() -> tuple[Example, ...]:
    """Return RGB images of `SIDE` pixels.

    Those of scikit-learn are two photographs and a scan of a handwritten digit. Without
    scikit-learn there is one picture, which is made here.
    """
    try:
        from sklearn.datasets import load_digits, load_sample_image
    except ModuleNotFoundError:
        return (Example("drawing", "made by the program", _landscape()),)
    photographs = [
        Example(name, f"{author}, CC BY 2.0, from scikit-learn", _square(load_sample_image(file)))
        for name, author, file in (
            ("temple", "photograph by danielbuechele", "china.jpg"),
            ("flower", "photograph by vultilion", "flower.jpg"),
        )
    ]
    scan = np.round(load_digits().images[3] * (255 / 16)).astype(np.uint8)
    digit = Image.fromarray(scan).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return (*photographs, Example("digit", "optical digits of UCI, from scikit-learn", digit))


def op_example(op: str, value: float) -> Image.Image:
    """Return the first example image after one op at one value.

    An op that acts at random is drawn again until it changes the image.

    Raises:
        ValueError: If there is no such op, or the value is outside its range.
    """
    original = example_images()[0].image
    augment = LearnedAugment(from_layers([[(op, 1.0, value)]]), generator=_generator())
    draws: Iterator[Image.Image] = (augment(original) for _ in range(_TRIES))
    changed = (image for image in draws if image.tobytes() != original.tobytes())
    return next(changed, original)


def draw_examples(policy: Policy, count: int) -> list[tuple[Example, list[AugmentedExample]]]:
    """Return ``count`` draws of a policy for each example image; every call draws the same."""
    generator = _generator()
    return [
        (example, [_draw(policy, example.image, generator) for _ in range(count)])
        for example in example_images()
    ]


def _draw(policy: Policy, image: Image.Image, generator: torch.Generator) -> AugmentedExample:
    plan = policy.sample(1, generator)
    augmented = LearnedAugment(policy).transform(image, {"plan": plan})
    ops = [
        f"{step.op.name} {step.value:.3g}" if step.op.unit else step.op.name
        for step in plan.steps(0)
    ]
    return AugmentedExample(augmented, ", ".join(ops) or "nothing")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _square(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the center of an image at the size of an example."""
    image = Image.fromarray(pixels)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    center = image.crop((left, top, left + side, top + side))
    return center.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _landscape() -> Image.Image:
    """Return a picture with colors, edges and shades; no two of its corners look alike."""
    rows = np.linspace(0, 1, SIDE)[:, None, None]
    sky = (1 - rows) * np.array([70, 130, 220]) + rows * np.array([225, 235, 250])
    image = Image.fromarray(np.broadcast_to(sky, (SIDE, SIDE, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((88, 12, 116, 40), fill=(250, 210, 60))
    pen.polygon([(0, 92), (40, 74), (128, 100), (128, 128), (0, 128)], fill=(70, 140, 70))
    pen.rectangle((18, 64, 58, 100), fill=(190, 70, 50))
    pen.polygon([(12, 64), (38, 40), (64, 64)], fill=(90, 50, 40))
    pen.rectangle((26, 76, 38, 100), fill=(240, 230, 200))
    pen.rectangle((88, 84, 94, 112), fill=(110, 75, 45))
    pen.ellipse((74, 56, 108, 90), fill=(35, 100, 50))
    return image
