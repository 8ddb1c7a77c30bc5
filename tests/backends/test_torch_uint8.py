"""uint8 in torch equals PIL bit for bit, and PIL keeps what belongs to an image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode

from learned_augment.backends import dispatch, pil, torch_uint8
from learned_augment.backends.dispatch import apply_batch
from learned_augment.backends.pil import MODES as PIL_MODES
from learned_augment.ops import OPS, Resample
from learned_augment.policy import Plan
from tests.backends.plans import chains, single
from tests.conftest import noise_images

MODES = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]


def through_pil(images, plan, **options):
    out = []
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        result = np.array(pil.apply(Image.fromarray(image.squeeze()), plan.rows([i]), **options))
        out.append(torch.from_numpy(result.reshape(*result.shape[:2], -1)).permute(2, 0, 1))
    return torch.stack(out)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (3, 37, 22), (1, 21, 30)])
def test_exact_equals_pil_in_chains_of_six(mode, channels, height, width):
    images, plan = noise_images(60, height, width, channels), chains(60, 6)
    expected = through_pil(images, plan, interpolation=mode)
    assert torch.equal(torch_uint8.apply(images, plan, interpolation=mode), expected)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_exact_equals_pil_over_the_whole_range(op):
    images = noise_images(60, 24, 31)
    high = min(op.high, 360)
    values = np.linspace(op.low, high, 60) if op.low < op.high else [op.low] * 60
    plan = single(op.name, values)
    assert torch.equal(apply_batch(images, plan), through_pil(images, plan))


def test_exact_equals_pil_on_ties():
    # Half pixels, quarter turns, and sums that only PIL's order of adding gives.
    images = noise_images(16, 40, 40)
    for name, values in {
        "TranslateX": [k / 80 for k in range(-8, 8)],
        "TranslateY": [k * 0.0375 for k in range(-8, 8)],
        "Rotate": [k * 45.0 for k in range(-8, 8)],
        "ShearX": [k / 8 for k in range(-8, 8)],
        "ShearY": [k / 40 for k in range(-8, 8)],
    }.items():
        plan = single(name, values)
        assert torch.equal(apply_batch(images, plan), through_pil(images, plan)), name


@pytest.mark.parametrize("fill", [None, (9,), (200, 30, 77)])
def test_fill_shows_outside_and_replaces_crop_padding_only_when_given(fill):
    images = torch.full((2, 3, 20, 20), 128, dtype=torch.uint8)
    for name, value, default in [
        ("TranslateX", 0.45, (0, 0, 0)),
        ("PadCrop", 0.25, (125, 123, 114)),
    ]:
        plan = Plan(
            (name,),
            torch.zeros(2, 1).long(),
            torch.full((2, 1), value).double(),
            torch.full((2, 1, 4), 0.999),
        )
        expected = default if fill is None else tuple(fill) * (3 // len(fill))
        out = apply_batch(images, plan, fill=fill)
        assert out[0, :, 10, 19].tolist() == list(expected)
        assert torch.equal(out, through_pil(images, plan, fill=fill))
        floats = apply_batch(images / 255, plan, fill=fill and tuple(f / 255 for f in fill))
        torch.testing.assert_close(255 * floats[0, :, 10, 19], torch.tensor(expected).float())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "op", [op for op in OPS.values() if getattr(op.kind, "pil", None)], ids=lambda op: op.name
)
def test_pils_own_calls_equal_the_definitions(op, channels):
    by_definition = replace(op, kind=replace(op.kind, pil=None))
    for array in noise_images(8, 17, 19, channels).permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(array.squeeze())
        for value in np.linspace(op.low, min(op.high, 256.0), 9):
            plan = single(op.name, [value])
            own = pil.apply(image, plan)
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(OPS, op.name, by_definition)
                assert np.array_equal(own, pil.apply(image, plan)), value


def test_size_crops_like_pil_and_resizes_resized_crops():
    images, plan = noise_images(24, 40, 52), chains(24, 4, seed=2)
    resized = [any(isinstance(s.op.kind, Resample) for s in plan.steps(i)) for i in range(24)]
    assert any(resized)
    assert not all(resized)
    for size in (28, 48):
        out = apply_batch(images, plan, size=size)
        assert out.shape == (24, 3, size, size)
        assert torch.equal(out, through_pil(images, plan, size=size))
        assert apply_batch(images / 255, plan, size=size).shape == out.shape


def test_a_plan_of_another_length_is_refused():
    with pytest.raises(ValueError, match="plan of 3 rows"):
        apply_batch(noise_images(3), chains(2, 1))


@pytest.mark.parametrize("mode", PIL_MODES)
def test_the_info_of_an_image_goes_along_whatever_is_drawn(mode):
    image = Image.fromarray(noise_images(1)[0].permute(1, 2, 0).numpy()).convert(mode)
    image.info = info = {"icc_profile": b"profile", "exif": b"Exif\x00\x00", "dpi": (72, 72)}
    for op in OPS.values():
        for values in ([], [op.high], [op.high] * 4):
            plan = Plan(
                (op.name,),
                torch.zeros(1, len(values), dtype=torch.int64),
                torch.tensor([values], dtype=torch.float64),
                torch.full((1, len(values), 4), 0.5),
            )
            assert dispatch.apply_image(image, plan).info == info, (op.name, values)
            plain = Image.frombytes(mode, image.size, image.tobytes())
            assert dispatch.apply_image(plain, plan).info == {}
    assert image.info == info


def test_the_transparent_color_of_a_palette_does_not_outlive_the_palette():
    image = Image.fromarray(noise_images(1)[0].permute(1, 2, 0).numpy()).convert("P")
    image.info["transparency"] = 3
    out = dispatch.apply_image(image, single("Invert", [0.0]))
    assert out.mode == "P"
    assert out.info.get("transparency") != 3
    transparent = np.asarray(out.convert("RGBA"))[..., 3] == 0
    assert np.array_equal(transparent, np.asarray(image) == 3)


def test_an_opened_file_is_read_whatever_is_drawn(tmp_path):
    levels = noise_images(1, 30, 20)[0].permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "a.png")
    for op in OPS.values():
        plan = single(op.name, [op.high])
        opened = pil.apply(Image.open(tmp_path / "a.png"), plan)
        assert np.array_equal(opened, pil.apply(Image.fromarray(levels), plan)), op.name


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_has_a_fill_of_its_own(mode):
    colors = (9, 8, 7) if mode == "RGBA" else (9,)
    image = Image.new(mode, (20, 20), (50,) * len(colors) + (255,))
    moved = pil.apply(image, single("TranslateX", [0.5]), fill=(*colors, 77))
    assert moved.getpixel((19, 5)) == (*colors, 77)
    assert pil.apply(image, single("TranslateX", [0.5]), fill=colors).getpixel((19, 5))[-1] == 0
