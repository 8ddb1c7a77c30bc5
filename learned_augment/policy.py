"""The policy, a mixture of sub-policies as four tensors, and the plan, which holds its draws."""

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learned_augment import hub, serialization
from learned_augment._io import NOT_PICKLED
from learned_augment.model_card import model_card
from learned_augment.ops import OPS, Op, check_ops, registered_ops
from learned_augment.sampling import (
    HOST,
    NOISE,
    Draw,
    Tables,
    choose,
    policy_tables,
    random_numbers,
)

__all__ = ["Plan", "Policy", "Step"]


class Step(NamedTuple):
    """One op of a plan, at its value, for one image; ``noise`` holds four numbers in [0, 1)."""

    op: Op
    value: float
    noise: tuple[float, float, float, float]


class Plan:
    """The ops of each image of a batch, as CPU tensors.

    Shapes: B images, L layers.

    Args:
        ops: Names of the ops; ``op`` holds positions in this list.
        op: (B, L) int64, which op.
        value: (B, L) float64, at which value, in the op's unit. May require a gradient.
        noise: (B, L, 4) float32 in [0, 1), for the ops that choose a place.

    Raises:
        ValueError: If an op is unknown, the shapes do not fit each other, or ``op`` holds a number
            that is no position in ``ops``.

    Attributes:
        ops: As given.
        draw: The random numbers of a plan that ``Policy.sample`` drew, else None. Compiled code
            turns them into ops itself; ``op``, ``value`` and ``noise`` are computed when first
            read.

    Examples:
        >>> from learned_augment.builders import from_layers
        >>> plan = from_layers([[("Rotate", 1.0, 20.0)], [("Flip", 1.0, 0.5)]]).sample(8)
        >>> plan
        Plan(8 images, 2 layers, 2 ops)
        >>> [(step.op.name, step.value) for step in plan.steps(0)]  # of the first image
        [('Rotate', 20.0), ('Flip', 0.5)]
    """

    def __init__(self, ops: tuple[str, ...], op: Tensor, value: Tensor, noise: Tensor) -> None:
        shapes = tuple(op.shape), tuple(value.shape), tuple(noise.shape)
        if len(shapes[0]) != 2 or shapes != (shapes[0], shapes[0], (*shapes[0], NOISE)):
            raise ValueError(
                f"Expected op and value of shape (B, L) and noise of shape (B, L, {NOISE}), got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}."
            )
        check_ops(ops)
        _check_positions(op, len(ops))
        self.ops = ops
        self._draw: Draw | None = None
        # Of one dtype each, so that compiled code is compiled once.
        self._tensors = (op.to(torch.int64), value.to(torch.float64), noise.to(torch.float32))

    @classmethod
    def drawn(cls, ops: tuple[str, ...], draw: Draw) -> "Plan":
        """Return the plan for random numbers and the tables of a policy."""
        plan = cls.__new__(cls)
        plan.ops, plan._draw = ops, draw
        return plan

    @property
    def draw(self) -> Draw | None:
        """The random numbers of a drawn plan, until its tensors are read: these may be changed."""
        return None if "_tensors" in self.__dict__ else self._draw

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        assert self._draw is not None
        numbers, tables = self._draw
        candidates = choose(numbers, tables.mixture, tables.weights, tables.layers)
        noise = numbers[:, 1 + tables.layers :].reshape(len(numbers), tables.layers, NOISE)
        op, value = tables.op[candidates], tables.value[candidates]
        return torch.from_numpy(op), torch.from_numpy(value), torch.from_numpy(noise)

    @property
    def op(self) -> Tensor:
        """The op of each image and layer, (B, L) int64: a position in ``ops``."""
        return self._tensors[0]

    @property
    def value(self) -> Tensor:
        """The value of each image and layer in the op's unit, (B, L) float64."""
        return self._tensors[1]

    @property
    def noise(self) -> Tensor:
        """Four numbers for each image and layer, for ops that choose a place: (B, L, 4) float32."""
        return self._tensors[2]

    @property
    def op_rows(self) -> tuple[Op, ...]:
        """Rows of the op table for the names in ``ops``, as the table is now."""
        return tuple(map(OPS.__getitem__, self.ops))

    @property
    def requires_grad(self) -> bool:
        """True if the values require a gradient."""
        return self.draw is None and self.value.requires_grad

    def __len__(self) -> int:
        draw = self.draw
        return len(draw.numbers) if draw is not None else len(self.op)

    def rows(self, index: Sequence[int] | Tensor | slice) -> "Plan":
        """Return the plan of the images that ``index`` chooses, in its order.

        Examples:
            >>> plan = Policy.load("dada-cifar10").sample(8)
            >>> plan.rows([0] * 3)  # what the first image gets, for three images
            Plan(3 images, 2 layers, 16 ops)
        """
        plan = Plan.__new__(Plan)  # rows of a plan need no check
        plan.ops, plan._draw = self.ops, None
        plan._tensors = (self.op[index], self.value[index], self.noise[index])
        return plan

    def steps(self, image: int) -> list[Step]:
        """Return the ops of one image, with values and noise, except those that change nothing."""
        rows = zip(
            self.op[image].tolist(),
            self.value[image].tolist(),
            self.noise[image].tolist(),
            strict=True,
        )
        steps = [Step(OPS[self.ops[op]], value, tuple(noise)) for op, value, noise in rows]
        return [step for step in steps if step.value != step.op.identity_value]

    def __repr__(self) -> str:
        images, layers = self.op.shape
        return f"Plan({images} images, {layers} layers, {len(self.ops)} ops)"


@dataclass(frozen=True, eq=False)
class Policy:
    """A mixture of sub-policies, each a sequence of layers of candidates: an immutable value.

    Shapes: S sub-policies, L layers, C candidates, O ops.

    Attributes:
        ops: (O,) names of the ops; ``op`` holds positions in this list.
        mixture: (S,) float64, probability of each sub-policy; sums to 1.
        weights: (S, L, C) float64, probability of each candidate of a layer; sums to 1 over C.
        op: (S, L, C) int64, op of each candidate.
        value: (S, L, C) float64, value of each candidate, in the op's unit.
        about: Where the policy comes from, as plain JSON data. Its keys are "name", "method",
            "paper", "source", "licence" (the license; the files spell it so), "placement", and
            more. The placement is "replaces" or "after": the policy replaces the base augmentation
            of crop, flip and cutout, or comes after it.

    Raises:
        ValueError: If the tensors are not a policy; the message names the first fault.

    Examples:
        >>> policy = Policy.load("dada-cifar10")
        >>> policy
        Policy('dada-cifar10', 25 sub-policies of 2 layers, up to 3 candidates, 16 ops)
        >>> policy.sample(8).op.shape
        torch.Size([8, 2])
    """

    ops: tuple[str, ...]
    mixture: Tensor
    weights: Tensor
    op: Tensor
    value: Tensor
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        for name, dtype in _DTYPES.items():
            tensor = torch.as_tensor(getattr(self, name), dtype=dtype, device=HOST)
            # Adding 0 turns -0.0 into 0.0: they are equal, but their bytes differ.
            own = tensor.detach().clone(memory_format=torch.contiguous_format).add_(0)
            object.__setattr__(self, name, own)
        object.__setattr__(self, "about", _frozen_about(self.about))
        _validate(self)

    @property
    def name(self) -> str:
        """The policy's name, or "unnamed"."""
        return str(self.about.get("name", "unnamed"))

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return self.weights.shape[1]

    def layers(self, sub_policy: int) -> list[list[tuple[str, float, float]]]:
        """Return the layers of a sub-policy, each a list of candidates (op, weight, value).

        Candidates of weight 0, which are never drawn, are left out.

        Args:
            sub_policy: Number of the sub-policy, from 0.

        Examples:
            >>> from learned_augment.builders import from_layers
            >>> from_layers([[("Rotate", 0.25, 20.0), ("Identity", 0.75, 0.0)]]).layers(0)
            [[('Rotate', 0.25, 20.0), ('Identity', 0.75, 0.0)]]
        """
        ops, tensors = self.ops, (self.op, self.weights, self.value)
        columns = (tensor[sub_policy].tolist() for tensor in tensors)
        return [
            [(ops[op], weight, value) for op, weight, value in zip(*layer, strict=True) if weight]
            for layer in zip(*columns, strict=True)
        ]

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Policy":
        """Load a shipped policy by its name, or any policy file by its path or its Hub address.

        Args:
            name_or_path: One of ``list_policies()``, a path ending in ``.safetensors``, or
                ``hf://OWNER/REPO/FILE.safetensors``, with ``@REVISION`` after REPO if wanted; a
                file of the Hugging Face Hub is downloaded once (needs the ``hub`` extra).

        Raises:
            ValueError: If there is no such policy (the message lists the shipped ones), or if the
                file cannot be downloaded, is truncated, has another format version, or holds no
                policy.
            ModuleNotFoundError: For an address on the Hub, if huggingface_hub is not installed.

        Examples:
            >>> Policy.load("dada-cifar10").name
            'dada-cifar10'
        """
        path, data = serialization.read(name_or_path)
        try:
            return cls.decode(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def decode(cls, data: bytes) -> "Policy":
        """Return the policy that ``encode`` wrote as bytes.

        Raises:
            ValueError: If the bytes are no policy file, as for ``load``.

        Examples:
            >>> policy = Policy.load("dada-cifar10")
            >>> Policy.decode(policy.encode()) == policy
            True
        """
        ops, tensors, about = serialization.decode(data)
        return cls(ops, **tensors, about=about)

    def save(self, path: str | Path) -> Path:
        """Write the policy as one safetensors file, all or nothing; return its path.

        Raises:
            ValueError: If the path does not end in ``.safetensors`` or its folder does not exist.
            OSError: If the file cannot be written; an old file is still there then.

        Examples:
            >>> from learned_augment.builders import rand_augment
            >>> path = rand_augment(n=1).save("mine.safetensors")
            >>> Policy.load(path) == rand_augment(n=1)
            True
        """
        return serialization.write(path, self.encode())

    def push_to_hub(
        self,
        repository: str,
        *,
        file: str | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Publish the policy with a model card on the Hugging Face Hub (needs the ``hub`` extra).

        One commit writes both files, and replaces files of the same names. ``Policy.load`` then
        accepts ``hf://OWNER/REPO/FILE``.

        Args:
            repository: OWNER/REPO; it is created if there is none.
            file: Name of the file in the repository; None is the policy's name with
                ``.safetensors``.
            private: Whether a new repository is private; None is the owner's default.
            token: An access token; None is the one that ``hf auth login`` keeps.

        Returns:
            The address of the commit.

        Raises:
            ValueError: If the repository's or the file's name is of another form, or the Hub
                refuses.
            ModuleNotFoundError: If huggingface_hub is not installed.
        """
        file = file or re.sub(r"[^\w.-]+", "-", self.name, flags=re.ASCII) + ".safetensors"
        hub.check_address(f"{hub.PREFIX}{repository}/{file}")
        ops = {name: layers.tolist() for name, layers in self.op_shares().items()}
        card = model_card(repository, file, self.about, ops)
        files = {file: self.encode(), "README.md": card.encode(errors="replace")}
        message = f"Add the policy {self.name}"
        return hub.upload(repository, files, message=message, private=private, token=token)

    def encode(self) -> bytes:
        """Return the policy's file as bytes; equal policies give equal bytes.

        Raises:
            ValueError: If ``about`` is nested deeper than a file may be.
        """
        tensors = {name: getattr(self, name) for name in serialization.TENSORS}
        return serialization.encode(self.ops, tensors, self.about)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Plan:
        """Draw a plan for ``n`` images; the draws of the images are independent.

        Args:
            n: Number of images B; 0 gives an empty plan.
            generator: CPU generator; torch's global one by default.

        Examples:
            >>> Policy.load("dada-cifar10").sample(4).op.shape  # (images, layers)
            torch.Size([4, 2])
        """
        tables = self._tables
        return Plan.drawn(self.ops, Draw(random_numbers(n, tables.layers, generator), tables))

    @cached_property
    def _tables(self) -> Tables:
        return policy_tables(self.mixture, self.weights, self.op, self.value)

    def op_shares(self) -> dict[str, Tensor]:
        """Return each op's probability in each layer, (L,) float64, over all sub-policies.

        Examples:
            >>> from learned_augment.builders import from_layers
            >>> policy = from_layers([[("Rotate", 0.25, 20.0), ("Identity", 0.75, 0.0)]])
            >>> policy.op_shares()["Rotate"]
            tensor([0.2500], dtype=torch.float64)
        """
        shares = torch.zeros(len(self.ops), self.depth, dtype=torch.float64, device=HOST)
        weights = self.mixture[:, None, None] * self.weights  # (S, L, C)
        layer = torch.arange(self.depth, device=HOST)[None, :, None].expand_as(self.op)
        shares.index_put_((self.op, layer), weights, accumulate=True)
        return dict(zip(self.ops, shares, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        same = all(torch.equal(getattr(self, n), getattr(other, n)) for n in _DTYPES)
        return same and self.ops == other.ops and dict(self.about) == dict(other.about)

    def __hash__(self) -> int:
        return hash((self.ops, *(t.numpy().tobytes() for t in (self.value, self.weights))))

    def __repr__(self) -> str:
        s, layers, c = self.weights.shape
        return (
            f"Policy({self.name!r}, {s} sub-polic{'y' if s == 1 else 'ies'} of {layers} "
            f"layer{'' if layers == 1 else 's'}, up to {c} candidates, {len(self.ops)} ops)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        sent = tuple(filter(_can_be_sent, registered_ops(self.ops)))
        tensors = (self.mixture, self.weights, self.op, self.value)
        return _received, (sent, self.ops, *tensors, json.loads(json.dumps(dict(self.about))))


def _can_be_sent(op: Op) -> bool:
    """Return whether another process can be sent an op; a lambda or inner function cannot."""
    try:
        pickle.dumps(op)
    except NOT_PICKLED:
        return False
    return True


def _received(sent: tuple[Op, ...], ops: tuple[str, ...], *fields: Any) -> Policy:
    """Return a pickled policy; register the user's ops that came with it.

    Raises:
        ValueError: If this process does not know an op.
    """
    for op in sent:
        OPS.setdefault(op.name, op)
    unknown = [name for name in ops if name not in OPS]
    if unknown:
        raise ValueError(
            f"This process does not know the op {unknown[0]!r}, whose definition is a lambda or an "
            "inner function. Define it at the top level of a file, or work in one process "
            "(workers=1)."
        )
    return Policy(ops, *fields)


_DTYPES = {
    "mixture": torch.float64,
    "weights": torch.float64,
    "op": torch.int64,
    "value": torch.float64,
}


def _frozen_about(about: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return MappingProxyType(json.loads(json.dumps(dict(about), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected plain JSON data in about, got {error}.") from error


def _validate(policy: Policy) -> None:
    _validate_ops(policy.ops)
    _validate_shapes(policy)
    _validate_probabilities("mixture", policy.mixture)
    _validate_probabilities("weights", policy.weights)
    _validate_values(policy)


def _validate_ops(ops: tuple[str, ...]) -> None:
    check_ops(ops)
    if not ops or len(set(ops)) != len(ops):
        raise ValueError(f"Expected distinct op names, at least one, got {list(ops)}.")


def _validate_shapes(policy: Policy) -> None:
    shape = tuple(policy.weights.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"Expected weights of shape (S, L, C), none of them 0, got {shape}.")
    for name, expected in {"mixture": shape[:1], "op": shape, "value": shape}.items():
        given = tuple(getattr(policy, name).shape)
        if given != expected:
            raise ValueError(f"Expected {name} of shape {expected} to fit weights, got {given}.")


def _validate_probabilities(name: str, probabilities: Tensor) -> None:
    wrong = ~torch.isfinite(probabilities) | (probabilities < 0)
    if wrong.any():
        first = probabilities[wrong][0].item()
        raise ValueError(f"Expected {name} to be finite and not negative, got {first:g}.")
    sums = probabilities.sum(-1)
    if ((sums - 1).abs() > 1e-6).any():
        worst = sums.flatten()[(sums - 1).abs().argmax()].item()
        raise ValueError(f"Expected {name} to sum to 1, got {worst:.9g}; divide by the sum.")


def _check_positions(op: Tensor, ops: int) -> None:
    wrong = op[(op < 0) | (op >= ops)].tolist()
    if wrong:
        raise ValueError(f"Expected op to hold positions in ops, 0 to {ops - 1}, got {wrong[0]}.")


def _validate_values(policy: Policy) -> None:
    _check_positions(policy.op, len(policy.ops))
    limits = [(OPS[name].low, OPS[name].high) for name in policy.ops]
    low, high = torch.tensor(limits, dtype=torch.float64, device=HOST)[policy.op].unbind(-1)
    wrong = ~((policy.value >= low) & (policy.value <= high)) & (policy.weights > 0)
    if wrong.any() or not torch.isfinite(policy.value).all():
        where = (wrong | ~torch.isfinite(policy.value)).nonzero()[0].tolist()
        op = OPS[policy.ops[int(policy.op[tuple(where)])]]
        value = policy.value[tuple(where)].item()
        raise ValueError(
            f"Expected a value of {op.name} from {op.low:g} to {op.high:g}"
            f"{f' ({op.unit})' if op.unit else ''}, got {value:g} at {tuple(where)}."
        )
