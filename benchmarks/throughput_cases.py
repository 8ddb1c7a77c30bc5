"""Define the cases that ``throughput.py`` times, in this process or in others."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from learned_augment import LearnedAugment, Policy
from learned_augment.builders import from_torchvision, trivial_augment

__all__ = [
    "SEED",
    "Case",
    "Images",
    "Input",
    "Worker",
    "fixed_cases",
    "our_cases",
    "peers_of_varying_sizes",
    "serve",
]

ROOT = Path(__file__).parent.parent
SEED = 0
PICTURES = 64
SPREAD = 0.4
"""Largest change of a side where sizes vary."""

Call = Callable[[], object]


class Input(NamedTuple):
    """The images that a case gets.

    Attributes:
        folder: Pictures, searched to the bottom; None for made ones.
        side: In pixels, that images have or that their sides vary around.
        batch: Images of a batch; 0 for single images of varying sizes.
        device: Where tensors are.
    """

    folder: Path | None
    side: int
    batch: int
    device: str = "cpu"


@dataclass(frozen=True)
class Case:
    """A call that augments some images, under a name of four parts.

    The parts are its input, whose code it is, the policy, and how randomness is shared. A case runs
    in this process or in a ``Worker``. Both take turns, so their figures may be compared.

    Attributes:
        given: The kind of input: "PIL", "uint8", "uint8 batch", "float batch", "float batch,
            backward"; "PIL, varying sizes" and "uint8, varying sizes".
        whose: "ours", or the library.
        policy: Which policy.
        draws: "per image", "per batch", or "-".
        images: Images that a call augments.
        threads: Threads that torch may use.
        seconds: Returns the seconds of a number of calls.
    """

    given: str
    whose: str
    policy: str
    draws: str
    images: int
    threads: int
    seconds: Callable[[int], float]

    @property
    def name(self) -> str:
        """The text in which ``--only`` looks for its own."""
        return f"{self.given}: {self.whose}, {self.policy}, {self.draws}"


def timed(call: Call, threads: int, device: str = "cpu") -> Callable[[int], float]:
    """Return what runs a call some times, from an idle device to an idle device.

    One thread is measured in processor time, which other work on the machine disturbs least.
    """
    clock = time.process_time if threads == 1 and device == "cpu" else time.perf_counter

    def seconds(calls: int) -> float:
        torch.set_num_threads(threads)
        _wait(device)
        start = clock()
        for _ in range(calls):
            call()
        _wait(device)
        return clock() - start

    return seconds


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


class Images:
    """The images of an input, the same in every process."""

    def __init__(self, given: Input) -> None:
        source = random.Random(SEED)
        spread = SPREAD if given.batch == 0 else 0.0
        self.pil, self.given = [], given
        for picture in _pictures(given.folder):
            width, height = (
                round(given.side * source.uniform(1 - spread, 1 + spread)) for _ in "xy"
            )
            self.pil.append(ImageOps.fit(picture, (width, height)))
        self.levels = [torch.from_numpy(np.array(im)).permute(2, 0, 1) for im in self.pil]

    def batch(self) -> Tensor:
        """Return uint8 images (B, 3, H, W), repeated up to the batch."""
        count = self.given.batch
        levels = torch.stack(self.levels).repeat(-(-count // len(self.levels)), 1, 1, 1)
        return levels[:count].contiguous().to(self.given.device)


def _pictures(folder: Path | None) -> list[Image.Image]:
    """Return evenly picked pictures of a folder, or made ones."""
    if folder is None:
        coarse = np.random.default_rng(SEED).integers(0, 256, (PICTURES, 8, 8, 3), dtype=np.uint8)
        return [Image.fromarray(pixels) for pixels in coarse]
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"No JPEG pictures in {folder}.")
    picked = (paths[:: max(1, len(paths) // PICTURES)] * PICTURES)[:PICTURES]
    return [Image.open(path).convert("RGB") for path in picked]


def policies(data: AutoAugmentPolicy) -> dict[str, Policy]:
    """Return the policies that are compared, of a data set."""
    return {
        "AutoAugment": from_torchvision(data),
        "TrivialAugment": trivial_augment(),
        "DADA": Policy.load(f"dada-{data.value}"),
        "DeepAA": Policy.load(f"deepaa-{data.value}"),
    }


def _single(
    given: str, whose: str, policy: str, transform: Callable[[Any], Any], items: Sequence[Any]
) -> Case:
    turn = cycle(items)
    call = timed(lambda: transform(next(turn)), 1)
    return Case(given, whose, policy, "per image", 1, 1, call)


def our_cases(images: Images, whose: str) -> Iterator[Case]:
    """Yield every case of the package that this process imports."""
    if images.given.batch == 0:
        yield from _ours_of_varying_sizes(images, whose)
        return
    ours = {name: LearnedAugment(p) for name, p in policies(AutoAugmentPolicy.CIFAR10).items()}
    levels, device = images.batch(), images.given.device
    if device == "cpu":
        for name, transform in ours.items():
            yield _single("PIL", whose, name, transform, images.pil)
            yield _single("uint8", whose, name, transform, images.levels)
    for name, transform in ours.items():
        yield _batch("uint8 batch", whose, name, "per image", transform, levels)
        if name in ("AutoAugment", "DeepAA"):
            yield from _float_batch(whose, name, "per image", transform, levels)


def _ours_of_varying_sizes(images: Images, whose: str) -> Iterator[Case]:
    for name, policy in policies(AutoAugmentPolicy.IMAGENET).items():
        if name != "DeepAA":
            transform = LearnedAugment(policy)
            yield _single("PIL, varying sizes", whose, name, transform, images.pil)
            yield _single("uint8, varying sizes", whose, name, transform, images.levels)
            if (apply := _former_apply_image()) is not None:
                drawn = lambda im, p=policy, apply=apply: apply(im, p.draw())  # noqa: E731
                how = f"{whose}, apply_image(image, policy.draw())"
                yield _single("PIL, varying sizes", how, name, drawn, images.pil)


def _former_apply_image() -> Callable[..., Any] | None:
    """Return the function of that name of commits before the package had ``backends/``."""
    try:
        from learned_augment.engines.pil import apply_image
    except ImportError:
        return None
    return apply_image  # type: ignore[no-any-return]


def _batch(
    given: str, whose: str, policy: str, draws: str, transform: Call | Any, images: Tensor
) -> Case:
    threads = 2 if images.device.type == "cpu" else 1
    call = timed(lambda: transform(images), threads, str(images.device))
    return Case(given, whose, policy, draws, len(images), threads, call)


def _float_batch(
    whose: str, policy: str, draws: str, transform: Callable[[Tensor], Tensor], levels: Tensor
) -> Iterator[Case]:
    def backward(images: Tensor) -> None:
        transform(images.detach().requires_grad_()).sum().backward()

    floats = levels / 255
    yield _batch("float batch", whose, policy, draws, transform, floats)
    yield _batch("float batch, backward", whose, policy, draws, backward, floats)


def fixed_cases(images: Images) -> Iterator[Case]:
    """Yield the peers' cases for images of one size, and a copy."""
    from kornia.augmentation.auto import AutoAugment as KorniaAutoAugment

    from benchmarks.throughput_peers import dali_auto_augment

    levels, device = images.batch(), images.given.device
    peer, kornia = v2.AutoAugment(AutoAugmentPolicy.CIFAR10), KorniaAutoAugment(policy="cifar10")
    if device == "cpu":
        yield from _peers_of_single_images(images)
        loop = lambda batch: torch.stack([peer(im) for im in batch])  # noqa: E731
        yield _batch("uint8 batch", "torchvision v2", "AutoAugment", "per image", loop, levels)
    yield _batch("uint8 batch", "copy", "-", "-", torch.clone, levels)
    yield _batch("uint8 batch", "torchvision v2", "AutoAugment", "per batch", peer, levels)
    if (dali := dali_auto_augment(levels, threads=2, gpu=levels.is_cuda)) is not None:
        yield _batch("uint8 batch", "DALI", "AutoAugment", "per image", lambda _: dali(), levels)
    yield _batch("float batch", "copy", "-", "-", torch.clone, levels / 255)
    yield from _float_batch("Kornia", "AutoAugment", "per batch", kornia, levels)


def _peers_of_single_images(images: Images) -> Iterator[Case]:
    from benchmarks.papers_code import PAPERS, papers_transform
    from benchmarks.throughput_peers import timm_auto_augment

    pil: list[tuple[str, str, Any]] = [
        ("torchvision v1", "AutoAugment", AutoAugment(AutoAugmentPolicy.CIFAR10)),
        ("torchvision v2", "AutoAugment", v2.AutoAugment(AutoAugmentPolicy.CIFAR10)),
        ("torchvision v2", "TrivialAugment", v2.TrivialAugmentWide()),
        ("timm", "AutoAugment", timm_auto_augment(images.given.side)),
    ]
    for whose, name, transform in pil:
        if transform is not None:
            yield _single("PIL", whose, name, transform, images.pil)
    peer = v2.AutoAugment(AutoAugmentPolicy.CIFAR10)
    yield _single("uint8", "torchvision v2", "AutoAugment", peer, images.levels)
    compared = policies(AutoAugmentPolicy.CIFAR10)
    for name in ("DADA", "DeepAA"):
        drawn = papers_transform(compared[name], one_at_a_time=name == "DADA")
        yield _single("PIL", "papers", name, drawn, images.pil)
        plan = compared[name].sample(500, torch.Generator().manual_seed(SEED))
        values, noise = plan.value.tolist(), plan.noise.tolist()
        rows = [
            [(PAPERS[plan.ops[k]], v, tuple(n)) for k, v, n in zip(*row, strict=True)]
            for row in zip(plan.op.tolist(), values, noise, strict=True)
        ]
        pairs = list(zip(images.pil * (500 // len(images.pil) + 1), rows, strict=False))
        case = _single("PIL", "papers", name, _apply_row, pairs)
        yield Case(case.given, case.whose, name, "given", 1, 1, case.seconds)


def _apply_row(pair: tuple[Image.Image, list[tuple[Any, float, tuple[float, ...]]]]) -> Image.Image:
    image, row = pair
    for call, value, noise in row:
        image = call(image.copy(), value, noise)
    return image


def peers_of_varying_sizes(images: Images) -> Iterator[Case]:
    """Yield the peers' cases for single images of varying sizes."""
    from benchmarks.papers_code import papers_transform
    from benchmarks.throughput_peers import albumentations_transform

    pil, levels = "PIL, varying sizes", "uint8, varying sizes"
    compared = policies(AutoAugmentPolicy.IMAGENET)
    peer = v2.AutoAugment(AutoAugmentPolicy.IMAGENET)
    yield _single(pil, "torchvision v2", "AutoAugment", peer, images.pil)
    yield _single(levels, "torchvision v2", "AutoAugment", peer, images.levels)
    drawn = papers_transform(compared["DADA"], one_at_a_time=True)
    yield _single(pil, "papers", "DADA", drawn, images.pil)
    drawn = papers_transform(compared["AutoAugment"], one_at_a_time=True)
    yield _single(pil, "papers", "AutoAugment", drawn, images.pil)
    if (equal := albumentations_transform(compared["AutoAugment"])) is not None:
        arrays = [np.array(image) for image in images.pil]
        name = "NumPy, varying sizes"
        yield _single(name, "AlbumentationsX", "AutoAugment", equal, arrays)


class Worker:
    """A process that holds the cases of one checkout, with compilers missing or not.

    Args:
        whose: What its cases are called.
        checkout: Whose package it imports.
        without: Modules that cannot be imported there.
    """

    def __init__(self, whose: str, checkout: Path = ROOT, without: Sequence[str] = ()) -> None:
        self.whose, self.without = whose, without
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        # What cannot be imported is missing before anything else is imported.
        script = (
            f"import sys; sys.modules |= dict.fromkeys({[*without]}); import learned_augment; "
            # The benchmarks are these, whatever the checkout has.
            f"sys.path.insert(0, {str(ROOT)!r}); "
            f"from benchmarks.throughput_cases import serve; serve({whose!r})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-P", "-c", script],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def cases(self, given: Input) -> list[Case]:
        """Return its cases for an input."""
        found = self._ask(["build", given.folder and str(given.folder), *given[1:]])
        return [
            Case(*row, seconds=lambda calls, k=k: self._ask([k, calls]))
            for k, row in enumerate(found)
        ]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, question: list[Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"The process of {self.whose!r} has ended; its message stands above.")
        return json.loads(answer)


def serve(whose: str) -> None:
    """Answer a ``Worker``'s questions until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr
    found: list[Case] = []
    for line in sys.stdin:
        match json.loads(line):
            case ["build", folder, side, batch, device]:
                found = list(
                    our_cases(Images(Input(folder and Path(folder), side, batch, device)), whose)
                )
                fields = [asdict(case) for case in found]
                answer: Any = [[v for k, v in f.items() if k != "seconds"] for f in fields]
            case [k, calls]:
                answer = found[k].seconds(calls)
        print(json.dumps(answer), file=answers, flush=True)
