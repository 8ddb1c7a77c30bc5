"""Trainings of one network under several policies: which there are, and running those missing."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias

import torch

from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import NamedPolicy
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.evaluation.run_cache import (
    RunCache,
    configuration,
    data_hash,
    network_hash,
    policy_hash,
)
from learned_augment.models import NetworkChoice
from learned_augment.runtime.process_pool import in_processes
from learned_augment.runtime.progress import Progress
from learned_augment.training import Recipe, check_network, train_network

__all__ = ["Comparison", "Schedule"]

_Job: TypeAlias = tuple[int, str]
"""Seed and name of the policy."""


@dataclass(frozen=True)
class Schedule:
    """How trainings are run; decides no number, but for the order of sums in `workers`.

    Attributes:
        cache: folder of finished trainings, or None.
        workers: processes of one thread each; 1 trains in this process, 0 is one for each core.
        progress: whether to show a line on standard error; None shows it on a terminal.

    Raises:
        ValueError: if there are fewer than 0 workers.
    """

    cache: str | Path | None = None
    workers: int = 1
    progress: bool | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers must be 0 (one a core) or more, got {self.workers}.")

    @property
    def processes(self) -> int:
        """Return the number of processes."""
        if sys.platform == "linux":
            return self.workers or len(os.sched_getaffinity(0))
        return self.workers or os.cpu_count() or 1


@dataclass(frozen=True)
class Comparison:
    """Everything that decides the numbers of a comparison.

    Attributes:
        images: what is trained and tested on.
        named_policies: for each seed the policies by name; they differ in random controls alone.
        network: what is trained.
        recipe: how it is trained.
        device: where it is trained.
        train_size: how many of the training images, drawn anew for each seed; None is all.
        reference: name of the policy that the others are compared with.
        interest: the difference in points that the seeds should be enough to show.
    """

    images: ImageData
    named_policies: Sequence[Mapping[str, NamedPolicy]]
    network: NetworkChoice
    recipe: Recipe
    device: torch.device
    train_size: int | None
    reference: str
    interest: float

    def check(self) -> None:
        """Raise what the first training would."""
        check_network(self.network, self.data(0), self.device)

    def data(self, seed: int) -> ImageData:
        """Return the data of one seed: the same for every policy."""
        return self.images if self.train_size is None else self.images.subset(self.train_size, seed)

    def run(self, schedule: Schedule) -> ComparisonResult:
        """Train what the cache does not hold, seed by seed: an interrupt leaves whole pairs.

        Raises:
            KeyboardInterrupt: if interrupted before any training has finished.
        """
        cache = None if schedule.cache is None else RunCache(schedule.cache)
        wanted = self._configurations(schedule) if cache else {}
        # Everything is looked for first: a broken file is found before hours of training.
        found = {} if cache is None else dict(_cached(cache, wanted))
        missing = [job for job in self._jobs() if job not in found]
        several = schedule.processes > 1 and bool(missing)
        runs = self._side_by_side if several else self._one_by_one
        try:
            for job, run in runs(missing, schedule):
                found[job] = run
                if cache is not None:
                    cache.store(wanted[job], _measured(run))
        except KeyboardInterrupt:
            if not found:
                raise
        return self.result([found[job] for job in self._jobs() if job in found])

    def result(self, runs: Sequence[Run] = ()) -> ComparisonResult:
        """Return the result on finished trainings."""
        first = self.named_policies[0]
        return ComparisonResult(
            data=self.images.name,
            placements={name: named_policy.placement for name, named_policy in first.items()},
            reference=self.reference,
            seeds=tuple(range(len(self.named_policies))),
            runs=tuple(runs),
            settings=self._settings(),
            policies={name: _figures(named_policy) for name, named_policy in first.items()},
            interest=self.interest,
        )

    def train(self, seed: int, name: str, on_epoch: Callable[[int], None] = lambda n: None) -> Run:
        """Train once and return what was measured."""
        named_policy, data = self.named_policies[seed][name], self.data(seed)
        trained = train_network(
            data, named_policy.policies, self.network, self.recipe, seed, self.device, on_epoch
        )
        losses = tuple(_finite(loss) for loss in trained.losses)
        best, tests = trained.best, trained.accuracies
        return Run(name, seed, trained.accuracy, losses[-1], best, losses, tests)

    def _jobs(self) -> list[_Job]:
        return list(product(range(len(self.named_policies)), self.named_policies[0]))

    def _configurations(self, schedule: Schedule) -> dict[_Job, dict[str, Any]]:
        threads = 1 if schedule.processes > 1 else torch.get_num_threads()
        on_gpu = self.device.type == "cuda"
        hardware = torch.cuda.get_device_name(self.device) if on_gpu else f"cpu, threads {threads}"
        seeds = range(len(self.named_policies))
        whole = [] if self.train_size is not None else [data_hash(self.images)] * len(seeds)
        hashes = whole or [data_hash(self.data(seed)) for seed in seeds]
        wanted = {}
        for seed, data, named_policies in zip(seeds, hashes, self.named_policies, strict=True):
            network = network_hash(self.network, len(self.images.classes), seed)
            for name, named_policy in named_policies.items():
                given = (data, named_policy, network, self.recipe, seed, hardware)
                wanted[seed, name] = configuration(*given)
        return wanted

    def _one_by_one(self, jobs: list[_Job], schedule: Schedule) -> Iterator[tuple[_Job, Run]]:
        line = Progress(len(jobs) * self.recipe.epochs, schedule.progress)

        def show(seed: int, name: str, epoch: int) -> None:
            seeds, epochs = len(self.named_policies), self.recipe.epochs
            line.step(f"{name}, seed {seed + 1} of {seeds}, epoch {epoch} of {epochs}")

        try:
            for job in jobs:
                yield job, self.train(*job, partial(show, *job))
        finally:
            line.close()

    def _side_by_side(self, jobs: list[_Job], schedule: Schedule) -> Iterator[tuple[_Job, Run]]:
        line = Progress(len(jobs), schedule.progress)
        runs = in_processes(self.train, jobs, schedule.processes)
        try:
            for place, run in runs:
                line.step(f"{run.policy}, seed {run.seed + 1} of {len(self.named_policies)}")
                yield jobs[place], run
        finally:
            line.close()

    def _settings(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        named = self.network if isinstance(self.network, str) else _class_name(self.network)
        found = {
            "network": named,
            **asdict(self.recipe),
            "classes": len(self.images.classes),
            "train_images": len(self.data(0).train_labels),
            "test_images": len(self.images.test_labels),
            "image_size": list(self.images.train_images.shape[2:]),
            "skipped": len(self.images.skipped),
            "images_sha256": data_hash(self.data(0)),
            "device": str(self.device),
            "torch": str(torch.__version__),
        }
        return dict(json.loads(json.dumps(found)))  # as it is read back


def _cached(cache: RunCache, wanted: Mapping[_Job, dict[str, Any]]) -> Iterator[tuple[_Job, Run]]:
    for (seed, name), configured in wanted.items():
        measured = cache.find(configured)
        if measured is not None:
            yield (seed, name), Run.from_data({"policy": name, "seed": seed, **measured})


def _measured(run: Run) -> dict[str, Any]:
    return {key: value for key, value in asdict(run).items() if key not in ("policy", "seed")}


def _figures(named_policy: NamedPolicy) -> dict[str, Any]:
    """Return the hash of what a named policy applies, and each op's chance in each layer."""
    shares: dict[str, list[float]] = {}
    before = 0
    for policy in named_policy.policies:
        for op, chances in policy.op_shares().items():
            row = shares.setdefault(op, [])
            row += [0.0] * (before - len(row)) + [round(chance, 6) for chance in chances.tolist()]
        before += policy.depth
    ops = {op: row + [0.0] * (before - len(row)) for op, row in shares.items()}
    return {"sha256": " ".join(map(policy_hash, named_policy.policies)), "ops": ops}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _class_name(network: object) -> str:
    return network.__name__ if isinstance(network, FunctionType | type) else type(network).__name__
