"""Shared pictures, results of other processes and the one table of tolerances."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from learned_augment import Policy
from learned_augment.backends.dispatch import apply_batch, apply_image
from learned_augment.ops import OPS, Blend, Erase, Geometric, Op, Pointwise, Resample, register_op

# Mean differences in gray levels between float and uint8 backends on natural-looking
# images: rounding for changed colors, bilinear against nearest for moved pixels.
TOLERANCE = {"photometric": 1.0, "geometric": 5.0}


def pytest_configure(config):
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the number that a search takes
    # A shell that starts the tests in the background has them ignore Ctrl-C, and nohup SIGHUP.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _compiled(request):
    """Let each worker of xdist compile another part of what Numba keeps on disk for all."""
    worker = getattr(request.config, "workerinput", None)
    if worker is None or len(request.session.items) < 1000:  # not for a few tests
        return
    # Two workers are ready after about the same time; slopes of float32 are left to the tests.
    image = torch.zeros(1, 3, 2, 2)
    parts = (
        image.byte(),
        image.double().requires_grad_(),
        Image.new("RGB", (2, 2)),
        image,
    )
    plan = Policy.load("dada-cifar10").sample(1)
    for part in parts[int(worker["workerid"][2:]) :: worker["workercount"]]:
        if isinstance(part, Image.Image):
            apply_image(part, plan)
        elif (out := apply_batch(part, plan)).requires_grad:
            out.sum().backward()


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)  # what a test left changed the time and the bits of those after it


def smooth_image(height=48, width=40, channels=3):
    """A band-limited picture: soft waves of different colors, using the whole range of levels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(x / 5.0 + 1) * np.cos(y / 7.0),
        np.cos(x / 6.0) * np.sin(y / 4.0 + 2),
        np.sin((x + y) / 8.0),
    ]
    picture = np.stack(waves[:channels])
    low, high = picture.min((1, 2), keepdims=True), picture.max((1, 2), keepdims=True)
    return torch.from_numpy(((picture - low) / (high - low) * 255).astype(np.uint8))


def noise_images(count, height=32, width=32, channels=3, seed=0):
    """Random levels, some pictures dim and some of one color: statistics of every kind."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    images[: count // 4] = images[: count // 4] // 3 + 40
    images[count // 4 : count // 3] = 77
    return torch.from_numpy(images)


def save_photos(folder, count):
    """Save images of two classes, dark and bright, in a folder each."""
    generator = torch.Generator().manual_seed(0)
    for label, (low, high) in {"dark": (0, 120), "bright": (130, 255)}.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            size = (3, 16, 16)
            pixels = torch.randint(low, high, size, generator=generator, dtype=torch.uint8)
            to_pil_image(pixels).save(folder / label / f"{index}.png")


TOYS = {
    "geometric": Geometric(lambda value, noise, width, height: (1.0, 0.0, value, 0.0, 1.0, 0.0)),
    "pointwise": Pointwise(lambda value, level, statistics: level // 2 + 0 * value),
    "pointwise with a histogram": Pointwise(
        lambda value, level, counts: level * (counts > 1) + 0 * value, statistics="histogram"
    ),
    "pointwise with a mean": Pointwise(
        lambda value, level, mean: level * (level < mean) + 0 * value, statistics="mean luma"
    ),
    "blend": Blend(lambda image: image * 0 + 40),
    "erase": Erase(lambda value, noise, width, height, side: (1, 1, value, value + 0 * noise[0])),
    "resample": Resample(
        lambda value, noise, width, height, aspect: (
            0 * value,
            0 * value,
            0 * value + width // 2,
            0 * value + height // 2,
        )
    ),
}


@pytest.fixture(params=TOYS)
def toy(request):
    """Register an op of each kind under a name of its own, for one test."""
    op = register_op(Op(f"Toy {request.param}", "unit", 0.0, 8.0, None, TOYS[request.param]))
    yield op
    del OPS[op.name]


@pytest.fixture(scope="session")
def from_two_processes(tmp_path_factory):
    """The folder that two processes of torchrun fill, see ``two_processes.py``."""
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module")
    return filled_once(tmp_path_factory, *launch, "tests.two_processes")


@pytest.fixture(scope="session")
def from_fresh_process(tmp_path_factory):
    """The folder that a process which has loaded nothing yet fills, see ``fresh_process.py``."""
    return filled_once(tmp_path_factory, "tests.fresh_process", PYTHONHASHSEED="5")


def filled_once(tmp_path_factory, *module, **environment):
    """Return the folder that a module fills; it runs once for all tests on all workers of xdist."""
    from filelock import FileLock  # torch needs it

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / module[-1]
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, "-m", *module, str(folder)],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
            )
            (folder / "error").write_text(done.stderr[-3000:] if done.returncode else "")
    error = (folder / "error").read_text()
    assert not error, error
    return folder
