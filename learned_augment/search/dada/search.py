"""DADA: which pairs of ops, how often and how strong, by gradient alignment with validation images.

Every image of a training batch draws a pair of ops and whether to apply each; the draws whose
images' gradients point where validation images want to go are made more likely. Shapes: B images,
S pairs, K = 2 slots. What is learned about the policy is on the CPU in float64.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from learned_augment.builders import from_sub_policies
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import total
from learned_augment.search.dada.estimators import (
    ESTIMATORS,
    Draw,
    Evidence,
    draw,
    new_surrogate,
)
from learned_augment.search.dada.options import DADAOptions, read_options
from learned_augment.search.dada.pairs import SLOTS, SPACE, Pairs, choose_ops
from learned_augment.search.dada.parameters import new_parameters
from learned_augment.search.dada.proxy import Proxy
from learned_augment.search.method import Halves
from learned_augment.search.presets import Preset

__all__ = ["DADA", "dada"]

ADAM_BETAS = (0.5, 0.999)
TIES = 0x71E5  # sets the draws that break ties apart from the search's own


class DADA:
    """A DADA search under way; see `searcher.Searcher`.

    Args:
        halves: The data.
        network: Trained from its present weights; has one logit per class.
        preset: How the network is trained.
        options: How the policy is learned.
        ops: Among which to search, see `pairs.choose_ops`.
        generator: Of everything random; CPU.

    Li et al., DADA: Differentiable Automatic Data Augmentation, ECCV 2020, arXiv:2003.03780.
    """

    def __init__(
        self,
        halves: Halves,
        network: nn.Module,
        preset: Preset,
        options: DADAOptions,
        ops: tuple[str, ...],
        generator: torch.Generator,
    ) -> None:
        self.proxy = Proxy(halves, network, preset, options, generator)
        rate = options.rate(self.proxy.steps)
        self.options, self.generator = replace(options, policy_rate=rate), generator
        self.pairs = Pairs.of(ops)
        self.parameters = new_parameters(self.pairs, options.mode, generator)
        self.surrogate = new_surrogate(len(self.pairs), SLOTS, generator, torch.float64)
        leaves = list(self.parameters.tensors().values())
        if options.estimator == "relax":
            leaves += [weight.requires_grad_() for weight in self.surrogate.values()]
        self.adam = torch.optim.Adam(leaves, lr=rate, betas=ADAM_BETAS)
        self.cost_square = 0.0
        self.metrics: dict[str, float] = {}

    @property
    def steps(self) -> int:
        """Number of steps of the whole search."""
        return self.proxy.steps

    @property
    def done(self) -> int:
        """Number of steps taken."""
        return self.proxy.done

    @property
    def ahead(self) -> dict[str, int]:
        """Steps still to take: each trains both the network and the policy."""
        return {"network and policy": self.steps - self.done}

    def step(self) -> dict[str, float]:
        """Train the network by one batch, and the policy by what that batch did for validation."""
        alpha, chance = self.parameters.alpha.detach(), self.parameters.chance().detach()
        count = 1 if self.options.draw == "batch" else self.proxy.batch
        drawn = draw(alpha, chance, count, self.generator)
        magnitude = self.parameters.magnitude()
        true = self.options.magnitude == "true"
        plan = self.pairs.plan(
            *self._of_images(drawn), magnitude if true else magnitude.detach(), self.generator
        )
        images, labels = self.proxy.augmented(plan)
        found = self.proxy.judge(
            images.detach(),
            labels,
            by_pixel=self.options.magnitude != "none" or self.options.estimator == "gumbel",
        )
        # What validation gains by a training step along an image is the image's slope.
        cost = self.proxy.of_all(-found.slopes)
        by_pixel = None if found.by_pixel is None else -found.by_pixel
        by_magnitude = self._by_magnitude(drawn, magnitude, images, by_pixel)
        self._learn(drawn, cost, self._pull(images, by_pixel), magnitude, by_magnitude)
        self.metrics = {**found.metrics, "pairs_in_play": self._pairs_in_play()}
        return self.metrics

    def _of_images(self, drawn: Draw) -> tuple[Tensor, Tensor]:
        """Return pair (B,) and bits (B, K) of every image, also if all share one draw."""
        batch = self.proxy.batch
        return drawn.choice.expand(batch), drawn.chosen_bits().expand(batch, -1)

    def _by_magnitude(
        self, drawn: Draw, magnitude: Tensor, images: Tensor, by_pixel: Tensor | None
    ) -> Tensor:
        """Return the gradient of the mean cost by every magnitude, (S, K)."""
        if self.options.magnitude == "none" or by_pixel is None:
            return torch.zeros_like(magnitude)
        if self.options.magnitude == "true":
            mine = torch.zeros_like(magnitude)
            if images.requires_grad:  # unless no op with a magnitude was drawn
                slope = by_pixel / self.proxy.batch
                (mine,) = torch.autograd.grad(images, magnitude, slope, retain_graph=True)
            return total(mine)
        # The paper's dx/dm = 1: every applied op gets the sum over the network's input.
        choice, bits = self._of_images(drawn)
        each = bits * self.proxy.of_all(by_pixel.flatten(1).sum(1))[:, None] / len(choice)
        return torch.zeros_like(magnitude).index_add(0, choice, each)

    def _pull(self, images: Tensor, by_pixel: Tensor | None) -> Tensor | None:
        if self.options.estimator != "gumbel" or by_pixel is None:
            return None
        return self.proxy.of_all((by_pixel * (images.detach() - 1)).flatten(1).sum(1))

    def _learn(
        self,
        drawn: Draw,
        cost: Tensor,
        pull: Tensor | None,
        magnitude: Tensor,
        by_magnitude: Tensor,
    ) -> None:
        """Move the policy's parameters against the gradient of the mean cost."""
        if self.options.draw == "batch":
            cost, pull = cost.mean()[None], None if pull is None else pull.mean()[None]
        if self.options.estimator == "relax":
            cost = cost / self._cost_scale(cost)
        alpha, chance = self.parameters.alpha, self.parameters.chance()
        evidence = Evidence(cost, pull, self.surrogate, self.options.temperature)
        found = ESTIMATORS[self.options.estimator](alpha.detach(), chance.detach(), drawn, evidence)
        self.adam.zero_grad()
        slopes = [found.alpha.mean(0), found.chance.mean(0), by_magnitude]
        torch.autograd.backward([alpha, chance, magnitude], slopes)
        if found.spread is not None:
            torch.autograd.backward(found.spread, inputs=list(self.surrogate.values()))
        self.adam.step()

    def _cost_scale(self, cost: Tensor) -> float:
        """Return the running size of costs, so that the surrogate learns numbers of one size."""
        now = float(cost.square().mean())
        self.cost_square = 0.9 * (self.cost_square or now) + 0.1 * now
        return math.sqrt(self.cost_square) or 1.0

    def _pairs_in_play(self) -> float:
        """Return the perplexity of the choice: S at the start, 1 when one pair is left."""
        logs = torch.log_softmax(self.parameters.alpha.detach(), 0)
        return float(torch.exp(-(logs.exp() * logs).sum()))

    def policy(self) -> Policy:
        """Return the pairs of largest alpha, drawn uniformly, as the paper exports them."""
        alpha = self.parameters.alpha.detach()
        keep = min(self.options.keep, math.ceil(len(self.pairs) / 4))
        best = self._by_preference(alpha)[:keep].tolist()
        probability = torch.sigmoid(self.parameters.chance().detach())
        magnitude = self.parameters.magnitude().detach()
        about = {
            "method": "DADA",
            "paper": "arXiv:2003.03780",
            "placement": "after",
            "space": "dada",
            "options": asdict(self.options),
            "ops": list(self.pairs.ops),
            "steps": self.done,
            "metrics": self.metrics,
            "parameters": {
                "pairs": [self.pairs.names(pair) for pair in range(len(self.pairs))],
                "alpha": alpha.tolist(),
                "probability": probability.tolist(),
                "magnitude": magnitude.tolist(),
            },
        }
        return from_sub_policies(
            self.pairs.triples(best, probability, magnitude),
            [name for name in self.pairs.ops if SPACE[name].mirrored],
            about,
        )

    def _by_preference(self, alpha: Tensor) -> Tensor:
        """Return all pairs, best first; equal ones, as those never drawn, in the seed's order."""
        generator = torch.Generator().manual_seed(self.generator.initial_seed() ^ TIES)
        order = torch.randperm(len(alpha), generator=generator)
        return order[alpha[order].argsort(descending=True, stable=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that `step` changes."""
        return deepcopy(
            {
                "proxy": self.proxy.state_dict(),
                "parameters": {n: t.detach() for n, t in self.parameters.tensors().items()},
                "surrogate": {n: t.detach() for n, t in self.surrogate.items()},
                "adam": self.adam.state_dict(),
                "cost_square": self.cost_square,
                "metrics": self.metrics,
                "generator": self.generator.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.proxy.load_state_dict(state["proxy"])
        with torch.no_grad():
            for name, tensor in self.parameters.tensors().items():
                tensor.copy_(state["parameters"][name])
            for name, tensor in self.surrogate.items():
                tensor.copy_(state["surrogate"][name])
        self.adam.load_state_dict(state["adam"])
        self.cost_square = state["cost_square"]
        self.metrics = dict(state["metrics"])
        self.generator.set_state(state["generator"])


def dada(
    halves: Halves,
    network: nn.Module,
    preset: Preset,
    options: Mapping[str, Any],
    *,
    ops: tuple[str, ...] | None,
    exclude: tuple[str, ...],
    generator: torch.Generator,
) -> DADA:
    """Start a DADA search; see `searcher.Method` and, for ``options``, `options.DADAOptions`."""
    return DADA(halves, network, preset, read_options(options), choose_ops(ops, exclude), generator)
