"""DeepAA's fast rewards, from inner products of gradients that are measured once for each pair."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.runtime.distributed import all_reduce_sum, shard
from learned_augment.sampling import NOISE
from learned_augment.search.alignment import norm
from learned_augment.search.deepaa.candidates import Candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs, Pair
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.layer import LayerDistribution, penalized
from learned_augment.search.deepaa.options import DeepAAOptions

__all__ = ["GramRewards", "Grams", "products"]

# Least length in a denominator: an image that the network fits may have no gradient.
_TINY = 1e-15
# Least ratio of squared lengths without and with the noise of the draws.
_LEAST_RATIO = 0.02
# Steps over which the rise of the cosine is measured.
_WINDOW = 8


class Grams:
    """Inner products of pairs, all divided by the mean squared length of an image's gradients.

    Shapes: P pairs so far, M distinct candidates.

    The layers before are fixed, so a candidate's gradient G_n on an image does not depend on the
    layer under search. For probabilities p the training gradient is g = sum_n p_n G_n. Let v be
    the validation gradient, K = <G, G> and b = <G, v>. Then every p has its cosine and rewards
    without another pass through the network, equal to those of forward mode up to rounding::

        |g|^2 = p K p
        cosine = <p, b> / (|v| |g|)
        reward_n = (b_n - (K p)_n <p, b> / |g|^2) / (|v| |g|)

    G_n is the mean over all draws of the layers before, but only R draws are seen. The noise of
    their mean makes K too large, and the cosine too small. Products of different draws have no
    such noise, but they are too uncertain for one image. So K is that of the mean, scaled by the
    ratio of both over all pairs of the layer.

    Attributes:
        means: Products among the mean gradients over the draws, (P, M, M) float64.
        cross_draw: Products among gradients of different draws, summed over the pairs, (M, M): the
            sum of ``means`` without their noise.
        with_target: Products of the mean gradients with the validation gradient, which is divided
            by its length, (P, M).
    """

    def __init__(self, means: Tensor, cross_draw: Tensor, with_target: Tensor) -> None:
        self.means, self.cross_draw, self.with_target = means, cross_draw, with_target
        self.summed = means.sum(0)

    def __len__(self) -> int:
        return len(self.with_target)

    def joined(self, other: "Grams") -> "Grams":
        """Return the pairs of both."""
        return Grams(
            torch.cat([self.means, other.means]),
            self.cross_draw + other.cross_draw,
            torch.cat([self.with_target, other.with_target]),
        )

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return all tensors."""
        return self.means, self.cross_draw, self.with_target

    def cosines(self, p: Tensor) -> Tensor:
        """Return the cosine of every pair, (P,), for probabilities (M,)."""
        length = (self.means @ p @ p * self._ratio(p)).sqrt()
        return (self.with_target @ p) / length.clamp_min(_TINY)

    def rewards(self, p: Tensor) -> Tensor:
        """Return the gradient of every pair's cosine by the probabilities (M,), (P, M)."""
        products_with_g = self.means @ p  # (P, M)
        square = (products_with_g @ p).clamp_min(_TINY**2)
        length = (square * self._ratio(p)).sqrt()
        cosine = (self.with_target @ p) / length
        clean, noisy = self.cross_draw @ p, self.summed @ p
        by_ratio = clean / (clean @ p) - noisy / (noisy @ p)
        if float(self._ratio(p)) in (_LEAST_RATIO, 1.0):
            by_ratio = torch.zeros_like(by_ratio)
        return self.with_target / length[:, None] - cosine[:, None] * (
            products_with_g / square[:, None] + by_ratio
        )

    def _ratio(self, p: Tensor) -> Tensor:
        """Return the fraction of the squared length that is not noise, over all pairs, ()."""
        clean, noisy = self.cross_draw @ p @ p, self.summed @ p @ p
        return (clean / noisy.clamp_min(_TINY**2)).clamp(_LEAST_RATIO, 1.0)


def products(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return inner products among M gradients from R noisy draws of each, (R, M, d).

    Returns:
        The products of the means over the draws, and the average of the products of different
        draws, which have no noise. Both are (M, M); with a single draw they are equal.
    """
    draws = list(gradients)
    summed = draws.pop()
    cross = torch.zeros_like(summed @ summed.mT)
    while draws:
        draw = draws.pop()
        cross = cross + draw @ summed.mT
        summed = summed + draw
    count = len(gradients)
    means = summed @ summed.mT / count**2
    if count == 1:
        return means, means
    return means, (cross + cross.mT) / (count * (count - 1))


def _zero_grams(count: int, distinct: int) -> Grams:
    """Return ``count`` pairs whose inner products are all zero."""
    zeros = partial(torch.zeros, dtype=torch.float64)
    return Grams(
        zeros(count, distinct, distinct), zeros(distinct, distinct), zeros(count, distinct)
    )


class GramRewards:
    """Rewards of all pairs of the layer so far, several updates a step.

    A step measures a few new pairs, then moves the layer by the rewards of all its pairs.

    Args:
        pairs: Draws the pairs.
        candidates: The candidates of every layer.
        options: The options of the search.
        generator: Source of the augmented copies; CPU.
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
        self.start_layer()

    @property
    def memory(self) -> int:
        """Most bytes that the pairs of a layer take.

        While new pairs are added, the old tensors and the new ones exist together.
        """
        pairs, distinct = self.options.steps * self.options.pairs, len(self.candidates.distinct)
        return 2 * pairs * distinct * distinct * torch.float64.itemsize

    def start_layer(self) -> None:
        """Forget the pairs of the layer before."""
        self.grams = _zero_grams(0, len(self.candidates.distinct))
        self.past: list[Tensor] = []

    def step(
        self, network: FrozenNetwork, layers: Sequence[Tensor], layer: LayerDistribution
    ) -> dict[str, float]:
        """Draw pairs, measure, and improve the layer that comes after ``layers``."""
        self.grams = self.grams.joined(self.measure(network, layers))
        identity = torch.zeros(len(self.candidates.distinct), dtype=torch.float64)
        identity[0] = 1.0
        unseen = self.grams.cosines(self._by_group(layer))[-self.options.pairs :]
        gain = unseen - self.grams.cosines(identity)[-self.options.pairs :]
        penalty = self.options.penalty if layers else 0.0
        for _ in range(self.options.updates):
            rewards = penalized(self.grams.rewards(self._by_group(layer)), penalty)
            layer.improve(rewards[self.candidates.group])
        p = self._by_group(layer)
        fitted = self.grams.cosines(p)
        expected = p @ penalized(self.grams.rewards(p), penalty)
        self.past.append(p)
        return {
            "cosine": float(unseen.mean()),
            "gain": float(gain.mean()),
            "fitted_cosine": float(fitted.mean()),
            "fitted_deviation": float(fitted.std(correction=0)),
            "expected_reward": float(expected),
        }

    def cosine_rise(self) -> float:
        """Return what the last eight steps have added to the mean cosine of all pairs."""
        if len(self.past) <= _WINDOW:
            return float("inf")
        now, then = self.past[-1], self.past[-1 - _WINDOW]
        return float((self.grams.cosines(now) - self.grams.cosines(then)).mean())

    def _by_group(self, layer: LayerDistribution) -> Tensor:
        return self.candidates.by_group(layer.probabilities())

    def measure(self, network: FrozenNetwork, layers: Sequence[Tensor]) -> Grams:
        """Return the inner products of new pairs."""
        count, distinct = self.options.pairs, len(self.candidates.distinct)
        # Before layer 1 there is nothing to draw; its few random candidates still need two draws.
        draws = self.options.prefixes if layers else 2
        chosen = self.pairs.draw(count)
        prefix = None
        if layers:
            prefix = self.candidates.policy(layers).sample(count * draws, self.generator)
        noise = torch.rand(count, draws, distinct, NOISE, generator=self.generator)
        means, cross_draw, with_target = _zero_grams(count, distinct).tensors()
        for number in range(count)[shard(count)]:
            pair, rows = chosen[number], slice(number * draws, (number + 1) * draws)
            images = self.pairs.pixels(pair).expand(draws, -1, -1, -1)
            images = images if prefix is None else apply_batch(images, prefix.rows(rows))
            images = self.candidates.apply_distinct(images, noise[number])
            means[number], of_pair, with_target[number] = self._of_pair(
                network, pair, images, draws
            )
            cross_draw += of_pair
        return Grams(all_reduce_sum(means), all_reduce_sum(cross_draw), all_reduce_sum(with_target))

    def _of_pair(
        self, network: FrozenNetwork, pair: Pair, images: Tensor, draws: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        target = self.pairs.target(network, pair)
        target_rows = network.rows(target)
        inputs = self.pairs.normalize(images)
        labels = torch.full((len(images),), pair.label, device=images.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        size = 1e-30
        for name, rows, gradients in network.per_image_gradients(inputs, labels):
            flat = gradients.flatten(1)  # (R M, d)
            along = (flat @ target_rows[name][rows].flatten()).unflatten(0, (draws, -1))
            among = products(flat.unflatten(0, (draws, -1)))
            found.append((*among, along.double().mean(0)))
            size += float(torch.linalg.vector_norm(flat)) ** 2 / len(flat)
        means, cross_draw, with_target = (
            torch.stack(parts).double().sum(0).cpu() for parts in zip(*found, strict=True)
        )
        length = max(float(norm(target)), _TINY) * size**0.5
        return means / size, cross_draw / size, with_target / length

    def passes(self, first: bool) -> dict[str, int]:
        """Return the images that a step sends through the network, by purpose."""
        count, draws = self.options.pairs, 2 if first else self.options.prefixes
        return {
            "validation gradients": count * self.options.val_batch,
            "training gradients": count * draws * len(self.candidates.distinct),
            "rewards": 0,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the pairs so far and the distributions that they led to."""
        return {"grams": self.grams.tensors(), "past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.grams, self.past = Grams(*state["grams"]), list(state["past"])
