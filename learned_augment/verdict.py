"""The measured answer to "does this policy help on this data?": one network, several policies.

Seeds are paired: at one seed all policies share initial weights, batch order and training images,
and each training draws its augmentation from its own generator.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from types import FunctionType

import torch

from learned_augment.datasets import ImageData, Source, load_images
from learned_augment.networks import NetworkChoice
from learned_augment.placement import Contender, PolicyChoice, place_policy
from learned_augment.progress import Progress
from learned_augment.results import Run, Verdict
from learned_augment.training import Recipe, check_network, find_device, train_network

__all__ = ["Run", "Verdict", "compare"]


def compare(
    data: Source = "digits",
    policies: Sequence[PolicyChoice] | Mapping[str, PolicyChoice] = (
        "none",
        "trivialaugment",
        "deepaa-cifar10",
    ),
    *,
    seeds: int = 5,
    epochs: int = Recipe.epochs,
    network: NetworkChoice = "small-cnn",
    batch_size: int = Recipe.batch_size,
    learning_rate: float = Recipe.learning_rate,
    train_size: int | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    beside: str | None = None,
    reference: str | None = None,
    device: str | None = None,
    progress: bool | None = None,
) -> Verdict:
    """Train one network on one data set under several policies, and say which help.

    Every policy gets the same training, `training.Recipe`, at the same seeds. Policies that stand
    beside the default augmentation come after it; those that replace it stand alone; "none" does
    nothing at all. An interrupt (Ctrl-C) ends the comparison with the trainings finished so far.

    Args:
        data: "digits", "cifar10:ROOT", "folder:PATH", ...; see `datasets.load_images`.
        policies: two or more of "none", "default" (the default augmentation alone), "identity",
            "trivialaugment", "randaugment", shipped names, paths, policies; a mapping names them.
        seeds: how many trainings each policy gets, 2 or more.
        epochs: passes over the training images.
        network: a name of `networks.NETWORKS`, a callable from number of classes to module, or a
            module, which starts every training from its own weights.
        batch_size: images per step.
        learning_rate: the highest one.
        train_size: train on this many images only, drawn anew for each seed.
        image_size: side in pixels to bring the images of a folder or data set to.
        skip_unreadable: leave out files that cannot be read.
        beside: the default augmentation, "nothing", "crop", "crop-flip" or "resized-crop-flip";
            None is "crop-flip", or "crop" for data whose mirror images mean something else.
        reference: the policy to compare with; None is "none" if that takes part, else the first.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
        progress: whether to show a line on standard error; None shows it on a terminal.

    Raises:
        ValueError: if an argument is wrong; before any training starts.
        FileNotFoundError: if the data are missing.
        KeyboardInterrupt: if interrupted before the first training has finished.
    """
    recipe = Recipe(epochs, batch_size, learning_rate)
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more, got {seeds}: one training shows no spread.")
    where, named = find_device(device), _named(policies)
    _placed(named, beside or "nothing", 32)  # a wrong name fails before the data take their time
    images = load_images(data, image_size=image_size, skip_unreadable=skip_unreadable)
    default = beside or ("crop-flip" if images.mirrors else "crop")
    contenders = _placed(named, default, min(images.train_images.shape[2:]))
    against = reference or ("none" if "none" in contenders else next(iter(contenders)))
    if against not in contenders:
        raise ValueError(f"No policy {against!r} to compare with among {', '.join(contenders)}.")
    comparison = _Comparison(images, contenders, network, recipe, where, seeds, train_size)
    comparison.check()
    return Verdict(
        data=images.name,
        placements={name: contender.placement for name, contender in contenders.items()},
        reference=against,
        seeds=tuple(range(seeds)),
        runs=comparison.runs(Progress(seeds * len(contenders) * epochs, progress)),
        settings=comparison.settings(),
    )


@dataclass(frozen=True)
class _Comparison:
    """Everything that decides the numbers."""

    images: ImageData
    contenders: Mapping[str, Contender]
    network: NetworkChoice
    recipe: Recipe
    device: torch.device
    seeds: int
    train_size: int | None

    def data(self, seed: int) -> ImageData:
        """Return the data of one seed: the same for every policy."""
        return self.images if self.train_size is None else self.images.subset(self.train_size, seed)

    def check(self) -> None:
        """Raise what the first training would."""
        check_network(self.network, self.data(0), self.device)

    def runs(self, line: Progress) -> tuple[Run, ...]:
        """Train seed by seed, so that an interrupt leaves whole pairs; return what finished."""
        finished: list[Run] = []
        try:
            for seed, contender in product(range(self.seeds), self.contenders.values()):
                finished.append(self._run(contender, seed, line))
        except KeyboardInterrupt:
            if not finished:
                raise
        finally:
            line.close()
        return tuple(finished)

    def _run(self, contender: Contender, seed: int, line: Progress) -> Run:
        label = f"{contender.name}, seed {seed + 1} of {self.seeds}"
        trained = train_network(
            self.data(seed),
            contender,
            self.network,
            self.recipe,
            seed,
            self.device,
            lambda epoch: line.step(f"{label}, epoch {epoch} of {self.recipe.epochs}"),
        )
        loss = trained.loss if math.isfinite(trained.loss) else None
        return Run(contender.name, seed, trained.accuracy, loss)

    def settings(self) -> dict[str, object]:
        """Return the settings as plain JSON data."""
        named = self.network if isinstance(self.network, str) else _class_name(self.network)
        return {
            "network": named,
            **asdict(self.recipe),
            "classes": len(self.images.classes),
            "train_images": len(self.data(0).train_labels),
            "test_images": len(self.images.test_labels),
            "image_size": list(self.images.train_images.shape[2:]),
            "skipped": len(self.images.skipped),
            "device": str(self.device),
            "torch": torch.__version__,
        }


def _class_name(network: object) -> str:
    return network.__name__ if isinstance(network, FunctionType | type) else type(network).__name__


def _named(
    policies: Sequence[PolicyChoice] | Mapping[str, PolicyChoice],
) -> list[tuple[str | None, PolicyChoice]]:
    if isinstance(policies, str | Path) or not isinstance(policies, Sequence | Mapping):
        raise TypeError(f"Expected a sequence of two or more policies, got {policies!r:.80}.")
    if len(policies) < 2:
        raise ValueError(f"Expected two or more policies to compare, got {list(policies)}.")
    if isinstance(policies, Mapping):
        return list(policies.items())
    return [(None, choice) for choice in policies]


def _placed(
    named: Sequence[tuple[str | None, PolicyChoice]], default: str, image_size: int
) -> dict[str, Contender]:
    placed = [place_policy(choice, default, image_size=image_size, name=n) for n, choice in named]
    contenders = {contender.name: contender for contender in placed}
    if len(contenders) < len(placed):
        raise ValueError(
            f"Policies need different names, got {', '.join(c.name for c in placed)}. Name them "
            "with a mapping, for example {'first': policy, 'second': other}."
        )
    return contenders
