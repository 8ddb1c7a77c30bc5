"""Gradients of an expected cost through discrete choices: which pair, which of its ops to apply.

Shapes: B draws, S pairs (sub-policies), K = 2 ops a pair. Parameters are logits: ``alpha`` (S,) of
the categorical choice, ``chance`` (S, K) of the Bernoulli bits. Costs (B,) are to be minimised.
Estimators return one gradient per draw, (B, S) and (B, S, K); their mean over B is the estimate.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["ESTIMATORS", "Draw", "Estimate", "conditional", "draw", "new_surrogate", "relaxed"]

HIDDEN = 100


class Draw(NamedTuple):
    """B draws and the noise that made them.

    Attributes:
        choice: Which pair, (B,) int64.
        bits: Whether each op would be applied, (B, S, K) zeros and ones; those of the pairs that
            were not chosen have no effect.
        choice_noise: Uniform noise behind ``choice``, (B, S).
        bit_noise: Uniform noise behind ``bits``, (B, S, K).
        again_choice: Independent noise for the conditional sample of RELAX, (B, S).
        again_bits: The same for the bits, (B, S, K).
    """

    choice: Tensor
    bits: Tensor
    choice_noise: Tensor
    bit_noise: Tensor
    again_choice: Tensor
    again_bits: Tensor

    def chosen_bits(self) -> Tensor:
        """Return the bits of the chosen pairs, (B, K)."""
        return self.bits[torch.arange(len(self.choice)), self.choice]


class Estimate(NamedTuple):
    """Per-draw gradients; ``spread`` is a loss for the surrogate's weights, or None."""

    alpha: Tensor
    chance: Tensor
    spread: Tensor | None = None


class Evidence(NamedTuple):
    """What a step learned about its draws.

    Attributes:
        cost: Cost of every draw, (B,).
        pull: <d cost / d image, image - 1> for every draw, (B,): what `gumbel` needs. May be None.
        surrogate: Weights of the control variate (see `new_surrogate`), for `relax` alone.
        temperature: Of the relaxed samples.
    """

    cost: Tensor
    pull: Tensor | None = None
    surrogate: dict[str, Tensor] | None = None
    temperature: float = 0.5


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Away from 0 and 1, where the logarithms below leave float32.
    noise = torch.rand(shape, dtype=like.dtype, generator=generator)
    return noise.clamp(1e-6, 1 - 1e-6)


def relaxed(
    alpha: Tensor, chance: Tensor, choice_noise: Tensor, bit_noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z = (B, S) and (B, S, K), whose argmax and sign are the discrete draw."""
    gumbel = -torch.log(-torch.log(choice_noise))
    return torch.log_softmax(alpha, -1) + gumbel, chance + torch.logit(bit_noise)


def draw(alpha: Tensor, chance: Tensor, count: int, generator: torch.Generator | None) -> Draw:
    """Draw ``count`` times a pair and its bits, on the CPU."""
    shapes = ((count, *alpha.shape), (count, *chance.shape)) * 2
    noise = [_uniform(shape, alpha, generator) for shape in shapes]
    with torch.no_grad():
        choice, bits = relaxed(alpha, chance, noise[0], noise[1])
    return Draw(choice.argmax(-1), (bits > 0).to(alpha.dtype), *noise)


def _hot(alpha: Tensor, drawn: Draw) -> Tensor:
    return F.one_hot(drawn.choice, alpha.shape[-1]).to(alpha.dtype)


def _score(alpha: Tensor, chance: Tensor, drawn: Draw, cost: Tensor) -> Estimate:
    """Return cost * grad log p(draw), the bits of unchosen pairs left out."""
    hot = _hot(alpha, drawn)
    bits = hot[..., None] * (drawn.bits - torch.sigmoid(chance))
    return Estimate(cost[:, None] * (hot - torch.softmax(alpha, -1)), cost[:, None, None] * bits)


def score(alpha: Tensor, chance: Tensor, drawn: Draw, evidence: Evidence) -> Estimate:
    """Estimate by the plain score function, without baseline."""
    return _score(alpha, chance, drawn, evidence.cost)


def leave_one_out(alpha: Tensor, chance: Tensor, drawn: Draw, evidence: Evidence) -> Estimate:
    """Estimate with the mean cost of the other draws as baseline; unbiased, needs two draws."""
    cost = evidence.cost
    others = (cost.sum() - cost) / (len(cost) - 1)
    return _score(alpha, chance, drawn, cost - others)


def released(alpha: Tensor, chance: Tensor, drawn: Draw, evidence: Evidence) -> Estimate:
    """Estimate as DADA's released code does: no baseline left, all bits scored, chosen or not.

    Its scalar log p(pair) is added to the table of S x K bit probabilities before the sum, so the
    score of ``alpha`` counts S * K times. Its control variate cancels (see `relax`), hence is not
    computed.
    """
    cost = evidence.cost[:, None]
    choice = cost * chance.numel() * (_hot(alpha, drawn) - torch.softmax(alpha, -1))
    return Estimate(choice, cost[..., None] * (drawn.bits - torch.sigmoid(chance)))


def gumbel(alpha: Tensor, chance: Tensor, drawn: Draw, evidence: Evidence) -> Estimate:
    """Estimate straight through a Gumbel-Softmax: hard draw forward, relaxed gradient backward.

    Biased. The shortcut of GDAS (Dong and Yang 2019) that DADA's baseline takes: what was not
    drawn counts as an image of ones, so one number per draw, ``pull``, says what the drawn image
    is better by.
    """
    if evidence.pull is None:
        raise ValueError("The gumbel estimator needs the gradient of the cost by the image.")
    a, c = _copies(alpha, drawn), _copies(chance, drawn)
    choice, bits = relaxed(a, c, drawn.choice_noise, drawn.bit_noise)
    weight = (_hot(alpha, drawn) * torch.softmax(choice / evidence.temperature, -1)).sum(-1)
    soft = torch.sigmoid(bits / evidence.temperature) * (2 * drawn.bits - 1)
    applied = (_hot(alpha, drawn)[..., None] * soft).sum((-1, -2))
    return Estimate(*torch.autograd.grad((evidence.pull * (weight + applied)).sum(), (a, c)))


def _copies(parameter: Tensor, drawn: Draw) -> Tensor:
    """Return one copy of a parameter per draw, so that one backward gives every draw's gradient."""
    copies = parameter.detach().expand(len(drawn.choice), *parameter.shape)
    return copies.clone().requires_grad_()


def conditional(alpha: Tensor, chance: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
    """Return z~, drawn from the law of z given the discrete draw; differentiable in parameters.

    Given the pair c, the largest z is a standard Gumbel whatever the probabilities are, and the
    others are Gumbels cut off below it. Given a bit, its noise is uniform on the matching side.

    Tucker et al., REBAR, arXiv:1703.07370, appendix; Grathwohl et al., RELAX, arXiv:1711.00123.
    """
    hot, e = _hot(alpha, drawn), -torch.log(drawn.again_choice)
    top = (hot * e).sum(-1, keepdim=True)
    choice = -torch.log(torch.where(hot > 0, e, e / torch.softmax(alpha, -1) + top))
    p, v = torch.sigmoid(chance), drawn.again_bits
    return choice, chance + torch.logit(torch.where(drawn.bits > 0, 1 - p + v * p, v * (1 - p)))


def new_surrogate(
    pairs: int, slots: int, generator: torch.Generator | None, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return fresh weights of c_phi: S + S * K relaxed draws -> 100 tanh units -> one number."""
    inputs = pairs + pairs * slots
    shapes = {"w1": (HIDDEN, inputs), "b1": (HIDDEN,), "w2": (HIDDEN,), "b2": ()}
    scale = {"w1": inputs, "b1": inputs, "w2": HIDDEN, "b2": HIDDEN}
    return {
        name: (2 * torch.rand(shape, dtype=dtype, generator=generator) - 1) * scale[name] ** -0.5
        for name, shape in shapes.items()
    }


def _surrogate(evidence: Evidence, choice: Tensor, bits: Tensor) -> Tensor:
    phi, tau = evidence.surrogate, evidence.temperature
    if phi is None:
        raise ValueError("The relax estimator needs the weights of its surrogate: new_surrogate().")
    soft = torch.cat([torch.softmax(choice / tau, -1), torch.sigmoid(bits / tau).flatten(1)], -1)
    return torch.tanh((2 * soft - 1) @ phi["w1"].T + phi["b1"]) @ phi["w2"] + phi["b2"]


def relax(alpha: Tensor, chance: Tensor, drawn: Draw, evidence: Evidence) -> Estimate:
    """Estimate with RELAX: a learned control variate, unbiased whatever its weights are.

    The surrogate enters once per draw, against that draw's own cost. DADA's released code forms
    the estimate at two weights with the same noise and subtracts, which cancels every surrogate
    term. ``spread`` is the variance of the estimate, for the surrogate to minimise.

    Grathwohl et al., Backpropagation through the Void, arXiv:1711.00123.
    """
    a, c = _copies(alpha, drawn), _copies(chance, drawn)
    free = _surrogate(evidence, *relaxed(a, c, drawn.choice_noise, drawn.bit_noise))
    given = _surrogate(evidence, *conditional(a, c, drawn))
    by_alpha, by_chance = torch.autograd.grad((free - given).sum(), (a, c), create_graph=True)
    base = _score(alpha.detach(), chance.detach(), drawn, evidence.cost - given)
    hot = _hot(alpha, drawn)[..., None]
    estimate = Estimate(base.alpha + by_alpha, base.chance + hot * by_chance)
    spread = estimate.alpha.square().sum(-1) + estimate.chance.square().sum((-1, -2))
    return Estimate(estimate.alpha.detach(), estimate.chance.detach(), spread.mean())


Estimator = Callable[[Tensor, Tensor, Draw, Evidence], Estimate]

ESTIMATORS: dict[str, Estimator] = {
    "loo": leave_one_out,
    "relax": relax,
    "gumbel": gumbel,
    "none": score,
    "released": released,
}
