"""One image drawn in compiled code: the steps, pixels and random numbers of the plain way."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from learned_augment import LearnedAugment, Policy
from learned_augment.backends import hand, pixels, singles
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.builders import from_layers
from learned_augment.plan import Plan
from learned_augment.sampling import random_numbers, refill
from learned_augment.serialization import list_policies, load
from tests.backends.plans import NAMES, images, random_plan

pytest.importorskip("numba")

ALL = [*list_policies(), "every op"]


def policy_of(name: str) -> Policy:
    """Return a shipped policy, or one of every op at values all over its range."""
    if name != "every op":
        return load(name)
    rng = np.random.default_rng(0)
    plan = random_plan(3 * 4, 120)
    weights = rng.random((3, 4, 120)) * (rng.random((3, 4, 120)) < 0.7)
    return Policy(
        NAMES,
        torch.tensor([0.2, 0.5, 0.3]),
        torch.from_numpy(weights / weights.sum(2, keepdims=True)),
        plan.op.reshape(3, 4, 120),
        plan.value.reshape(3, 4, 120),
    )


@pytest.mark.parametrize("count", [1, 11, 16, 31, 64])
def test_refilling_draws_the_same_numbers_as_drawing(count):
    numbers = torch.empty(count)
    for seed in range(5):
        torch.manual_seed(seed)
        expected, after = random_numbers((count,)), torch.get_rng_state()
        torch.manual_seed(seed)
        refill(numbers)
        assert torch.equal(numbers, expected)
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("size", [(32, 32), (20, 45), (45, 20), (1, 1)], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_hand_holds_the_steps_and_pixels_of_a_plain_draw(name, size):
    policy, (width, height) = policy_of(name), size
    transform, batch = LearnedAugment(policy), images(150, 3, height, width)
    for seed, image in enumerate(batch):
        torch.manual_seed(seed)
        steps = policy.draw()
        torch.manual_seed(seed)
        assert hand.drawn(policy, None, 1, width, height).steps == steps
        torch.manual_seed(seed)
        plan, after = policy.sample(1), torch.get_rng_state()
        torch.manual_seed(seed)
        out = transform(image)
        assert torch.equal(out, apply_exact(image[None], plan)[0]), steps
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("name", ["deepaa-cifar10", "deepaa-imagenet", "dada-cifar10", "every op"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK"])
@pytest.mark.parametrize("side", [24, 140])
def test_pil_images_look_the_same_with_and_without_compiled_code(name, mode, side, monkeypatch):
    picture = Image.fromarray(images(1, 3, side, side)[0].permute(1, 2, 0).numpy()).convert(mode)
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(singles, "compiled_code", lambda: None)
            monkeypatch.setattr(pixels, "compiled_code", lambda: None)
        transform = LearnedAugment(policy_of(name), fill=40)
        torch.manual_seed(0)
        results.append([transform(picture) for _ in range(40)])
        assert results[-1][0].mode == mode
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_pil_images_come_and_go_without_pillows_inner_calls(monkeypatch):
    transform, picture = LearnedAugment("deepaa-cifar10"), Image.new("RGB", (9, 12), (1, 2, 3))
    torch.manual_seed(0)
    before = [transform(picture) for _ in range(20)]
    public = SimpleNamespace(Image=Image.Image, frombytes=Image.frombytes)
    monkeypatch.setattr(pixels, "Image", public)
    torch.manual_seed(0)
    assert all(np.array_equal(transform(picture), image) for image in before)


def test_a_file_that_is_not_read_yet_is_read(tmp_path):
    levels = images(1, 3, 30, 20)[0].permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "a.png")
    policy = from_layers([[("Invert", 1, 0.0)]])
    out = LearnedAugment(policy)(Image.open(tmp_path / "a.png"))
    assert np.array_equal(out, 255 - levels)


def test_one_draw_does_not_show_in_the_results_of_another():
    transform, image = LearnedAugment("dada-cifar10"), images(1, 3, 16, 16)[0]
    torch.manual_seed(0)
    first = transform(image)
    kept = first.clone()
    for _ in range(50):
        transform(image)
    assert torch.equal(first, kept)


def test_a_hand_made_in_inference_mode_serves_outside_of_it():
    transform, image = LearnedAugment("dada-cifar10"), images(1, 3, 13, 14)[0]
    with torch.inference_mode():
        transform(image)
    transform(image)


def test_each_thread_has_a_hand_of_its_own():
    policy, hands = load("dada-cifar10"), []
    for _ in range(2):
        thread = threading.Thread(target=lambda: hands.append(hand.drawn(policy, None, 1, 8, 8)))
        hands.append(hand.drawn(policy, None, 1, 8, 8))
        thread.start()
        thread.join()
    assert hands[0] is hands[2]
    assert hands[0] is not hands[1]


def test_images_of_many_sizes_take_the_same_draws():
    policy, generator = load("deepaa-cifar10"), torch.Generator().manual_seed(0)
    transform = LearnedAugment(policy, generator=generator)
    for side in [*range(5, 50), *range(5, 50)]:
        image, state = images(1, 3, side, side + 3)[0], generator.get_state()
        out = transform(image)
        generator.set_state(state)
        plan: Plan = policy.sample(1, generator)
        assert torch.equal(out, apply_exact(image[None], plan)[0])


def test_places_that_compiled_code_does_not_know_are_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(hand, "PLACED", {})
    policy = Policy.load("deepaa-cifar10")  # chances of its own: no hand is kept for it
    transform = LearnedAugment(policy)
    for seed, image in enumerate(images(80, 3, 25, 31)):
        torch.manual_seed(seed)
        out = transform(image)
        torch.manual_seed(seed)
        assert torch.equal(out, apply_exact(image[None], policy.sample(1))[0])


@pytest.mark.parametrize("fill", [None, 7, (1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_batch_comes_out_as_its_plan_says(name, fill):
    transform = LearnedAugment(policy_of(name), fill=fill)
    for count in (40, 1, 40, 0, 3):
        batch = images(40, 3, 19, 26)[:count]
        torch.manual_seed(count)
        out, after = transform(batch), torch.get_rng_state()
        torch.manual_seed(count)
        expected = transform.transform(batch, transform.make_params([batch]))
        assert torch.equal(out, expected)
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("layout", ["channels_last", "every second column", "more dimensions"])
def test_batches_keep_their_layout(layout):
    batch = images(12, 3, 24, 40)
    given = {
        "channels_last": batch.contiguous(memory_format=torch.channels_last),
        "every second column": batch[..., ::2],
        "more dimensions": batch.reshape(3, 4, 3, 24, 40),
    }[layout]
    transform, before = LearnedAugment("dada-cifar10"), given.clone()
    torch.manual_seed(0)
    out = transform(given)
    torch.manual_seed(0)
    expected = transform.transform(before, transform.make_params([before]))
    assert torch.equal(out, expected)
    assert out.shape == given.shape
    last = torch.channels_last
    assert layout != "channels_last" or out.is_contiguous(memory_format=last)
    assert torch.equal(given, before)


@pytest.mark.parametrize(
    ("layout", "fill"),
    [
        ("one channel", None),
        ("one channel", 7),
        ("channels_last", 7),
        ("every second row", (1, 2, 3)),
    ],
)
def test_single_images_of_any_layout_come_out_as_their_plan_says(layout, fill):
    transform, image = LearnedAugment(policy_of("every op"), fill=fill), images(1, 3, 22, 35)
    given = {
        "one channel": image[0, :1],
        "channels_last": image.contiguous(memory_format=torch.channels_last)[0],
        "every second row": image[0, :, ::2],
    }[layout]
    before = given.clone()
    for seed in range(60):
        torch.manual_seed(seed)
        out = transform(given)
        torch.manual_seed(seed)
        plan = transform.make_params([given])
        assert torch.equal(out, transform.transform(before, plan)), plan
    assert torch.equal(given, before)


def test_a_single_image_that_is_refused_once_is_refused_again():
    transform = LearnedAugment("dada-cifar10", fill=300)
    for fill, given, error in (
        (300, images(1, 3, 8, 8)[0], "from 0 to 255"),
        (None, images(1, 2, 8, 8)[0], "1 or 3 channels"),
        (None, images(1, 3, 8, 8)[0].int(), "dtype"),
    ):
        transform.fill = fill
        for _ in range(2):
            state = torch.get_rng_state()
            with pytest.raises((TypeError, ValueError), match=error):
                transform(given)
            assert torch.equal(torch.get_rng_state(), state)
