"""Run the trainings of a comparison that are not in its cache, in one process or several."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import torch

from learned_augment._errors import is_out_of_memory
from learned_augment._io import check_output_path, content_hash, module_hash, write_atomically
from learned_augment._version import __version__
from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import NamedPolicy
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.models import NetworkChoice, build_network, network_name
from learned_augment.policy import Policy
from learned_augment.runtime.process_pool import WorkerError, default_workers, in_processes
from learned_augment.runtime.progress import Progress
from learned_augment.runtime.rng import isolated, thread_count
from learned_augment.runtime.signals import termination_interrupts
from learned_augment.training import Recipe, check_network, train_network

__all__ = [
    "Comparison",
    "RunCache",
    "cached_runs",
    "configuration",
    "data_hash",
    "network_hash",
    "policy_hash",
]

ARITHMETIC = 1
"""Version of the numbers; it rises when ops, backends or training change them."""

_Job: TypeAlias = tuple[int, str]
"""Seed and name of the policy."""


class RunCache:
    """A folder of finished trainings, a small JSON file for each.

    A file holds the configuration of its training and is named by the configuration's hash.

    Args:
        folder: Made if it does not exist.

    Raises:
        ValueError: If the folder cannot be made, or takes no file.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"Expected cache= to name a folder, or a new one in an existing folder, got "
                f"{str(folder)!r}: {error.strerror}."
            ) from None
        check_output_path(self._folder / "training.json")

    def find(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the measurements of a training of this configuration, None if there is none.

        Raises:
            ValueError: If the file is broken or of another configuration.
        """
        path = self._path(wanted)
        try:
            document = json.loads(path.read_bytes())
            held, measured = dict(document["configuration"]), dict(document["measured"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(self.broken(wanted)) from None
        if held != wanted:
            changed = ", ".join(
                sorted(str(k) for k in {*held, *wanted} if held.get(k) != wanted.get(k))
            )
            raise ValueError(
                f"{path} holds the results of another configuration (it differs in {changed}); "
                "delete it to repeat the training."
            )
        return measured

    def broken(self, wanted: Mapping[str, Any]) -> str:
        """Return the message for a file that is not a finished training."""
        return f"{self._path(wanted)} is not a finished training; delete it to repeat it."

    def store(self, wanted: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Keep the measurements of a training of this configuration; both are plain JSON data."""
        document = {"configuration": wanted, "measured": measured}
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        write_atomically(self._path(wanted), text.encode())

    def _path(self, wanted: Mapping[str, Any]) -> Path:
        text = json.dumps(wanted, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def configuration(
    data: str, named_policy: NamedPolicy, network: str, recipe: Recipe, seed: int, hardware: str
) -> dict[str, Any]:
    """Return everything that decides the numbers of a training, as plain JSON data.

    Not part of it are the names of policies, the model of the processor, the code of a network's
    `forward` beyond the names of its modules, and the code of an op beyond the op's name.

    Args:
        data: `data_hash` of the images.
        named_policy: The policies that augment them.
        network: `network_hash` at the seed.
        recipe: The training.
        seed: The seed of everything random.
        hardware: Kind of device and number of threads, which decide the order of sums.
    """
    found = {
        "arithmetic": ARITHMETIC,
        "package": __version__,
        "torch": str(torch.__version__),
        "hardware": hardware,
        "data": data,
        "policies": [policy_hash(policy) for policy in named_policy.policies],
        "network": network,
        # Settings that are off are left out: a new setting leaves finished trainings valid.
        "recipe": {key: value for key, value in asdict(recipe).items() if value},
        "seed": seed,
    }
    return dict(json.loads(json.dumps(found)))  # as it is read back


def data_hash(data: ImageData) -> str:
    """Return a fingerprint of training and test images and labels, order included."""
    parts = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return content_hash([str(len(data.classes)), *parts])


def policy_hash(policy: Policy) -> str:
    """Return a fingerprint of a policy's figures; what it says about itself does not count."""
    return content_hash([*policy.ops, policy.mixture, policy.weights, policy.op, policy.value])


def network_hash(network: NetworkChoice, classes: int, seed: int) -> str:
    """Return a fingerprint of a network's modules and of its weights as `seed` draws them."""
    with isolated(seed):
        return module_hash(build_network(network, classes))


@dataclass(frozen=True)
class Comparison:
    """Everything that decides the numbers of a comparison.

    Attributes:
        images: The training and test images.
        named_policies: For each seed the policies by name; only random baselines differ.
        network: Name, factory or module.
        recipe: The training that every policy gets.
        device: The device that trains.
        train_size: Number of training images, drawn anew for each seed; None is all.
        reference: Name of the policy that the others are compared with.
        interest: The difference in points that the seeds should be enough to show.
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
        """Raise the errors that the first training would raise."""
        check_network(self.network, self.data(0), self.device)

    def data(self, seed: int) -> ImageData:
        """Return the data of one seed: the same for every policy."""
        return self.images if self.train_size is None else self.images.subset(self.train_size, seed)

    def run(
        self,
        cache_folder: str | Path | None = None,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> ComparisonResult:
        """Run the trainings that are not in the cache.

        All policies of a seed come before the next seed, so that an interrupt leaves whole pairs.
        Ctrl-C, SIGTERM, a process that ends and a lack of memory end the comparison with the
        trainings finished so far.

        Args:
            cache_folder: Folder of finished trainings, or None.
            workers: Processes of one training each; see `CompareConfig`.
            progress: Whether to show a line on standard error; None shows it on a terminal.

        Raises:
            KeyboardInterrupt: If interrupted before any training has finished.
            WorkerError: If a process ended before any training had finished.
            MemoryError, RuntimeError: If there is too little memory for the first one.
        """
        cache = None if cache_folder is None else RunCache(cache_folder)
        wanted = self._configurations() if cache else {}
        # Read the whole cache first: a broken file is an error before hours of training.
        found = {} if cache is None else dict(cached_runs(cache, wanted))
        equal = self._equal_jobs([job for job in self._jobs() if job not in found])
        with termination_interrupts():
            try:
                for job, run in self._train_all(list(equal), workers, progress):
                    found |= {other: replace(run, policy=other[1]) for other in equal[job]}
                    if cache is not None:
                        _keep(cache, wanted[job], run)
            except KeyboardInterrupt:
                if not found:
                    raise
            except Exception as error:
                no_memory = is_out_of_memory(error)
                if not found or not (no_memory or isinstance(error, WorkerError)):
                    raise
                reason = "There is too little memory." if no_memory else error
                text = f"The comparison ends with the trainings finished so far. {reason}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
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
        """Run one training and return its measurements."""
        named_policy, data = self.named_policies[seed][name], self.data(seed)
        with _one_thread(self.device):
            trained = train_network(
                data, named_policy.policies, self.network, self.recipe, seed, self.device, on_epoch
            )
        losses = tuple(_finite(loss) for loss in trained.losses)
        best, tests = trained.best, trained.accuracies
        return Run(name, seed, trained.accuracy, losses[-1], best, losses, tests)

    def _jobs(self) -> list[_Job]:
        return list(product(range(len(self.named_policies)), self.named_policies[0]))

    def _equal_jobs(self, jobs: Sequence[_Job]) -> dict[_Job, list[_Job]]:
        """Return for one job of each kind all that would be the same training, itself included.

        A search may return RandAugment, which is then compared with RandAugment.
        """
        kinds: dict[tuple[int, tuple[str, ...]], list[_Job]] = {}
        for seed, name in jobs:
            policies = self.named_policies[seed][name].policies
            kinds.setdefault((seed, tuple(map(policy_hash, policies))), []).append((seed, name))
        return {same[0]: same for same in kinds.values()}

    def _configurations(self) -> dict[_Job, dict[str, Any]]:
        on_gpu = self.device.type == "cuda"
        # The number of threads decides the order of sums.
        hardware = torch.cuda.get_device_name(self.device) if on_gpu else "cpu, threads 1"
        seeds = range(len(self.named_policies))
        if self.train_size is None:
            hashes = [data_hash(self.images)] * len(seeds)
        else:
            hashes = [data_hash(self.data(seed)) for seed in seeds]
        wanted = {}
        for seed, data, named_policies in zip(seeds, hashes, self.named_policies, strict=True):
            network = network_hash(self.network, len(self.images.classes), seed)
            for name, named_policy in named_policies.items():
                given = (data, named_policy, network, self.recipe, seed, hardware)
                wanted[seed, name] = configuration(*given)
        return wanted

    def _train_all(
        self, jobs: list[_Job], workers: int | None, progress: bool | None
    ) -> Iterator[tuple[_Job, Run]]:
        if workers is None:
            named = self.named_policies[0].values()
            ops = {op for one in named for policy in one.policies for op in policy.ops}
            workers = min(default_workers(self.device, self.network, ops), len(jobs))
        if workers > 1 and jobs:
            yield from self._side_by_side(jobs, workers, progress)
        else:
            yield from self._one_by_one(jobs, progress)

    def _one_by_one(self, jobs: list[_Job], progress: bool | None) -> Iterator[tuple[_Job, Run]]:
        line = Progress(len(jobs) * self.recipe.epochs, progress)

        def show(seed: int, name: str, epoch: int) -> None:
            seeds, epochs = len(self.named_policies), self.recipe.epochs
            line.step(f"{name}, seed {seed + 1} of {seeds}, epoch {epoch} of {epochs}")

        try:
            for job in jobs:
                yield job, self.train(*job, partial(show, *job))
        finally:
            line.close()

    def _side_by_side(
        self, jobs: list[_Job], workers: int, progress: bool | None
    ) -> Iterator[tuple[_Job, Run]]:
        line = Progress(len(jobs), progress)
        try:
            for place, run in in_processes(self.train, jobs, workers):
                line.step(f"{run.policy}, seed {run.seed + 1} of {len(self.named_policies)}")
                yield jobs[place], run
        finally:
            line.close()

    def _settings(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        found = {
            "network": network_name(self.network),
            **asdict(self.recipe),
            "classes": len(self.images.classes),
            "train_images": len(self.data(0).train_labels),
            "test_images": len(self.images.test_labels),
            "largest_class": int(self.images.test_labels.bincount().max()),
            "image_size": list(self.images.train_images.shape[2:]),
            "skipped": len(self.images.skipped),
            "images_sha256": data_hash(self.data(0)),
            "device": str(self.device),
            "torch": str(torch.__version__),
        }
        return dict(json.loads(json.dumps(found)))  # as it is read back


def cached_runs(
    cache: RunCache, wanted: Mapping[_Job, dict[str, Any]]
) -> Iterator[tuple[_Job, Run]]:
    """Yield those of the wanted trainings, by seed and policy, that a cache holds.

    Raises:
        ValueError: If a file is broken or of another configuration.
    """
    for (seed, name), configured in wanted.items():
        measured = cache.find(configured)
        if measured is None:
            continue
        try:
            run = Run.from_data({**measured, "policy": name, "seed": seed})
        except (AttributeError, TypeError, ValueError):
            raise ValueError(cache.broken(configured)) from None
        yield (seed, name), run


def _keep(cache: RunCache, configured: Mapping[str, Any], run: Run) -> None:
    """Store a training; a full disk must not end a comparison of hours."""
    measured = {key: value for key, value in asdict(run).items() if key not in ("policy", "seed")}
    try:
        cache.store(configured, measured)
    except OSError as error:
        warnings.warn(
            f"The training of {run.policy} at seed {run.seed} is not kept in the cache ({error}); "
            "the comparison goes on.",
            RuntimeWarning,
            stacklevel=2,
        )


def _figures(named_policy: NamedPolicy) -> dict[str, Any]:
    """Return the hash of a named policy, and the probability of each op in each layer."""
    shares: dict[str, list[float]] = {}
    before = 0
    for policy in named_policy.policies:
        for op, probabilities in policy.op_shares().items():
            row = shares.setdefault(op, [])
            row += [0.0] * (before - len(row)) + [
                round(value, 6) for value in probabilities.tolist()
            ]
        before += policy.depth
    ops = {op: row + [0.0] * (before - len(row)) for op, row in shares.items()}
    return {"sha256": " ".join(map(policy_hash, named_policy.policies)), "ops": ops}


def _one_thread(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which a CPU computes with one thread."""
    return thread_count(1) if device.type == "cpu" else nullcontext()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
