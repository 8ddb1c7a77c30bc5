"""Small jobs of every kind that can be resumed; each writes its result into a folder of its own."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.papers.feeds import MemoryFeed
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.training_loop import run_training
from learned_augment import compare, search
from learned_augment._io import module_hash, write_atomically
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from learned_augment.search.callbacks import SearchReport

__all__ = ["JOBS", "START", "phase_of", "result_of", "run_job", "tiny_images"]

START = "start"
"""The phase of a process that has saved nothing yet."""


@cache
def tiny_images(count: int = 60, side: int = 8) -> list[tuple[Tensor, int]]:
    """Return (1, side, side) uint8 images of three classes: noise with a brighter column each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    for number, image in enumerate(images):
        first = number % 3 * side // 3
        image[:, :, first : first + side // 3] += 100
    return [(image, number % 3) for number, image in enumerate(images)]


def _search(method: str, folder: Path, **settings: Any) -> None:
    def note(report: SearchReport) -> None:
        with (folder / "phases").open("a") as file:
            file.write(f"{report.phase}\n")

    policy = search(
        tiny_images(),
        method=method,
        network="small-cnn",
        batch_size=8,
        device="cpu",
        threads=1,
        checkpoint=folder / "checkpoint",
        save_every=0,
        progress=False,
        callbacks=[note],
        **settings,
    )
    write_atomically(folder / "result", policy.encode())


def _compare(folder: Path, workers: int) -> None:
    result = compare(
        tiny_images(),
        ("none", "trivialaugment"),
        seeds=2,
        epochs=2,
        batch_size=8,
        device="cpu",
        cache=folder / "cache",
        workers=workers,
        progress=False,
    )
    write_atomically(folder / "result", result.to_json().encode())


def _train(folder: Path) -> None:
    data = load_images(tiny_images())
    device = torch.device("cpu")
    recipe = PaperRecipe(epochs=2, batch_size=8, copies=2, cutout=2, decay_norms=False)
    with isolated(0):
        feed = MemoryFeed(data, named_policy("dada-cifar10", "crop"), device)
        trainer = PaperTrainer(feed, "small-cnn", recipe, 0, device)
        run_training(trainer, folder / "checkpoint", {}, device, save_every=0)
        text = f"{trainer.result()} {module_hash(trainer.network)}"
    write_atomically(folder / "result", text.encode())


_OPS = ("Invert", "Rotate", "Brightness")
_DEEPAA = {"steps": 2, "depth": 2, "pairs": 2, "val_batch": 4, "levels": 2}
_SCREENING = {"designs": 5, "finals": 1, "fraction": 0.5}


def _screening(workers: int) -> Callable[[Path], None]:
    options = {**_SCREENING, "workers": workers}
    return partial(_search, "screening", epochs=2, ops=_OPS, options=options)


JOBS: dict[str, Callable[[Path], None]] = {
    "search dada": partial(_search, "dada", reduce=40, epochs=4),
    "search deepaa": partial(_search, "deepaa", reduce=40, epochs=2, ops=_OPS, options=_DEEPAA),
    "search screening": _screening(1),
    "search screening, 2 processes": _screening(2),
    "compare": partial(_compare, workers=1),
    "compare, 2 processes": partial(_compare, workers=2),
    "papers training": _train,
}
"""Jobs by name."""


def run_job(name: str, folder: Path) -> None:
    """Run or resume a job with one thread: what has computed with several cannot be forked."""
    torch.set_num_threads(1)
    (folder / "started").touch()
    JOBS[name](folder)


def result_of(folder: Path) -> bytes:
    """Return the result that a job has written, empty if it has not."""
    path = folder / "result"
    return path.read_bytes() if path.exists() else b""


def phase_of(folder: Path) -> str:
    """Return the phase of the last step that the last process of a job took, or `START`.

    A job without phases is in the phase "training".
    """
    started = folder / "started"
    if not started.exists():
        return START
    files = [path for path in folder.rglob("*") if path.suffix != ".tmp" and path.is_file()]
    if max(files, key=lambda path: path.stat().st_mtime_ns) == started:
        return START
    phases = folder / "phases"
    return phases.read_text().splitlines()[-1] if phases.exists() else "training"
