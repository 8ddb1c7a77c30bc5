import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from learned_augment.backends import apply_batch
from learned_augment.backends.lowering import TABLE
from learned_augment.backends.triton import launch as fused
from tests.backends.plans import NAMES, SIZES, images, random_plan

triton = pytest.importorskip("triton")


def test_interpreted_the_kernel_gives_the_plain_engines_pixels():
    script = Path(__file__).with_name("interpreted.py")
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(SIZES) + len(NAMES) + 5


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("capability", "channels"), [(75, 3), (90, 3), (90, 1)])
def test_it_compiles_for_devices_that_are_not_here(capability, channels, aligned):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from learned_augment.backends.triton.kernels import run

    pointers = ["*u8", "*u8", "*u8", "*u8", "*i32", "*fp64", "*u8", "*u8"]
    types = [*pointers, "i32", "i32", "i32", "i32", "constexpr", "constexpr"]
    constants = {(12,): channels, (13,): fused.PIXELS}
    # Pointers always are, sides of 32 or 224 pixels too: then four levels are read at a time.
    sixteen = {(i,): [["tt.divisibility", 16]] for i in (*range(8), 10, 11)} if aligned else {}
    signature = dict(zip(run.arg_names, types, strict=True))
    source = ASTSource(run, signature, constants, sixteen)
    options = {"num_warps": fused.WARPS, "enable_fp_fusion": False}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
    assert made["cubin"]
    assert "fma.rn" not in made["ptx"]
    assert made["ptx"].count("bar.sync") >= 10


def test_only_the_tables_that_a_plan_names_travel():
    from learned_augment.backends.lowering import Book

    book = Book(NAMES, 8, 8)
    book.batch(random_plan(200, 3))
    plan = random_plan(8, 3, seed=1)
    steps, tables = book.batch(plan)
    fewer, sent = fused._used(steps, tables)
    assert 0 < len(sent) < len(tables)
    for before, after in zip(steps.reshape(-1, 8), fewer.reshape(-1, 8), strict=True):
        assert before[0] == after[0]
        if before[0] == TABLE:
            assert (tables[int(before[1])] == sent[int(after[1])]).all()
        else:
            assert (before == after).all()


def test_a_device_that_triton_cannot_serve_is_named_once(monkeypatch):
    def fails(*parts):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(fused, "_launch", fails)
    fused.works_on.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"cpu .*C compiler.*same result"):
        assert not fused.works_on(torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fused.works_on(torch.device("cpu"))
    fused.works_on.cache_clear()


def test_without_triton_nothing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "learned_augment.backends.triton.kernels", None)
    fused.works_on.cache_clear()
    assert not fused.works_on(torch.device("cpu"))
    fused.works_on.cache_clear()


def test_images_of_the_cpu_do_not_ask_for_triton(monkeypatch):
    monkeypatch.setattr(
        "learned_augment.backends.triton.launch.works_on", lambda device: pytest.fail("asked")
    )
    apply_batch(images(4, 3, 8, 8), random_plan(4, 2))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 3, 224, 224), True), ((8, 3, 3000, 4000), False), ((64, 3, 1024, 1024), True)],
)
def test_a_few_large_images_are_left_to_plain_torch(shape, expected, monkeypatch):
    monkeypatch.setattr(fused, "works_on", lambda device: True)

    class OnGPU:
        is_cuda, device = True, torch.device("cuda")

        def __init__(self):
            self.shape = shape

        def __len__(self):
            return shape[0]

    assert fused.suits(OnGPU()) is expected
    assert not fused.suits(torch.empty(shape, dtype=torch.uint8, device="meta"))
