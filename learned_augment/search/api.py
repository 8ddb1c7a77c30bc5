"""search(): from the user's images to a policy, by any method, resumable at any step."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from learned_augment.datasets.load import Source
from learned_augment.models import NetworkChoice
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank
from learned_augment.runtime.rng import isolated
from learned_augment.search.callbacks import JsonLines, Line, tensorboard
from learned_augment.search.loop import Watcher, run_search
from learned_augment.search.task import prepare, sign

__all__ = ["search"]


def search(
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
    checkpoint: str | Path | None = None,
    save_every: float = 60.0,
    time_budget: float | None = None,
    callbacks: Sequence[Watcher] = (),
    log: str | Path | None = None,
    tensorboard_folder: str | Path | None = None,
    progress: bool | None = None,
) -> Policy:
    """Search an augmentation policy for the user's own images.

    A stratified part of the training images is halved; a network trains on one half under the
    policy, which is judged by the other. Ctrl-C ends the search after the step under way and
    returns the policy so far. Under ``torchrun`` the processes share out every batch; their policy
    is that of one process but for rounding, 1e-4 in every learned number (the magnitudes of mode
    "released", which start without a slope, excepted).

    Args:
        data: "digits", "cifar10:ROOT", "folder:PATH", a data set of (PIL image or uint8 tensor,
            class), ...; see `datasets.load_images`. Its test part is not used.
        val: Images that the policy is to serve, if not more of the same: the validation half.
        method: A name of `task.SEARCHERS`.
        preset: A name of `presets.PRESETS`; the next seven arguments change its figures. None
            is "digits" for digits and "quick" for all else; DeepAA also has "paper" and "released".
        model: The network that is trained: a name of `networks.NETWORKS`, a callable from number
            of classes to module, or a module, which is copied.
        epochs: Passes over the training half, or over the part of it that trains the network.
        batch_size: Images per step.
        learning_rate: Of the network.
        reduce: Number of images, both halves together.
        ops: Among which to search; None for the method's own.
        exclude: Ops to leave out.
        beside: Default augmentation, "none", "crop", "crop-flip" or "resized-crop-flip". None
            is the preset's, without the flip for data whose mirror images mean something else.
        cutout: Side of the default cutout, a fraction of the image's; 0 switches it off.
        options: The method's own, by name; for DADA see `dada.options.DADAOptions`, for DeepAA
            `deepaa.options.DeepAAOptions`.
        image_size: Side in pixels to bring the images of a folder or data set to.
        skip_unreadable: Leave out files that cannot be read; their names are in the policy's
            ``about``.
        seed: Fixes everything random; torch's global generators are left as they were.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
        checkpoint: File to resume from if it exists, and to write while searching.
        save_every: Seconds between checkpoints.
        time_budget: Seconds after which the search stops with the policy so far.
        callbacks: Called with a `loop.StepReport` after every step.
        log: File that gets one JSON line per step.
        tensorboard_folder: Folder for TensorBoard, which must be installed.
        progress: Whether to show a line on standard error; None shows it on a terminal.

    Returns:
        The policy; ``about`` says how it was made, and under "stopped" whether it was cut short.

    Raises:
        ValueError: If an argument is wrong, the data do not make two halves, or the checkpoint is
            of another search.
        FileNotFoundError: If the data are missing.
        ArithmeticError: If the loss is no longer finite; the last good checkpoint is kept.

    Example:
        >>> policy = search("digits", epochs=1, progress=False)
        >>> policy.name
        'dada-digits'
    """
    task = prepare(
        data,
        val=val,
        method=method,
        preset=preset,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        reduce=reduce,
        ops=ops,
        exclude=exclude,
        beside=beside,
        cutout=cutout,
        options=options,
        image_size=image_size,
        skip_unreadable=skip_unreadable,
        seed=seed,
        device=device,
    )
    watchers = list(callbacks)
    if log is not None:
        watchers.append(JsonLines(Path(log)))
    if tensorboard_folder is not None and rank() == 0:
        watchers.append(tensorboard(Path(tensorboard_folder)))
    with isolated(seed, precise=True), Line(progress) as line:
        stop = run_search(
            task.searcher,
            config=task.config,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            save_every=save_every,
            time_budget=time_budget,
            watchers=[*watchers, line],
            device=task.device,
        )
    return sign(task, stop)
