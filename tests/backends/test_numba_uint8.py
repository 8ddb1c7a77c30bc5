"""uint8 in compiled code: the pixels of torch and PIL, on any number of threads."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from learned_augment import LearnedAugment, Policy
from learned_augment.backends import dispatch, pil, torch_uint8
from learned_augment.backends.dispatch import apply_batch, apply_image, backend_for
from learned_augment.serialization import list_policies
from tests.backends.plans import LAYOUTS, NAMES, SIZES, images, laid_out, random_plan

pytest.importorskip("numba")

from numba import njit

from learned_augment.backends.numba import jit, lut, maps_arrays, parallel


def entry(loop):
    """Return a function for Python that calls a loop, which compiled code alone can call."""

    @njit(nogil=True)
    def call(*arguments):
        return loop(*arguments)

    return call


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("fill", [None, (9,), (1, 2, 3)], ids=str)
def test_random_plans_give_the_pixels_of_torch(size: tuple[int, int, int], fill) -> None:
    if fill is not None and len(fill) not in (1, size[0]):
        fill = fill[:1]
    batch, plan = images(48, *size), random_plan(48, 6, seed=size[1])
    assert torch.equal(
        apply_batch(batch, plan, fill=fill), torch_uint8.apply(batch, plan, fill=fill)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_op_gives_the_pixels_of_torch(name: str) -> None:
    batch, plan = images(96, 3, 33, 29), random_plan(96, 1, (name,))
    assert torch.equal(apply_batch(batch, plan), torch_uint8.apply(batch, plan))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("layers", "fill"), [(1, None), (3, (9.0,)), (6, None)], ids=str)
def test_pil_images_come_out_of_the_kernel_as_out_of_pils_calls(mode, layers, fill):
    batch, plan = images(48, 3 if mode == "RGB" else 1, 21, 34), random_plan(48, layers)
    for row, image in enumerate(batch):
        picture, one = Image.fromarray(image.permute(1, 2, 0).squeeze().numpy()), plan.rows([row])
        assert picture.mode == mode
        compiled, own = apply_image(picture, one, fill=fill), pil.apply(picture, one, fill=fill)
        assert np.array_equal(compiled, own), one.steps(0)


@pytest.mark.parametrize("name", ["Identity", "Invert", "Color", "Rotate"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_pil_result_is_written_to_and_pickled_like_any_other(mode, name):
    levels = images(1, 3 if mode == "RGB" else 1, 21, 34)[0].permute(1, 2, 0).squeeze().numpy()
    picture = Image.fromarray(levels)
    out = apply_image(picture, random_plan(1, 1, (name,)))
    expected = np.array(out)
    for _ in range(3):
        apply_image(picture, random_plan(1, 1, ("Posterize",)))
    assert np.array_equal(pickle.loads(pickle.dumps(out)), expected)
    expected[4:8, 2:9] = 200
    out.paste((200,) * len(mode) if mode == "RGB" else 200, (2, 4, 9, 8))
    assert np.array_equal(out, expected)
    assert np.array_equal(picture, levels)


def test_pil_itself_serves_where_pillow_does_not_map_arrays(monkeypatch):
    picture = Image.fromarray(images(1, 3, 9, 7)[0].permute(1, 2, 0).numpy())
    plan = random_plan(1, 3)
    expected = apply_image(picture, plan)
    assert backend_for(picture, plan) == "numba.uint8"
    monkeypatch.delattr(Image.core, "map_buffer")
    maps_arrays.cache_clear()
    dispatch._choices.cache_clear()
    assert backend_for(picture, plan) == "pil"
    assert np.array_equal(apply_image(picture, plan), expected)
    monkeypatch.undo()
    maps_arrays.cache_clear()
    dispatch._choices.cache_clear()


def test_the_fourth_byte_of_pils_pixels_stays_255():
    names = tuple(name for name in NAMES if name != "ResizedCrop")  # which PIL itself does
    batch, plan = images(48, 3, 9, 7), random_plan(48, 3, names)
    for row, image in enumerate(batch):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        out = apply_image(picture, plan.rows([row]))
        assert {*out.tobytes("raw", "RGBX")[3::4]} == {255}, plan.steps(row)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_channels_may_lie_side_by_side_in_one_image(layers):
    batch, plan = images(48, 3, 21, 34), random_plan(48, layers)
    expected = torch_uint8.apply(batch, plan)
    for row, pixels in enumerate(batch.permute(0, 2, 3, 1).contiguous()):
        before = pixels.clone()
        out = apply_batch(pixels.permute(2, 0, 1), plan.rows([row]))
        assert torch.equal(out, expected[row]), plan.steps(row)
        assert out.is_contiguous()
        assert torch.equal(pixels, before)


@pytest.mark.parametrize("size", [(32, 32), (20, 45), (1, 1)], ids=str)
@pytest.mark.parametrize("name", [*list_policies(), "every op"])
def test_drawn_plans_give_the_pixels_and_random_numbers_of_explicit_ones(name, size):
    policy, (width, height) = policy_of(name), size
    transform, batch = LearnedAugment(policy), images(60, 3, height, width)
    for seed, image in enumerate(batch):
        torch.manual_seed(seed)
        plan, after = policy.sample(1), torch.get_rng_state()
        torch.manual_seed(seed)
        out = transform(image)
        assert torch.equal(out, torch_uint8.apply(image[None], plan)[0]), plan.steps(0)
        assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(0)
    out = transform(batch)
    torch.manual_seed(0)
    assert torch.equal(out, torch_uint8.apply(batch, policy.sample(60)))


def policy_of(name):
    """Return a shipped policy, or one of every op at values all over its range."""
    if name != "every op":
        return Policy.load(name)
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter(layout: str) -> None:
    batch = images(12, 3, 24, 40)
    strided = laid_out(batch, layout)
    plan, before = random_plan(len(strided), 4), strided.clone()
    result = apply_batch(strided, plan)
    assert torch.equal(result, torch_uint8.apply(before, plan) if len(before) else before)
    assert torch.equal(strided, before)
    assert result.data_ptr() != strided.data_ptr() or not len(strided)


def test_a_result_is_not_written_to_by_later_calls():
    transform, image = LearnedAugment("dada-cifar10"), images(1, 3, 16, 16)[0]
    torch.manual_seed(0)
    first = transform(image)
    kept = first.clone()
    for _ in range(50):
        transform(image)
    assert torch.equal(first, kept)


RUN = """
import torch
from learned_augment import LearnedAugment
torch.manual_seed(0)
out = LearnedAugment("dada-cifar10")(torch.arange(4 * 3 * 64, dtype=torch.uint8).view(4, 3, 8, 8))
print(int(out.long().sum()))
"""


def test_with_the_compiler_switched_off_pixels_are_the_same(capsys):
    exec(RUN, {})
    environment, command = {**os.environ, "NUMBA_DISABLE_JIT": "1"}, [sys.executable, "-c", RUN]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout == capsys.readouterr().out


def test_without_room_for_the_cache_code_is_compiled_all_the_same():
    class NoRoom:
        @staticmethod
        def py_func(images, out, queue, stay):
            for i in range(len(images)):
                for j in range(len(images[i])):
                    out[i, j] = images[i, j]

        def __call__(self, *arguments):
            raise OSError(28, "No space left on device")

    levels, out = np.arange(8, dtype=np.uint8).reshape(2, 4), np.zeros((2, 4), np.uint8)
    parallel.run_on_threads(NoRoom(), (levels, out))
    assert np.array_equal(out, levels)


LENGTHS = [0, 1, 63, 64, 65, 127, 128, 200, 3072]
EACH = pytest.param(entry(lut.look_up_each), id="each")
WIDE = pytest.param(
    entry(lut.look_up_wide),
    id="wide",
    marks=pytest.mark.skipif(not lut.is_wide(), reason="needs AVX-512 VBMI"),
)


@pytest.mark.parametrize("look_up", [EACH, WIDE])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_level_goes_through_the_table(look_up, length):
    rng = np.random.default_rng(length)
    source = rng.integers(0, 256, length).astype(np.uint8)
    table = rng.permutation(256).astype(np.uint8)
    target = np.full(length + 64, 7, np.uint8)
    look_up(source, target[:length], table)
    assert (target[:length] == table[source]).all()
    assert (target[length:] == 7).all(), "wrote behind the end"


@pytest.mark.parametrize("look_up", [EACH, WIDE])
def test_levels_may_be_mapped_in_place(look_up):
    levels = np.arange(256, dtype=np.uint8)
    table = levels[::-1].copy()
    look_up(levels, levels, table)
    assert (levels == table).all()


@pytest.mark.parametrize(
    "look_up",
    [
        pytest.param(entry(lut.map_pixels_each), id="each"),
        pytest.param(entry(lut.map_pixels_wide), id="wide", marks=WIDE.marks),
    ],
)
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("pixels", [1, 15, 16, 17, 50, 768])
def test_pixels_go_through_a_table_a_channel_and_keep_the_fourth_byte(pixels, alike, look_up):
    rng = np.random.default_rng(pixels)
    source = rng.integers(0, 256, (pixels, 4)).astype(np.uint8)
    table = np.array([rng.permutation(256) for _ in range(3)]).astype(np.uint8)
    table = table[[0, 0, 0] if alike else [0, 1, 2]]
    expected = np.stack([*(table[c, source[:, c]] for c in range(3)), source[:, 3]], axis=1)
    target = np.zeros_like(source)
    look_up(source.reshape(-1), target.reshape(-1), table)
    assert np.array_equal(target, expected)
    look_up(source.reshape(-1), source.reshape(-1), table)
    assert np.array_equal(source, expected)


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(parallel, "SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_several_callers_at_a_time_do_not_disturb_each_other() -> None:
    batch = images(24, 3, 64, 64)  # enough for a second thread
    names = tuple(name for name in NAMES if name != "ResizedCrop")
    plans = [random_plan(24, 4, names, seed) for seed in range(4)]
    expected = [torch_uint8.apply(batch, plan) for plan in plans]
    wrong = []

    def call(k: int) -> None:
        wrong.extend(
            k for _ in range(8) if not torch.equal(apply_batch(batch, plans[k]), expected[k])
        )

    callers = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("fails", ["the caller", "the other"])
def test_a_thread_that_fails_leaves_no_other_at_work_and_its_error_is_raised(fails) -> None:
    ended = []
    next_image, mark_done = entry(parallel.next_image), entry(parallel.mark_done)
    wait_for_all = entry(parallel.wait_for_all)

    def run(batch, queue, stay):
        if stay == (fails == "the caller"):
            next_image(queue)
            raise MemoryError
        time.sleep(0.2)
        while next_image(queue) < len(batch):
            mark_done(queue)
        if stay:
            wait_for_all(queue, len(batch))
        ended.append(stay)

    with pytest.raises(MemoryError):
        parallel.run_on_threads(run, [np.zeros((8, 4), np.uint8)])
    assert ended == [fails == "the other"]


class _Batches(Dataset):
    """One augmented batch an item, and how many threads its process then helps itself to."""

    def __init__(self) -> None:
        self.policy = Policy.load("deepaa-cifar10")

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        plan = self.policy.sample(64, torch.Generator().manual_seed(index))
        return apply_batch(images(64, 3, 64, 64), plan), _helpers()


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
    together = apply_batch(batch, plan)
    torch.set_num_threads(1)
    assert torch.equal(apply_batch(batch, plan), together)


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


def test_compiled_code_is_made_anew_when_any_of_its_files_changes():
    modules = [module for name, module in sys.modules.items() if name.startswith(lut.__package__)]
    waiting = [value.py_func for m in modules for value in vars(m).values() if is_kernel(value)]
    files, known = set(), set()
    while waiting:
        function = waiting.pop()
        if function not in known:
            known.add(function)
            files.add(Path(function.__code__.co_filename))
            used = [function.__globals__.get(name) for name in function.__code__.co_names]
            used += [cell.cell_contents for cell in function.__closure__ or ()]
            waiting += [value.py_func for value in used if is_kernel(value)]
    package = Path(jit.__file__).parents[2]
    files = {file for file in files if file.is_relative_to(package)}
    assert {package / "sampling.py", package / "ops" / "geometric.py"} <= files
    assert files <= set(jit.sources())


def is_kernel(value):
    return hasattr(value, "py_func")


def test_compiled_code_is_made_of_the_rows_of_the_package_alone():
    program = """
from dataclasses import replace
from learned_augment.ops import BUILT_IN, OPS
OPS["Rotate"] = replace(OPS["Rotate"], kind=OPS["ShearX"].kind)
OPS["Odd"] = replace(OPS["ShearX"], name="Odd")
from learned_augment.backends.numba import lowering
assert lowering._AFFINE == [op for op in BUILT_IN if op.opcode == OPS["ShearX"].opcode]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
