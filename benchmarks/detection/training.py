"""Train a detector step by step, by torchvision's reference recipe and under a policy."""

import math
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.detection.coco import CocoSplit, Photo
from benchmarks.detection.masks import outline_mask
from learned_augment import LearnedAugment, Policy
from learned_augment._settings import check_at_least
from learned_augment.runtime.signals import ignore_interrupts

__all__ = ["DetectorTraining", "Schedule", "augmentation", "photo_masks", "sample"]

Sample = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum 0.9 and weight decay 1e-4, after torchvision's reference.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: For 16 images; scaled by the batch.
        drops: Epochs after which the rate falls to a tenth.
        warm_up: Steps in which the rate rises from a thousandth, at most the first epoch's.

    Raises:
        ValueError: If a setting is out of range.
    """

    epochs: int = 26
    batch_size: int = 16
    learning_rate: float = 0.02
    drops: tuple[int, ...] = (16, 22)
    warm_up: int = 1000

    def __post_init__(self) -> None:
        check_at_least(self, epochs=1, batch_size=1, warm_up=0)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Expected learning_rate > 0, got {self.learning_rate}.")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of step 0, 1, 2, ..."""
        rate = self.learning_rate * self.batch_size / 16
        rate *= 0.1 ** sum(step >= drop * steps_per_epoch for drop in self.drops)
        warm_up = min(self.warm_up, steps_per_epoch - 1)
        return rate * (1 - 0.999 * (1 - step / warm_up)) if step < warm_up else rate


def augmentation(policy: Policy) -> v2.Transform:
    """Return what turns (image, target) into its augmented form.

    A flip of probability 1/2 comes first unless the policy replaces it. Objects of which less than
    a pixel is left go, with masks and labels.
    """
    flip = [] if policy.about.get("placement") == "replaces" else [v2.RandomHorizontalFlip(0.5)]
    return v2.Compose([*flip, LearnedAugment(policy), v2.SanitizeBoundingBoxes(min_size=1.0)])


def sample(photo: Photo, masks: bool) -> Sample:
    """Return an image (3, H, W) uint8 and its target: boxes (N, 4), labels (N,), masks (N, H, W).

    Crowds are left out.

    Raises:
        ValueError: If the image, or with ``masks`` an outline, cannot be read; names the file.
    """
    pixels = photo.pixels()
    items = [item for item in photo.items if not item.crowd]
    size = (photo.height, photo.width)
    target: dict[str, Tensor] = {
        "boxes": v2.functional.clamp_bounding_boxes(
            tv_tensors.BoundingBoxes(
                torch.tensor([item.box for item in items]).reshape(-1, 4),
                format="XYXY",
                canvas_size=size,
            )
        ),
        "labels": torch.tensor([item.label for item in items], dtype=torch.int64),
    }
    if masks:
        target["masks"] = tv_tensors.Mask(photo_masks(photo, [item.outline for item in items]))
    return tv_tensors.Image(pixels), target


def photo_masks(photo: Photo, outlines: Sequence[Any]) -> Tensor:
    """Return the masks (N, H, W) uint8 of outlines on a photo."""
    found = torch.zeros(len(outlines), photo.height, photo.width, dtype=torch.uint8)
    for row, outline in enumerate(outlines):
        try:
            found[row] = torch.from_numpy(outline_mask(outline, photo.height, photo.width).copy())
        except ValueError as error:
            raise ValueError(f"{photo.path}, object {row + 1}: {error}") from error
    return found


class _Samples(Dataset[Sample]):
    """Augmented samples by (photo, seed): the seed alone decides the draw, in any process."""

    def __init__(self, photos: Sequence[Photo], policy: Policy, masks: bool) -> None:
        self._photos, self._masks = photos, masks
        self._augment = augmentation(policy)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        row, seed = key
        torch.manual_seed(seed)
        image, target = self._augment(*sample(self._photos[row], self._masks))
        return image.as_subclass(Tensor), {
            name: value.as_subclass(Tensor) for name, value in target.items()
        }


class DetectorTraining:
    """A detector in training.

    Images stay uint8 until they are on the device. The seed, the epoch and the step fix everything
    random. So a run that is cut anywhere goes on with the same numbers, on a GPU up to the order of
    its additions. Unlike the reference, it does not group images by aspect ratio, which would save
    padding.

    Args:
        model: A detector of ``models.build_detector``.
        split: What to train on; images without objects are expected to be left out.
        schedule: How to train.
        policy: Augments the training images; ``builders.identity()`` leaves them at the flip.
        masks: Whether the model learns masks.
        device: Where to train.
        seed: Fixes order and draws.
        workers: Processes that read and augment; 0 does it in this one.

    Attributes:
        steps: Steps of the whole training.
        done: Steps taken.
        epoch_steps: Steps of an epoch.
        losses: Mean loss of each finished epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        split: CocoSplit,
        schedule: Schedule,
        *,
        policy: Policy,
        masks: bool,
        device: torch.device,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.model, self.done = model.to(device), 0
        self._samples = _Samples(split.photos, policy, masks)
        self._count, self._schedule = len(split.photos), schedule
        self._device, self._seed, self._workers = device, seed, workers
        self._batch = min(schedule.batch_size, self._count)
        self.epoch_steps = self._count // self._batch
        self.steps = schedule.epochs * self.epoch_steps
        self.losses: list[float] = []
        self._running: list[float] = []
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.SGD(trained, lr=0, momentum=0.9, weight_decay=1e-4)
        self._stream = self._batches()

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.done // self.epoch_steps

    @property
    def remaining(self) -> dict[str, int]:
        """Steps still to take."""
        return {"training": self.steps - self.done}

    def step(self) -> dict[str, float]:
        """Take one step and return its loss.

        Raises:
            ValueError: If an image cannot be read; nothing has been learned from its batch.
            ArithmeticError: If the loss is not finite; nothing has been learned from it.
        """
        batch = next(self._stream)
        torch.manual_seed(self._seed << 32 | self.done)  # the detector draws its anchors
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self.done, self.epoch_steps)
        images = [image.to(self._device).float() / 255 for image, _ in batch]
        targets = [{k: v.to(self._device) for k, v in target.items()} for _, target in batch]
        loss = self._learn(self.model.train()(images, targets))
        self.done += 1
        if self.done % self.epoch_steps == 0:
            self.losses.append(statistics.fmean(self._running))
            self._running = []
        if self.done == self.steps:
            self._stream.close()  # ends its workers
        return {"loss": loss}

    def _learn(self, losses: dict[str, Tensor]) -> float:
        loss = torch.stack(list(losses.values())).sum()
        found = loss.item()
        if not math.isfinite(found):
            parts = ", ".join(f"{name} {part.item():.3g}" for name, part in losses.items())
            raise ArithmeticError(
                f"Step {self.done + 1}: expected a finite loss, got {parts}. Lower the learning "
                "rate or lengthen the warm-up; a checkpoint holds what was learned before."
            )
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._running.append(found)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes."""
        model, optimizer = self.model.state_dict(), self._optimizer.state_dict()
        known = {"done": self.done, "losses": list(self.losses), "running": list(self._running)}
        return known | {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.losses, self._running = list(state["losses"]), list(state["running"])
        self._stream = self._batches()

    def _batches(self) -> Generator[list[Sample], None, None]:
        """Yield what is left of this epoch, then the epochs after it."""
        for epoch in range(self.epoch, self._schedule.epochs):
            yield from DataLoader(
                self._samples,
                batch_sampler=self._keys(epoch)[self.done % self.epoch_steps :],
                num_workers=self._workers,
                collate_fn=list,
                worker_init_fn=ignore_interrupts,
                generator=torch.Generator(),
            )

    def _keys(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the batches of an epoch as (photo, seed); the last, incomplete one is left out."""
        source = torch.Generator().manual_seed(self._seed << 32 | epoch)
        rows = torch.randperm(self._count, generator=source).tolist()
        seeds = torch.randint(2**62, (self._count,), generator=source).tolist()
        keys, batch = list(zip(rows, seeds, strict=True)), self._batch
        return [keys[i * batch : (i + 1) * batch] for i in range(self.epoch_steps)]
