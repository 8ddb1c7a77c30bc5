import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from learned_augment import LearnedAugment, Policy
from learned_augment.backends import apply_batch, fast, pixels, single
from learned_augment.backends import lowering as program
from learned_augment.backends.fast import apply_fast
from learned_augment.backends.numba import parallel as threads
from learned_augment.backends.pil import apply_image
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.builders import from_layers
from tests.backends.plans import LAYOUTS, NAMES, SIZES, images, laid_out, random_plan

pytest.importorskip("numba")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("fill", [None, (9,), (1, 2, 3)], ids=str)
def test_random_plans_give_the_plain_engines_pixels(size: tuple[int, int, int], fill) -> None:
    if fill is not None and len(fill) not in (1, size[0]):
        fill = fill[:1]
    outside = None if fill is None else torch.tensor(fill, dtype=torch.uint8)
    batch, plan = images(48, *size), random_plan(48, 6, seed=size[1])
    assert torch.equal(apply_fast(batch, plan, fill), apply_exact(batch, plan, fill=outside))


@pytest.mark.parametrize("name", NAMES)
def test_every_op_gives_the_plain_engines_pixels(name: str) -> None:
    batch, plan = images(96, 3, 33, 29), random_plan(96, 1, (name,))
    assert torch.equal(apply_fast(batch, plan), apply_exact(batch, plan))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("fill", [None, (9.0,)], ids=str)
def test_pil_images_come_out_of_the_kernel_as_out_of_pils_calls(mode, fill, monkeypatch):
    batch, plan, taken = images(48, 3 if mode == "RGB" else 1, 21, 34), random_plan(48, 3), 0
    for image, steps in zip(batch, map(plan.steps, range(48)), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).squeeze().numpy())
        assert picture.mode == mode
        results = []
        for heavy in (0, float("inf")):
            monkeypatch.setattr(pixels, "HEAVY", heavy)
            taken += pixels.apply_pixels(picture, steps) is not None
            results.append(np.asarray(apply_image(picture, steps, fill=fill)))
        assert (results[0] == results[1]).all(), [step.op.name for step in steps]
    assert 24 < taken < 48  # the kernel knows all steps but resized crops


@pytest.mark.parametrize(("op", "value", "heavy"), [("Rotate", 20.0, 0), ("Equalize", 0.0, 1)])
def test_pil_images_take_the_kernel_for_slow_steps_and_small_images(
    op: str, value: float, heavy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, runs = from_layers([[(op, 1, value)]]), []
    run = single.run_program
    monkeypatch.setattr(single, "run_program", lambda *given: runs.append(1) or run(*given))
    for side, near in ((128, 1), (129, 0)):
        picture = Image.new("RGB", (side, side))
        assert (pixels.apply_pixels(picture, policy.draw()) is not None) == heavy
        runs.clear()
        LearnedAugment(policy)(picture)
        assert bool(runs) == bool(heavy or near)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter(layout: str) -> None:
    batch = images(12, 3, 24, 40)
    strided = laid_out(batch, layout)
    plan, before = random_plan(len(strided), 4), strided.clone()
    result = apply_fast(strided, plan)
    assert torch.equal(result, apply_exact(before, plan))
    assert torch.equal(strided, before)
    assert result.data_ptr() != strided.data_ptr() or not len(strided)


def test_an_unknown_op_takes_the_plain_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, plan = images(64, 3, 16, 16), random_plan(64, 3)
    monkeypatch.setattr(program, "_NAMED", {})
    program.book.cache_clear()
    assert torch.equal(apply_fast(batch, plan), apply_exact(batch, plan))
    program.book.cache_clear()


def test_without_numba_the_plain_engine_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, plan = images(16, 3, 16, 16), random_plan(16, 3)
    compiled = apply_batch(batch, plan)
    monkeypatch.setattr("learned_augment.backends.compiled_code", lambda: None)
    assert torch.equal(apply_batch(batch, plan), compiled)


def test_a_full_book_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "CAPACITY", 50)
    program.book.cache_clear()
    for seed in range(4):
        batch, plan = images(24, 3, 8, 8), random_plan(24, 3, seed=seed)
        assert torch.equal(apply_fast(batch, plan), apply_exact(batch, plan))
    program.book.cache_clear()


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_several_callers_at_a_time_do_not_disturb_each_other() -> None:
    batch = images(64, 3, 64, 64)
    names = tuple(name for name in NAMES if name != "ResizedCrop")
    plans = [random_plan(64, 4, names, seed) for seed in range(4)]
    expected = [apply_exact(batch, plan) for plan in plans]
    wrong = []

    def call(k: int) -> None:
        wrong.extend(
            k for _ in range(3) if not torch.equal(apply_fast(batch, plans[k]), expected[k])
        )

    callers = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


class _Batches(Dataset):
    """One augmented batch an item, and how many threads its process then helps itself to."""

    def __init__(self) -> None:
        self.policy = Policy.load("deepaa-cifar10")

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        plan = self.policy.sample(64, torch.Generator().manual_seed(index))
        return apply_fast(images(64, 3, 64, 64), plan), _helpers()


def _helpers() -> int:
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith("learned_augment") for name in names)


@pytest.mark.usefixtures("two_threads")
def test_forked_workers_run_on_one_thread_with_the_same_pixels() -> None:
    here = [_Batches()[index][0] for index in range(4)]
    assert _helpers() == 1
    loader = DataLoader(_Batches(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    for index, (there, helpers) in enumerate(loader):
        assert helpers == 0
        assert torch.equal(there, here[index])


@pytest.mark.usefixtures("two_threads")
def test_threads_do_not_change_pixels() -> None:
    batch, plan = images(33, 3, 64, 64), random_plan(33, 6)
    together = apply_fast(batch, plan)
    torch.set_num_threads(1)
    assert torch.equal(apply_fast(batch, plan), together)


def test_the_kernel_is_made_once() -> None:
    assert fast.compiled_code() is fast.compiled_code()
