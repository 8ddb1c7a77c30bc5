"""DADA: learn the probability and magnitude of pairs of ops by gradient alignment."""

import math
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_augment.builders import from_sub_policies
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import all_reduce_sum
from learned_augment.search.cost import Phase, measured_phase
from learned_augment.search.dada.estimators import (
    ESTIMATORS,
    Measurement,
    PairDraws,
    draw,
    new_surrogate,
)
from learned_augment.search.dada.options import DADAOptions
from learned_augment.search.dada.proxy_training import ProxyTraining
from learned_augment.search.dada.space import SLOTS, choose_pairs, new_parameters
from learned_augment.search.options import Options
from learned_augment.search.presets import MethodSettings
from learned_augment.search.split import Split

__all__ = ["DADA"]

_ADAM_BETAS = (0.5, 0.999)
_TIE_SEED = 0x71E5  # separates the draws that break ties from the search's own
_PHASE = "network and policy"


class DADA:
    """A DADA search in progress; see `method.SearchMethod` for its arguments.

    Each image of a training batch draws a pair of ops, and whether each of the two is applied. A
    draw becomes more likely if the gradient of its image has a positive inner product with the
    validation gradient. The policy's parameters are on the CPU in float64.

    Shapes: B images, S pairs, K = 2 slots.

    Li et al., DADA: Differentiable Automatic Data Augmentation, ECCV 2020, arXiv:2003.03780.
    """

    options_type: ClassVar[type[Options]] = DADAOptions

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        settings: MethodSettings,
        options: DADAOptions,
        generator: torch.Generator,
    ) -> None:
        self.pairs = choose_pairs(settings.ops, settings.exclude)
        self.proxy = ProxyTraining(split, network, settings, options, generator)
        rate = options.rate(self.proxy.steps)
        self.options, self.generator = replace(options, policy_rate=rate), generator
        self.parameters = new_parameters(self.pairs, options.mode, generator)
        self.surrogate = new_surrogate(len(self.pairs), SLOTS, generator, torch.float64)
        leaves = list(self.parameters.tensors().values())
        if options.estimator == "relax":
            leaves += [weight.requires_grad_() for weight in self.surrogate.values()]
        self.adam = torch.optim.Adam(leaves, lr=rate, betas=_ADAM_BETAS)
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
    def remaining(self) -> dict[str, int]:
        """Steps still to take: each trains both the network and the policy."""
        return {_PHASE: self.steps - self.done}

    def step(self) -> dict[str, float]:
        """Train the network by one batch, and the policy by the alignment of its images."""
        alpha, beta = self.parameters.alpha.detach(), self.parameters.apply_logits().detach()
        count = 1 if self.options.draw == "batch" else self.proxy.batch
        drawn = draw(alpha, beta, count, self.generator)
        magnitude = self.parameters.magnitude()
        differentiable = self.options.magnitude == "true"
        plan = self.pairs.plan(
            *self._of_images(drawn),
            magnitude if differentiable else magnitude.detach(),
            self.generator,
        )
        images, labels = self.proxy.augmented(plan)
        found = self.proxy.train(
            images.detach(),
            labels,
            by_pixel=self.options.magnitude != "none" or self.options.estimator == "gumbel",
        )
        # A training step along an image lowers the validation loss by the image's derivative.
        cost = self.proxy.of_all(-found.derivatives)
        by_pixel = None if found.by_pixel is None else -found.by_pixel
        by_magnitude = self._by_magnitude(drawn, magnitude, images, by_pixel)
        self._learn(drawn, cost, self._image_term(images, by_pixel), magnitude, by_magnitude)
        self.metrics = {**found.metrics, "pairs_in_play": self._effective_pairs()}
        return self.metrics

    def _of_images(self, drawn: PairDraws) -> tuple[Tensor, Tensor]:
        """Return the pair (B,) and the bits (B, K) of every image, also if all share one draw."""
        batch = self.proxy.batch
        return drawn.choice.expand(batch), drawn.chosen_bits().expand(batch, -1)

    def _by_magnitude(
        self, drawn: PairDraws, magnitude: Tensor, images: Tensor, by_pixel: Tensor | None
    ) -> Tensor:
        """Return the gradient of the mean cost by every magnitude, (S, K)."""
        if self.options.magnitude == "none" or by_pixel is None:
            return torch.zeros_like(magnitude)
        if self.options.magnitude == "true":
            own = torch.zeros_like(magnitude)
            if images.requires_grad:  # unless no op with a magnitude was drawn
                grads = by_pixel / self.proxy.batch
                (own,) = torch.autograd.grad(images, magnitude, grads, retain_graph=True)
            return all_reduce_sum(own)
        # The paper's dx/dm = 1: every applied op gets the sum over the network's input.
        choice, bits = self._of_images(drawn)
        each = bits * self.proxy.of_all(by_pixel.flatten(1).sum(1))[:, None] / len(choice)
        return torch.zeros_like(magnitude).index_add(0, choice, each)

    def _image_term(self, images: Tensor, by_pixel: Tensor | None) -> Tensor | None:
        if self.options.estimator != "gumbel" or by_pixel is None:
            return None
        return self.proxy.of_all((by_pixel * (images.detach() - 1)).flatten(1).sum(1))

    def _learn(
        self,
        drawn: PairDraws,
        cost: Tensor,
        image_term: Tensor | None,
        magnitude: Tensor,
        by_magnitude: Tensor,
    ) -> None:
        """Move the policy's parameters against the gradient of the mean cost."""
        if self.options.draw == "batch":
            cost = cost.mean()[None]
            image_term = None if image_term is None else image_term.mean()[None]
        if self.options.estimator == "relax":
            cost = cost / self._cost_scale(cost)
        alpha, beta = self.parameters.alpha, self.parameters.apply_logits()
        measured = Measurement(cost, image_term, self.surrogate, self.options.temperature)
        found = ESTIMATORS[self.options.estimator](alpha.detach(), beta.detach(), drawn, measured)
        self.adam.zero_grad()
        grads = [found.alpha.mean(0), found.beta.mean(0), by_magnitude]
        torch.autograd.backward([alpha, beta, magnitude], grads)
        if found.variance is not None:
            torch.autograd.backward(found.variance, inputs=list(self.surrogate.values()))
        self.adam.step()

    def _cost_scale(self, cost: Tensor) -> float:
        """Return the running root mean square of the costs, by which the surrogate divides them."""
        now = float(cost.square().mean())
        self.cost_square = 0.9 * (self.cost_square or now) + 0.1 * now
        return math.sqrt(self.cost_square) or 1.0

    def _effective_pairs(self) -> float:
        """Return the perplexity of the choice: S at the start, 1 when one pair is left."""
        logs = torch.log_softmax(self.parameters.alpha.detach(), 0)
        return float(torch.exp(-(logs.exp() * logs).sum()))

    def policy(self) -> Policy:
        """Return the pairs of largest alpha, drawn uniformly, as the paper exports them."""
        alpha = self.parameters.alpha.detach()
        keep = min(self.options.keep, math.ceil(len(self.pairs) / 4))
        best = self._by_preference(alpha)[:keep].tolist()
        probability = torch.sigmoid(self.parameters.apply_logits().detach())
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
                "pairs": [self.pairs.name(pair) for pair in range(len(self.pairs))],
                "alpha": alpha.tolist(),
                "probability": probability.tolist(),
                "magnitude": magnitude.tolist(),
            },
        }
        return from_sub_policies(
            self.pairs.sub_policies(best, probability, magnitude),
            [name for name, span in self.pairs.space.items() if span.mirrored],
            about,
        )

    def _by_preference(self, alpha: Tensor) -> Tensor:
        """Return all pairs, best first; the seed orders ties, as of pairs that were not drawn."""
        generator = torch.Generator().manual_seed(self.generator.initial_seed() ^ _TIE_SEED)
        order = torch.randperm(len(alpha), generator=generator)
        return order[alpha[order].argsort(descending=True, stable=True)]

    def phases(self) -> list[Phase]:
        """Return the cost of the steps, which are all alike; takes trial steps."""
        return [measured_phase(_PHASE, self.steps, self.step, self, self.proxy.split.nbytes)]

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
        """Continue where `state_dict` was taken."""
        self.proxy.load_state_dict(state["proxy"])
        with torch.no_grad():
            for name, tensor in self.parameters.tensors().items():
                tensor.copy_(state["parameters"][name])
            for name, tensor in self.surrogate.items():
                tensor.copy_(state["surrogate"][name])
        self.adam.load_state_dict(deepcopy(state["adam"]))  # it changes its tensors in place
        self.cost_square = state["cost_square"]
        self.metrics = dict(state["metrics"])
        self.generator.set_state(state["generator"])
