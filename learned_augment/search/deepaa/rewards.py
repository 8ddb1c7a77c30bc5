"""The published way to rewards: forward mode along the cosine's tangent, pair by pair.

Shapes: P pairs, N candidates, M kinds of them, R prefixes, A copies for the training gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from learned_augment.backends import apply_batch
from learned_augment.plan import NOISE, Plan
from learned_augment.runtime.distributed import share, total
from learned_augment.search.alignment import Tensors, cosine_and_tangent, norm
from learned_augment.search.deepaa.candidates import Candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs, Pair
from learned_augment.search.deepaa.frozen import Frozen
from learned_augment.search.deepaa.logits import Logits, penalised
from learned_augment.search.deepaa.options import DeepAAOptions

__all__ = ["ForwardRewards"]

# What the released code multiplies the gradient of the first layer by; later ones by P.
FIRST_SCALE = 0.25

# Least norm of a training gradient that is divided by, as a share of the validation gradient's.
FLOOR = 1e-3

Measure: TypeAlias = Callable[[Frozen, Pair, int], tuple[Tensor, float]]


class ForwardRewards:
    """Rewards of the step's own pairs, one update a step.

    Args:
        pairs: Where pairs come from.
        candidates: Of every layer.
        options: Of the search.
        generator: Of the augmented copies; CPU.

    Raises:
        ValueError: If a subset is larger than the whole.
    """

    def __init__(
        self,
        pairs: ClassPairs,
        candidates: Candidates,
        options: DeepAAOptions,
        generator: torch.Generator,
    ) -> None:
        self.pairs, self.candidates, self.options = pairs, candidates, options
        self.generator = generator
        kinds = len(candidates.first)
        if options.subset > kinds:
            raise ValueError(
                f"Expected subset to be at most {kinds}, the kinds there are, got {options.subset}."
            )

    def step(self, frozen: Frozen, layers: Sequence[Tensor], logits: Logits) -> dict[str, float]:
        """Draw pairs, measure, and improve the layer that comes after ``layers``."""
        rewards, cosines = self.measure(frozen, layers, logits.chances())
        chance = (self.options.subset or rewards.shape[1]) / rewards.shape[1]
        by_kind = penalised(rewards, self.options.penalty if layers else 0.0, chance)
        by_candidate = by_kind[self.candidates.kind]
        expected = float((logits.chances() * by_candidate).sum())
        logits.improve(by_candidate, self.options.pairs if layers else FIRST_SCALE)
        return {
            "cosine": float(cosines.mean()),
            "cosine_deviation": float(cosines.std(correction=0)),
            "expected_reward": expected,
        }

    def measure(
        self, frozen: Frozen, layers: Sequence[Tensor], chances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the rewards of new pairs (P, M), NaN where not evaluated, and cosines (P,)."""
        count, kinds = self.options.pairs, len(self.candidates.first)
        chosen = self.pairs.draw(count)
        evaluated = self._evaluated(count)
        measure = (
            self._later(layers, chances, evaluated) if layers else self._first(chances, evaluated)
        )
        rewards = torch.zeros(count, kinds, dtype=torch.float64)
        cosines = torch.zeros(count, dtype=torch.float64)
        for number in range(count)[share(count)]:
            found, cosines[number] = measure(frozen, chosen[number], number)
            rewards[number, evaluated[number]] = found.cpu().double()
        seen = torch.zeros(count, kinds, dtype=torch.bool).scatter(1, evaluated, True)
        return total(rewards).masked_fill(~seen, torch.nan), total(cosines)

    def passes(self, first: bool) -> dict[str, int]:
        """Return how many images a step sends through the network, by purpose."""
        options, count = self.options, self.options.pairs
        kinds = options.subset or len(self.candidates.first)
        everyone, n = len(self.candidates.first), len(self.candidates)
        return {
            "validation gradients": count * options.val_batch,
            "training gradients": count * (everyone if first else options.copies * n),
            "rewards": count * kinds * (1 if first else options.prefixes),
        }

    @property
    def memory(self) -> int:
        """Bytes kept from step to step: none."""
        return 0

    def start_layer(self) -> None:
        """Nothing to forget: every step stands for itself."""

    def risen(self) -> float:
        """Return infinity: a step's own pairs are too few to see that the cosine stands still."""
        return float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: all that a step changes are the logits and the generator."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing over."""

    def _evaluated(self, count: int) -> Tensor:
        """Return which kinds each pair evaluates, (P, n)."""
        kinds = len(self.candidates.first)
        if not self.options.subset:
            return torch.arange(kinds).expand(count, -1)
        picked = [
            torch.randperm(kinds, generator=self.generator)[: self.options.subset]
            for _ in range(count)
        ]
        return torch.stack(picked)

    def _first(self, chances: Tensor, evaluated: Tensor) -> Measure:
        """Layer 1: exact, every candidate once; rewards average to 0 under ``chances``."""
        candidates, shares = self.candidates, self.candidates.of_kinds(chances)
        noise = self._noise(len(evaluated), 1, len(candidates.first))

        def measure(frozen: Frozen, pair: Pair, number: int) -> tuple[Tensor, float]:
            pixels = candidates.apply_kinds(self.pairs.pixels(pair), noise[number])
            images = self.pairs.normalise(pixels)
            labels = _labels(pair, images)
            moved = frozen.gradient(images, labels, shares)
            cosine, tangent = self._turn(frozen, pair, moved)
            rows = evaluated[number].to(images.device)
            return frozen.slopes(images[rows], labels[rows], tangent), cosine

        return measure

    def _later(self, layers: Sequence[Tensor], chances: Tensor, evaluated: Tensor) -> Measure:
        """Layer 2 and on: the training gradient from full draws, rewards from shared prefixes."""
        candidates, options = self.candidates, self.options
        count, copies = len(evaluated), options.copies * len(self.candidates)
        full = candidates.policy([*layers, chances]).sample(count * copies, self.generator)
        prefix = candidates.policy(layers).sample(count * options.prefixes, self.generator)
        noise = self._noise(count, options.prefixes, evaluated.shape[1])

        def measure(frozen: Frozen, pair: Pair, number: int) -> tuple[Tensor, float]:
            copied = self._copied(pair, full, number, copies)
            images = self.pairs.normalise(copied)
            moved = frozen.gradient(images, _labels(pair, images))
            cosine, tangent = self._turn(frozen, pair, moved)
            begun = self._copied(pair, prefix, number, options.prefixes)
            rows = evaluated[number].expand(options.prefixes, -1)
            images = self.pairs.normalise(candidates.apply(begun, rows, noise[number]))
            slopes = frozen.slopes(images, _labels(pair, images), tangent)
            return slopes.double().unflatten(0, rows.shape).mean(0), cosine

        return measure

    def _turn(self, frozen: Frozen, pair: Pair, moved: Tensors) -> tuple[float, Tensors]:
        target = self.pairs.target(frozen, pair)
        return cosine_and_tangent(target, moved, FLOOR * float(norm(target)))

    def _copied(self, pair: Pair, plan: Plan, number: int, copies: int) -> Tensor:
        mine = plan.rows(slice(number * copies, (number + 1) * copies))
        return apply_batch(self.pairs.pixels(pair).expand(copies, -1, -1, -1), mine)

    def _noise(self, *shape: int) -> Tensor:
        return torch.rand(*shape, NOISE, generator=self.generator)


def _labels(pair: Pair, images: Tensor) -> Tensor:
    return torch.full((len(images),), pair.label, device=images.device)
