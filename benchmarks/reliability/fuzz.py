"""Read mutated files: each gives a valid value or our own error, in little time and memory."""

import hashlib
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.papers.feeds import MemoryFeed
from benchmarks.papers.recipe import PaperRecipe
from benchmarks.papers.trainer import PaperTrainer
from benchmarks.reliability.jobs import tiny_images
from benchmarks.reliability.mutations import (
    hostile_state,
    mutate_bytes,
    mutate_data,
    mutate_json,
    mutate_safetensors,
    safetensors_bytes,
    split_safetensors,
)
from learned_augment import LearnedAugment, Policy
from learned_augment.builders import from_layers
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.evaluation.runner import RunCache, cached_runs
from learned_augment.model_card import model_card
from learned_augment.reporting.text import policy_data, policy_text
from learned_augment.runtime.checkpoint import encode, read
from learned_augment.runtime.loop import Job, resume, run_steps
from learned_augment.search.api import prepare
from learned_augment.search.deepaa.pretraining import read_network
from learned_augment.serialization import KEY

__all__ = ["FuzzTarget", "Guard", "fuzz_rows", "make_targets", "try_input"]

SECONDS = 5.0
"""Processor time that one input may take."""

CPU = torch.device("cpu")
_IMAGES = torch.arange(4 * 3 * 8 * 8, dtype=torch.uint8).view(4, 3, 8, 8)


class InvalidError(Exception):
    """A value was read that is not valid."""


@dataclass
class FuzzTarget:
    """Something that reads files.

    Attributes:
        name: what is read.
        files: valid files, by which mutations start.
        mutate: makes a broken file of a valid one.
        read: reads a file; raises ValueError for a broken one, `InvalidError` for a wrong value.
        share: of all inputs.
    """

    name: str
    files: Sequence[bytes]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], None]
    share: float

    def input(self, number: int) -> bytes:
        """Return the broken file of a number.

        The name of the target and the number decide it, so it can be made again.
        """
        seed = hashlib.blake2b(f"{self.name} {number}".encode(), digest_size=8).digest()
        rng = random.Random(int.from_bytes(seed, "little"))
        return self.mutate(rng.choice(self.files), rng)


# Policies


def _read_policy(path: Path) -> None:
    policy = Policy.load(path)
    out = LearnedAugment(policy)(_IMAGES)
    if out.shape != _IMAGES.shape or out.dtype != torch.uint8:
        raise InvalidError(f"images of {out.shape}")
    if not all(torch.isfinite(share).all() for share in policy.op_shares().values()):
        raise InvalidError("shares of ops that are not finite")
    if Policy.decode(policy.encode()) != policy:
        raise InvalidError("a policy that is another when it is saved and loaded")
    json.dumps(policy_data(policy), allow_nan=False)
    ops = {name: layers.tolist() for name, layers in policy.op_shares().items()}
    model_card("owner/name", "policy.safetensors", policy.about, ops).encode(errors="replace")
    policy_text(policy).encode()


def _policies() -> list[bytes]:
    row = {"op": "Rotate", "value": 8.0, "effect": 0.9, "standard_error": 0.2}
    row |= {"low": 0.5, "high": 1.3, "trials": 18}
    race = [
        {"name": "found", "found": True, "errors": {"0": 0.5, "1": 0.6, "2": 0.4}},
        {"name": "known", "found": False, "errors": {"0": 0.7, "1": 0.6, "2": 0.9}},
    ]
    effects = {"target": "errors", "unit": "%", "rows": [row], "trainings": 60}
    about = {
        "name": "searched",
        "placement": "replaces",
        "effects": {**effects, "settings": {"epochs": 2}},
        "race": race,
        "chosen": "found",
        "sentence": "It helps.",
    }
    names = ("Identity", "Rotate", "Color", "Flip")
    op = torch.tensor([[[0, 1], [2, 3]], [[3, 1], [1, 0]]])
    value = torch.tensor([[[0, 8.0], [0.5, 0.5]], [[0.5, -30], [15, 0]]])
    halves = torch.full((2, 2, 2), 0.5)
    small = Policy(names, torch.tensor([0.25, 0.75]), halves, op, value, about)
    layers = [[("Rotate", 0.5, 8.0), ("Invert", 0.5, 0.0)], [("PadCrop", 1.0, 0.125)]]
    one = from_layers(layers, {"name": "one", "placement": "after", "dataset": "made"})
    shipped = Policy.load("dada-cifar10")
    return [policy.encode() for policy in (small, one, small, one, small, one, shipped)]


def _in_format_1(data: bytes) -> bytes:
    header, tensors = split_safetensors(data)
    document = json.loads(header["__metadata__"][KEY])
    document["format"] = 1
    if document["about"].get("placement") == "after":
        document["about"]["placement"] = "beside"
    units = {
        "probability of mirroring left-right": "chance of mirroring left-right",
        "factor, 0 is gray": "factor, 0 is grey",
    }
    for op in document["ops"]:
        op["unit"] = units.get(op["unit"], op["unit"])
    return safetensors_bytes({**header, "__metadata__": {KEY: json.dumps(document)}}, tensors)


# Results of comparisons


def _result() -> ComparisonResult:
    names = ("none", "crop", "random:crop")
    runs = [
        Run(name, seed, 90.0 + seed + place, 0.25, 95.5, (1.5, None, 0.25), ((1, 80.0), (3, 90.0)))
        for seed in range(3)
        for place, name in enumerate(names)
    ]
    ops = {"Identity": [0.5, 0.25], "Rotate": [0.5, 0.75]}
    settings = {"network": "small-cnn", "epochs": 3, "classes": 10, "train_images": 100}
    settings |= {"test_images": 1000, "skipped": 0, "device": "cpu", "image_size": [8, 8]}
    return ComparisonResult(
        data="made",
        placements=dict(zip(names, ("nothing", "crop only", "after crop"), strict=True)),
        reference="none",
        seeds=(0, 1, 2),
        runs=tuple(runs),
        settings=settings,
        policies={name: {"sha256": "0" * 32, "ops": ops} for name in names},
        interest=0.5,
    )


def _read_result(path: Path) -> None:
    result = ComparisonResult.load(path)
    result.table().encode()
    result.missing()
    result.check_same(result)
    if ComparisonResult.from_json(result.to_json()) != result:
        raise InvalidError("a result that is another when it is written and read")


def _mutate_text(data: bytes, rng: random.Random) -> bytes:
    return mutate_bytes(data, rng) if rng.random() < 0.2 else mutate_json(_parsed(data), rng)


@cache
def _parsed(data: bytes) -> Any:
    return json.loads(data)


_WANTED = {"arithmetic": 1, "data": "0" * 32, "recipe": {"epochs": 2}, "seed": 1}


def _cached_run(folder: Path) -> FuzzTarget:
    cache_folder = RunCache(folder)
    run = Run("none", 1, 90.5, 0.25, 95.5, (1.5, 0.25), ((1, 80.0), (2, 90.5)))
    measured = {"accuracy": run.accuracy, "loss": run.loss, "best": run.best}
    measured |= {"losses": run.losses, "accuracies": run.accuracies}
    cache_folder.store(_WANTED, measured)
    (path,) = folder.iterdir()

    def read_run(broken: Path) -> None:
        broken.replace(path)
        found = dict(cached_runs(cache_folder, {(1, "none"): _WANTED}))
        if set(found) != {(1, "none")} or not 0 <= found[1, "none"].accuracy <= 100:
            raise InvalidError(f"{found}")

    return FuzzTarget("cached run of compare", [path.read_bytes()], _mutate_text, read_run, 0.15)


# Checkpoints


class _Checkpoint(NamedTuple):
    job: Job
    config: dict[str, Any]
    name: str


def _network(classes: int) -> nn.Module:
    body = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(4, classes))


def _searched(method: str, **settings: Any) -> _Checkpoint:
    found = prepare(
        tiny_images(),
        method=method,
        network=_network,
        batch_size=8,
        device="cpu",
        reduce=40,
        epochs=2,
        **settings,
    )
    return _Checkpoint(found.method, found.record, "search")


def _trained() -> _Checkpoint:
    data = load_images(tiny_images())
    recipe = PaperRecipe(epochs=2, batch_size=8, cutout=2)
    feed = MemoryFeed(data, named_policy("dada-cifar10", "crop"), CPU)
    return _Checkpoint(PaperTrainer(feed, _network, recipe, 0, CPU), {"rate": 0.1}, "training")


def _checkpoint(name: str, made: _Checkpoint, steps: int, share: float, folder: Path) -> FuzzTarget:
    path = folder / "checkpoint"
    for _ in range(steps):  # a time budget of 0 takes one step and saves
        run_steps(
            made.job,
            name=made.name,
            config=made.config,
            device=CPU,
            checkpoint=path,
            time_budget=0,
        )
    data = path.read_bytes()
    path.unlink()

    def read_checkpoint(broken: Path) -> None:
        resume(made.job, broken, made.config, made.name, CPU)

    names = ("format", "config", "state")
    return FuzzTarget(name, [data], partial(_mutate_file, names), read_checkpoint, share)


def _network_file(folder: Path) -> FuzzTarget:
    path = folder / "network"
    options = {**_DEEPAA, "network_file": str(path)}
    made = _searched("deepaa", ops=_OPS, options=options)
    method: Any = made.job
    while method.remaining["network"]:
        method.step()
    data = path.read_bytes()
    path.unlink()

    def read_file(broken: Path) -> None:
        read_network(broken, method.pretraining, method.images_hash)

    names = ("format", "images", "recipe", "state")
    return FuzzTarget("network of a search", [data], partial(_mutate_file, names), read_file, 0.01)


def _mutate_file(names: Sequence[str], data: bytes, rng: random.Random) -> bytes:
    """Break a file of `checkpoint.encode`, or write other contents with the hash they have."""
    if rng.random() < 0.6:
        return mutate_bytes(data, rng)
    contents = _contents(tuple(names), data)
    for _ in range(rng.choice((1, 1, 2))):
        contents = mutate_data(contents, rng, hostile_state)
    if not isinstance(contents, dict):
        contents = {"state": contents}
    return encode(contents)


@cache
def _contents(names: tuple[str, ...], data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "valid"
        path.write_bytes(data)
        return dict(zip(names, read(path, *names), strict=True))


_OPS = ("Invert", "Rotate", "Brightness")
_DEEPAA = {"steps": 2, "depth": 2, "pairs": 2, "val_batch": 4, "levels": 2}
_SCREENING = {"designs": 5, "finals": 1, "fraction": 0.5, "workers": 1}


def make_targets(folder: Path) -> list[FuzzTarget]:
    """Return everything that reads files; valid ones are made in an empty folder."""
    policies = _policies()
    mutate = partial(_mutate_policy, KEY)
    results = [_result().to_json().encode()]
    cached = folder / "cached"
    cached.mkdir()
    dada = _searched("dada", ops=_OPS)
    deepaa = _searched("deepaa", ops=_OPS, options=_DEEPAA)
    screening = _searched("screening", ops=_OPS, options=_SCREENING)
    return [
        FuzzTarget("policy, format 2", policies, mutate, _read_policy, 0.46),
        FuzzTarget("policy, format 1", [*map(_in_format_1, policies)], mutate, _read_policy, 0.15),
        FuzzTarget("result of compare", results, _mutate_text, _read_result, 0.2),
        _cached_run(cached),
        _checkpoint("checkpoint of a DADA search", dada, 2, 0.01, folder),
        _checkpoint("checkpoint of a DeepAA search", deepaa, 4, 0.01, folder),
        _checkpoint("checkpoint of a screening", screening, 2, 0.005, folder),
        _checkpoint("checkpoint of a training", _trained(), 3, 0.005, folder),
        _network_file(folder),
    ]


def _mutate_policy(key: str, data: bytes, rng: random.Random) -> bytes:
    return mutate_safetensors(data, key, rng)


# Running


class _TooSlow(BaseException):
    """An input took too long; no handler of errors catches it."""


class _Ran(BaseException):
    """An input made the interpreter compile, run or start something."""


_FORBIDDEN = (
    "compile",
    "exec",
    "marshal.loads",
    "os.exec",
    "os.fork",
    "os.system",
    "pickle.find_class",
    "socket.connect",
    "subprocess.Popen",
)


@dataclass
class Guard:
    """Watches what one input does: its processor time, and whether it runs code."""

    on: bool = False
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Start to listen; Python offers no way to stop."""
        sys.addaudithook(self._hear)
        signal.signal(signal.SIGPROF, self._stop)

    def _hear(self, event: str, arguments: Any) -> None:
        if self.on and event in _FORBIDDEN:
            self.seen.append(f"{event} {arguments!r:.80}")

    def _stop(self, number: int, frame: Any) -> None:
        if self.on:
            raise _TooSlow

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise if the work inside takes too long or runs code."""
        self.seen.clear()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self.on = True
        try:
            yield
        finally:
            self.on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        if self.seen:
            raise _Ran(self.seen[0])


def try_input(target: FuzzTarget, data: bytes, path: Path, guard: Guard) -> str:
    """Read one input; return "valid", "refused", or what is wrong."""
    outcome = _try_once(target, data, path, guard)
    # A module that only few files need, such as a codec, runs when it loads, and never again.
    ran = outcome.startswith(_Ran.__name__)
    return _try_once(target, data, path, guard) if ran else outcome


def _try_once(target: FuzzTarget, data: bytes, path: Path, guard: Guard) -> str:
    path.write_bytes(data)
    try:
        with guard.watching():
            target.read(path)
    except ValueError as error:
        if type(error) is not ValueError:
            return _told(error)  # a codec or a parser says something, not we
        return "refused" if str(error).strip() else "an error without words"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return _told(error)
    return "valid"


def _told(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error!s:.100} ({Path(frame.filename).name}:{frame.lineno})"


ROUND = 20_000
"""Inputs after which rows are yielded."""


def fuzz_rows(
    count: int, targets: Sequence[FuzzTarget], folder: Path, guard: Guard
) -> Iterator[dict[str, Any]]:
    """Yield a row for each target on its share of ``count`` inputs, again after every round."""
    path = folder / "broken"
    rows = {target.name: _first_row(target, path, guard) for target in targets}
    for done in range(0, count, ROUND):
        end = min(done + ROUND, count)
        for target in targets:
            row = rows[target.name]
            first, last = (round(number * target.share) for number in (done, end))
            _try_inputs(target, range(first, last), row, path, guard)
            yield dict(row)


def _first_row(target: FuzzTarget, path: Path, guard: Guard) -> dict[str, Any]:
    """Read the valid files and some broken ones, so that all that loads once is loaded."""
    for data in target.files:
        path.write_bytes(data)
        target.read(path)  # without the guard: modules load and code compiles
        if (outcome := try_input(target, data, path, guard)) != "valid":
            raise RuntimeError(f"{target.name}: a valid file is {outcome}.")
    for number in range(100):
        try_input(target, target.input(-1 - number), path, guard)
    counts = dict.fromkeys(("inputs", "valid", "refused", "wrong"), 0)
    row = {"part": "fuzz", "target": target.name, **counts, "first_wrong": []}
    return {**row, "extra_memory_mib": 0.0, "processor_s": 0.0}


def _try_inputs(
    target: FuzzTarget, numbers: range, row: dict[str, Any], path: Path, guard: Guard
) -> None:
    """Try inputs and add what they give to a row."""
    start, before = time.process_time(), _peak_kib(reset=True)
    for number in numbers:
        outcome = try_input(target, target.input(number), path, guard)
        row["inputs"] += 1
        if outcome in ("valid", "refused"):
            row[outcome] += 1
            continue
        row["wrong"] += 1
        row["first_wrong"] = [*row["first_wrong"], f"{number}: {outcome}"][:20]
    extra = round((_peak_kib() - before) / 1024, 1)
    row["extra_memory_mib"] = max(row["extra_memory_mib"], extra)
    row["processor_s"] = round(row["processor_s"] + time.process_time() - start, 1)


def _peak_kib(reset: bool = False) -> int:
    """Return the most memory that this process has had, after setting it to that of now.

    It is 0 on a system that does not tell.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmHWM")]
    return int(line.split()[1])
