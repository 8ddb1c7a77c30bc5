"""A search, prepared: data loaded and halved, network built, method started; nothing run yet."""

import platform
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torchvision

from learned_augment._io import module_hash
from learned_augment._version import __version__
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import Source, load_images
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.models import NetworkChoice, build_network
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import connect
from learned_augment.runtime.rng import isolated
from learned_augment.search.dada.search import dada
from learned_augment.search.deepaa.search import deepaa
from learned_augment.search.loop import Stop
from learned_augment.search.method import Halves, Method, Searcher
from learned_augment.search.presets import Preset, find_preset
from learned_augment.search.split import fingerprint, make_halves
from learned_augment.training import check_network, find_device

__all__ = ["SEARCHERS", "Task", "prepare", "sign"]

SEARCHERS: dict[str, Method] = {"dada": dada, "deepaa": deepaa}
"""Search methods by name. Adding one is one file and one row."""


@dataclass(frozen=True)
class Task:
    """A search that is ready to run.

    Attributes:
        name: What the policy will be called.
        searcher: At its start.
        halves: Its data.
        preset: Its figures.
        config: All that decides the result, as plain data; a checkpoint must agree with it.
        skipped: Files left out because they could not be read.
        device: Where it runs.
    """

    name: str
    searcher: Searcher
    halves: Halves
    preset: Preset
    config: dict[str, Any]
    skipped: tuple[str, ...]
    device: torch.device


def prepare(
    data: Source,
    *,
    val: Source | None = None,
    method: str = "dada",
    preset: str | None = None,
    model: NetworkChoice | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    reduce: int | None = None,
    ops: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    beside: str | None = None,
    cutout: float | None = None,
    options: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Task:
    """Load, check and build everything; arguments and errors are those of `run.search`."""
    if method not in SEARCHERS:
        raise ValueError(f"No search method {method!r}. Available: {', '.join(SEARCHERS)}.")
    _check_whole(epochs=epochs, batch_size=batch_size, reduce=reduce, seed=seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"Expected seed from 0 to 2**63 - 1, got {seed}.")
    _check_names(ops=ops, exclude=exclude)
    where = find_device(device)
    connect(where)
    # The test part is always the one that compare tests on, whatever the seed of the search.
    images = load_images(data, image_size=image_size, skip_unreadable=skip_unreadable)
    judges = None
    if val is not None:
        judges = load_images(val, image_size=image_size, skip_unreadable=skip_unreadable)
    name, chosen = find_preset(preset, images.name, method)
    figures = _changed(
        _spared(chosen, images),
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        reduce=reduce,
        beside=beside,
        cutout=cutout,
    )
    options = {**figures.options, **(options or {})}
    halves = make_halves(images, judges, figures.reduce, seed, where)
    check_network(figures.model, images, where)
    with isolated(seed, precise=True):
        network = deepcopy(build_network(figures.model, len(images.classes)))
        # A name says what network it is; a module of the user's is known by its weights.
        own = {} if isinstance(figures.model, str) else {"network": module_hash(network)}
        searcher = SEARCHERS[method](
            halves,
            network,
            figures,
            options,
            ops=None if ops is None else tuple(ops),
            exclude=tuple(exclude),
            generator=torch.Generator().manual_seed(seed),
        )
    config = {
        "method": method,
        "preset": name,
        **asdict(replace(figures, model=_model_name(figures.model))),
        "options": {key: str(value) for key, value in options.items()},
        "ops": None if ops is None else list(ops),
        "exclude": sorted(exclude),
        "seed": seed,
        "data": images.name,
        "images": fingerprint(halves),
        **own,
    }
    skipped = images.skipped + (() if judges is None else judges.skipped)
    title = f"{method}-{images.name.partition(':')[0]}"
    return Task(title, searcher, halves, figures, config, skipped, where)


def _check_whole(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise TypeError(f"Expected {name} as a whole number, got {number!r}.")


def _check_names(**names: Collection[str] | None) -> None:
    for argument, given in names.items():
        if isinstance(given, str):
            raise TypeError(f"Expected {argument} as several names of ops, got {given!r} alone.")


def _spared(preset: Preset, data: ImageData) -> Preset:
    """Take the default flip from data whose mirror images mean something else."""
    plain = preset.beside.removesuffix("-flip")
    flips = preset.beside != plain and plain in BASE_AUGMENTATIONS
    return replace(preset, beside=plain) if flips and not data.mirrors else preset


def _changed(preset: Preset, **changes: Any) -> Preset:
    return replace(preset, **{name: new for name, new in changes.items() if new is not None})


def _model_name(model: NetworkChoice) -> str:
    if isinstance(model, str):
        return model
    return str(getattr(model, "__qualname__", type(model).__name__))


def sign(task: Task, stop: Stop) -> Policy:
    """Return the policy of a search, with its provenance in ``about``."""
    found = task.searcher.policy()
    about: dict[str, Any] = {
        "name": task.name,
        **found.about,
        "search": task.config,
        "versions": {
            "learned_augment": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "python": platform.python_version(),
        },
    }
    if task.skipped:
        about["skipped"] = list(task.skipped)
    if stop != "finished":
        about["stopped"] = f"{stop} after step {task.searcher.done} of {task.searcher.steps}"
    return replace(found, about=about)
