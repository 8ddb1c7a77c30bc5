"""Gradient estimators for the expected cost of a random pair and of its randomly applied ops."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "Measurement",
    "PairDraws",
    "conditional",
    "draw",
    "new_surrogate",
    "relaxed",
]

_HIDDEN = 100


class PairDraws(NamedTuple):
    """B draws of a pair and its bits, with the noise that made them.

    Shapes: S pairs (sub-policies), K = 2 ops in each pair.

    Attributes:
        choice: Which pair, (B,) int64.
        bits: Whether each op would be applied, (B, S, K) zeros and ones; those of the pairs that
            were not chosen have no effect.
        choice_noise: Uniform noise from which ``choice`` was computed, (B, S).
        bit_noise: Uniform noise from which ``bits`` were computed, (B, S, K).
        cond_choice_noise: Independent noise for the conditional sample of RELAX, (B, S).
        cond_bit_noise: The same for the bits, (B, S, K).
    """

    choice: Tensor
    bits: Tensor
    choice_noise: Tensor
    bit_noise: Tensor
    cond_choice_noise: Tensor
    cond_bit_noise: Tensor

    def chosen_bits(self) -> Tensor:
        """Return the bits of the chosen pairs, (B, K)."""
        return self.bits[torch.arange(len(self.choice)), self.choice]


class Estimate(NamedTuple):
    """Gradients of the cost of every draw; their mean over the draws is the estimate.

    The parameters are logits: ``alpha`` (S,) of the choice of a pair, ``beta`` (S, K) of the bits.

    Attributes:
        alpha: By the logits of the pairs, (B, S).
        beta: By the logits of the bits, (B, S, K).
        variance: Loss for the weights of the surrogate, (); None without one.
    """

    alpha: Tensor
    beta: Tensor
    variance: Tensor | None = None


class Measurement(NamedTuple):
    """Measurements of the draws of one step.

    Attributes:
        cost: Cost of every draw, (B,). The search minimizes it.
        image_term: <d cost / d image, image - 1> for every draw, (B,); only `gumbel` needs it.
        surrogate: Weights of the control variate (see `new_surrogate`); only `relax` needs them.
        temperature: Temperature of the relaxed samples.
    """

    cost: Tensor
    image_term: Tensor | None = None
    surrogate: dict[str, Tensor] | None = None
    temperature: float = 0.5


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Away from 0 and 1, where the logarithms below leave float32.
    noise = torch.rand(shape, dtype=like.dtype, generator=generator)
    return noise.clamp(1e-6, 1 - 1e-6)


def relaxed(
    alpha: Tensor, beta: Tensor, choice_noise: Tensor, bit_noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z, (B, S) and (B, S, K): its argmax and its sign are the discrete draw."""
    gumbel = -torch.log(-torch.log(choice_noise))
    return torch.log_softmax(alpha, -1) + gumbel, beta + torch.logit(bit_noise)


def draw(alpha: Tensor, beta: Tensor, count: int, generator: torch.Generator | None) -> PairDraws:
    """Draw a pair and its bits ``count`` times, on the CPU."""
    shapes = ((count, *alpha.shape), (count, *beta.shape)) * 2
    noise = [_uniform(shape, alpha, generator) for shape in shapes]
    with torch.no_grad():
        choice, bits = relaxed(alpha, beta, noise[0], noise[1])
    return PairDraws(choice.argmax(-1), (bits > 0).to(alpha.dtype), *noise)


def _one_hot(alpha: Tensor, drawn: PairDraws) -> Tensor:
    return F.one_hot(drawn.choice, alpha.shape[-1]).to(alpha.dtype)


def _score(alpha: Tensor, beta: Tensor, drawn: PairDraws, cost: Tensor) -> Estimate:
    """Return cost * grad log p(draw), the bits of unchosen pairs left out."""
    hot = _one_hot(alpha, drawn)
    bits = hot[..., None] * (drawn.bits - torch.sigmoid(beta))
    return Estimate(cost[:, None] * (hot - torch.softmax(alpha, -1)), cost[:, None, None] * bits)


def score(alpha: Tensor, beta: Tensor, drawn: PairDraws, measured: Measurement) -> Estimate:
    """Estimate by the plain score function, without baseline."""
    return _score(alpha, beta, drawn, measured.cost)


def leave_one_out(alpha: Tensor, beta: Tensor, drawn: PairDraws, measured: Measurement) -> Estimate:
    """Estimate with the mean cost of the other draws as baseline; unbiased, needs two draws."""
    cost = measured.cost
    others = (cost.sum() - cost) / (len(cost) - 1)
    return _score(alpha, beta, drawn, cost - others)


def released(alpha: Tensor, beta: Tensor, drawn: PairDraws, measured: Measurement) -> Estimate:
    """Estimate as DADA's released code does: without baseline, with the score of all bits.

    Its scalar log p(pair) is added to the table of S x K bit probabilities before the sum, so the
    score of ``alpha`` counts S * K times. Its control variate cancels (see `relax`) and is not
    computed.
    """
    cost = measured.cost[:, None]
    choice = cost * beta.numel() * (_one_hot(alpha, drawn) - torch.softmax(alpha, -1))
    return Estimate(choice, cost[..., None] * (drawn.bits - torch.sigmoid(beta)))


def gumbel(alpha: Tensor, beta: Tensor, drawn: PairDraws, measured: Measurement) -> Estimate:
    """Estimate straight through a Gumbel-Softmax: hard draw forward, relaxed gradient backward.

    The estimate is biased. It takes the shortcut of GDAS (Dong and Yang 2019), as DADA's baseline
    does: every pair that was not drawn counts as an image of ones. So one number for each draw,
    ``image_term``, compares the drawn image with it.
    """
    if measured.image_term is None:
        raise ValueError("The gumbel estimator needs the gradient of the cost by the image.")
    a, c = _copies(alpha, drawn), _copies(beta, drawn)
    choice, bits = relaxed(a, c, drawn.choice_noise, drawn.bit_noise)
    weight = (_one_hot(alpha, drawn) * torch.softmax(choice / measured.temperature, -1)).sum(-1)
    soft = torch.sigmoid(bits / measured.temperature) * (2 * drawn.bits - 1)
    applied = (_one_hot(alpha, drawn)[..., None] * soft).sum((-1, -2))
    return Estimate(*torch.autograd.grad((measured.image_term * (weight + applied)).sum(), (a, c)))


def _copies(parameter: Tensor, drawn: PairDraws) -> Tensor:
    """Return one copy of a parameter per draw, so that one backward gives every draw's gradient."""
    copies = parameter.detach().expand(len(drawn.choice), *parameter.shape)
    return copies.clone().requires_grad_()


def conditional(alpha: Tensor, beta: Tensor, drawn: PairDraws) -> tuple[Tensor, Tensor]:
    """Return z~, drawn from the distribution of z given the discrete draw; differentiable.

    Given the pair c, the largest z is a standard Gumbel for any probabilities, and the others are
    Gumbels truncated at it. Given a bit, its noise is uniform on the matching side.

    Tucker et al., REBAR, arXiv:1703.07370, appendix; Grathwohl et al., RELAX, arXiv:1711.00123.
    """
    hot, e = _one_hot(alpha, drawn), -torch.log(drawn.cond_choice_noise)
    top = (hot * e).sum(-1, keepdim=True)
    choice = -torch.log(torch.where(hot > 0, e, e / torch.softmax(alpha, -1) + top))
    p, v = torch.sigmoid(beta), drawn.cond_bit_noise
    return choice, beta + torch.logit(torch.where(drawn.bits > 0, 1 - p + v * p, v * (1 - p)))


def new_surrogate(
    pairs: int, slots: int, generator: torch.Generator | None, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return initial weights of the surrogate: S + S * K inputs, 100 tanh units, one output."""
    inputs = pairs + pairs * slots
    shapes = {"w1": (_HIDDEN, inputs), "b1": (_HIDDEN,), "w2": (_HIDDEN,), "b2": ()}
    scale = {"w1": inputs, "b1": inputs, "w2": _HIDDEN, "b2": _HIDDEN}
    return {
        name: (2 * torch.rand(shape, dtype=dtype, generator=generator) - 1) * scale[name] ** -0.5
        for name, shape in shapes.items()
    }


def _surrogate(measured: Measurement, choice: Tensor, bits: Tensor) -> Tensor:
    phi, tau = measured.surrogate, measured.temperature
    if phi is None:
        raise ValueError("The relax estimator needs the weights of its surrogate: new_surrogate().")
    soft = torch.cat([torch.softmax(choice / tau, -1), torch.sigmoid(bits / tau).flatten(1)], -1)
    return torch.tanh((2 * soft - 1) @ phi["w1"].T + phi["b1"]) @ phi["w2"] + phi["b2"]


def relax(alpha: Tensor, beta: Tensor, drawn: PairDraws, measured: Measurement) -> Estimate:
    """Estimate with RELAX: a learned control variate, unbiased for any weights of it.

    The surrogate enters once per draw, against that draw's own cost. DADA's released code forms
    the estimate at two weights with the same noise and subtracts, which cancels every surrogate
    term. ``variance`` is that of the estimate, for the surrogate to minimize.

    Grathwohl et al., Backpropagation through the Void, arXiv:1711.00123.
    """
    a, c = _copies(alpha, drawn), _copies(beta, drawn)
    free = _surrogate(measured, *relaxed(a, c, drawn.choice_noise, drawn.bit_noise))
    given = _surrogate(measured, *conditional(a, c, drawn))
    by_alpha, by_beta = torch.autograd.grad((free - given).sum(), (a, c), create_graph=True)
    base = _score(alpha.detach(), beta.detach(), drawn, measured.cost - given)
    hot = _one_hot(alpha, drawn)[..., None]
    estimate = Estimate(base.alpha + by_alpha, base.beta + hot * by_beta)
    variance = estimate.alpha.square().sum(-1) + estimate.beta.square().sum((-1, -2))
    return Estimate(estimate.alpha.detach(), estimate.beta.detach(), variance.mean())


Estimator = Callable[[Tensor, Tensor, PairDraws, Measurement], Estimate]

ESTIMATORS: dict[str, Estimator] = {
    "loo": leave_one_out,
    "relax": relax,
    "gumbel": gumbel,
    "none": score,
    "released": released,
}
"""Estimators by the name of their option."""
