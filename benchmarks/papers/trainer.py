"""Train one network step by step; a resumed training ends with the same bits."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.papers.build import one_norm, optimizer, share_out, wrapped
from benchmarks.papers.feeds import Batch, Feed, RandomSource
from benchmarks.papers.pixels import cut_out, light
from benchmarks.papers.recipe import PaperRecipe
from learned_augment.models import NetworkChoice, build_network
from learned_augment.runtime.distributed import all_gather, all_reduce_sum, rank, shard, world_size
from learned_augment.training import Trained
from learned_augment.training.normalize import Normalize

__all__ = ["PaperTrainer"]


class PaperTrainer:
    """A network with everything that decides its next step.

    Initial weights and what is random inside the network come from torch's global generators: seed
    them before building a trainer, and leave them alone while it steps. Under `torchrun` the
    processes share out every batch, and normalize it together.

    Args:
        feed: training and test images.
        network: name, factory or module; a module is copied, and starts from its own weights.
        recipe: how to train.
        seed: of batch order and augmentation.
        device: where to train.

    Attributes:
        steps: steps of the whole training.
        done: steps taken.
        epoch_steps: steps of an epoch.
        losses: mean training loss of each finished epoch.
        tests: (epoch, accuracy in percent) of each test.
        seconds: time that all steps took.

    Raises:
        ValueError: if the processes cannot share out a batch evenly.
    """

    def __init__(
        self,
        feed: Feed,
        network: NetworkChoice,
        recipe: PaperRecipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self._feed, self._recipe, self._device = feed, recipe, device
        self._batch = share_out(recipe, feed.count)
        self.epoch_steps = feed.count // self._batch
        self.steps, self.done = recipe.epochs * self.epoch_steps, 0
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._normalize = Normalize(feed.levels, layout).to(device)
        built = deepcopy(build_network(network, feed.classes))
        self._network = one_norm(built, device).to(device).to(memory_format=layout)
        self._ready, self._learner = wrapped(self._network, recipe, device)
        self._optimizer = optimizer(self._network, recipe)
        self._order = torch.Generator().manual_seed(2 * seed)
        self._source = RandomSource(torch.Generator().manual_seed(2 * seed + 1), 2 * seed + 1)
        self._epoch_order = self._order.get_state()
        self._batches: Iterator[Batch] | None = None
        self._running: list[Tensor] = []
        self.losses: list[float] = []
        self.tests: list[tuple[int, float]] = []
        self.seconds = 0.0
        if rank() > 0:  # what is random inside the network differs from process to process
            torch.manual_seed(seed + (rank() << 32))

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.done // self.epoch_steps

    @property
    def network(self) -> nn.Module:
        """The network in training."""
        return self._network

    @property
    def remaining(self) -> dict[str, int]:
        """Steps still to take."""
        return {"training": self.steps - self.done}

    def step(self) -> dict[str, float]:
        """Learn from one batch; after the last one of an epoch, test where the recipe says so.

        Returns:
            The training loss of an epoch that ends, and nothing else.
        """
        start = time.monotonic()
        if self._batches is None:
            self._batches = self._begin()
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate((self.done + 0.5) / self.steps)
        self._network.train()
        self._optimizer.zero_grad()
        copies = [self._learn(*next(self._batches)) for _ in range(self._recipe.copies)]
        if self._recipe.clip > 0:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.clip)
        self._optimizer.step()
        self._running.append(copies[0] if len(copies) == 1 else torch.stack(copies).mean())
        self.done += 1
        ends = self.done % self.epoch_steps == 0
        if ends:
            self._finish()
        self.seconds += time.monotonic() - start
        return {"train_loss": self.losses[-1]} if ends else {}

    def result(self) -> Trained:
        """Return what was measured in the epochs that have finished.

        Raises:
            ValueError: if none has been tested.
        """
        if not self.tests:
            raise ValueError(f"No epoch has been tested after {self.done} of {self.steps} steps.")
        best = max(accuracy for _, accuracy in self.tests)
        losses = tuple(self.losses)
        return Trained(self.tests[-1][1], best, losses[-1], losses, tuple(self.tests))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides what follows; all processes must ask at once."""
        running = torch.stack(self._running) if self._running else torch.empty(0)
        return {
            "done": self.done,
            "seconds": self.seconds,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "order": self._epoch_order,
            "draws": self._source.generator.get_state(),
            "global": all_gather(torch.get_rng_state(), self._device),
            "cuda": self._cuda_state(),
            "running": running,
            "losses": list(self.losses),
            "tests": [list(test) for test in self.tests],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was asked."""
        self.done, self.seconds = state["done"], state["seconds"]
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._order.set_state(state["order"])
        self._epoch_order = state["order"]
        self._source.generator.set_state(state["draws"])
        torch.set_rng_state(state["global"][rank()])
        if state["cuda"]:
            torch.cuda.set_rng_state(state["cuda"][rank()], self._device)
        self._running = list(state["running"].to(self._device))
        self.losses = list(state["losses"])
        self.tests = [(int(epoch), accuracy) for epoch, accuracy in state["tests"]]
        # Within an epoch, its order is drawn again; between two, the next one is.
        self._batches = self._begin() if self.done % self.epoch_steps else None
        if self._running and self._batches is None:
            self._finish()

    def _begin(self) -> Iterator[Batch]:
        self._epoch_order = self._order.get_state()
        shuffled = torch.randperm(self._feed.count, generator=self._order)
        rows = shuffled[: self.epoch_steps * self._batch].view(-1, self._batch)
        left = rows[self.done % self.epoch_steps :]
        return self._feed.batches(left, self._recipe.copies, self.done, self._source)

    def _learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add the gradient of one batch; return its mean loss, ()."""
        x = self._finished(self._normalize(images))
        with self._autocast():
            loss = cross_entropy(self._learner(x), labels)
        (loss / self._recipe.copies).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _finished(self, x: Tensor) -> Tensor:
        own, recipe, generator = shard(self._batch), self._recipe, self._source.generator
        if recipe.lighting:
            amounts = torch.randn(self._batch, 3, generator=generator)[own] * recipe.lighting
            x = light(x, amounts, self._normalize.deviation)
        if recipe.cutout:
            x = cut_out(x, recipe.cutout, torch.rand(self._batch, 2, generator=generator)[own])
        return x

    def _finish(self) -> None:
        """End an epoch; what fails at a test image can be saved, and tests again when resumed."""
        self._batches = None
        self._epoch_order = self._order.get_state()
        if self._recipe.tests(self.epoch):
            self.tests.append((self.epoch, self._accuracy()))
        mean = all_reduce_sum(torch.stack(self._running).mean()) / world_size()
        self.losses.append(mean.item())
        self._running = []

    @torch.no_grad()
    def test_logits(self) -> Iterator[Batch]:
        """Yield logits (B, classes) and labels (B,) of this process's part of the test images."""
        self._network.eval()
        for images, labels in self._feed.tests():
            with self._autocast():
                logits = self._ready(self._normalize(images))
            yield logits.float(), labels

    def _accuracy(self) -> float:
        """Return the share of the test images that are named rightly, in percent."""
        counts = torch.zeros(2, dtype=torch.int64, device=self._device)
        for logits, labels in self.test_logits():
            counts += torch.stack(
                [(logits.argmax(1) == labels).sum(), labels.new_tensor(len(labels))]
            )
        right, tested = all_reduce_sum(counts).tolist()
        return float(100 * right / tested)

    def _autocast(self) -> torch.autocast:
        low = self._recipe.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=low)

    def _cuda_state(self) -> list[Tensor]:
        if self._device.type != "cuda":
            return []
        return all_gather(torch.cuda.get_rng_state(self._device), self._device)
