"""The dispatch table: each request reaches the backend that its row names."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from learned_augment import LearnedAugment
from learned_augment.backends import dispatch, torch_uint8
from learned_augment.backends.lowering import instructions
from learned_augment.builders import from_layers
from learned_augment.ops import (
    OPS,
    Blend,
    Erase,
    Geometric,
    Op,
    Opcode,
    Pointwise,
    register_op,
)
from learned_augment.policy import Policy
from tests.backends.plans import COMPILED, images, random_plan, single
from tests.conftest import noise_images

BILINEAR = InterpolationMode.BILINEAR


@pytest.fixture(params=["numba", "plain"])
def compiler(request, monkeypatch):
    """Run with and without Numba."""
    if request.param == "numba":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(dispatch, "_numba", lambda: None)
    dispatch._choices.cache_clear()
    yield request.param
    dispatch._choices.cache_clear()


def test_batches_take_the_fastest_backend_that_can_do_it(compiler):
    compiled = compiler == "numba"
    levels, floats = images(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    plan = random_plan(2, 2, COMPILED)
    learned = single("Rotate", [1.0, 2.0])
    learned.value.requires_grad_()
    for given, options, fast, plain in [
        (levels, {}, "numba.uint8", "torch_uint8"),
        (levels, {"interpolation": BILINEAR}, "torch_uint8", "torch_uint8"),
        (levels, {"size": 5}, "torch_uint8", "torch_uint8"),
        (floats, {}, "numba.floats", "kornia_float"),
        (floats, {"interpolation": BILINEAR}, "kornia_float", "kornia_float"),
        (floats, {"size": 5}, "kornia_float", "kornia_float"),
    ]:
        assert dispatch.backend_for(given, plan, **options) == (fast if compiled else plain)
    assert dispatch.backend_for(floats, learned) == "kornia_float"


def test_pil_images_of_plain_modes_are_compiled_unless_a_setting_needs_pil(compiler):
    fast = "numba.uint8" if compiler == "numba" else "pil"
    plan = single("Rotate", [20.0])
    for image in (Image.new("RGB", (9, 9)), Image.new("L", (300, 200))):
        assert dispatch.backend_for(image, plan) == fast
        assert dispatch.backend_for(image.convert("RGBA"), plan) == "pil"
        assert dispatch.backend_for(image, plan, size=9) == "pil"
        assert dispatch.backend_for(image, plan, interpolation=BILINEAR) == "pil"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 224, 224), "triton"),
        ((8, 3, 999, 999), "torch_uint8"),
        ((64, 3, 999, 999), "triton"),
    ],
)
def test_a_few_large_images_on_a_gpu_are_left_to_torch(shape, expected, monkeypatch):
    class OnGPU:
        dtype, device = torch.uint8, torch.device("cuda")

        def __init__(self):
            self.shape = torch.Size(shape)

    monkeypatch.setattr(dispatch, "_compiles", lambda compiler, device: True)
    dispatch._choices.cache_clear()
    plan = random_plan(shape[0], 1, COMPILED)
    assert dispatch.backend_for(OnGPU(), plan) == expected
    monkeypatch.setattr(dispatch, "_compiles", lambda compiler, device: False)
    dispatch._choices.cache_clear()
    assert dispatch.backend_for(OnGPU(), plan) == "torch_uint8"
    dispatch._choices.cache_clear()


def test_every_request_fits_a_row():
    for kind in ("PIL RGB or L", "PIL", "uint8", "float"):
        assert any(
            kind.startswith(row.images)
            and row == dispatch.Row(row.backend, row.images)  # asks for nothing else
            for row in dispatch.TABLE
        )


def test_an_op_of_a_users_own_runs_on_every_backend(toy, compiler, tmp_path):
    policy = from_layers([[("Rotate", 1.0, 9.0)], [(toy.name, 0.7, 3.0), ("Invert", 0.3, 0.0)]])
    policy = Policy.load(policy.save(tmp_path / "toy.safetensors"))
    batch = noise_images(12, 16, 16)
    transform = LearnedAugment(policy)
    torch.manual_seed(0)
    plan = policy.sample(12)
    torch.manual_seed(0)
    out = transform(batch)
    assert (out != batch).any()
    for row, image in enumerate(batch):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        own = dispatch.apply_image(picture, plan.rows([row]))
        assert np.array_equal(np.asarray(own), out[row].permute(1, 2, 0)), plan.steps(row)
        alone = dispatch.apply_batch(image, plan.rows([row]))
        assert torch.equal(alone, out[row])
    floats = (batch / 255).requires_grad_()
    result = dispatch.apply_batch(floats, plan)
    assert (255 * result - out).abs().mean() < 1
    result.sum().backward()
    assert floats.grad.abs().sum() > 0


def test_each_image_takes_the_backend_that_can_do_its_ops(toy, compiler):
    compiled = compiler == "numba"
    levels, floats = images(2, 3, 9, 8), torch.rand(2, 3, 9, 8)
    picture = Image.fromarray(levels[0].permute(1, 2, 0).numpy())
    policy = from_layers([[(toy.name, 0.5, 3.0), ("Invert", 0.5, 0.0)], [("Rotate", 1.0, 9.0)]])
    plan = policy.sample(30, torch.Generator().manual_seed(0))
    own = [row for row in range(30) if toy in (step.op for step in plan.steps(row))]
    rest = [row for row in range(30) if row not in own]
    for given, fast, plain in [
        (levels, "numba.uint8", "torch_uint8"),
        (floats, "numba.floats", "kornia_float"),
    ]:
        fast = fast if compiled else plain
        assert dispatch.backend_for(given, plan.rows(own[:2])) == plain
        assert dispatch.backend_for(given, plan.rows(rest[:2])) == fast
        both = dispatch.backend_for(given, plan.rows([own[0], rest[0]]))
        assert both == (f"{fast} and {plain}" if compiled else plain)
    assert dispatch.backend_for(picture, plan.rows(own[:1])) == "pil"
    fast = "numba.uint8" if compiled else "pil"
    assert dispatch.backend_for(picture, plan.rows(rest[:1])) == fast


def test_an_op_at_its_identity_value_asks_for_nothing(compiler, monkeypatch):
    still = replace(OPS["Invert"], name="Still", identity_value=0.0, opcode=Opcode.DEFINITION)
    monkeypatch.setitem(OPS, "Still", still)
    fast = "numba.uint8" if compiler == "numba" else "torch_uint8"
    assert dispatch.backend_for(images(2, 3, 9, 8), single("Still", [0.0, 0.0])) == fast
    assert dispatch.backend_for(images(2, 3, 9, 8), single("Still", [1.0, 1.0])) == "torch_uint8"


@pytest.mark.parametrize(
    "kind",
    [
        Pointwise(lambda value, level, statistics: 3 * level - 200 + 0 * value),
        Pointwise(lambda value, level, statistics: level // 2),
        Pointwise(lambda value, level, statistics: 100 + 0 * value),
        Pointwise(lambda value, level, mean: 3 * level - mean, statistics="mean luma"),
        Pointwise(lambda value, level, mean: mean + 0 * value, statistics="mean luma"),
        Blend(lambda image: 2 * image + 100),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_levels_outside_are_clipped_and_shapes_are_broadcast(kind, channels, monkeypatch):
    monkeypatch.setitem(OPS, "Free", Op("Free", "", 0.0, 1.0, None, kind))
    batch, plan = noise_images(2, 9, 8)[:, :channels], single("Free", [0.5, 0.5])
    out = dispatch.apply_batch(batch, plan)
    for row, image in enumerate(batch):
        own = dispatch.apply_image(to_pil_image(image), plan.rows([row]))
        assert torch.equal(pil_to_tensor(own), out[row])
    floats = 255 * dispatch.apply_batch(batch / 255, plan)
    assert ((floats - out) > -1.01).all()  # whole levels are truncated
    assert ((floats - out) < 1.01).all()


def test_a_plan_needs_one_row_an_image_of_a_kind_that_ops_know(compiler):
    batch, plan = images(2, 3, 9, 8), single("Rotate", [9.0, 9.0])
    picture = to_pil_image(batch[0])
    for rows in (plan, plan.rows([])):
        with pytest.raises(ValueError, match=f"a plan of 1 row, one an image, got {len(rows)}"):
            dispatch.apply_image(picture, rows)
        with pytest.raises(ValueError, match="a plan of 3 rows, one an image"):
            dispatch.apply_batch(images(3, 3, 9, 8), rows)
    with pytest.raises(TypeError, match=r"uint8 or floating point, got torch.int64"):
        dispatch.apply_batch(batch.long(), plan)
    with pytest.raises(TypeError, match=r"Expected a mode of RGB, .*got 'I'"):
        dispatch.apply_image(picture.convert("L").convert("I"), plan.rows([0]))


@pytest.mark.parametrize("change", [{"low": 2.0}, {"high": np.nan}, {"identity_value": -1.0}])
def test_a_range_without_its_identity_value_is_not_registered(change):
    with pytest.raises(ValueError, match="a range of 'Wrong' from low to high that holds"):
        register_op(replace(OPS["Flip"], name="Wrong", **change))
    assert "Wrong" not in OPS


@pytest.mark.parametrize("given", ["Wrong", None, Geometric, replace(OPS["Flip"], kind=None)])
def test_what_is_no_op_is_not_registered(given):
    with pytest.raises(TypeError, match="Expected an Op of kind Geometric, Pointwise, "):
        register_op(given)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'Rotate' already"):
        register_op(replace(OPS["Invert"], name="Rotate"))
    assert register_op(OPS["Invert"]) is OPS["Invert"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Rotate", Geometric(lambda value, noise, width, height: (1.0, 0, value, 0, 1.0, 0.0))),
        ("Solarize", Pointwise(lambda value, level, statistics: level // 2 + 0 * value)),
        (
            "Equalize",
            Pointwise(
                lambda value, level, counts: 255 - level + 0 * counts, statistics="histogram"
            ),
        ),
        ("Color", Blend(lambda image: image * 0 + 40)),
        ("Cutout", Erase(lambda value, noise, width, height, side: (0, 0, 1, 2))),
    ],
)
def test_an_op_that_is_replaced_is_replaced_everywhere(name, kind, compiler, monkeypatch):
    plan, batch = single(name, [20.0, 0.0]), images(2, 3, 9, 8)
    picture = Image.fromarray(batch[0].permute(1, 2, 0).numpy())

    def results():
        yield dispatch.apply_batch(batch, plan)
        yield dispatch.apply_batch(batch / 255, plan)
        yield torch.from_numpy(np.array(dispatch.apply_image(picture, plan.rows([0]))))
        yield torch.from_numpy(instructions(plan, 8, 9)[0])

    before = list(results())
    monkeypatch.setitem(OPS, name, replace(OPS[name], kind=kind, identity_value=0.0))
    levels, floats, pixels, steps = results()
    for old, new in zip(before, (levels, floats, pixels, steps), strict=True):
        assert not torch.equal(old, new)
    assert torch.equal(levels, torch_uint8.apply(batch, plan))
    assert torch.equal(pixels.permute(2, 0, 1), levels[0])
    assert torch.equal(levels[1], batch[1])  # at the identity value of the new row
    assert (255 * floats - levels).abs().max() < 1.001
    assert steps[0, 0, 0] == Opcode.IDENTITY  # left to a backend that runs definitions


def test_a_numba_that_cannot_be_imported_is_left_out_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", ModuleType("numba"))  # it has no config
    dispatch._numba.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Numba is installed, but cannot be imported"):
            assert dispatch._numba() is None
    finally:
        dispatch._numba.cache_clear()


def test_a_row_of_an_unknown_backend_is_an_error(compiler, monkeypatch):
    monkeypatch.setattr(dispatch, "TABLE", (dispatch.Row("new", "uint8"),))
    with pytest.raises(NotImplementedError, match="'new'"):
        dispatch.apply_batch(images(1, 3, 4, 4), single("Rotate", [1.0]))
