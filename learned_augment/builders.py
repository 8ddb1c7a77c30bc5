"""Functions that build policies: from layers, from sub-policies, and the known uniform ones."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, SupportsFloat

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from learned_augment._settings import positive_number
from learned_augment.ops import OPS, check_ops
from learned_augment.policy import Policy
from learned_augment.sampling import HOST
from learned_augment.search_spaces import SPACES, Range, Space, levels, mirror
from learned_augment.serialization import list_policies

__all__ = [
    "as_policy",
    "deep_trivial_augment",
    "from_layers",
    "from_sub_policies",
    "from_torchvision",
    "identity",
    "in_sequence",
    "mixture_of",
    "rand_augment",
    "trivial_augment",
    "uniform_layer",
]

Candidate = tuple[str, float, float]
"""(op, weight, value): weight is relative within its layer, value in the op's unit."""

Layer = Sequence[Candidate]


def from_layers(layers: Sequence[Layer], about: Mapping[str, Any] | None = None) -> Policy:
    """Build a policy of one sub-policy (DeepAA's form).

    Args:
        layers: For each layer its candidates (op, weight, value); weights need not sum to 1.
        about: The policy's provenance.

    Raises:
        ValueError: If a candidate is not such a triple, its op is unknown, or its weight or value
            is not allowed.

    Examples:
        >>> from_layers([[("Rotate", 0.5, 10.0), ("Identity", 0.5, 0.0)], [("Flip", 1.0, 0.5)]])
        Policy('unnamed', 1 sub-policy of 2 layers, up to 2 candidates, 3 ops)
    """
    layers = _listed(layers, "layers as a list of layers")
    for layer in layers:
        for candidate in _listed(layer, "each layer as a list of candidates"):
            _check_triple(candidate, "candidate as (op, weight, value)")
    return _build([layers], about)


def from_sub_policies(
    sub_policies: Sequence[Sequence[tuple[str, float, float]]],
    mirrored: Collection[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Policy:
    """Build an equal mixture of sub-policies (the form of AutoAugment, Fast AutoAugment, DADA).

    An (op, probability p, value) becomes a layer of two candidates: the op with weight p, and
    Identity with weight 1 - p. A mirrored op becomes two candidates with weight p / 2 each: one at
    the value, one at its mirror image.

    Args:
        sub_policies: Each a sequence of (op, probability of applying it, value).
        mirrored: Ops that take their value or its mirror image with equal probability.
        about: The policy's provenance.

    Raises:
        ValueError: If an op is not such a triple or is unknown, its probability is outside [0, 1],
            its value is not allowed, or `mirrored` is no list of ops.

    Examples:
        >>> policy = from_sub_policies([[("ShearX", 0.6, 0.2), ("Invert", 0.3, 0.0)]], ["ShearX"])
        >>> [round(float(share), 2) for share in policy.op_shares()["ShearX"]]
        [0.6, 0.0]
    """
    if isinstance(mirrored, str) or not isinstance(mirrored, Collection):
        raise ValueError(f"Expected mirrored as a list of op names, got {mirrored!r}.")
    check_ops(mirrored)
    return _build([[_applied(triple, mirrored) for triple in sub] for sub in sub_policies], about)


def in_sequence(policies: Sequence[Policy], about: Mapping[str, Any] | None = None) -> Policy:
    """Return one policy that applies several policies one after another.

    Args:
        policies: At least one. At most one of them has more than one sub-policy.
        about: The policy's provenance.

    Raises:
        ValueError: If there is no policy, one is of another type, or two have more than one
            sub-policy.

    Examples:
        >>> in_sequence([from_layers([[("PadCrop", 1.0, 0.125)]]), trivial_augment(32)]).depth
        2
    """
    mixtures = [policy for policy in _checked(policies) if len(policy.mixture) > 1]
    if len(mixtures) > 1:
        raise ValueError(
            "Expected at most one policy of several sub-policies, got "
            f"{[len(policy.mixture) for policy in policies]} sub-policies."
        )
    count = max(len(policy.mixture) for policy in policies)
    sub_policies = [
        [layer for policy in policies for layer in policy.layers(s % len(policy.mixture))]
        for s in range(count)
    ]
    built = _build(sub_policies, about)
    return replace(built, mixture=mixtures[0].mixture) if mixtures else built


def mixture_of(policies: Sequence[Policy], about: Mapping[str, Any] | None = None) -> Policy:
    """Return one policy that applies one of several policies to each image, equally likely.

    Args:
        policies: At least one.
        about: The policy's provenance.

    Raises:
        ValueError: If there is no policy, or one is of another type.

    Examples:
        >>> mixture_of([rand_augment(), trivial_augment(32)]).mixture.tolist()
        [0.5, 0.5]
    """
    parts = [(policy, s) for policy in _checked(policies) for s in range(len(policy.mixture))]
    built = _build([policy.layers(s) for policy, s in parts], about)
    return replace(built, mixture=torch.cat([one.mixture for one in policies]) / len(policies))


def _checked(policies: Sequence[Policy]) -> Sequence[Policy]:
    for policy in _listed(policies, "policies as a list"):
        if not isinstance(policy, Policy):
            raise ValueError(f"Expected each policy as a Policy, got {policy!r}; see Policy.load.")
    if not policies:
        raise ValueError("Expected at least one policy, got none.")
    return policies


def as_policy(policy: str | Path | Policy | AutoAugmentPolicy) -> Policy:
    """Return the policy that a ``Policy``, a name, a path or an ``AutoAugmentPolicy`` stands for.

    Raises:
        ValueError: If ``policy`` is none of these, or ``Policy.load`` refuses it.

    Examples:
        >>> as_policy(AutoAugmentPolicy.IMAGENET).name, as_policy("dada-cifar10").name
        ('autoaugment-imagenet', 'dada-cifar10')
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, AutoAugmentPolicy):
        return from_torchvision(policy)
    if isinstance(policy, str | Path):
        return Policy.load(policy)
    raise ValueError(
        f"Expected a policy name, a path, a Policy or an AutoAugmentPolicy, got {policy!r:.80}. "
        f"Shipped policies: {', '.join(list_policies())}."
    )


def identity() -> Policy:
    """Return the policy that changes nothing.

    Examples:
        >>> identity().depth
        1
    """
    return from_layers([[("Identity", 1.0, 0.0)]], {"name": "identity", "placement": "after"})


def trivial_augment(image_size: int = 224) -> Policy:
    """Return TrivialAugment-Wide: one op, one of 31 magnitudes, both uniform.

    Args:
        image_size: Side of the images in pixels. It turns the paper's translation of 32 pixels into
            a fraction of the side, at most 1.

    Raises:
        ValueError: If image_size is not a whole number of at least 1.

    Müller and Hutter, TrivialAugment, ICCV 2021, arXiv:2103.10158.

    Examples:
        >>> trivial_augment(image_size=32).depth
        1
    """
    space = dict(SPACES["trivialaugment"])
    reach = min(1.0, 32 / positive_number("image_size", image_size))
    space |= {name: Range(0.0, reach, mirrored=True) for name in ("TranslateX", "TranslateY")}
    layer = [
        candidate
        for name, span in space.items()
        for level in range(31)
        for candidate in _sides(name, 1.0, span.value(level / 30), span.mirrored)
    ]
    return from_layers([layer], _about("trivialaugment", "TrivialAugment-Wide", "2103.10158"))


def rand_augment(n: int = 2, m: float = 9) -> Policy:
    """Return RandAugment: ``n`` uniform ops, all at magnitude ``m`` of 30.

    Cubuk et al., RandAugment, NeurIPS 2020, arXiv:1909.13719.

    Raises:
        ValueError: If n is not a whole number of at least 1, or m is outside 0 to 30.

    Examples:
        >>> rand_augment(n=3).depth
        3
    """
    if isinstance(m, bool) or not isinstance(m, Real) or not 0 <= m <= 30:
        raise ValueError(f"Expected a magnitude m from 0 to 30, got {m!r}.")
    layer = [
        candidate
        for name, span in SPACES["randaugment"].items()
        for candidate in _sides(name, 1.0, span.value(m / 30), span.mirrored)
    ]
    about = _about("randaugment", f"RandAugment({n}, {m})", "1909.13719", "randaugment")
    return from_layers([layer] * positive_number("n", n), about)


def deep_trivial_augment(depth: int, space: str = "deepaa") -> Policy:
    """Return DeepTA: ``depth`` layers, each a uniform op of DeepAA's space at a uniform level.

    Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172, section 5.4.

    Raises:
        ValueError: If depth is not a whole number of at least 1, or there is no such space.

    Examples:
        >>> deep_trivial_augment(4).depth
        4
    """
    if space not in SPACES:
        raise ValueError(f"No space of ops named {space!r}. Available: {', '.join(SPACES)}.")
    layer = uniform_layer(SPACES[space])
    about = _about(f"deepta-{depth}", f"DeepTA({depth})", "2203.06172", space, "replaces")
    return from_layers([layer] * positive_number("depth", depth), about)


def uniform_layer(space: Space, count: int = 13) -> list[Candidate]:
    """Return every candidate of a space: ops equally likely, then their levels equally likely.

    Args:
        space: The ops with their ranges.
        count: Levels of each range, 2 or more; see `search_spaces.levels`.

    Examples:
        >>> layer = uniform_layer({"Invert": Range(), "Rotate": Range(-30.0, 30.0)}, count=3)
        >>> layer
        [('Invert', 1.0, 0.0), ('Rotate', 0.5, -30.0), ('Rotate', 0.5, 30.0)]
        >>> from_layers([layer, layer])
        Policy('unnamed', 1 sub-policy of 2 layers, up to 3 candidates, 2 ops)
    """
    return [
        (name, 1.0 / len(values), value)
        for name, span in space.items()
        for values in [levels(name, span, count)]
        for value in values
    ]


def from_torchvision(policy: AutoAugmentPolicy) -> Policy:
    """Return the AutoAugment policy that torchvision ships, with its probabilities and magnitudes.

    Raises:
        ValueError: If ``policy`` is not an ``AutoAugmentPolicy``.

    Examples:
        >>> from_torchvision(AutoAugmentPolicy.SVHN).name
        'autoaugment-svhn'
    """
    if not isinstance(policy, AutoAugmentPolicy):
        raise ValueError(f"Expected one of {[str(p) for p in AutoAugmentPolicy]}, got {policy!r}.")
    space = SPACES["autoaugment"]
    # Ops without a magnitude have None for their magnitude; the magnitudes count 0 to 9.
    sub_policies = [
        [(op, p, space[op].value((magnitude or 0) / 9)) for op, p, magnitude in sub]
        for sub in AutoAugment(policy).policies
    ]
    mirrored = [name for name, span in space.items() if span.mirrored]
    name = f"autoaugment-{policy.value}"
    about = _about(name, "AutoAugment", "1805.09501", "autoaugment")
    return from_sub_policies(sub_policies, mirrored, about)


def _about(
    name: str, method: str, arxiv: str, space: str | None = None, placement: str = "after"
) -> dict[str, str]:
    about = {"name": name, "method": method, "paper": f"arXiv:{arxiv}", "placement": placement}
    return about if space is None else about | {"space": space}


def _listed(given: Any, form: str) -> Sequence[Any]:
    """Return what is given; ValueError, which names the form, unless it is a list or the like."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return given
    raise ValueError(f"Expected {form}, got {given!r}.")


def _check_triple(given: Any, form: str) -> None:
    """Raise ValueError, which names the form, unless this is the name of an op and two numbers."""
    if isinstance(given, Sequence) and len(given) == 3:
        op, *figures = given
        if isinstance(op, str) and all(map(_is_figure, figures)):
            return
    raise ValueError(f"Expected each {form}, such as ('Rotate', 0.5, 20.0), got {given!r}.")


def _is_figure(given: Any) -> bool:
    # An array has as many dimensions as it says; a number says nothing.
    return isinstance(given, SupportsFloat) and not getattr(given, "ndim", 0)


def _sides(op: str, weight: float, value: float, mirrored: bool) -> list[Candidate]:
    """Return an op at a value; if it is mirrored, also at the mirror image, sharing the weight."""
    if not mirrored or value == OPS[op].identity_value:
        return [(op, weight, value)]
    return [(op, weight / 2, value), (op, weight / 2, mirror(op, value))]


def _applied(triple: tuple[str, float, float], mirrored: Collection[str]) -> Layer:
    """Return the layer that applies an op with a probability, and else does nothing."""
    _check_triple(triple, "op as (op, probability, value)")
    op, probability, value = triple
    if not 0 <= probability <= 1:
        raise ValueError(f"Expected a probability in [0, 1] for {op}, got {probability}.")
    check_ops([op])
    sides = _sides(op, probability, value, op in mirrored)
    return [*sides, ("Identity", 1 - probability, 0.0)]


def _build(sub_policies: Sequence[Sequence[Layer]], about: Mapping[str, Any] | None) -> Policy:
    """Return an equal mixture of sub-policies.

    Layers with fewer candidates than others are padded with Identity at weight 0, sub-policies with
    fewer layers with layers that do nothing.
    """
    if not sub_policies or not all(sub and all(sub) for sub in sub_policies):
        raise ValueError(
            "Expected at least one sub-policy, each of layers with candidates, got "
            f"{sub_policies!r}."
        )
    depth = max(len(sub) for sub in sub_policies)
    width = max(len(layer) for sub in sub_policies for layer in sub)
    rows = [
        [_padded(sub[i] if i < len(sub) else _NOTHING, width) for i in range(depth)]
        for sub in sub_policies
    ]
    used = {name for sub in rows for layer in sub for name, _, _ in layer}
    check_ops(used)
    ops = tuple(name for name in OPS if name in used)
    weights = _table(rows, lambda candidate: candidate[1])
    sums = weights.sum(-1, keepdim=True)
    wrong = (weights < 0).any(-1) | ~(sums[..., 0] > 0) | ~sums[..., 0].isfinite()
    if wrong.any():
        raise ValueError(
            "Expected weights of each layer that are not negative, not all 0, and of a finite sum, "
            f"got {weights[wrong][0].tolist()}."
        )
    return Policy(
        ops=ops,
        mixture=torch.full((len(rows),), 1 / len(rows), dtype=torch.float64, device=HOST),
        weights=weights / sums,
        op=_table(rows, lambda candidate: ops.index(candidate[0])),
        value=_table(rows, lambda candidate: candidate[2]),
        about=about or {},
    )


def _table(rows: Sequence[Sequence[Layer]], figure: Callable[[Candidate], float]) -> Tensor:
    """Return a figure of every candidate, (S, L, C) float64."""
    figures = [[[figure(candidate) for candidate in layer] for layer in sub] for sub in rows]
    return torch.tensor(figures, dtype=torch.float64, device=HOST)


_NOTHING: Layer = [("Identity", 1.0, 0.0)]


def _padded(layer: Layer, width: int) -> list[Candidate]:
    return [*layer, *[("Identity", 0.0, 0.0)] * (width - len(layer))]
