"""search(), prepare() and estimate(): from the user's images to a policy, by any method."""

import platform
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torchvision

from learned_augment._io import check_ending, check_outputs, module_hash
from learned_augment._version import __version__
from learned_augment.datasets.load import Source, load_all_images, load_images
from learned_augment.models import build_network, network_name
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import init_processes, rank
from learned_augment.runtime.loop import StepReport, Stop, run_steps
from learned_augment.runtime.process_pool import WorkerError
from learned_augment.runtime.rng import default_threads, isolated
from learned_augment.search.callbacks import (
    Callback,
    JsonLog,
    ProgressLine,
    SearchReport,
    tensorboard,
)
from learned_augment.search.config import SearchConfig
from learned_augment.search.cost import CostEstimate
from learned_augment.search.dada.search import DADA
from learned_augment.search.deepaa.search import DeepAA
from learned_augment.search.method import SearchMethod
from learned_augment.search.options import Options
from learned_augment.search.presets import MethodSettings
from learned_augment.search.screening.search import Screening
from learned_augment.search.split import Split, split_hash, train_val_split
from learned_augment.training import check_network, find_device

__all__ = ["METHODS", "PreparedSearch", "estimate", "prepare", "search", "written_path"]

METHODS: Mapping[str, type[SearchMethod]] = MappingProxyType(
    {"screening": Screening, "dada": DADA, "deepaa": DeepAA}
)
"""Search methods by name; `method.SearchMethod` says how to add one."""


@dataclass(frozen=True)
class PreparedSearch:
    """A search that is ready to run.

    Attributes:
        name: The name of the policy to be found.
        method: The search method, before its first step.
        split: Its images.
        settings: The settings of the method.
        record: What the search was given, as plain data. A checkpoint must agree with all of it but
            "data", the name of the images.
        skipped: Files left out because they could not be read.
        device: Where it runs.

    Examples:
        >>> prepared = prepare("digits", method="dada", epochs=1)
        >>> prepared.name, prepared.settings.network, len(prepared.split.train_labels)
        ('dada-digits', 'small-cnn', 450)
    """

    name: str
    method: SearchMethod
    split: Split
    settings: MethodSettings
    record: dict[str, Any]
    skipped: tuple[str, ...]
    device: torch.device


def search(
    data: Source, *, val: Source | None = None, config: SearchConfig | None = None, **settings: Any
) -> Policy:
    """Search an augmentation policy for the user's own images.

    The training images are reduced if the preset says so, and split class by class into training
    and validation images. Networks train on the former under policies, which are evaluated on the
    latter. Ctrl-C ends the search after the current step and returns the policy so far. Under
    ``torchrun`` the processes share the work. Those of a screening share out the trials, and find
    the policy of one process. Those of DADA and DeepAA divide every batch; their policy equals that
    of one process up to rounding, 1e-4 in every learned number (except the magnitudes of DADA's
    mode "released", which start without a gradient).

    The result does not depend on the caller's settings of torch (gradient mode, autocast, default
    dtype and device, threads, random generators), and leaves them unchanged. They belong to the
    whole process: run one search or comparison at a time in it, not several in threads.

    Args:
        data: "digits", "cifar10:ROOT", "folder:PATH", a data set of (PIL image or uint8 tensor,
            class), ...; see `datasets.load_images`. Its test images are not used.
        val: Validation images; None takes a part of ``data``. Give them if the images that the
            policy is to serve differ from ``data``.
        config: Settings; None for the defaults.
        settings: Any field of `SearchConfig`, instead of the one in ``config``: ``method``,
            ``preset``, ``epochs``, ``ops``, ``seed``, ``device``, ``out``, ``checkpoint``, ...

    Returns:
        The policy; ``about`` says how it was made, and under "stopped" whether it was cut short. A
        policy that was cut short is written beside a finished one at ``out``, and does not replace
        it. A RuntimeWarning says so, or that the policy cannot be written any more.

    Raises:
        TypeError: If a setting is unknown or of another type.
        ValueError: If a setting is wrong, an output cannot be written or would replace another,
            the data cannot be split, or the checkpoint belongs to another search.
        FileNotFoundError: If the data are missing.
        ModuleNotFoundError: If a package is missing that the data or TensorBoard need.
        runtime.process_pool.WorkerError: If a process ended before its training did; the
            checkpoint holds the trainings before it.
        ArithmeticError: If the loss is no longer finite; the last good checkpoint is kept.

    Examples:
        >>> policy = search("digits", method="dada", epochs=1, progress=False)
        >>> policy.name
        'dada-digits'
    """
    config = SearchConfig.of(config, settings)
    _check_outputs(config)
    prepared = prepare(data, val=val, config=config)
    method = prepared.method
    callbacks = list(config.callbacks)
    if config.log is not None:
        callbacks.append(JsonLog(Path(config.log)))
    if config.tensorboard_folder is not None and rank() == 0:
        callbacks.append(tensorboard(Path(config.tensorboard_folder)))
    with _surroundings(config):
        with ProgressLine(config.progress) as line:
            stop = run_steps(
                method,
                name="search",
                # The images decide, not the place where they lie.
                config={key: value for key, value in prepared.record.items() if key != "data"},
                device=prepared.device,
                checkpoint=None if config.checkpoint is None else Path(config.checkpoint),
                save_every=config.save_every,
                time_budget=config.time_budget,
                on_step=_reporter(method, [*callbacks, line]),
                save_before=(WorkerError,),
            )
        policy = _with_provenance(prepared, stop)
    if config.out is not None and rank() == 0:
        out = Path(config.out)
        path = written_path(out, policy)
        try:
            policy.save(path)
        except (OSError, ValueError) as error:  # a folder or room that has gone since the start
            text = f"The policy is not written to {path}, only returned: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        else:
            if path != out:
                text = f"{out} stays as it is: the search was cut short. Its policy is in {path}."
                warnings.warn(text, RuntimeWarning, stacklevel=2)
    return policy


def written_path(out: Path, policy: Policy) -> Path:
    """Return the path to which `search` writes a policy: ``out``, or NAME-stopped beside it.

    Beside it, if the search was cut short and ``out`` holds anything but the policy of another
    search that was. A file NAME-stopped is replaced.
    """
    if "stopped" not in policy.about or not out.exists():
        return out
    try:
        held = Policy.load(out).about
    except (OSError, ValueError):
        held = {}
    return out if "stopped" in held else out.with_stem(f"{out.stem}-stopped")


def prepare(
    data: Source, *, val: Source | None = None, config: SearchConfig | None = None, **settings: Any
) -> PreparedSearch:
    """Load and split the data, build the network and start the method, without taking a step.

    Arguments and errors are those of `search`; outputs are not checked.

    Examples:
        >>> prepared = prepare("digits", method="dada", reduce=60, epochs=2)
        >>> len(prepared.split.train_labels), len(prepared.split.val_labels)
        (30, 30)
        >>> metrics = prepared.method.step()  # what search repeats
        >>> prepared.method.done, prepared.method.steps
        (1, 2)
    """
    config = SearchConfig.of(config, settings)
    _options(config, config.for_data("", True)[1])  # wrong settings fail before the data load
    device = find_device(config.device)
    init_processes(device)
    with _surroundings(config):
        return _prepare(data, val, config, device)


def estimate(
    data: Source, *, val: Source | None = None, config: SearchConfig | None = None, **settings: Any
) -> CostEstimate:
    """Return the steps, memory and time that a search would take, from a few trial steps.

    Arguments and errors are those of `search`; nothing is written.

    Examples:
        >>> estimate("digits", epochs=1).steps > 0
        True
    """
    config = SearchConfig.of(config, settings)
    _check_outputs(config)
    prepared = prepare(data, val=val, config=config)
    split, given, steps = prepared.split, prepared.settings, prepared.method.steps
    with _surroundings(config):
        phases = tuple(prepared.method.phases())
    cutout = f", cutout of {given.cutout:g} of the side" if given.cutout else ""
    return CostEstimate(
        train_images=len(split.train_labels),
        val_images=len(split.val_labels),
        classes=len(split.classes),
        image_shape=tuple(split.train_images.shape[1:]),
        steps=steps,
        data_bytes=split.nbytes,
        memory_bytes=split.nbytes + max(phase.memory for phase in phases),
        seconds=sum(phase.steps * phase.seconds for phase in phases),
        base=given.base + cutout,
        phases=phases,
        skipped=prepared.skipped,
    )


def _surroundings(config: SearchConfig) -> AbstractContextManager[None]:
    """Return the context of seeds and torch settings in which all work of a search runs."""
    return isolated(config.seed, precise=True, threads=config.threads or default_threads())


def _options(config: SearchConfig, settings: MethodSettings) -> Options:
    if config.method not in METHODS:
        raise ValueError(f"No search method {config.method!r}. Available: {', '.join(METHODS)}.")
    return METHODS[config.method].options_type.read(settings.options)


def _check_outputs(config: SearchConfig) -> None:
    """Refuse outputs that cannot be written, or of which one would replace another."""
    options = _options(config, config.for_data("", True)[1])
    if config.out is not None:
        out = check_ending(config.out, [".safetensors"], "out")
        if out.is_file():
            try:
                Policy.load(out)
            except ValueError as error:
                raise ValueError(
                    f"{out} is there and is no policy; choose another file, or remove it: {error}"
                ) from error
    named = {name: getattr(config, name) for name in ("out", "checkpoint", "log")}
    files = {name: Path(path) for name, path in named.items() if path is not None}
    folder = config.tensorboard_folder
    check_outputs(
        files | options.outputs(),
        {"tensorboard_folder": None if folder is None else Path(folder)},
    )


def _prepare(
    data: Source, val: Source | None, config: SearchConfig, device: torch.device
) -> PreparedSearch:
    # The test images are those that compare() tests on, whatever the seed of the search.
    images = load_images(data, image_size=config.image_size, skip_unreadable=config.skip_unreadable)
    skipped, val_images = images.skipped, None
    if val is not None:
        val_images = load_all_images(
            val, image_size=config.image_size, skip_unreadable=config.skip_unreadable
        )
        skipped += val_images.skipped
    preset, settings = config.for_data(images.name, images.flip_keeps_class)
    split = train_val_split(images, val_images, settings.reduce, config.seed, device)
    check_network(settings.network, images, device)
    with isolated(config.seed, precise=True):
        network = deepcopy(build_network(settings.network, len(images.classes)))
        # A name identifies a network; the user's own module is identified by its weights.
        own = {} if isinstance(settings.network, str) else {"network_weights": module_hash(network)}
        options = _options(config, settings)
        method = METHODS[config.method](
            split,
            network,
            settings,
            options,
            torch.Generator().manual_seed(config.seed),
        )
    record = {
        "preset": preset,
        **asdict(replace(settings, network=network_name(settings.network), options={})),
        "method": config.method,
        "options": options.decisive(),
        "ops": None if settings.ops is None else sorted(set(settings.ops)),
        "exclude": sorted(settings.exclude),
        "seed": config.seed,
        "data": images.name,
        "images": split_hash(split),
        **own,
    }
    name = f"{config.method}-{images.name.partition(':')[0]}"
    return PreparedSearch(name, method, split, settings, record, skipped, device)


def _reporter(method: SearchMethod, callbacks: list[Callback]) -> Callable[[StepReport], None]:
    def report_step(report: StepReport) -> None:
        full = SearchReport(**vars(report), policy=method.policy)
        for callback in callbacks:
            callback(full)

    return report_step


def _with_provenance(prepared: PreparedSearch, stop: Stop) -> Policy:
    """Return the policy found, with what its search was given in ``about``."""
    method, found = prepared.method, prepared.method.policy()
    about: dict[str, Any] = {
        "name": prepared.name,
        **found.about,
        "search": prepared.record,
        "versions": {
            "learned_augment": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "python": platform.python_version(),
        },
    }
    if prepared.skipped:
        about["skipped"] = list(prepared.skipped)
    if stop != "finished":
        about["stopped"] = f"{stop} after step {method.done} of {method.steps}"
    return replace(found, about=about)
