"""Trust, measured: images served by data loaders, jobs killed at random, writes that fail.

    python -m benchmarks.reliability load --images 100000
    python -m benchmarks.reliability kills --count 200
    python -m benchmarks.reliability faults

Each command replaces its own rows of results/reliability.json. It ends with status 1 if a row shows
a fault.
"""

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks import record
from benchmarks.papers.feeds import MemoryFeed
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.training_loop import run_training
from learned_augment import LearnedAugment, compare, search
from learned_augment._io import module_hash, write_atomically
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.rng import isolated
from learned_augment.serialization import encode

__all__ = ["FAULTS", "JOBS", "Killer", "LoaderSettings", "loader_settings", "serve", "survives"]

MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK")


class MixedImages(Dataset[tuple[int, int]]):
    """Images of mixed sizes and modes, augmented; an item is a checksum and the worker's memory.

    Args:
        count: number of items; they repeat 240 different images.
        policy: what augments them.
    """

    def __init__(self, count: int, policy: str = "dada-imagenet") -> None:
        self._count, self._augment = count, LearnedAugment(policy)
        generator = random.Random(0)
        levels = np.random.default_rng(0)
        self._images = []
        for number in range(240):
            size = generator.randint(16, 96), generator.randint(16, 96)
            rgb = Image.fromarray(levels.integers(0, 256, (*size, 3), dtype=np.uint8))
            self._images.append(rgb.convert(MODES[number % len(MODES)]))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[int, int]:
        out = self._augment(self._images[index % len(self._images)])
        return zlib.crc32(out.tobytes(), index), resident_kib() if index % 64 == 0 else 0


class LoaderSettings(NamedTuple):
    """Settings of a data loader."""

    workers: int
    start: str
    persistent: bool
    threads: int


def loader_settings() -> Iterator[LoaderSettings]:
    """Yield every way to load that this machine has."""
    for threads in (1, 2):
        yield LoaderSettings(0, "none", False, threads)
    for start in multiprocessing.get_all_start_methods():
        for workers in (1, 2, 4):
            for persistent in (False, True):
                yield LoaderSettings(workers, start, persistent, 2)


class Served(NamedTuple):
    """Pixels of each epoch, as one checksum, and the largest worker's memory over time, in KiB."""

    epochs: tuple[int, ...]
    memory: tuple[int, ...]


def serve(images: int, settings: LoaderSettings, seed: int, epochs: int = 2) -> Served:
    """Load all images in every epoch; the order of items is fixed."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    more: dict[str, Any] = {}
    if settings.workers:
        more = {
            "multiprocessing_context": settings.start,
            "persistent_workers": settings.persistent,
            "timeout": 300,  # a deadlock ends with an error
        }
    loader = DataLoader(MixedImages(images), 64, num_workers=settings.workers, **more)
    checksums, memory = [], []
    for _ in range(epochs):
        checksum = 0
        for pixels, kib in loader:
            checksum = zlib.crc32(pixels.numpy().tobytes(), checksum)
            memory.append(int(kib.max()))
        checksums.append(checksum)
    return Served(tuple(checksums), tuple(memory))


def resident_kib() -> int:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope over the last half, and its standard error."""
    half = values[len(values) // 2 :]
    places = range(len(half))
    line = statistics.linear_regression(places, half)
    left = [y - line.slope * x - line.intercept for x, y in zip(places, half, strict=True)]
    spread = sum((x - statistics.fmean(places)) ** 2 for x in places)
    variance = sum(rest * rest for rest in left) / max(1, len(half) - 2)
    return line.slope, (variance / spread) ** 0.5


def load_rows(images: int, settings: Iterable[LoaderSettings]) -> Iterator[dict[str, Any]]:
    """Yield a row for each way to load: are pixels repeated, do epochs differ, does memory grow."""
    pixels: dict[tuple[int, bool], tuple[int, ...]] = {}
    for chosen in settings:
        start = time.monotonic()
        first = serve(images, chosen, 0)
        again = serve(min(images, 2000), chosen, 0)
        repeated = serve(min(images, 2000), chosen, 0)
        other = serve(min(images, 2000), chosen, 1)
        known = pixels.setdefault((chosen.workers, chosen.persistent), first.epochs)
        per_batch, error = slope(first.memory)
        yield {
            "part": "load",
            **chosen._asdict(),
            "images": images * len(first.epochs),
            "same_seed_same_pixels": again == repeated._replace(memory=again.memory)
            and known == first.epochs,
            "epochs_differ": len(set(first.epochs)) == len(first.epochs),
            "seeds_differ": other.epochs[0] != again.epochs[0],
            "memory_kib_per_1000_images": round(per_batch * 1000 / 64, 3),
            "memory_standard_error": round(error * 1000 / 64, 3),
            "seconds": round(time.monotonic() - start, 1),
        }


def _search(method: str, folder: Path, **options: Any) -> None:
    policy = search(
        "digits",
        method=method,
        reduce=40,
        epochs=2,
        batch_size=8,
        device="cpu",
        checkpoint=folder / "checkpoint",
        save_every=0,
        progress=False,
        **options,
    )
    write_atomically(folder / "result", encode(policy))


def _compare(folder: Path) -> None:
    result = compare(
        "digits",
        ("none", "trivialaugment"),
        seeds=2,
        epochs=2,
        train_size=128,
        device="cpu",
        cache=folder / "cache",
        workers=1,
        progress=False,
    )
    write_atomically(folder / "result", result.to_json().encode())


def _train(folder: Path) -> None:
    data = load_images("digits").subset(128)
    device = torch.device("cpu")
    recipe = PaperRecipe(epochs=2, copies=2, cutout=4, decay_norms=False)
    with isolated(0):
        feed = MemoryFeed(data, named_policy("dada-cifar10", "crop"), device)
        trainer = PaperTrainer(feed, "small-cnn", recipe, 0, device)
        run_training(trainer, folder / "checkpoint", {}, device, save_every=0)
        text = f"{trainer.result()} {module_hash(trainer.network)}"
    write_atomically(folder / "result", text.encode())


_DEEPAA = {"steps": 2, "depth": 2, "pairs": 2, "val_batch": 4}

JOBS: dict[str, Callable[[Path], None]] = {
    "search dada": partial(_search, "dada"),
    "search deepaa": partial(_search, "deepaa", options=_DEEPAA),
    "search screening": partial(_search, "screening", options={"designs": 4, "refinements": 1}),
    "compare": _compare,
    "papers training": _train,
}
"""Jobs that can be resumed; each writes its result into a folder of its own."""


def run_job(name: str, folder: Path) -> None:
    """Run or resume a job with one thread."""
    torch.set_num_threads(1)
    JOBS[name](folder)


class Killed(NamedTuple):
    """Outcome of a job that was killed and resumed.

    Attributes:
        kills: how often it was killed.
        same: whether its result is that of a job that was not killed.
        exit_code: of the last process.
    """

    kills: int
    same: bool
    exit_code: int


class Killer:
    """Kills a job at random moments and resumes it, in processes of their own.

    Args:
        name: of `JOBS`.
        seed: of the moments.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self._name, self._moments = name, random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        with tempfile.TemporaryDirectory() as folder:
            self._run(Path(folder), None)  # starts the server of processes, too
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            code = self._run(Path(folder), None)
            self._seconds = time.monotonic() - start
            if code != 0:
                raise RuntimeError(f"{name} fails without being killed: exit code {code}.")
            self._result = (Path(folder) / "result").read_bytes()

    def kill_and_resume(self, kills: int = 2) -> Killed:
        """Kill the job up to ``kills`` times, each at another moment, then let it finish."""
        done = 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for _ in range(kills):
                code = self._run(folder, self._moments.uniform(0, self._seconds))
                done += code == -signal.SIGKILL
                if code not in (0, -signal.SIGKILL):
                    return Killed(done, False, code)
            code = self._run(folder, None)
            return Killed(done, code == 0 and _result(folder) == self._result, code)

    def _run(self, folder: Path, seconds: float | None) -> int:
        """Run the job, at most so long; return its exit code."""
        process = self._context.Process(target=run_job, args=(self._name, folder))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode or 0


def kill_rows(jobs: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each job, with ``count`` kills of all jobs together."""
    for name in jobs:
        start, killer, outcomes = time.monotonic(), Killer(name), list[Killed]()
        while sum(outcome.kills for outcome in outcomes) < count / len(jobs):
            outcomes.append(killer.kill_and_resume())
        yield {
            "part": "kills",
            "job": name,
            "kills": sum(outcome.kills for outcome in outcomes),
            "runs": len(outcomes),
            "identical_results": sum(outcome.same for outcome in outcomes),
            "seconds": round(time.monotonic() - start, 1),
        }


FAULTS = ("open", "write", "fsync", "replace")
"""Steps of a write that can fail; a write that fails leaves one byte."""


@contextmanager
def failing_write(fault: str, number: int) -> Iterator[list[int]]:
    """Let one step of the ``number``-th write fail as on a full disk; yield the count of writes."""
    count = [0]
    plain_open, plain_replace, plain_sync = Path.open, Path.replace, os.fsync

    def fail(step: str) -> None:
        if step == fault and count[0] == number:
            raise OSError(28, "No space left on device")

    class Torn:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *raised: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            self._file.write(data[:1])
            fail("write")
            return 1 + self._file.write(data[1:])

    def opened(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode != "xb":
            return plain_open(path, mode, *more, **named)
        count[0] += 1
        fail("open")
        return Torn(plain_open(path, mode))

    def replaced(path: Path, target: Path) -> Path:
        fail("replace")
        return plain_replace(path, target)

    def synced(handle: int) -> None:
        fail("fsync")
        plain_sync(handle)

    with (
        patch.object(Path, "open", opened),
        patch.object(Path, "replace", replaced),
        patch("learned_augment._io.fsync", synced),
    ):
        yield count


def survives(name: str, fault: str, number: int, result: bytes) -> bool:
    """Return whether a job gives ``result`` although its ``number``-th write fails once."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        folder = Path(place)
        try:
            with failing_write(fault, number):
                run_job(name, folder)
        except OSError:
            run_job(name, folder)  # by the user, who has made room
        return _result(folder) == result and not list(folder.rglob("*.tmp"))


def fault_rows(jobs: Sequence[str], most: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each job and fault, with ``most`` writes of the job that fail."""
    for name in jobs:
        with tempfile.TemporaryDirectory() as place, failing_write("", 0) as count:
            run_job(name, Path(place))
            result = _result(Path(place))
        writes = sorted(random.Random(0).sample(range(1, count[0] + 1), min(most, count[0])))
        for fault in FAULTS:
            yield {
                "part": "faults",
                "job": name,
                "fault": fault,
                "writes": count[0],
                "failed_writes": len(writes),
                "identical_results": sum(survives(name, fault, n, result) for n in writes),
            }


def _result(folder: Path) -> bytes:
    path = folder / "result"
    return path.read_bytes() if path.exists() else b""


def _faulty(row: dict[str, Any]) -> bool:
    if row["part"] == "load":
        grows = row["memory_kib_per_1000_images"] > 3 * row["memory_standard_error"] + 10
        same = row["same_seed_same_pixels"] and row["epochs_differ"] and row["seeds_differ"]
        return grows or not same
    return bool(row["identical_results"] < row.get("runs", row.get("failed_writes")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part and record its rows; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("load").add_argument("--images", type=int, default=100_000)
    kills = parts.add_parser("kills")
    kills.add_argument("--count", type=int, default=200)
    faults = parts.add_parser("faults")
    faults.add_argument("--writes", type=int, default=5)
    for part in (kills, faults):
        part.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    options = parser.parse_args(arguments)
    if options.part == "load":
        rows = load_rows(options.images, loader_settings())
    elif options.part == "kills":
        rows = kill_rows(options.jobs, options.count)
    else:
        rows = fault_rows(options.jobs, options.writes)
    found = []
    for row in rows:
        print(row, flush=True)
        found.append(row)
    try:
        earlier = record.load_result("reliability")["rows"]
        kept = [row for row in earlier if row["part"] != options.part]
    except FileNotFoundError:
        kept = []
    record.save_result("reliability", [*kept, *found], seeds=[0, 1])
    return int(any(map(_faulty, found)))


if __name__ == "__main__":
    sys.exit(main())
