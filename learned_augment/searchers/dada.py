"""DADA: which pairs of ops, how often and how strong, by gradient alignment with validation images.

One step trains the network on augmented images and asks, image by image, whether that training step
helps a fresh batch of validation images one step ahead; pairs that help are preferred. Shapes: B
images, S pairs, K = 2 slots. The policy's parameters are on the CPU in float64.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learned_augment.builders import from_sub_policies
from learned_augment.engines import apply_batch
from learned_augment.policy import Policy
from learned_augment.searchers.alignment import (
    Tensors,
    mixed_difference,
    mixed_exact,
    norm,
    slopes_by_difference,
    slopes_exact,
)
from learned_augment.searchers.batches import DefaultAugmentation, Normalise, Stream
from learned_augment.searchers.estimators import (
    ESTIMATORS,
    Draw,
    Evidence,
    draw,
    new_surrogate,
)
from learned_augment.searchers.learner import Learner
from learned_augment.searchers.pairs import SPACE, Pairs, choose_ops
from learned_augment.searchers.parameters import new_parameters
from learned_augment.searchers.processes import share, total
from learned_augment.searchers.searcher import Halves

__all__ = ["DADA", "DADASettings"]


@dataclass(frozen=True)
class DADASettings:
    """Settings of a DADA search; the defaults are the corrected method at CIFAR-10's figures."""

    epochs: int = 20
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 2e-4
    default: DefaultAugmentation = field(default_factory=DefaultAugmentation)
    ops: tuple[str, ...] = field(default_factory=choose_ops)
    mode: Literal["corrected", "released"] = "corrected"
    estimator: str = "loo"
    magnitude: Literal["true", "one", "none"] = "true"
    draw: Literal["image", "batch"] = "image"
    derivative: Literal["difference", "exact"] = "difference"
    policy_rate: float = 5e-3
    temperature: float = 0.5
    keep: int = 25
    final_learning_rate: float = 1e-3
    momentum: float = 0.9
    clip: float = 5.0
    unit: bool = True
    val_eval: bool = False


class DADA:
    """DADA under way."""

    def __init__(
        self,
        halves: Halves,
        network: nn.Module,
        settings: DADASettings,
        generator: torch.Generator,
    ) -> None:
        self.halves, self.settings, self.generator = halves, settings, generator
        released = settings.mode == "released"
        device = halves.train_images.device
        self.learner = Learner(
            network,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            device=device,
        )
        self.pairs = Pairs.of(settings.ops)
        self.parameters = new_parameters(self.pairs, settings.mode, generator)
        self.surrogate = new_surrogate(len(self.pairs), 2, generator, torch.float64)
        for weight in self.surrogate.values():
            weight.requires_grad_()
        leaves = [*self.parameters.tensors().values(), *self.surrogate.values()]
        self.adam = torch.optim.Adam(leaves, lr=settings.policy_rate, betas=(0.5, 0.999))
        self.normalise = Normalise(halves.train_images)
        self.batch = min(settings.batch, len(halves.train_images))
        self.train = Stream(len(halves.train_images), generator)
        self.val_batch = min(settings.batch, len(halves.val_images))
        self.validation = Stream(len(halves.val_images), None if released else generator)
        self.per_epoch = math.ceil(len(halves.train_images) / self.batch)
        self.steps = self.per_epoch * (settings.epochs - (1 if released else 0))
        self.done = 0

    def _rate(self) -> float:
        s = self.settings
        if s.mode == "released":
            part = (self.done // self.per_epoch + 1) / s.epochs
        else:
            part = self.done / self.steps
        cosine = (1 + math.cos(math.pi * part)) / 2
        return s.final_learning_rate + (s.learning_rate - s.final_learning_rate) * cosine

    def step(self) -> dict[str, float]:
        rate, s = self._rate(), self.settings
        alpha, chance = self.parameters.alpha.detach(), self.parameters.chance().detach()
        count = 1 if s.draw == "batch" else self.batch
        drawn = draw(alpha, chance, count, self.generator)
        magnitude = self.parameters.magnitude()
        images, labels = self._training_batch(drawn, magnitude)
        x = images.detach()
        learner = self.learner
        slope, train_loss = learner.gradient(
            learner.weights, x, labels, self.batch, keep=True
        )
        tangent, val_loss = self._validation_gradient(learner.ahead(slope, rate))
        align = sum((slope[n].double() * tangent[n].double()).sum() for n in slope)
        length = norm(tangent)
        align = float(align / (length * norm(slope) + 1e-30))
        if s.unit:
            tangent = {n: t / length.to(t.dtype).clamp_min(1e-12) for n, t in tangent.items()}
        slopes, push = self._slopes(x, labels, tangent)
        self._learn(drawn, magnitude, images, -slopes, None if push is None else -push)
        learner.update(slope, rate)
        self.done += 1
        return {"train_loss": train_loss, "val_loss": val_loss, "alignment": align, "rate": rate}

    def _training_batch(self, drawn: Draw, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        s = self.settings
        rows, device = share(self.batch), self.halves.train_images.device
        index = self.train.take(self.batch).to(device)
        images = s.default.before(self.halves.train_images[index], rows, self.generator)
        plan = self.pairs.plan(
            drawn.choice.expand(self.batch),
            drawn.chosen_bits().expand(self.batch, -1),
            magnitude,
            self.generator,
        ).rows(rows)
        if s.magnitude == "true":
            images = apply_batch(images.float() / 255, plan)
        else:
            with torch.no_grad():
                images = apply_batch(images, plan)
        images = s.default.after(self.normalise(images), self.batch, rows, self.generator)
        return images, self.halves.train_labels[index][rows]

    def _validation_gradient(self, weights: Tensors) -> tuple[Tensors, float]:
        s = self.settings
        if s.mode == "released":
            index = torch.arange(self.val_batch)
        else:
            index = self.validation.take(self.val_batch)
        index = index[share(self.val_batch)].to(self.halves.val_images.device)
        images = self.normalise(self.halves.val_images[index])
        self.learner.network.train(not s.val_eval)
        out = self.learner.gradient(
            weights, images, self.halves.val_labels[index], self.val_batch
        )
        self.learner.network.train()
        return out

    def _slopes(self, images: Tensor, labels: Tensor, tangent: Tensors):
        s, learner = self.settings, self.learner

        def losses(weights: Tensors, x: Tensor) -> Tensor:
            return learner.losses(weights, x, labels)

        if s.magnitude == "none" and s.estimator != "gumbel":
            one = slopes_exact if s.derivative == "exact" else slopes_by_difference
            return one(lambda w: losses(w, images), learner.weights, tangent), None
        two = mixed_exact if s.derivative == "exact" else mixed_difference
        return two(losses, learner.weights, tangent, images)

    def _whole(self, mine: Tensor) -> Tensor:
        whole = mine.new_zeros(self.batch, *mine.shape[1:])
        whole[share(self.batch)] = mine
        return total(whole).cpu().double()

    def _learn(self, drawn, magnitude, images, cost, push) -> None:
        s = self.settings
        pull = None
        if s.estimator == "gumbel":
            pull = self._whole((push * (images.detach() - 1)).flatten(1).sum(1))
        cost = self._whole(cost)
        if s.draw == "batch":
            cost, pull = cost.mean()[None], None if pull is None else pull.mean()[None]
        alpha, chance = self.parameters.alpha, self.parameters.chance()
        evidence = Evidence(cost, pull, self.surrogate, s.temperature)
        estimate = ESTIMATORS[s.estimator](alpha.detach(), chance.detach(), drawn, evidence)
        by_m = torch.zeros_like(magnitude)
        if s.magnitude == "true":
            (by_m,) = torch.autograd.grad(
                images, magnitude, push / self.batch, retain_graph=True
            )
            by_m = total(by_m)
        elif s.magnitude == "one":
            each = self._whole(push.flatten(1).sum(1)) / self.batch
            bits = drawn.chosen_bits().expand(self.batch, -1)
            by_m = by_m.index_add(0, drawn.choice.expand(self.batch), bits * each[:, None])
        self.adam.zero_grad(set_to_none=False)
        torch.autograd.backward(
            [alpha, chance, magnitude],
            [estimate.alpha.mean(0), estimate.chance.mean(0), by_m],
        )
        if estimate.spread is not None:
            estimate.spread.backward()
        self.adam.step()

    def policy(self) -> Policy:
        s = self.settings
        keep = min(s.keep, math.ceil(len(self.pairs) / 4))
        best = self.parameters.alpha.detach().argsort(descending=True)[:keep].tolist()
        p = torch.sigmoid(self.parameters.chance())
        triples = self.pairs.triples(best, p, self.parameters.magnitude())
        mirrored = [n for n in s.ops if SPACE[n].mirrored]
        return from_sub_policies(triples, mirrored, {"method": "dada", "settings": asdict(s)})
