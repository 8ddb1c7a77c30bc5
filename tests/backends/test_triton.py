"""The Triton kernel: interpreted on a CPU, and compiled for GPUs that are not here."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from learned_augment.backends.dispatch import apply_batch
from learned_augment.backends.triton import launch
from tests.backends.plans import COMPILED, SIZES, images, random_plan

triton = pytest.importorskip("triton")


def test_interpreted_the_kernel_gives_the_pixels_of_torch():
    script = Path(__file__).with_name("interpreted.py")
    path = os.pathsep.join([str(script.parents[2]), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(SIZES) + len(COMPILED) + 5


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("capability", "channels"), [(75, 3), (90, 3), (90, 1)])
def test_it_compiles_for_devices_that_are_not_here(capability, channels, aligned):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from learned_augment.backends.triton.kernels import run

    memory, lowered = ("*u8", "*u8", "*i32"), ("*fp64", "*u8", "*u8")
    sizes = ["i32", "i32", "i32", "i32"]
    types = ["*u8", "*u8", memory, lowered, *sizes, "constexpr", "constexpr"]
    constants = {(8,): channels, (9,): launch.PIXELS}
    # Pointers always are, sides of 32 or 224 pixels too: then four levels are read at a time.
    pointers = [(0,), (1,), *((part, place) for part in (2, 3) for place in range(3))]
    sixteen = {at: [["tt.divisibility", 16]] for at in (*pointers, (6,), (7,)) if aligned}
    signature = dict(zip(run.arg_names, types, strict=True))
    source = ASTSource(run, signature, constants, sixteen)
    options = {"num_warps": launch.WARPS, "enable_fp_fusion": False}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
    assert made["cubin"]
    assert "fma.rn" not in made["ptx"]
    assert made["ptx"].count("bar.sync") >= 10


def test_a_device_that_triton_cannot_serve_is_named_once(monkeypatch):
    def fails(*parts):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(launch, "_launch", fails)
    launch.works_on.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"cpu .*C compiler.*same result"):
        assert not launch.works_on(torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not launch.works_on(torch.device("cpu"))
    launch.works_on.cache_clear()


def test_without_triton_nothing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "learned_augment.backends.triton.kernels", None)
    launch.works_on.cache_clear()
    assert not launch.works_on(torch.device("cpu"))
    launch.works_on.cache_clear()


def test_images_of_the_cpu_do_not_ask_for_triton(monkeypatch):
    monkeypatch.setattr(
        "learned_augment.backends.triton.launch.works_on", lambda device: pytest.fail("asked")
    )
    apply_batch(images(4, 3, 8, 8), random_plan(4, 2))
