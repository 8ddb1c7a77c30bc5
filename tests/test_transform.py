"""The drop-in contract: what goes in, what comes out, what is drawn, what is refused."""

import copy
import io
import pickle
import random
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms.v2.functional import to_pil_image

from learned_augment import LearnedAugment, Policy, list_policies
from learned_augment.builders import deep_trivial_augment, from_layers
from tests.conftest import noise_images, smooth_image

STRONG = from_layers([[("Rotate", 1, 30.0)], [("Invert", 1, 0.0)]], {"name": "strong"})
MOVE = from_layers([[("TranslateX", 1, 0.25)]])


def picture(mode, height=40, width=48):
    image = to_pil_image(smooth_image(height, width))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        alpha = PIL.Image.new("L", image.size, 255)
        alpha.paste(90, (10, 10, 30, 30))
        image.putalpha(alpha)
        return image
    return image.convert(mode)


# Construction


def test_signature_is_torchvisions():
    transform = LearnedAugment("dada-imagenet", InterpolationMode.BILINEAR, 128)
    assert (transform.interpolation, transform.fill) == (InterpolationMode.BILINEAR, 128)
    assert LearnedAugment().policy.name == "dada-cifar10"


@pytest.mark.parametrize("name", list_policies())
def test_every_shipped_policy_runs_on_every_kind_of_input(name):
    transform = LearnedAugment(name)
    image = to_pil_image(smooth_image())
    assert transform(image).size == image.size
    for batch in (noise_images(4), noise_images(4) / 255):
        assert transform(batch).shape == batch.shape


def test_policies_by_name_path_value_and_torchvisions_enum(tmp_path):
    policy = Policy.load("dada-svhn")
    path = policy.save(tmp_path / "mine.safetensors")
    for given in ("dada-svhn", policy, path, str(path)):
        assert LearnedAugment(given).policy == policy
    assert LearnedAugment(AutoAugmentPolicy.SVHN).policy.name == "autoaugment-svhn"


@pytest.mark.parametrize("policy", ["deepa", None, 3, "imagenet"])
def test_unknown_policies_list_the_known_ones(policy):
    with pytest.raises(ValueError, match=r"dada-cifar10, dada-cifar100, .*fastaa-svhn"):
        LearnedAugment(policy)


@pytest.mark.parametrize(
    ("given", "mode"),
    [("nearest", "NEAREST"), ("bilinear", "BILINEAR"), (0, "NEAREST"), (2, "BILINEAR"),
     (3, "BICUBIC"), (InterpolationMode.BICUBIC, "BICUBIC"), (PIL.Image.BILINEAR, "BILINEAR")],
)  # fmt: skip
def test_interpolation_by_enum_name_or_number(given, mode):
    assert LearnedAugment(interpolation=given).interpolation == InterpolationMode[mode]


@pytest.mark.parametrize("bad", ["lanczos", 1, InterpolationMode.LANCZOS, None, "NEAREST", 7])
def test_other_interpolations_are_refused_at_construction(bad):
    with pytest.raises(ValueError, match="interpolation of 'nearest', 'bilinear', 'bicubic'"):
        LearnedAugment(interpolation=bad)


@pytest.mark.parametrize("bad", ["red", {1: 2}, [1, 2, 3, 4, 5], object(), {"others": "x"}, True])
def test_fills_of_other_types_are_refused_at_construction(bad):
    with pytest.raises(TypeError, match=r"Expected .*fill"):
        LearnedAugment(fill=bad)


def test_a_fill_for_alpha_is_for_images_with_alpha():
    moved = from_layers([[("TranslateX", 1.0, 0.5)]])
    with_alpha = LearnedAugment(moved, fill=(9, 8, 7, 66))
    image = PIL.Image.new("RGBA", (20, 20), (1, 2, 3, 255))
    assert with_alpha(image).getpixel((19, 5)) == (9, 8, 7, 66)
    for other in (image.convert("RGB"), torch.zeros(3, 20, 20, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="fill of 1 or 3 numbers"):
            with_alpha(other)


@pytest.mark.parametrize("bad", [0, -3, 2.5, "224", True])
def test_bad_sizes_are_refused_at_construction(bad):
    with pytest.raises(ValueError, match="size of at least 1, a whole number"):
        LearnedAugment(size=bad)


def test_no_state_and_a_short_repr():
    transform = LearnedAugment("dada-cifar10", fill=(1, 2, 3))
    assert not transform.state_dict()
    assert not list(transform.parameters())
    assert not list(transform.buffers())
    assert transform.half().eval().to("cpu") is transform
    assert repr(transform) == (
        "LearnedAugment(policy='dada-cifar10', interpolation=InterpolationMode.NEAREST, "
        "fill=(1, 2, 3))"
    )


def test_callers_fill_dict_is_left_alone():
    fill = {tv_tensors.Image: [9], "others": 3}
    LearnedAugment(fill=fill)
    assert fill == {tv_tensors.Image: [9], "others": 3}


# Inputs and outputs


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK"])
def test_pil_modes_come_back_as_they_went_in(mode):
    image = picture(mode)
    before = image.tobytes()
    transform = LearnedAugment(deep_trivial_augment(4))
    for _ in range(40):
        out = transform(image)
        assert (out.mode, out.size) == (mode, image.size)
        assert out is not image
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK"])
def test_an_identity_draw_is_a_copy_in_every_mode(mode):
    image = picture(mode)
    out = LearnedAugment(from_layers([[("Identity", 1, 0.0)]]))(image)
    assert out == image
    assert out is not image


@pytest.mark.parametrize("mode", ["1", "I", "F", "I;16", "YCbCr", "HSV", "LAB"])
def test_other_pil_modes_are_always_refused(mode):
    image = PIL.Image.new(mode, (8, 8))
    for policy in (STRONG, "dada-cifar10", from_layers([[("Identity", 1, 0)]])):
        with pytest.raises(TypeError, match=rf"PIL image of mode RGB, .*got '{mode}'"):
            LearnedAugment(policy)(image)


def test_alpha_moves_with_geometry_and_is_not_recoloured():
    image = picture("RGBA")
    inverted = LearnedAugment(from_layers([[("Invert", 1, 0.0)], [("CutoutClipped", 1, 0.5)]]))
    assert inverted(image).getchannel("A") == image.getchannel("A")
    moved = LearnedAugment(MOVE)(image)
    expected = LearnedAugment(MOVE)(image.getchannel("A"))
    assert moved.getchannel("A") == expected
    assert moved.convert("RGB") == LearnedAugment(MOVE)(image.convert("RGB"))


def test_palette_images_keep_their_colours():
    image = picture("P")
    moved = LearnedAugment(MOVE)(image)
    expected = LearnedAugment(MOVE)(image.convert("RGB"))
    difference = np.abs(np.asarray(moved.convert("RGB"), int) - np.asarray(expected, int))
    assert difference.mean() < 4  # requantized to 256 colors


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize(
    "shape",
    [
        (3, 12, 10),
        (1, 12, 10),
        (5, 3, 12, 10),
        (2, 3, 1, 12, 10),
        (0, 3, 12, 10),
        (2, 0, 3, 12, 10),
        (3, 1, 1),
        (2, 1, 1, 6),
    ],
)
def test_tensors_with_any_leading_dimensions(dtype, shape):
    images = torch.randint(256, shape, dtype=torch.uint8)
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    before = images.clone()
    out = LearnedAugment(deep_trivial_augment(3))(images)
    assert (out.shape, out.dtype, type(out)) == (images.shape, dtype, torch.Tensor)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "bad",
    [torch.int64, torch.int32, torch.int16, torch.int8, torch.bool, torch.complex64, torch.uint16],
)
def test_other_dtypes_are_always_refused(bad):
    images = torch.zeros(3, 8, 8).to(bad)
    for policy in (STRONG, "dada-cifar10", from_layers([[("Identity", 1, 0)]])):
        with pytest.raises(TypeError, match=f"uint8 or floating point .*{bad}"):
            LearnedAugment(policy)(images)


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (4, 8, 8), (5, 8, 8), (3, 2, 8, 8), (8,), ()])
def test_other_shapes_are_always_refused(shape):
    for policy in (STRONG, from_layers([[("Identity", 1, 0)]])):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            LearnedAugment(policy)(torch.zeros(shape, dtype=torch.uint8))


def test_a_fill_that_does_not_fit_is_refused_before_drawing():
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="fill of 1 number for"):
        LearnedAugment("dada-cifar10", fill=(1, 2, 3))(noise_images(2, channels=1))
    with pytest.raises(ValueError, match="fill of 1 number for"):
        LearnedAugment("dada-cifar10", fill=(1, 2, 3))(picture("L"))
    assert torch.equal(torch.get_rng_state(), state)


def test_memory_format_and_storage():
    transform = LearnedAugment("dada-cifar10")
    last = noise_images(6).contiguous(memory_format=torch.channels_last)
    for images in (last, last / 255):
        out = transform(images)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert not out.is_contiguous()
    identity = LearnedAugment(from_layers([[("Identity", 1, 0.0)]]))
    for images in (noise_images(3), noise_images(3) / 255, noise_images(3)[0]):
        out = identity(images)
        assert torch.equal(out, images)
        assert out.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()


def test_odd_strides_do_not_matter():
    images = noise_images(8, 20, 24)
    transform = LearnedAugment(deep_trivial_augment(3))
    torch.manual_seed(1)
    expected = transform(images)
    for strange in (
        images.contiguous(memory_format=torch.channels_last),
        images.mT.contiguous().mT,
        torch.stack([images, images], 1)[:, 0],
        images.flip(0).contiguous().flip(0),
    ):
        torch.manual_seed(1)
        assert torch.equal(transform(strange), expected)
    torch.manual_seed(1)
    expanded = transform(images[:1].expand(8, -1, -1, -1))
    torch.manual_seed(1)
    assert torch.equal(expanded, transform(images[:1].repeat(8, 1, 1, 1)))


def test_batch_of_one_equals_the_single_image_in_every_form():
    transform, image = LearnedAugment(deep_trivial_augment(4)), smooth_image()
    for seed in range(30):
        results = []
        for given in (image, image[None], to_pil_image(image), tv_tensors.Image(image)):
            torch.manual_seed(seed)
            out = transform(given)
            results.append(
                v2.functional.pil_to_tensor(out) if isinstance(given, PIL.Image.Image) else out
            )
        assert all(torch.equal(result.reshape(image.shape), results[0]) for result in results)


def test_gradient_flows_to_float_images():
    images = torch.rand(8, 3, 16, 16, requires_grad=True)
    LearnedAugment("dada-cifar10")(images).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


# Samples


def test_structure_and_other_items_pass_through():
    label, path, extra = torch.tensor(3), "a.jpg", object()
    sample = {"image": tv_tensors.Image(smooth_image()), "rest": [label, (path, extra)]}
    out = LearnedAugment(STRONG)(sample)
    assert isinstance(out["image"], tv_tensors.Image)
    assert out["rest"][0] is label
    assert out["rest"][1][0] is path
    assert out["rest"][1][1] is extra
    assert not torch.equal(out["image"], sample["image"])
    image, target = LearnedAugment(STRONG)(picture("RGB"), 7)
    assert target == 7
    assert image.mode == "RGB"


def test_pure_tensors_follow_torchvisions_heuristic():
    first, second = smooth_image(), smooth_image()
    out = LearnedAugment(STRONG)(first, second)
    assert not torch.equal(out[0], first)
    assert out[1] is second
    beside = torch.rand(4)
    assert LearnedAugment(STRONG)(picture("RGB"), beside)[1] is beside


@pytest.mark.parametrize("bad", ["text", None, np.zeros((8, 8, 3), np.uint8), 3, {"a": 1}])
def test_no_image_is_refused(bad):
    with pytest.raises(
        TypeError, match=r"one image in the sample .* found no image; convert yours"
    ):
        LearnedAugment()(bad)


def test_two_images_are_refused():
    with pytest.raises(TypeError, match="found 2 images; stack"):
        LearnedAugment()(picture("RGB"), picture("RGB"))


def targets(height=40, width=48):
    canvas = (height, width)
    return {
        "boxes": tv_tensors.BoundingBoxes([[10, 10, 30, 20]], format="XYXY", canvas_size=canvas),
        "mask": tv_tensors.Mask(torch.ones(2, height, width, dtype=torch.uint8)),
        "points": tv_tensors.KeyPoints([[20.0, 15.0]], canvas_size=canvas),
    }


@pytest.mark.parametrize(
    "image",
    [picture("RGB"), tv_tensors.Image(smooth_image(40, 48)), smooth_image(40, 48) / 255],
    ids=["pil", "image", "float"],
)
def test_targets_follow_geometry(image):
    out = LearnedAugment(MOVE)({"image": image, **targets()})
    assert out["boxes"].tolist() == [[0, 10, 18, 20]]
    assert out["points"].tolist() == [[8.0, 15.0]]
    assert out["mask"][:, :, -12:].sum() == 0
    assert type(out["mask"]) is tv_tensors.Mask
    still = LearnedAugment(from_layers([[("Invert", 1, 0)]]))({"image": image, **targets()})
    assert torch.equal(still["boxes"], targets()["boxes"])


def test_mask_fill_is_zero_unless_the_dict_names_masks():
    sample = (tv_tensors.Image(smooth_image(40, 48)), targets()["mask"])
    assert LearnedAugment(MOVE, fill=200)(*sample)[1].unique().tolist() == [0, 1]
    named = LearnedAugment(MOVE, fill={tv_tensors.Mask: 255, "others": 9})(*sample)
    assert named[1].unique().tolist() == [1, 255]
    assert named[0][:, 0, -1].tolist() == [9, 9, 9]


def test_targets_that_do_not_fit_are_refused():
    image = tv_tensors.Image(smooth_image(32, 32))
    for name, target in targets().items():
        with pytest.raises(ValueError, match=r"\(height, width\) \(32, 32\) like the image"):
            LearnedAugment()(image, target)
        if name != "mask":
            batch = tv_tensors.Image(noise_images(2, 40, 48))
            with pytest.raises(ValueError, match="one image or video beside"):
                LearnedAugment()(batch, target)
    with pytest.raises(ValueError, match="leading dimensions of the batch"):
        LearnedAugment()(tv_tensors.Image(noise_images(3, 40, 48)), targets()["mask"])


def test_masks_of_a_batch_follow_their_own_image():
    images = noise_images(12, 24, 24)
    masks = tv_tensors.Mask(images[:, :1] > 127)
    policy = from_layers([[("TranslateX", 1, 0.25), ("Flip", 1, 1.0), ("Identity", 1, 0.0)]])
    out, moved = LearnedAugment(policy)(tv_tensors.Image(images), masks)
    assert torch.equal(moved, out[:, :1] > 127)


def test_unknown_tv_tensors_pass_through():
    class Depth(tv_tensors.TVTensor):
        pass

    depth = torch.rand(1, 8, 8).as_subclass(Depth)
    assert LearnedAugment(STRONG)(picture("RGB"), depth)[1] is depth


# Randomness


def distinct(images):
    return len({image.numpy().tobytes() for image in images})


def test_every_image_of_a_batch_gets_its_own_draw():
    image = smooth_image()
    same = image.expand(32, -1, -1, -1)
    transform = LearnedAugment(deep_trivial_augment(3))
    assert distinct(transform(same)) > 28
    assert distinct(transform(same.reshape(4, 8, *image.shape)).flatten(0, 1)) > 28
    assert distinct(LearnedAugment(deep_trivial_augment(3), same_on_batch=True)(same)) == 1


def test_a_video_has_one_draw_a_clip():
    transform = LearnedAugment(deep_trivial_augment(3))
    clip = tv_tensors.Video(smooth_image().expand(6, -1, -1, -1))
    for _ in range(5):
        out = transform(clip)
        assert isinstance(out, tv_tensors.Video)
        assert distinct(out.as_subclass(torch.Tensor)) == 1
    clips = tv_tensors.Video(smooth_image().expand(8, 5, -1, -1, -1))
    out = transform(clips).as_subclass(torch.Tensor)
    assert all(distinct(one) == 1 for one in out)
    assert distinct(out[:, 0]) > 5


def test_only_torchs_global_generator_is_used():
    transform = LearnedAugment("deepaa-cifar10")
    python, numpy = random.getstate(), np.random.get_state()[1].tolist()
    before = torch.get_rng_state()
    LearnedAugment("deepaa-cifar10")
    assert torch.equal(torch.get_rng_state(), before)  # constructing draws nothing
    for given in (picture("RGB"), noise_images(4), noise_images(4) / 255):
        torch.manual_seed(9)
        one = transform(given)
        torch.manual_seed(9)
        two = transform(given)
        assert one == two if isinstance(one, PIL.Image.Image) else torch.equal(one, two)
    assert random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy


def test_nothing_is_drawn_for_a_refused_sample():
    transform, state = LearnedAugment(), torch.get_rng_state()
    for bad in (torch.zeros(4, 8, 8), PIL.Image.new("F", (4, 4)), "x"):
        with pytest.raises((TypeError, ValueError)):
            transform(bad)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_of_ones_own():
    state = torch.get_rng_state()
    outs = [
        LearnedAugment("dada-cifar10", generator=torch.Generator().manual_seed(seed))(
            noise_images(16)
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_params_replay_a_draw():
    transform, image = LearnedAugment(deep_trivial_augment(4)), tv_tensors.Image(noise_images(5))
    torch.manual_seed(3)
    params = transform.make_params([image])
    torch.manual_seed(3)
    drawn = transform(image)
    assert torch.equal(transform.transform(image, params), drawn)
    assert torch.equal(transform.transform(image, pickle.loads(pickle.dumps(params))), drawn)
    pil = transform.make_params([picture("RGB")])
    assert transform.transform(picture("RGB"), pil) == transform.transform(picture("RGB"), pil)


# Workers, serialisation, size


class Same(Dataset):
    """One picture, over and over, through a transform."""

    def __init__(self, transform):
        self.transform, self.image = transform, smooth_image(24, 24)

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return self.transform(self.image)


@pytest.mark.parametrize(
    ("context", "generator"),
    [("fork", None), ("fork", 5), pytest.param("spawn", 5, marks=pytest.mark.slow)],
)
def test_workers_draw_differently_and_repeatably(generator, context):
    def run():
        own = None if generator is None else torch.Generator().manual_seed(generator)
        transform = LearnedAugment(deep_trivial_augment(4), generator=own)
        loader = DataLoader(
            Same(transform), batch_size=4, num_workers=2, multiprocessing_context=context,
            generator=torch.Generator().manual_seed(8),
        )  # fmt: skip
        return torch.cat(list(loader))

    with warnings.catch_warnings():
        # Forking a process with threads warns from Python 3.12 on.
        warnings.simplefilter("ignore", DeprecationWarning)
        images = run()
        assert distinct(images) > 20
        if context == "fork":
            assert torch.equal(run(), images)


class Numbers(Dataset):
    """Numbers of the generator of a transform, and of the process."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.rand(8, generator=self.transform._source()), torch.rand(8)


@pytest.mark.parametrize("seed", [0, 1, -1])
def test_a_worker_draws_other_numbers_than_its_process(seed):
    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        own, process = next(
            iter(DataLoader(Numbers(LearnedAugment(generator=generator)), 4, num_workers=1))
        )
    assert not (own[:, None] == process[None]).all(-1).any()


def test_copies_and_pickles_draw_the_same():
    transform = LearnedAugment("dada-cifar10", fill={"others": 3}, generator=torch.Generator())
    buffer = io.BytesIO()
    torch.save(transform, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(transform),
        pickle.loads(pickle.dumps(transform)),
        torch.load(buffer, weights_only=False),
    ):
        twin.generator.manual_seed(2)
        transform.generator.manual_seed(2)
        assert torch.equal(twin(noise_images(6)), transform(noise_images(6)))
        assert repr(twin) == repr(transform)


def test_scripting_is_refused_clearly():
    # Newer torch warns that scripting is deprecated before it gets to the transform.
    warnings.simplefilter("ignore")
    with pytest.raises(RuntimeError, match="cannot be JIT scripted"):
        torch.jit.script(LearnedAugment())


def test_size_gives_the_papers_imagenet_behaviour():
    transform = LearnedAugment("deepaa-imagenet", size=224)
    image = to_pil_image(smooth_image(260, 300))
    for _ in range(10):
        assert transform(image).size == (224, 224)
    assert transform(noise_images(2, 60, 300)).shape == (2, 3, 224, 224)
    sample = transform({"image": tv_tensors.Image(smooth_image(40, 48)), **targets()})
    assert sample["boxes"].canvas_size == sample["points"].canvas_size == (224, 224)
    assert sample["mask"].shape == (2, 224, 224)
    assert LearnedAugment("deepaa-imagenet")(image).size == image.size


def test_composes_with_torchvision():
    pipeline = v2.Compose([
        v2.PILToTensor(), LearnedAugment("dada-cifar10"), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.25] * 3),
    ])  # fmt: skip
    assert pipeline(picture("RGB")).shape == (3, 40, 48)
