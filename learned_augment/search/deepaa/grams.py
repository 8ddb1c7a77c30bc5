"""The fast way to rewards: all inner products of the candidates' gradients, measured once a pair.

The layers before are frozen, so a candidate's gradient G_n on an image does not depend on the
layer under search. For chances p the training gradient is g = sum_n p_n G_n, hence with K = <G, G>
and b = <G, v> a pair is known for every p without another pass through the network:

    |g|^2 = p K p
    cosine = <p, b> / (|v| |g|)
    reward_n = (b_n - (K p)_n <p, b> / |g|^2) / (|v| |g|)

which are the rewards of forward mode to rounding. A step measures a few new pairs and then moves
the layer by the rewards of all of its pairs so far. Shapes: P pairs so far, M kinds, R prefixes.

G_n is a mean over all draws of the layers before, of which R are seen. The noise of their mean
counts as length in its own K, and would be taken for a lack of direction. Products of different
draws only are free of it, but too uncertain for one image; so K is that of the mean, shortened by
the ratio of both over all pairs of the layer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends import apply_batch
from learned_augment.plan import NOISE
from learned_augment.runtime.distributed import share, total
from learned_augment.search.alignment import norm
from learned_augment.search.deepaa.candidates import Candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs, Pair
from learned_augment.search.deepaa.frozen import Frozen
from learned_augment.search.deepaa.logits import Logits, penalised
from learned_augment.search.deepaa.options import DeepAAOptions

__all__ = ["GramRewards", "Grams", "products"]

# Least length that is divided by: a network that is sure of an image may have no gradient there.
TINY = 1e-15

# The least ratio of squared lengths without and with the noise of the draws.
FLOOR = 0.02
WINDOW = 8


class Grams:
    """Pairs as inner products, all over the mean squared length of an image's gradients.

    Attributes:
        means: Of the mean gradients over the draws, (P, M, M) float64.
        crossed: Of gradients under different draws, summed over the pairs, (M, M): the sum of
            means without their noise.
        pulls: Of the mean gradients with the validation gradient over its length, (P, M).
    """

    def __init__(self, means: Tensor, crossed: Tensor, pulls: Tensor) -> None:
        self.means, self.crossed, self.pulls = means, crossed, pulls
        self.noisy = means.sum(0)

    def __len__(self) -> int:
        return len(self.pulls)

    def joined(self, other: "Grams") -> "Grams":
        """Return the pairs of both."""
        means, pulls = torch.cat([self.means, other.means]), torch.cat([self.pulls, other.pulls])
        return Grams(means, self.crossed + other.crossed, pulls)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return all tensors."""
        return self.means, self.crossed, self.pulls

    def cosines(self, chances: Tensor) -> Tensor:
        """Return the cosine of every pair, (P,), for chances (M,) of the kinds."""
        length = (self.means @ chances @ chances * self._ratio(chances)).sqrt()
        return (self.pulls @ chances) / length.clamp_min(TINY)

    def rewards(self, chances: Tensor) -> Tensor:
        """Return the gradient of every pair's cosine by the chances, (P, M)."""
        turned = self.means @ chances  # (P, M)
        square = (turned @ chances).clamp_min(TINY**2)
        length = (square * self._ratio(chances)).sqrt()
        cosine = (self.pulls @ chances) / length
        clean, noisy = self.crossed @ chances, self.noisy @ chances
        by_ratio = clean / (clean @ chances) - noisy / (noisy @ chances)
        if float(self._ratio(chances)) in (FLOOR, 1.0):
            by_ratio = torch.zeros_like(by_ratio)
        return self.pulls / length[:, None] - cosine[:, None] * (
            turned / square[:, None] + by_ratio
        )

    def _ratio(self, chances: Tensor) -> Tensor:
        """Return what part of the squared length is not noise, over all pairs, a scalar."""
        clean, noisy = self.crossed @ chances @ chances, self.noisy @ chances @ chances
        return (clean / noisy.clamp_min(TINY**2)).clamp(FLOOR, 1.0)


def products(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return inner products among M gradients from R noisy draws of each, (R, M, d).

    Returns:
        Of the means over the draws; and, averaged, of different draws only, which has no noise to
        add to lengths. Both (M, M); the same for a single draw.
    """
    draws = list(gradients)
    total = draws.pop()
    crossed = torch.zeros_like(total @ total.mT)
    while draws:
        draw = draws.pop()
        crossed = crossed + draw @ total.mT
        total = total + draw
    count = len(gradients)
    means = total @ total.mT / count**2
    if count == 1:
        return means, means
    return means, (crossed + crossed.mT) / (count * (count - 1))


def _no_pairs(count: int, kinds: int) -> Grams:
    """Return ``count`` pairs of which nothing is known yet."""
    zeros = partial(torch.zeros, dtype=torch.float64)
    return Grams(zeros(count, kinds, kinds), zeros(kinds, kinds), zeros(count, kinds))


class GramRewards:
    """Rewards of all pairs of the layer so far, several updates a step.

    Args:
        pairs: Where pairs come from.
        candidates: Of every layer.
        options: Of the search.
        generator: Of the augmented copies; CPU.
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
        """Bytes that the pairs of a whole layer take, at most: twice, while new ones join them."""
        pairs, kinds = self.options.steps * self.options.pairs, len(self.candidates.first)
        return 2 * pairs * kinds * kinds * torch.float64.itemsize

    def start_layer(self) -> None:
        """Forget the pairs of the layer before."""
        kinds = len(self.candidates.first)
        self.pool = _no_pairs(0, kinds)
        self.past: list[Tensor] = []

    def step(self, frozen: Frozen, layers: Sequence[Tensor], logits: Logits) -> dict[str, float]:
        """Draw pairs, measure, and improve the layer that comes after ``layers``."""
        self.pool = self.pool.joined(self.measure(frozen, layers))
        identity = torch.zeros(len(self.candidates.first), dtype=torch.float64)
        identity[0] = 1.0
        unseen = self.pool.cosines(self._kinds(logits))[-self.options.pairs :]
        gain = unseen - self.pool.cosines(identity)[-self.options.pairs :]
        penalty = self.options.penalty if layers else 0.0
        for _ in range(self.options.updates):
            rewards = penalised(self.pool.rewards(self._kinds(logits)), penalty)
            logits.improve(rewards[self.candidates.kind])
        fitted = self.pool.cosines(self._kinds(logits))
        expected = self._kinds(logits) @ penalised(self.pool.rewards(self._kinds(logits)), penalty)
        self.past.append(self._kinds(logits))
        return {
            "cosine": float(unseen.mean()),
            "gain": float(gain.mean()),
            "fitted_cosine": float(fitted.mean()),
            "fitted_deviation": float(fitted.std(correction=0)),
            "expected_reward": float(expected),
        }

    def risen(self) -> float:
        """Return what the last eight steps have added to the mean cosine of all pairs."""
        if len(self.past) <= WINDOW:
            return float("inf")
        now, then = self.past[-1], self.past[-1 - WINDOW]
        return float((self.pool.cosines(now) - self.pool.cosines(then)).mean())

    def _kinds(self, logits: Logits) -> Tensor:
        return self.candidates.of_kinds(logits.chances())

    def measure(self, frozen: Frozen, layers: Sequence[Tensor]) -> Grams:
        """Return the inner products of new pairs."""
        count, kinds, draws = self.options.pairs, len(self.candidates.first), self._draws(layers)
        chosen = self.pairs.draw(count)
        begun = None
        if layers:
            begun = self.candidates.policy(layers).sample(count * draws, self.generator)
        noise = torch.rand(count, draws, kinds, NOISE, generator=self.generator)
        means, crossed, pulls = _no_pairs(count, kinds).parts()
        for number in range(count)[share(count)]:
            pair, rows = chosen[number], slice(number * draws, (number + 1) * draws)
            images = self.pairs.pixels(pair).expand(draws, -1, -1, -1)
            images = images if begun is None else apply_batch(images, begun.rows(rows))
            images = self.candidates.apply_kinds(images, noise[number])
            means[number], of_pair, pulls[number] = self._of_pair(frozen, pair, images, draws)
            crossed += of_pair
        return Grams(total(means), total(crossed), total(pulls))

    def _draws(self, layers: Sequence[Tensor]) -> int:
        # Before layer 1 there is nothing to draw; its few random candidates still need two.
        return self.options.prefixes if layers else 2

    def _of_pair(
        self, frozen: Frozen, pair: Pair, images: Tensor, draws: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        target = self.pairs.target(frozen, pair)
        toward = frozen.rows(target)
        inputs = self.pairs.normalise(images)
        labels = torch.full((len(images),), pair.label, device=images.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        size = 1e-30
        for name, rows, each in frozen.each(inputs, labels):
            flat = each.flatten(1)  # (R M, d)
            pull = (flat @ toward[name][rows].flatten()).unflatten(0, (draws, -1))
            both = products(flat.unflatten(0, (draws, -1)))
            found.append((*both, pull.double().mean(0)))
            size += float(torch.linalg.vector_norm(flat)) ** 2 / len(flat)
        means, crossed, pulls = (
            torch.stack(parts).double().sum(0).cpu() for parts in zip(*found, strict=True)
        )
        return means / size, crossed / size, pulls / (max(float(norm(target)), TINY) * size**0.5)

    def passes(self, first: bool) -> dict[str, int]:
        """Return how many images a step sends through the network, by purpose."""
        count, prefixes = self.options.pairs, self.options.prefixes
        return {
            "validation gradients": count * self.options.val_batch,
            "training gradients": count * (2 if first else prefixes) * len(self.candidates.first),
            "rewards": 0,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the pairs so far and the policies they led to."""
        return {"pool": self.pool.parts(), "past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.pool, self.past = Grams(*state["pool"]), list(state["past"])
