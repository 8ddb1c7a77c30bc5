"""Check by calls what other packages take and do: the table of docs/evidence/peers.md.

    python -m benchmarks.peers     (writes results/peers.json; seconds)

Every package applies AutoAugment's policy for ImageNet. A check makes one call for each seed and
counts what came of it. A package that is not installed is left out.
"""

import random
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import AutoAugmentPolicy, v2

from benchmarks.record import save_result
from benchmarks.throughput_peers import albumentations_compose, timm_auto_augment
from learned_augment import LearnedAugment

SEEDS = range(50)
BATCH = 8
SIDE = 64
NAMES = {
    "learned_augment": "learned-augment",
    "torchvision v2": "torchvision",
    "Kornia": "kornia",
    "timm": "timm",
    "AlbumentationsX": "albumentationsx",
}
"""Packages by the name that the table has for them, with the name that pip has."""

Call = Callable[[Any], Any]


def picture() -> Image.Image:
    """Return a colored image on which every op shows."""
    levels = torch.linspace(20, 235, SIDE)
    pixels = torch.stack(
        [levels.expand(SIDE, SIDE), levels.expand(SIDE, SIDE).T, levels.flip(0).expand(SIDE, SIDE)]
    )
    return Image.fromarray(pixels.permute(1, 2, 0).to(torch.uint8).numpy())


def array() -> np.ndarray[Any, Any]:
    """Return the image as uint8 (H, W, 3)."""
    return np.array(picture())


def tensor() -> torch.Tensor:
    """Return the image as uint8 (3, H, W)."""
    return torch.from_numpy(array()).permute(2, 0, 1).contiguous()


def calls() -> dict[str, Call]:
    """Return AutoAugment of each installed package, of one image."""
    ours = LearnedAugment(AutoAugmentPolicy.IMAGENET)
    found: dict[str, Call | None] = {
        "learned_augment": ours,
        "torchvision v2": v2.AutoAugment(),
        "Kornia": kornia_auto_augment(),
        "timm": timm_auto_augment(SIDE),
        "AlbumentationsX": albumentations_compose(ours.policy),
    }
    return {name: call for name, call in found.items() if call is not None}


def kornia_auto_augment() -> Call:
    """Return Kornia's AutoAugment."""
    from kornia.augmentation.auto import AutoAugment

    return AutoAugment("imagenet")  # type: ignore[no-any-return]


def seeded(call: Call, seed: int) -> None:
    """Seed everything from which the packages draw."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if hasattr(call, "set_random_seed"):
        call.set_random_seed(seed)


def outcomes(call: Call, one: Callable[[Call], str]) -> dict[str, int]:
    """Return how often each outcome came, over the seeds; an exception counts by its type."""
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        seeded(call, seed)
        try:
            counts[one(call)] += 1
        except Exception as error:  # whatever a package raises is the finding
            counts[type(error).__name__] += 1
    return dict(counts.most_common())


def apply(call: Call, image: Any) -> Any:
    """Return the augmented image; AlbumentationsX takes and returns its own mappings."""
    return call(image=image)["image"] if hasattr(call, "set_random_seed") else call(image)


def takes(image: Callable[[str], Any]) -> Callable[[str], Callable[[Call], str]]:
    """Return a check of whether a call with an image succeeds, and changes it."""

    def of(name: str) -> Callable[[Call], str]:
        def one(call: Call) -> str:
            given = image(name)
            same = np.array_equal(np.array(apply(call, given)).squeeze(), np.array(given))
            return "unchanged" if same else "changed"

        return one

    return of


def gradient(name: str) -> Callable[[Call], str]:
    """Return a check of whether a float image gets a gradient."""

    def one(call: Call) -> str:
        floats = (tensor() / 255).requires_grad_()
        augmented = apply(call, floats)
        if not augmented.requires_grad:
            return "none"
        weights = torch.rand(augmented.shape, generator=torch.Generator().manual_seed(0))
        (augmented * weights).sum().backward()
        return "gradient" if floats.grad is not None and floats.grad.any() else "none"

    return one


def sharing(name: str) -> Callable[[Call], str]:
    """Return a check of how many different results a batch of equal images gets."""

    def one(call: Call) -> str:
        if name == "AlbumentationsX":
            images = call(images=np.stack([array()] * BATCH))["images"]
        else:
            batch = tensor().expand(BATCH, -1, -1, -1).clone()
            images = call(batch / 255 if name == "Kornia" else batch)
        return str(len({torch.as_tensor(image).numpy().tobytes() for image in images}))

    return one


def boxes(name: str) -> Callable[[Call], str]:
    """Return a check of whether a box moves with its image."""
    given = [16.0, 16.0, 40.0, 44.0]

    def one(call: Call) -> str:
        if name == "Kornia":
            from kornia.augmentation import AugmentationSequential

            whole = AugmentationSequential(call, data_keys=["input", "bbox_xyxy"])
            moved = whole(tensor()[None] / 255, torch.tensor([[given]]))[1].flatten().tolist()
        elif name == "AlbumentationsX":
            import albumentations

            about = albumentations.BboxParams(coord_format="pascal_voc", label_fields=["labels"])
            whole = albumentations.Compose(call.transforms, bbox_params=about, telemetry=False)
            whole.set_random_seed(torch.initial_seed())
            moved = whole(image=array(), bboxes=[given], labels=[0])["bboxes"]
            moved = [float(number) for box in moved for number in box]
        else:
            kind = tv_tensors.BoundingBoxes
            box = kind(torch.tensor([given]), format="XYXY", canvas_size=(SIDE, SIDE))
            moved = call(tv_tensors.Image(tensor()), box)[1].flatten().tolist()
        return "stays" if np.allclose(moved[:4], given) else "moves"

    return one


def _levels(name: str) -> Any:
    return array() if name == "AlbumentationsX" else tensor()


def _floats(name: str) -> Any:
    levels = _levels(name)
    return levels.astype(np.float32) / 255 if isinstance(levels, np.ndarray) else levels / 255


CHECKS: Mapping[str, Callable[[str], Callable[[Call], str]]] = {
    "PIL image": takes(lambda name: picture()),
    "PIL image, RGBA": takes(lambda name: picture().convert("RGBA")),
    "uint8 tensor or array": takes(_levels),
    "float tensor or array": takes(_floats),
    "gradient of a float tensor": gradient,
    "different results of 8 equal images": sharing,
    "a box with its image": boxes,
}


def measure(checks: Sequence[str] = tuple(CHECKS)) -> list[dict[str, Any]]:
    """Return the outcomes of every check, a row for each package."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, call in calls().items():
            for check in checks:
                found = outcomes(call, CHECKS[check](name))
                rows.append({"package": name, "check": check, "outcomes": found})
    return rows


def main() -> None:
    """Check every package and write the result."""
    rows = measure()
    for row in rows:
        print(row)
    settings = {"side": SIDE, "batch": BATCH, "calls": len(SEEDS)}
    packages = tuple(NAMES.values())
    print(save_result("peers", rows, seeds=SEEDS, settings=settings, packages=packages))


if __name__ == "__main__":
    main()
