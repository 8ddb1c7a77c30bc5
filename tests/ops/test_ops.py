"""Meaning of the ops: what holds for each row, and units pinned by hand from the papers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from learned_augment.backends import pil
from learned_augment.backends.dispatch import apply_batch, apply_image
from learned_augment.ops import OPS, Blend, Erase, Geometric, Pointwise, Resample
from learned_augment.policy import Plan
from tests.conftest import noise_images, smooth_image

# Values that the papers use, from weak to strong on each side of the identity value.
STRONGER = {
    "ShearX": [[0.05, 0.15, 0.3], [-0.05, -0.15, -0.3]],
    "ShearY": [[0.05, 0.15, 0.3], [-0.05, -0.15, -0.3]],
    "TranslateX": [[0.05, 0.1, 0.2], [-0.05, -0.1, -0.2]],
    "TranslateY": [[0.05, 0.1, 0.2], [-0.05, -0.1, -0.2]],
    "Rotate": [[3, 8, 15], [-3, -8, -15]],
    "Solarize": [[250, 128, 0]],
    "Posterize": [[7, 6, 4, 2]],
    "Contrast": [[0.9, 0.5, 0.1], [1.1, 1.5, 1.9]],
    "Color": [[0.9, 0.5, 0.1], [1.1, 1.5, 1.9]],
    "Brightness": [[0.9, 0.5, 0.1], [1.1, 1.5, 1.9]],
    "Sharpness": [[0.9, 0.5, 0.1], [1.2, 1.6, 1.9]],
    "Cutout": [[0.05, 0.1, 0.3]],
    "CutoutClipped": [[0.05, 0.25, 0.5]],
    "PadCrop": [[0.05, 0.125, 0.25]],
}


def plan(op, values, noise=None):
    values = torch.as_tensor(values, dtype=torch.float64).reshape(-1, 1)
    n = len(values)
    noise = torch.rand(n, 1, 4) if noise is None else torch.tensor(noise).expand(n, 1, 4)
    return Plan((op,), torch.zeros(n, 1, dtype=torch.int64), values, noise)


def legal_values(op, count):
    if op.low == op.high:
        return [op.low] * count
    return np.random.default_rng(1).uniform(op.low, min(op.high, 300), count).tolist()


def apply_one(op, value, image, noise=(0.5, 0.5, 0.5, 0.5)):
    return apply_batch(image[None], plan(op, [value], noise))[0]


def test_every_kind_has_rows_and_names_are_keys():
    assert {type(op.kind) for op in OPS.values()} == {Geometric, Pointwise, Blend, Erase, Resample}
    assert all(name == op.name for name, op in OPS.items())
    assert all(
        op.low <= (op.low if op.identity_value is None else op.identity_value)
        for op in OPS.values()
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_keeps_shape_dtype_and_input(op, dtype):
    images = noise_images(6, 20, 28)
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    before, version = images.clone(), images._version
    out = apply_batch(images, plan(op.name, legal_values(op, 6)))
    assert (out.shape, out.dtype) == (images.shape, dtype)
    assert torch.equal(images, before)
    assert images._version == version
    assert out.data_ptr() != images.data_ptr()


@pytest.mark.parametrize(
    "op", [op for op in OPS.values() if op.identity_value is not None], ids=lambda op: op.name
)
def test_the_identity_value_changes_nothing(op):
    images = noise_images(4)
    out = apply_batch(images, plan(op.name, [op.identity_value] * 4))
    assert torch.equal(out, images)
    value = torch.full((4, 1), op.identity_value, dtype=torch.float64, requires_grad=True)
    drawn = plan(op.name, [op.identity_value] * 4)
    floats = images / 255
    smooth = apply_batch(floats, Plan(drawn.ops, drawn.op, value, drawn.noise))
    # With a gradient wanted the kernels do run at the identity value: still the identity, except
    # that both cutouts then paint the one pixel that the papers' "both ends included" gives.
    if not isinstance(op.kind, Erase):
        torch.testing.assert_close(smooth, floats, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "values"), [(n, v) for n, rows in STRONGER.items() for v in rows])
def test_stronger_changes_more(name, values):
    image = smooth_image()
    for batch in (image, image / 255):
        scale = 1 if batch.dtype == torch.uint8 else 255
        changes = [
            (scale * (apply_one(name, v, batch, (0.9, 0.8, 0.5, 0.5)).double() - batch))
            .abs()
            .mean()
            for v in values
        ]
        assert all(a < b for a, b in pairwise(changes)), changes


def test_every_op_with_a_range_is_covered_by_the_test_of_strengths():
    ranged = {op.name for op in OPS.values() if op.low < op.high}
    # Flip's value is a probability and ResizedCrop's a bound: strength holds on average only.
    assert ranged - set(STRONGER) == {"Flip", "ResizedCrop"}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
@pytest.mark.parametrize("floats", [False, True])
def test_batch_is_a_stack_of_single_images(op, floats):
    images = noise_images(7, 18, 26)
    images = images / 255 if floats else images
    drawn = plan(op.name, legal_values(op, 7))
    out = apply_batch(images, drawn)
    for i in range(7):
        alone = apply_batch(images[i : i + 1], drawn.rows([i]))
        torch.testing.assert_close(alone[0], out[i], atol=1e-6 if floats else 0, rtol=0)
    order = torch.randperm(7)
    permuted = apply_batch(images[order], drawn.rows(order))
    torch.testing.assert_close(permuted, out[order], atol=1e-6 if floats else 0, rtol=0)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_noise_matters_only_where_declared(op):
    image = smooth_image()[None].expand(8, -1, -1, -1)
    value = {"Flip": 0.5, "ResizedCrop": 0.3}.get(op.name, 0.25 if op.random else op.low)
    out = apply_batch(image, plan(op.name, [value] * 8))
    assert bool((out != out[:1]).any()) == op.random


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_empty_batch_and_tiny_images(op):
    assert apply_batch(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), plan(op.name, [])).shape[0] == 0
    for height, width in [(1, 1), (1, 7), (7, 1), (2, 2)]:
        images = noise_images(3, height, width, 1)
        for batch in (images, images / 255):
            assert apply_batch(batch, plan(op.name, legal_values(op, 3))).shape == images.shape


# Units, each derived by hand from the papers' definitions (output pixel reads input pixel).


def column_image(column, size=64):
    image = torch.zeros(1, size, size, dtype=torch.uint8)
    image[:, :, column] = 255
    return image


def test_shear_x_moves_row_40_by_ten_pixels():
    # Output (x, y) reads input x + 0.25 y: content of row y moves left by 0.25 y.
    out = apply_one("ShearX", 0.25, column_image(50))
    assert out[0, 40].argmax() == 40
    assert out[0, 0].argmax() == 50
    assert apply_one("ShearX", -0.25, column_image(20))[0, 40].argmax() == 30


def test_shear_y_moves_column_40_by_ten_pixels():
    out = apply_one("ShearY", 0.25, column_image(50).mT)
    assert out[0, :, 40].argmax() == 40
    assert out[0, :, 0].argmax() == 50


def test_translate_moves_whole_pixels_against_its_sign():
    # 0.125 of 65 pixels is 8.125: pixel centers land 8 pixels on.
    image = column_image(30, 65)
    assert apply_one("TranslateX", 0.125, image)[0, 5].argmax() == 22
    assert apply_one("TranslateX", -0.125, image)[0, 5].argmax() == 38
    assert apply_one("TranslateY", 0.125, image.mT)[0, :, 5].argmax() == 22


@pytest.mark.parametrize(("level", "pixels"), [(1, 2), (2, 5), (3, 7), (4, 10), (5, 12), (6, 14)])
def test_translate_steps_of_the_papers_on_32_pixels(level, pixels):
    # 0.075 of the side a level: 2.4, 4.8, 7.2, 9.6, 12, 14.4 pixels, nearest neighbor.
    out = apply_one("TranslateX", 0.075 * level, column_image(20, 32))
    assert out[0, 7].argmax() == 20 - pixels


def test_rotate_is_counter_clockwise_in_degrees():
    image = torch.zeros(1, 33, 33, dtype=torch.uint8)
    image[0, 0, 16] = 255  # the middle of the top edge
    left = apply_one("Rotate", 90.0, image)
    assert left[0, 16, 0] == 255
    assert left.sum() == 255
    assert apply_one("Rotate", -90.0, image)[0, 16, 32] == 255
    assert apply_one("Rotate", 180.0, image)[0, 32, 16] == 255


def test_rotate_by_30_degrees_tilts_by_30_degrees():
    image = torch.zeros(1, 101, 101, dtype=torch.uint8)
    image[0, 50, 50:] = 255  # from the center to the right
    rows, columns = apply_one("Rotate", 30.0, image)[0].nonzero().unbind(1)
    rise = 50 - rows[columns > 60].double()
    run = columns[columns > 60].double() - 50
    assert math.degrees(math.atan((rise / run).mean())) == pytest.approx(30, abs=0.5)


def test_posterize_keeps_the_whole_part_of_its_bits():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(apply_one("Posterize", 7.999, ramp), ramp & 0b11111110)
    assert torch.equal(apply_one("Posterize", 4.0, ramp), ramp & 0b11110000)
    assert torch.equal(apply_one("Posterize", 8.0, ramp), ramp)


def test_solarize_inverts_from_the_ceiling_of_its_threshold():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    expected = torch.where(ramp < 22, ramp, 255 - ramp)
    assert torch.equal(apply_one("Solarize", 256 / 12, ramp), expected)  # 21.33 acts as 22
    assert torch.equal(apply_one("Solarize", 0.0, ramp), apply_one("Invert", 0.0, ramp))


def test_brightness_is_a_factor_truncated():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    expected = torch.tensor([min(255, int(np.float32(1.9) * i)) for i in range(256)])
    assert torch.equal(apply_one("Brightness", 1.9, ramp).flatten().long(), expected)


def test_color_zero_is_gray_by_the_luma_weights():
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).reshape(3, 1, 1)
    level = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert apply_one("Color", 0.0, image).flatten().tolist() == [level] * 3


def test_contrast_zero_is_the_rounded_mean_of_the_luma():
    image = torch.tensor([[10, 20], [30, 43]], dtype=torch.uint8)[None]
    assert apply_one("Contrast", 0.0, image).unique().tolist() == [26]  # 25.75 + 0.5, truncated


def test_cutout_paints_both_ends_of_a_fifth_of_the_width():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    out = apply_one("Cutout", 0.2, image, (0.5, 0.5, 0, 0))
    rows, columns = out[0].nonzero().unbind(1)
    # Center 20, size 8: from 16 to 24, both included.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (16, 24, 16, 24)
    assert out[:, 20, 20].tolist() == [125, 123, 114]


def test_cutout_moves_inward_at_the_start_and_is_cut_at_the_end():
    image = torch.zeros(1, 40, 40, dtype=torch.uint8)
    start = apply_one("Cutout", 0.2, image, (0.0, 0.0, 0, 0))
    assert (start[0] > 0).sum() == 9 * 9
    end = apply_one("Cutout", 0.2, image, (0.999, 0.999, 0, 0))
    assert (end[0] > 0).sum() == 5 * 5  # from int(39.96 - 4) = 35 to the border


def test_deepaa_cutout_of_16_in_32_paints_17_pixels_and_is_clipped():
    image = torch.zeros(1, 32, 32, dtype=torch.uint8)
    middle = apply_one("CutoutClipped", 0.5, image, (0.5, 0.5, 0, 0))
    assert (middle[0] > 0).sum() == 17 * 17
    corner = apply_one("CutoutClipped", 0.5, image, (0.0, 0.0, 0, 0))
    assert (corner[0] > 0).sum() == 9 * 9  # int(-8) to int(8), both included, clipped at 0


def test_deepaa_cutout_of_60_in_224_stays_in_the_middle_256_of_a_larger_image():
    image = torch.zeros(1, 400, 400, dtype=torch.uint8)
    plan_ = plan("CutoutClipped", [60 / 224], (0.0, 0.0, 0, 0))
    kind, noise = OPS["CutoutClipped"].kind, (0.0, 0.0, 0.0, 0.0)
    # Center at (400 - 256) / 2 = 72 when the paper's 224 is the side.
    assert [int(e) for e in kind.box(60 / 224, noise, 400, 400, 224)] == [42, 42, 103, 103]
    out = apply_batch(image[None], plan_, size=224)
    assert out.shape == (1, 1, 224, 224)


def test_pad_crop_pads_four_of_32_with_gray_and_reaches_both_ends():
    image = torch.full((3, 32, 32), 7, dtype=torch.uint8)
    low = apply_one("PadCrop", 0.125, image, (0.0, 0.0, 0, 0))
    assert low[:, 3, 3].tolist() == [125, 123, 114]
    assert low[:, 4, 4].tolist() == [7, 7, 7]
    high = apply_one("PadCrop", 0.125, image, (0.9999, 0.9999, 0, 0))
    assert high[:, 28, 28].tolist() == [125, 123, 114]
    assert high[:, 27, 27].tolist() == [7, 7, 7]
    assert torch.equal(apply_one("PadCrop", 0.125, image, (0.5, 0.5, 0, 0)), image)


def test_flip_mirrors_when_the_noise_is_below_its_chance():
    image = smooth_image()
    assert torch.equal(apply_one("Flip", 0.5, image, (0.49, 0, 0, 0)), image.flip(-1))
    assert torch.equal(apply_one("Flip", 0.5, image, (0.5, 0, 0, 0)), image)


def test_resized_crop_takes_its_area_and_aspect():
    kind = OPS["ResizedCrop"].kind
    x0, y0, x1, y1 = kind.box(0.08, (0.25, 0.5, 0.0, 1 - 1e-9), 200, 200, 1.0)
    area = 0.08 + 0.92 * 0.25  # aspect 1 in the middle of the log range
    assert (x1 - x0, y1 - y0) == (round(200 * area**0.5),) * 2
    assert (x0, y1) == (0, 200)
    x0, y0, x1, y1 = kind.box(0.08, (0.1, 1.0, 0.5, 0.5), 300, 300, 1.0)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(4 / 3, rel=0.02)


def test_resized_crop_falls_back_to_the_central_crop():
    kind, noise = OPS["ResizedCrop"].kind, (0.5, 0.5, 0.9, 0.9)
    # The whole area of a 400 x 100 picture at aspect 1 does not fit: central 133 x 100.
    assert [int(e) for e in kind.box(1.0, noise, 400, 100, 1.0)] == [133, 0, 266, 100]


def test_resized_crop_keeps_the_shape_of_what_it_is_resized_to():
    kind, noise = OPS["ResizedCrop"].kind, (0.2, 0.5, 0.5, 0.5)
    x0, y0, x1, y1 = kind.box(0.08, noise, 400, 100, 4.0)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(4, rel=0.05)
    x0, y0, x1, y1 = kind.box(0.08, noise, 400, 200, 1.0)
    assert x1 - x0 == y1 - y0


# The papers' PIL calls, written again: the PIL backend is bit-equal over the whole range.

CALLS = {
    "ShearX": lambda im, v: im.transform(im.size, Image.AFFINE, (1, v, 0, 0, 1, 0)),
    "ShearY": lambda im, v: im.transform(im.size, Image.AFFINE, (1, 0, 0, v, 1, 0)),
    "TranslateX": lambda im, v: im.transform(
        im.size, Image.AFFINE, (1, 0, v * im.size[0], 0, 1, 0)
    ),
    "TranslateY": lambda im, v: im.transform(
        im.size, Image.AFFINE, (1, 0, 0, 0, 1, v * im.size[1])
    ),
    "Rotate": lambda im, v: im.rotate(v),
    "AutoContrast": lambda im, v: ImageOps.autocontrast(im),
    "Invert": lambda im, v: ImageOps.invert(im),
    "Equalize": lambda im, v: ImageOps.equalize(im),
    "Solarize": lambda im, v: ImageOps.solarize(im, v),
    "Posterize": lambda im, v: ImageOps.posterize(im, int(v)),
    "Contrast": lambda im, v: ImageEnhance.Contrast(im).enhance(v),
    "Color": lambda im, v: ImageEnhance.Color(im).enhance(v),
    "Brightness": lambda im, v: ImageEnhance.Brightness(im).enhance(v),
    "Sharpness": lambda im, v: ImageEnhance.Sharpness(im).enhance(v),
}
RANGES = {
    **dict.fromkeys(["ShearX", "ShearY"], (-0.3, 0.3)),
    **dict.fromkeys(["TranslateX", "TranslateY"], (-0.45, 0.45)),
    "Rotate": (-30, 30),
    "Solarize": (0, 256),
    "Posterize": (4, 8),
    **dict.fromkeys(["Contrast", "Color", "Brightness", "Sharpness"], (0.1, 1.9)),
}


def papers_cutout(im, v, noise):
    """Fast AutoAugment's and DADA's cutout: v is a fraction of the width."""
    w, h = im.size
    s = v * w
    x0, y0 = int(max(0, noise[0] * w - s / 2)), int(max(0, noise[1] * h - s / 2))
    im = im.copy()
    ImageDraw.Draw(im).rectangle(
        (x0, y0, min(w, x0 + s), min(h, y0 + s)), (125, 123, 114) if im.mode == "RGB" else 123
    )
    return im


def papers_cutout_16(im, v, noise):
    """DeepAA's cutout of half of 32 pixels: both ends included, clipped to the image."""
    w, h = im.size
    cx, cy, half = noise[0] * w, noise[1] * h, v * min(w, h) / 2
    box = (max(0, int(cx - half)), max(0, int(cy - half)), int(cx + half), int(cy + half))
    im = im.copy()
    ImageDraw.Draw(im).rectangle(box, (125, 123, 114) if im.mode == "RGB" else 123)
    return im


def papers_pad_crop(im, v, noise):
    """DeepAA's crop: pad on each side with gray, take a window at whole offsets."""
    pad = round(v * im.size[0])
    gray = (125, 123, 114) if im.mode == "RGB" else 123
    canvas = Image.new(im.mode, (im.size[0] + 2 * pad, im.size[1] + 2 * pad), gray)
    canvas.paste(im, (pad, pad))
    x, y = int(noise[0] * (2 * pad + 1)), int(noise[1] * (2 * pad + 1))
    return canvas.crop((x, y, x + im.size[0], y + im.size[1]))


def papers_resized_crop(im, v, noise):
    """Crop 8 % of the area or more at aspect 3/4 to 4/3, resize bicubically."""
    w, h = im.size
    area = w * h * (v + (1 - v) * noise[0])
    aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * noise[1])
    cw, ch = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if cw > w or ch > h:
        return None  # pinned by hand above
    x, y = int(noise[2] * (w - cw + 1)), int(noise[3] * (h - ch + 1))
    return im.crop((x, y, x + cw, y + ch)).resize((w, h), Image.BICUBIC)


PLACED = {
    "Cutout": (papers_cutout, 0.2),
    "CutoutClipped": (papers_cutout_16, 0.5),
    "PadCrop": (papers_pad_crop, 0.125),
    "ResizedCrop": (papers_resized_crop, 0.08),
}


def pil_images(channels, size):
    arrays = noise_images(40, size, size, channels).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array.squeeze()) for array in arrays]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("channels", [1, 3])
def test_pil_images_equal_the_papers_calls(name, channels):
    low, high = RANGES.get(name, (0, 0))
    for i, image in enumerate(pil_images(channels, 32)):
        value = low + (high - low) * i / 39
        drawn, expected = plan(name, [value], (0.0,) * 4), CALLS[name](image, value)
        assert apply_image(image, drawn) == pil.apply(image, drawn) == expected, value


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("channels", [1, 3])
def test_pil_images_equal_the_papers_placed_ops(name, channels):
    call, value = PLACED[name]
    compared = 0
    for i, image in enumerate(pil_images(channels, 32)):
        noise = tuple(torch.rand(4, generator=torch.Generator().manual_seed(i)).tolist())
        expected = call(image, value, noise)
        if expected is not None:
            compared += 1
            drawn = plan(name, [value], noise)
            assert apply_image(image, drawn) == pil.apply(image, drawn) == expected, noise
    assert compared > 25


def test_every_op_is_held_to_the_papers():
    assert set(CALLS) | set(PLACED) | {"Identity", "Flip"} == set(OPS)


def test_pil_images_equal_the_papers_calls_in_chains_of_six():
    rng = np.random.default_rng(5)
    for image in pil_images(3, 32):
        expected, names, values = image, [], []
        for name in rng.choice(list(CALLS), 6, replace=False).tolist():
            low, high = RANGES.get(name, (0, 0))
            names.append(name)
            values.append(rng.uniform(low, high))
            expected = CALLS[name](expected, values[-1])
        value = torch.tensor([values], dtype=torch.float64)
        drawn = Plan(tuple(names), torch.arange(6)[None], value, torch.zeros(1, 6, 4))
        assert apply_image(image, drawn) == pil.apply(image, drawn) == expected
