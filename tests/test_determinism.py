"""The statements of the documentation's page on determinism that one machine can check.

`docs/concepts/determinism.md` names, for each statement, the test that holds it: one of these, or
one that stands beside the code in question. ``golden/determinism.json`` holds digests of draws,
pixels and files that every supported version of Python, torch, torchvision, Kornia, NumPy, Numba
and safetensors must reproduce. After an intended change of pixels, write it anew:

    python -m tests.test_determinism
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode

from learned_augment import Policy, list_policies
from learned_augment.backends import dispatch, kornia_float, torch_uint8
from learned_augment.backends.dispatch import apply_batch, apply_image
from learned_augment.builders import from_layers
from learned_augment.ops import OPS
from tests.backends.plans import random_plan

GOLDEN = Path(__file__).parent / "golden" / "determinism.json"
PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "determinism.md"
PIL_MODES = ("RGB", "L", "RGBA", "LA", "CMYK")
MODES = (InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
WITH_NUMBA = dispatch._numba() is not None


def digest(*parts):
    """Return a hash of arrays, tensors, images and bytes: dtypes, shapes and values."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Image.Image):
            part = np.asarray(part)
        if isinstance(part, bytes):
            found.update(part)
            continue
        array = np.ascontiguousarray(part)
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def pattern(channels=3, height=37, width=29):
    """Return levels (C, H, W) by whole-number arithmetic, the same on every machine."""
    c, y, x = np.mgrid[:channels, :height, :width]
    return (((x * x) // 3 + 7 * y + (x * y) // 5 + 53 * c) % 251).astype(np.uint8)


def picture(mode):
    """Return the pattern as a PIL image; alpha is one of its channels."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    planes = [Image.fromarray(plane) for plane in pattern(bands)]
    return planes[0] if bands == 1 else Image.merge(mode, planes)


def every_op():
    """Return a policy of every op at values of its whole range, three layers deep."""
    values = [(name, np.linspace(op.low, min(op.high, 360.0), 5)) for name, op in OPS.items()]
    layer = [(name, 0.2 / len(values), float(v)) for name, span in values for v in span]
    return from_layers([layer] * 3, {"name": "every op", "note": "\u00e9 \u2260 e"})


def plan_of(policy, count=24, seed=3):
    return policy.sample(count, torch.Generator().manual_seed(seed))


def batch(count=24, channels=3):
    return torch.from_numpy(np.stack([np.roll(pattern(channels), 5 * i, 2) for i in range(count)]))


def draws():
    policies = {name: Policy.load(name) for name in list_policies()}
    found = {}
    for name, policy in {**policies, "every op": every_op()}.items():
        plan = plan_of(policy, 64)
        found[name] = digest(plan.op, plan.value, plan.noise)
    return found


def pixels():
    found, plan = {}, plan_of(every_op())
    rows = [plan.rows([i]) for i in range(len(plan))]
    for mode in MODES:
        for size in (None, 24):
            given = {"interpolation": mode, "size": size}
            key = f"{mode.value}, size {size}"
            for kind in PIL_MODES:
                images = [apply_image(picture(kind), row, **given) for row in rows]
                found[f"PIL {kind}, {key}"] = digest(*images)
            for channels in (1, 3):
                out = apply_batch(batch(channels=channels), plan, **given)
                found[f"uint8, {channels} channels, {key}"] = digest(out)
    return found


def files():
    return {"every op": digest(every_op().encode())} | {
        name: digest(Policy.load(name).encode()) for name in list_policies()
    }


def floats():
    """Return float results to compare within rounding: the mean of each channel of each image."""
    out = apply_batch(batch() / 255, plan_of(every_op()))
    return out.double().mean((2, 3)).numpy().round(6).tolist()


def computed():
    return {"draws": draws(), "pixels": pixels(), "files": files(), "floats": floats()}


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


# The same in every environment


@pytest.mark.parametrize("kind", ["draws", "pixels", "files"])
def test_every_environment_gives_the_same(golden, kind):
    assert {"draws": draws, "pixels": pixels, "files": files}[kind]() == golden[kind]


def test_floats_of_another_environment_differ_by_rounding(golden):
    # A rounding error may move a level over a threshold, in few pixels.
    assert np.abs(np.array(floats()) - np.array(golden["floats"])).max() < 1e-4


# One draw, on several ways


def test_images_one_by_one_draw_what_a_batch_draws():
    together = plan_of(every_op(), 9)
    generator = torch.Generator().manual_seed(3)
    single = [every_op().sample(1, generator) for _ in range(9)]
    for name in ("op", "value", "noise"):
        alone = torch.cat([getattr(plan, name) for plan in single])
        assert torch.equal(alone, getattr(together, name))


@pytest.mark.parametrize("channels", [1, 3])
def test_pil_and_uint8_plain_and_compiled_have_the_same_bits(channels):
    images, plan = batch(channels=channels), plan_of(every_op())
    plain = torch_uint8.apply(images, plan)
    if WITH_NUMBA:
        assert torch.equal(apply_batch(images, plan), plain)
    for i, image in enumerate(images.numpy()):
        given = Image.fromarray(image.transpose(1, 2, 0).squeeze())
        found = np.asarray(apply_image(given, plan.rows([i]))).reshape(37, 29, channels)
        assert np.array_equal(found.transpose(2, 0, 1), plain[i])


def test_an_image_of_a_batch_has_the_pixels_that_it_has_alone():
    plan = plan_of(every_op())
    for images in (batch(), batch() / 255):
        together = apply_batch(images, plan)
        for i in range(0, 24, 5):
            alone = apply_batch(images[i : i + 1], plan.rows([i]))
            if images.dtype == torch.uint8 or WITH_NUMBA:
                assert torch.equal(alone[0], together[i])
            else:
                torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


def with_gradient(apply, images, plan):
    given = images.clone().requires_grad_()
    out = apply(given, plan)
    (gradient,) = torch.autograd.grad((out * torch.linspace(0, 1, out.shape[-1])).sum(), given)
    return out.detach(), gradient


def on_threads(count, work):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("mode", MODES[:2], ids=lambda mode: mode.value)
def test_kornias_floats_do_not_depend_on_threads(mode):
    # More pixels than torch leaves to one thread.
    images = torch.from_numpy(np.stack([pattern(3, 120, 150)] * 16)) / 255
    plan = random_plan(16, 3)

    def run():
        def apply(given, plan):
            return kornia_float.apply(given, plan, interpolation=mode)

        return with_gradient(apply, images, plan)

    for one, three in zip(on_threads(1, run), on_threads(3, run), strict=True):
        assert torch.equal(one, three)


def test_the_page_names_tests_that_exist():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 30
    for file, name in named:
        source = (GOLDEN.parents[1] / file).read_text()
        assert f"def {name}(" in source, (file, name)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(computed(), indent=1) + "\n")
