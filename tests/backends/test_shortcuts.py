"""Shorter forms of PIL's work give the levels of the op's row."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from learned_augment.backends.pil import apply_image
from learned_augment.backends.shortcuts import _MEASURED, _smoothed, recoloured
from learned_augment.ops import OPS
from learned_augment.plan import Step

NOISE = (0.1, 0.2, 0.3, 0.4)


def picture(mode: str, kind: str, side: int = 23) -> Image.Image:
    rng = np.random.default_rng(0)
    levels = {
        "noise": rng.integers(0, 256, (side, side + 4, 3)),
        "faint": rng.integers(90, 140, (side, side + 4, 3)),
        "flat": np.full((side, side + 4, 3), 77),
        "two": rng.choice([40, 200], (side, side + 4, 3)),
    }[kind]
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("kind", ["noise", "faint", "flat", "two"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", _MEASURED)
def test_measured_tables_are_those_of_the_row(name: str, mode: str, kind: str) -> None:
    image = picture(mode, kind)
    counts = np.array(image.histogram()).reshape(-1, 256)
    # PIL clips what is above 255.
    levels = np.minimum(_MEASURED[name](image), 255)
    assert np.array_equal(levels, OPS[name].kind.table(0.0, counts).reshape(-1))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_larger_image_is_smoothed_as_pil_does(mode: str) -> None:
    image = picture(mode, "noise", 120)
    assert _smoothed(image).mode == mode
    assert np.array_equal(_smoothed(image), image.filter(ImageFilter.SMOOTH))


def test_the_core_call_gives_what_point_gives() -> None:
    image, row = picture("RGB", "noise"), OPS["Solarize"]
    short = recoloured(image, Step(row, 100.0, NOISE), row.kind)
    assert (short.mode, short.size) == (image.mode, image.size)
    public = image.point([level if level < 100 else 255 - level for level in range(256)] * 3)
    assert np.array_equal(short, public)


@pytest.mark.parametrize("offset", [0.0, 1.0, -2.5, 3.49999999, 3.5, 0.25, -0.5, 30.0])
def test_pasting_moves_as_transforming_does(offset: float) -> None:
    image = picture("RGB", "noise")
    step = Step(OPS["TranslateX"], offset / image.width, NOISE)
    matrix = (1.0, 0.0, offset / image.width * image.width, 0.0, 1.0, 0.0)
    expected = image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=(9, 8, 7))
    assert np.array_equal(apply_image(image, [step], fill=(9, 8, 7)), expected)


def test_steps_that_change_nothing_still_give_a_new_image() -> None:
    image = picture("RGB", "noise")
    steps = [Step(OPS["Flip"], 0.05, NOISE), Step(OPS["Invert"], 0.0, NOISE)]
    for given in (steps[:1], []):
        out = apply_image(image, given)
        assert out is not image
        assert np.array_equal(out, image)
    assert np.array_equal(apply_image(image, steps), 255 - np.array(image))
