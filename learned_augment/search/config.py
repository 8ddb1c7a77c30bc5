"""SearchConfig: all settings of a search."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from learned_augment._settings import convert_fields, flag, real_number, whole_number
from learned_augment.evaluation.named_policies import check_base
from learned_augment.models import NetworkChoice
from learned_augment.runtime.loop import check_schedule
from learned_augment.search.callbacks import Callback
from learned_augment.search.presets import MethodSettings, find_preset

__all__ = ["SearchConfig"]

MOST_THREADS = 1024
"""Far more threads end the process: the system has no room for them."""

_WHOLE = ("epochs", "batch_size", "reduce", "image_size", "seed", "threads")
_REAL = ("learning_rate", "weight_decay", "cutout", "save_every", "time_budget")
_OF_PRESETS = (
    "network",
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "reduce",
    "base",
    "cutout",
)
"""The fields that a preset gives where they are None."""


@dataclass(frozen=True)
class SearchConfig:
    """Settings of a search; `search`, `prepare` and `estimate` accept the fields as keywords.

    Attributes:
        method: A name of `METHODS`: "screening", "dada" or "deepaa".
        preset: A name of `PRESETS`, which gives the values of the next eight fields where these
            are None. None is the preset named like the method ("screening"). If there is none, it
            is "digits" for digits and "quick" for other data. DADA's paper has "cifar10",
            "cifar100", "svhn" and "imagenet"; DeepAA's has "paper" and "released".
        network: The network that is trained: a name of `models.NETWORKS`, a callable from number of
            classes to module, or a module, which is copied.
        epochs: Passes over the training images that the network learns from.
        batch_size: Images per step.
        learning_rate: The learning rate of the network at the start of its cosine.
        weight_decay: Weight decay of the network.
        reduce: Number of images to search on, training and validation together.
        base: The base augmentation: a name of `named_policies.BASE_AUGMENTATIONS`. If None, that
            of the preset, without its flip for data whose mirror images mean something else.
            Not for a screening: crop, flip and cutout are among its ops.
        cutout: Side of the base augmentation's cutout as a fraction of the image's shorter side;
            0 switches it off. Not for a screening.
        ops: Names of the ops to search among; None for the method's own.
        exclude: Names of ops to leave out.
        options: The method's own options, by name: fields of `dada.options.DADAOptions`,
            `deepaa.options.DeepAAOptions` or `screening.options.ScreeningOptions`.
        image_size: Side in pixels to which the images of a folder or data set are resized.
        skip_unreadable: Whether to leave out files that cannot be read; their names are in the
            policy's ``about``.
        seed: Number that fixes everything random.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
        threads: Number of CPU threads of DADA and DeepAA, whose policies differ by rounding under
            another number. None is what OMP_NUM_THREADS or else the machine allows. A trial of a
            screening has one thread on a CPU; its option ``workers`` says how many run at once.
        out: File that the policy is written to, ending in ".safetensors".
        checkpoint: File to resume from if it exists, and to write during the search.
        save_every: Seconds between checkpoints.
        time_budget: Seconds after which the search stops with the policy so far.
        callbacks: Called with a `SearchReport` after every step.
        log: File to which one JSON line per step is appended.
        tensorboard_folder: Folder for TensorBoard, which must be installed.
        progress: Whether to show a line on standard error; None shows it on a terminal.

    Raises:
        ValueError: If a value is out of range, or there is no such preset. `search` checks the
            names of the method and of the ops, and `image_size`.
        TypeError: If a value is of another type.

    Examples:
        >>> config = SearchConfig(method="dada", epochs=5, exclude=["Invert"])
        >>> preset, settings = config.for_data("digits", flip_keeps_class=False)
        >>> preset, settings.network, settings.epochs, settings.exclude
        ('digits', 'small-cnn', 5, ('Invert',))
        >>> SearchConfig(ops="Rotate")
        Traceback (most recent call last):
            ...
        TypeError: Expected ops as several names of ops, got 'Rotate' alone.
    """

    method: str = "screening"
    preset: str | None = None
    network: NetworkChoice | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    reduce: int | None = None
    base: str | None = None
    cutout: float | None = None
    ops: Sequence[str] | None = None
    exclude: Collection[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    skip_unreadable: bool = False
    seed: int = 0
    device: str | torch.device | None = None
    threads: int | None = None
    out: str | Path | None = None
    checkpoint: str | Path | None = None
    save_every: float = 60.0
    time_budget: float | None = None
    callbacks: Sequence[Callback] = ()
    log: str | Path | None = None
    tensorboard_folder: str | Path | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        convert_fields(self, whole_number, _WHOLE)
        convert_fields(self, real_number, _REAL)
        convert_fields(self, flag, ("skip_unreadable", "progress"))
        convert_fields(self, _op_names, ("ops", "exclude"))
        if not isinstance(self.options, Mapping):
            raise TypeError(f"Expected options as a mapping by name, got {self.options!r:.80}.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"Expected seed from 0 to 2**63 - 1, got {self.seed}.")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"Expected threads from 1 to {MOST_THREADS}, got {self.threads}.")
        if self.base is not None:
            check_base(self.base)
        if self.method == "screening" and (self.base not in (None, "none") or self.cutout):
            raise ValueError(
                f"Expected no base and no cutout for a screening, got {self.base!r} and "
                f"{self.cutout!r}: crop, flip and cutout are among its ops. Leave both out; choose "
                "ops with ops or exclude, or give method dada or deepaa."
            )
        check_schedule(None, self.save_every, self.time_budget)
        self.for_data("", True)  # its own checks

    @classmethod
    def of(cls, config: "SearchConfig | None", settings: Mapping[str, Any]) -> "SearchConfig":
        """Return ``config``, or the defaults, with ``settings`` changed.

        Raises:
            TypeError: If there is no such setting; the message lists the settings.

        Examples:
            >>> SearchConfig.of(SearchConfig(method="deepaa"), {"seed": 1}).method
            'deepaa'
        """
        if config is not None and not isinstance(config, cls):
            raise TypeError(f"Expected config as a SearchConfig, got {config!r:.80}.")
        known = [f.name for f in fields(cls)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise TypeError(
                f"A search has no setting {unknown[0]!r}. Settings: {', '.join(known)}."
            )
        return replace(config or cls(), **settings)

    def for_data(self, name: str, flip_keeps_class: bool) -> tuple[str, MethodSettings]:
        """Return the preset's name and the settings of the method for some data.

        Args:
            name: Name of the data.
            flip_keeps_class: Whether mirror images keep their meaning.

        Raises:
            ValueError: If there is no such preset or base augmentation, or a number is out of
                range.
        """
        preset, settings = find_preset(self.preset, name, self.method)
        if self.method == "screening":  # crop, flip and cutout are among its ops
            settings = replace(settings, base="none", cutout=0.0)
        if not flip_keeps_class:
            settings = replace(settings, base=settings.base.removesuffix("-flip"))
        given = {name: getattr(self, name) for name in _OF_PRESETS}
        return preset, replace(
            settings,
            **{name: value for name, value in given.items() if value is not None},
            options={**settings.options, **self.options},
            ops=None if self.ops is None else tuple(self.ops),
            exclude=tuple(self.exclude),
        )


def _op_names(name: str, given: Any) -> tuple[str, ...]:
    """Return names of ops as a tuple: an iterator can be read once only."""
    if isinstance(given, str):
        raise TypeError(f"Expected {name} as several names of ops, got {given!r} alone.")
    if not isinstance(given, Iterable):
        raise TypeError(f"Expected {name} as several names of ops, got {given!r}.")
    return tuple(given)
