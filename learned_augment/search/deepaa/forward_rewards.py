"""DeepAA's published rewards, by forward mode along the gradient of the cosine, pair by pair."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.policy import Plan
from learned_augment.runtime.distributed import all_reduce_sum, shard
from learned_augment.sampling import NOISE
from learned_augment.search.alignment import Tensors, cosine_and_tangent, norm
from learned_augment.search.deepaa.candidates import Candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs, Pair
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.layer import LayerDistribution, penalized
from learned_augment.search.deepaa.options import DeepAAOptions

__all__ = ["ForwardRewards"]

# The released code multiplies the gradient of the first layer by this factor, later ones by P.
_FIRST_SCALE = 0.25

# Least norm of a training gradient in a denominator, as a fraction of the validation gradient's.
_FLOOR = 1e-3

_Measure: TypeAlias = Callable[[FrozenNetwork, Pair, int], tuple[Tensor, float]]


class ForwardRewards:
    """Rewards of the step's own pairs, one update a step.

    Shapes: P pairs of all processes, M distinct candidates.

    Args:
        pairs: Draws the pairs.
        candidates: The candidates of every layer.
        options: The options of the search.
        generator: Source of the augmented copies; CPU.

    Raises:
        ValueError: If the option ``subset`` is larger than the number of distinct candidates.
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
        distinct = len(candidates.distinct)
        if options.subset > distinct:
            raise ValueError(
                f"Expected subset to be at most {distinct}, the number of distinct candidates, got "
                f"{options.subset}."
            )

    def step(
        self, network: FrozenNetwork, layers: Sequence[Tensor], layer: LayerDistribution
    ) -> dict[str, float]:
        """Draw pairs, measure, and improve the layer that comes after ``layers``."""
        rewards, cosines = self.measure(network, layers, layer.probabilities())
        evaluated = (self.options.subset or rewards.shape[1]) / rewards.shape[1]
        by_group = penalized(rewards, self.options.penalty if layers else 0.0, evaluated)
        by_candidate = by_group[self.candidates.group]
        expected = float((layer.probabilities() * by_candidate).sum())
        layer.improve(by_candidate, self.options.pairs if layers else _FIRST_SCALE)
        return {
            "cosine": float(cosines.mean()),
            "cosine_deviation": float(cosines.std(correction=0)),
            "expected_reward": expected,
        }

    def measure(
        self, network: FrozenNetwork, layers: Sequence[Tensor], probabilities: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the rewards of new pairs (P, M), NaN where not evaluated, and cosines (P,)."""
        count, distinct = self.options.pairs, len(self.candidates.distinct)
        chosen = self.pairs.draw(count)
        evaluated = self._evaluated(count)
        if layers:
            measure = self._in_later_layer(layers, probabilities, evaluated)
        else:
            measure = self._in_first_layer(probabilities, evaluated)
        rewards = torch.zeros(count, distinct, dtype=torch.float64)
        cosines = torch.zeros(count, dtype=torch.float64)
        for number in range(count)[shard(count)]:
            found, cosines[number] = measure(network, chosen[number], number)
            rewards[number, evaluated[number]] = found.cpu().double()
        seen = torch.zeros(count, distinct, dtype=torch.bool).scatter(1, evaluated, True)
        return all_reduce_sum(rewards).masked_fill(~seen, torch.nan), all_reduce_sum(cosines)

    def passes(self, first: bool) -> dict[str, int]:
        """Return the images that a step sends through the network, by purpose."""
        options, count = self.options, self.options.pairs
        distinct, n = len(self.candidates.distinct), len(self.candidates)
        evaluated = options.subset or distinct
        return {
            "validation gradients": count * options.val_batch,
            "training gradients": count * (distinct if first else options.copies * n),
            "rewards": count * evaluated * (1 if first else options.prefixes),
        }

    @property
    def memory(self) -> int:
        """Bytes kept from step to step: none."""
        return 0

    def start_layer(self) -> None:
        """Do nothing: no pairs are kept."""

    def cosine_rise(self) -> float:
        """Return infinity, so that no layer ends early: the pairs of one step are too few."""
        return float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a step changes only the layer and the generator."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""

    def _evaluated(self, count: int) -> Tensor:
        """Return which distinct candidates each pair evaluates, (P, n)."""
        distinct = len(self.candidates.distinct)
        if not self.options.subset:
            return torch.arange(distinct).expand(count, -1)
        picked = [
            torch.randperm(distinct, generator=self.generator)[: self.options.subset]
            for _ in range(count)
        ]
        return torch.stack(picked)

    def _in_first_layer(self, probabilities: Tensor, evaluated: Tensor) -> _Measure:
        """Evaluate every candidate once, exactly; the expected reward is 0."""
        candidates, weights = self.candidates, self.candidates.by_group(probabilities)
        noise = self._noise(len(evaluated), 1, len(candidates.distinct))

        def measure(network: FrozenNetwork, pair: Pair, number: int) -> tuple[Tensor, float]:
            pixels = candidates.apply_distinct(self.pairs.pixels(pair), noise[number])
            images = self.pairs.normalize(pixels)
            labels = _labels(pair, images)
            grads = network.gradient(images, labels, weights)
            cosine, tangent = self._tangent(network, pair, grads)
            rows = evaluated[number].to(images.device)
            return network.directional(images[rows], labels[rows], tangent), cosine

        return measure

    def _in_later_layer(
        self, layers: Sequence[Tensor], probabilities: Tensor, evaluated: Tensor
    ) -> _Measure:
        """Take the training gradient from draws of all layers, rewards from common prefixes."""
        candidates, options = self.candidates, self.options
        count, copies = len(evaluated), options.copies * len(self.candidates)
        full = candidates.policy([*layers, probabilities]).sample(count * copies, self.generator)
        prefix = candidates.policy(layers).sample(count * options.prefixes, self.generator)
        noise = self._noise(count, options.prefixes, evaluated.shape[1])

        def measure(network: FrozenNetwork, pair: Pair, number: int) -> tuple[Tensor, float]:
            images = self.pairs.normalize(self._augmented(pair, full, number, copies))
            grads = network.gradient(images, _labels(pair, images))
            cosine, tangent = self._tangent(network, pair, grads)
            prefixed = self._augmented(pair, prefix, number, options.prefixes)
            rows = evaluated[number].expand(options.prefixes, -1)
            images = self.pairs.normalize(candidates.apply(prefixed, rows, noise[number]))
            derivatives = network.directional(images, _labels(pair, images), tangent)
            return derivatives.double().unflatten(0, rows.shape).mean(0), cosine

        return measure

    def _tangent(self, network: FrozenNetwork, pair: Pair, grads: Tensors) -> tuple[float, Tensors]:
        target = self.pairs.target(network, pair)
        return cosine_and_tangent(target, grads, _FLOOR * float(norm(target)))

    def _augmented(self, pair: Pair, plan: Plan, number: int, copies: int) -> Tensor:
        rows = slice(number * copies, (number + 1) * copies)
        return apply_batch(self.pairs.pixels(pair).expand(copies, -1, -1, -1), plan.rows(rows))

    def _noise(self, *shape: int) -> Tensor:
        return torch.rand(*shape, NOISE, generator=self.generator)


def _labels(pair: Pair, images: Tensor) -> Tensor:
    return torch.full((len(images),), pair.label, device=images.device)
