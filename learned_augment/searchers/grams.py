"""The fast way to rewards: all inner products of the candidates' gradients, measured once a pair.

The layers before are frozen, so a candidate's gradient G_n on an image does not depend on the
layer under search. For chances p the training gradient is g = sum_n p_n G_n, hence with K = <G, G>
and b = <G, v> a pair is known for every p without another pass through the network:

    |g|^2 = p K p
    cosine = <p, b> / (|v| |g|)
    reward_n = (b_n - (K p)_n <p, b> / |g|^2) / (|v| |g|)

which are the rewards of forward mode to rounding. A step measures a few new pairs and then moves
the layer by the rewards of all of its pairs so far. Shapes: P pairs so far, M kinds, R prefixes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learned_augment.engines import apply_batch
from learned_augment.plan import NOISE
from learned_augment.searchers.alignment import norm
from learned_augment.searchers.candidates import Candidates
from learned_augment.searchers.class_pairs import ClassPairs, Pair
from learned_augment.searchers.deepaa_options import DeepAAOptions
from learned_augment.searchers.frozen import Frozen
from learned_augment.searchers.logits import Logits, penalised
from learned_augment.searchers.processes import share, total

__all__ = ["GramRewards", "Grams", "cross_products"]

# Products of different draws can come out negative where the gradient is noise; such an image
# would divide by next to nothing. The least |g|^2, as a share of the candidates' mean |G_n|^2.
FLOOR = 0.02
WINDOW = 8


class Grams:
    """Pairs as inner products.

    Attributes:
        products: <G_m, G_n> / mean_n <G_n, G_n>, (P, M, M) float64.
        pulls: <G_n, v> / (|v| sqrt(mean_n <G_n, G_n>)), (P, M) float64.
    """

    def __init__(self, products: Tensor, pulls: Tensor) -> None:
        self.products, self.pulls = products, pulls

    def __len__(self) -> int:
        return len(self.pulls)

    def joined(self, other: "Grams") -> "Grams":
        """Return the pairs of both."""
        return Grams(
            torch.cat([self.products, other.products]), torch.cat([self.pulls, other.pulls])
        )

    def _lengths(self, chances: Tensor) -> tuple[Tensor, Tensor]:
        turned = self.products @ chances  # (P, M)
        return turned, (turned @ chances).clamp_min(FLOOR).sqrt()

    def cosines(self, chances: Tensor) -> Tensor:
        """Return the cosine of every pair, (P,), for chances (M,) of the kinds."""
        return (self.pulls @ chances) / self._lengths(chances)[1]

    def rewards(self, chances: Tensor) -> Tensor:
        """Return the gradient of every pair's cosine by the chances, (P, M)."""
        turned, length = self._lengths(chances)
        along = (self.pulls @ chances) / length.square()
        return (self.pulls - turned * along[:, None]) / length[:, None]


def cross_products(gradients: Tensor) -> Tensor:
    """Return <G_m, G_n> (M, M) of mean gradients, from R noisy draws of them, (R, M, d).

    Only products of different draws are averaged, so that noise does not count as length; one
    draw is taken for exact.
    """
    draws = list(gradients)
    if len(draws) == 1:
        only: Tensor = draws[0] @ draws[0].mT
        return only
    later: Tensor = draws.pop()
    once: Tensor = draws[-1] @ later.mT
    for draw in reversed(draws[:-1]):
        later = later + draws.pop()
        once = once + draw @ later.mT
    return (once + once.mT) / (len(gradients) * (len(gradients) - 1))


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

    def start_layer(self) -> None:
        """Forget the pairs of the layer before."""
        kinds = len(self.candidates.first)
        empty = torch.zeros(0, kinds, dtype=torch.float64)
        self.pool = Grams(empty[:, :, None].expand(-1, -1, kinds), empty)
        self.past: list[Tensor] = []

    def step(self, frozen: Frozen, layers: Sequence[Tensor], logits: Logits) -> dict[str, float]:
        """Draw pairs, measure, and improve the layer that comes after ``layers``."""
        new = self.measure(frozen, layers)
        unseen = new.cosines(self._kinds(logits))
        identity = torch.zeros_like(new.pulls[0])
        identity[0] = 1.0
        gain = unseen - new.cosines(identity)
        self.pool = self.pool.joined(new)
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
        count, kinds, draws = self.options.pairs, len(self.candidates.first), self.options.prefixes
        chosen = self.pairs.draw(count)
        begun = None
        if layers:
            begun = self.candidates.policy(layers).sample(count * draws, self.generator)
        noise = torch.rand(count, draws, kinds, NOISE, generator=self.generator)
        products = torch.zeros(count, kinds, kinds, dtype=torch.float64)
        pulls = torch.zeros(count, kinds, dtype=torch.float64)
        for number in range(count)[share(count)]:
            pair, rows = chosen[number], slice(number * draws, (number + 1) * draws)
            images = self.pairs.pixels(pair).expand(draws, -1, -1, -1)
            images = images if begun is None else apply_batch(images, begun.rows(rows))
            images = self.candidates.apply_kinds(images, noise[number])
            products[number], pulls[number] = self._of_pair(frozen, pair, images)
        return Grams(total(products), total(pulls))

    def _of_pair(self, frozen: Frozen, pair: Pair, images: Tensor) -> tuple[Tensor, Tensor]:
        target = self.pairs.target(frozen, pair)
        toward = frozen.rows(target)
        inputs = self.pairs.normalise(images)
        labels = torch.full((len(images),), pair.label, device=images.device)
        products, pulls, size = [], [], 1e-30
        for name, rows, each in frozen.each(inputs, labels):
            flat = each.flatten(1)  # (R M, d)
            shape = (self.options.prefixes, -1)
            products.append(cross_products(flat.unflatten(0, shape)).double().cpu())
            pull = flat @ toward[name][rows].flatten()
            pulls.append(pull.unflatten(0, shape).double().mean(0).cpu())
            size += float(torch.linalg.vector_norm(flat)) ** 2 / len(flat)
        pull = torch.stack(pulls).sum(0) / (float(norm(target)) * size**0.5)
        return torch.stack(products).sum(0) / size, pull

    def passes(self, first: bool) -> dict[str, int]:
        """Return how many images a step sends through the network, by purpose."""
        count = self.options.pairs
        return {
            "validation gradients": count * self.options.val_batch,
            "training gradients": count * self.options.prefixes * len(self.candidates.first),
            "rewards": 0,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the pairs so far and the policies they led to."""
        return {"products": self.pool.products, "pulls": self.pool.pulls, "past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.pool, self.past = Grams(state["products"], state["pulls"]), list(state["past"])
