"""What ``throughput.py`` times: our engines and their peers, on the same images.

A case is a call that augments some images, under a name of four parts: what goes in, whose it is,
which policy, and how randomness is shared. Peers that are not installed are left out, with reason.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from benchmarks.parity import papers
from benchmarks.throughput_dali import dali_auto_augment
from learned_augment import LearnedAugment, Policy
from learned_augment.backends.kornia_float import apply_smooth
from learned_augment.backends.pil import apply_image
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.builders import from_torchvision, trivial_augment
from learned_augment.plan import Step

__all__ = ["Call", "Case", "batch_of", "cases", "policies"]

GREY = (125, 123, 114)
Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        given: What goes in: "PIL", "uint8", "uint8 batch", "float batch", "float batch, backward".
        whose: "ours", or the library.
        policy: Which policy.
        draws: "per image", "per batch", or "-".
        images: Images that a call augments.
        threads: Threads that torch may use.
        call: What is timed.
    """

    given: str
    whose: str
    policy: str
    draws: str
    images: int
    threads: int
    call: Call


def policies() -> dict[str, Policy]:
    """Return the policies that are compared."""
    return {
        "AutoAugment": from_torchvision(AutoAugmentPolicy.CIFAR10),
        "TrivialAugment": trivial_augment(),
        "DADA": Policy.load("dada-cifar10"),
        "DeepAA": Policy.load("deepaa-cifar10"),
    }


def cases(images: list[Image.Image], batch: int) -> list[Case]:
    """Return every case for images of one size; batches repeat them up to ``batch``."""
    levels = batch_of(images, batch)
    ours = {name: LearnedAugment(policy) for name, policy in policies().items()}
    return [
        *_pil(images, ours),
        *_papers(images, ours),
        *_uint8(list(levels), ours),
        *_uint8_batch(levels, ours),
        *_float_batch(levels.float() / 255, ours),
    ]


def batch_of(images: list[Image.Image], batch: int) -> Tensor:
    """Return uint8 images (B, 3, H, W), repeated up to ``batch``."""
    levels = torch.stack([torch.from_numpy(np.array(im)).permute(2, 0, 1) for im in images])
    return levels.repeat(-(-batch // len(levels)), 1, 1, 1)[:batch].contiguous()


def _each(transform: Callable[[Any], Any], items: list[Any]) -> Call:
    turn = cycle(items)
    return lambda: transform(next(turn))


def _pil(images: list[Image.Image], ours: dict[str, LearnedAugment]) -> Iterator[Case]:
    peers: list[tuple[str, str, Any]] = [("ours", name, t) for name, t in ours.items()]
    peers += [
        ("torchvision v1", "AutoAugment", AutoAugment(AutoAugmentPolicy.CIFAR10)),
        ("torchvision v2", "AutoAugment", v2.AutoAugment(AutoAugmentPolicy.CIFAR10)),
        ("torchvision v2", "TrivialAugment", v2.TrivialAugmentWide()),
        ("timm", "AutoAugment", _timm(images[0].width)),
    ]
    for whose, policy, transform in peers:
        if transform is not None:
            yield Case("PIL", whose, policy, "per image", 1, 1, _each(transform, images))


def _timm(width: int) -> Any:
    try:
        from timm.data.auto_augment import auto_augment_transform
    except ImportError:
        return None
    given = {"translate_const": int(width * 0.45), "img_mean": GREY, "interpolation": 0}
    return auto_augment_transform("original", given)


def _papers(images: list[Image.Image], ours: dict[str, LearnedAugment]) -> Iterator[Case]:
    """Yield the papers' PIL calls: with draws as their code makes them, and on given steps."""
    for name in ("DADA", "DeepAA"):
        policy = ours[name].policy
        drawn = _papers_code(policy, one_at_a_time=name == "DADA")
        yield Case("PIL", "papers", name, "per image", 1, 1, _each(drawn, images))
        generator = torch.Generator().manual_seed(0)
        steps = [policy.draw(generator) for _ in range(500)]
        pairs = list(zip(images * (500 // len(images) + 1), steps, strict=False))
        for whose, apply in (("ours", apply_image), ("papers", _apply_papers)):
            call = _each(lambda pair, apply=apply: apply(*pair), pairs)
            yield Case("PIL, steps given", whose, name, "-", 1, 1, call)


def _papers_code(policy: Policy, one_at_a_time: bool) -> Callable[[Image.Image], Image.Image]:
    """Return a transform that draws and applies layer by layer, as the papers' code does."""
    value, names = policy.value.tolist(), policy.ops
    op, weights = policy.op.tolist(), policy.weights.numpy()

    def draw(s: int, layer: int) -> int:
        if not one_at_a_time:
            return int(np.random.choice(weights.shape[2], p=weights[s, layer]))
        u, total = random.random(), 0.0
        for c, weight in enumerate(weights[s, layer].tolist()):
            total += weight
            if u < total:
                return c
        return 0

    def transform(image: Image.Image) -> Image.Image:
        s = random.randrange(len(op))
        for layer in range(len(op[s])):
            c = draw(s, layer)
            noise = (random.random(), random.random(), random.random(), random.random())
            image = _papers_call(image, names[op[s][layer][c]], value[s][layer][c], noise)
        return image

    return transform


def _apply_papers(image: Image.Image, steps: list[Step]) -> Image.Image:
    for step in steps:
        image = _papers_call(image, step.op.name, step.value, step.noise)
    return image


def _papers_call(
    image: Image.Image, name: str, value: float, noise: tuple[float, ...]
) -> Image.Image:
    if name == "Identity":
        return image
    # Their code hands each op a copy.
    return _CALLS[name](image.copy(), value, noise)


def _pad_crop(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    pad = int(value * image.width + 0.5)
    x, y = int(noise[0] * (2 * pad + 1)), int(noise[1] * (2 * pad + 1))
    padded = ImageOps.expand(image, pad, GREY)
    return padded.crop((x, y, x + image.width, y + image.height))


def _cutout(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    width, height = image.size
    half, x, y = value * width / 2, noise[0] * width, noise[1] * height
    box = (max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half))
    ImageDraw.Draw(image).rectangle(box, GREY)
    return image


_CALLS = {**papers, "PadCrop": _pad_crop, "CutoutClipped": _cutout}
"""The papers' PIL calls, at any size."""


def _uint8(images: list[Tensor], ours: dict[str, LearnedAugment]) -> Iterator[Case]:
    for name, transform in ours.items():
        yield Case("uint8", "ours", name, "per image", 1, 1, _each(transform, images))
    peer = v2.AutoAugment(AutoAugmentPolicy.CIFAR10)
    yield Case("uint8", "torchvision v2", "AutoAugment", "per image", 1, 1, _each(peer, images))


def _uint8_batch(levels: Tensor, ours: dict[str, LearnedAugment]) -> Iterator[Case]:
    def case(whose: str, policy: str, draws: str, call: Call) -> Case:
        return Case("uint8 batch", whose, policy, draws, len(levels), 2, call)

    peer = v2.AutoAugment(AutoAugmentPolicy.CIFAR10)
    policy = ours["AutoAugment"].policy
    yield case("copy", "-", "-", levels.clone)
    for name, transform in ours.items():
        yield case("ours", name, "per image", lambda t=transform: t(levels))  # type: ignore[misc]
    yield case(
        "ours, plain torch",
        "AutoAugment",
        "per image",
        lambda: apply_exact(levels, policy.sample(len(levels))),
    )
    yield case("torchvision v2", "AutoAugment", "per batch", lambda: peer(levels))
    yield case(
        "torchvision v2",
        "AutoAugment",
        "per image",
        lambda: torch.stack([peer(im) for im in levels]),
    )
    dali = dali_auto_augment(levels, threads=2)
    if dali is not None:
        yield case("DALI", "AutoAugment", "per image", dali)


def _float_batch(images: Tensor, ours: dict[str, LearnedAugment]) -> Iterator[Case]:
    from kornia.augmentation.auto import AutoAugment as KorniaAutoAugment

    peer, auto = KorniaAutoAugment(policy="cifar10"), ours["AutoAugment"]
    policy = auto.policy

    def plain(images: Tensor) -> Tensor:
        return apply_smooth(images, policy.sample(len(images)))

    def backward(transform: Callable[[Tensor], Tensor]) -> Call:
        def call() -> None:
            given = images.detach().requires_grad_()
            out = transform(given)
            out.sum().backward()

        return call

    def case(given: str, whose: str, policy: str, draws: str, call: Call) -> Case:
        return Case(given, whose, policy, draws, len(images), 2, call)

    yield case("float batch", "copy", "-", "-", images.clone)
    yield case("float batch", "ours", "AutoAugment", "per image", lambda: auto(images))
    for whose, ours_or_plain in (("ours", auto), ("ours, plain torch", plain)):
        both = backward(ours_or_plain)
        yield case("float batch, backward", whose, "AutoAugment", "per image", both)
    yield case("float batch", "Kornia", "AutoAugment", "per batch", lambda: peer(images))
    yield case("float batch, backward", "Kornia", "AutoAugment", "per batch", backward(peer))
