"""Compare every backend with the papers' PIL code, op by op and in chains of six.

    python -m benchmarks.parity FOLDER [--images 100] [--chains 300]

FOLDER holds natural photographs, searched to the bottom. Each is cut to a square of 224 pixels.
``papers_code.py`` writes every op as the papers call PIL. Results on PIL and uint8 images are
counted bit for bit, at values of the papers' ranges and of the op's whole legal range. The
difference of floats from uint8 is in gray levels, at values of the papers' ranges only.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode

from benchmarks.papers_code import PAPERS
from benchmarks.record import save_result
from learned_augment.backends.dispatch import apply_batch, apply_image
from learned_augment.ops import OPS, Blend, Pointwise
from learned_augment.policy import Plan
from learned_augment.reporting.image_files import find_images
from learned_augment.search_spaces import SPACES

SIDE = 224
SEED = 0
CHAIN = 6
BATCH = 20


def load_photographs(folder: Path, count: int) -> list[Image.Image]:
    """Return ``count`` photographs, evenly picked, each the central square at 224 pixels."""
    pictures = find_images([folder])
    picked = pictures[:: max(1, len(pictures) // count)][:count]
    images = [Image.open(picture.path).convert("RGB") for picture in picked]
    return [ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC) for image in images]


def to_batch(images: list[Image.Image]) -> Tensor:
    """Return images as one uint8 batch (B, 3, H, W)."""
    return torch.stack([torch.from_numpy(np.array(im)).permute(2, 0, 1) for im in images])


def searched(op: str) -> tuple[float, float]:
    """Return the range of values that DADA or DeepAA searches."""
    for space in ("dada", "deepaa", "deepaa-imagenet"):
        if op in SPACES[space]:
            return SPACES[space][op].low, SPACES[space][op].high
    raise KeyError(op)


def draw_plan(names: list[list[str]], legal: bool, generator: torch.Generator) -> Plan:
    """Return a plan with these ops (B rows of L names), values uniform, in float64."""
    known = tuple(OPS)
    ends = [[(OPS[n].low, OPS[n].high) if legal else searched(n) for n in row] for row in names]
    low, high = torch.tensor(ends, dtype=torch.float64).unbind(-1)
    u = torch.rand(low.shape, generator=generator, dtype=torch.float64)
    noise = torch.rand((*low.shape, 4), generator=generator)
    op = torch.tensor([[known.index(name) for name in row] for row in names])
    return Plan(known, op, low + u * (high - low), noise)


def run_papers(image: Image.Image, plan: Plan, row: int) -> Image.Image:
    """Apply a row of the plan by the papers' calls."""
    layers = zip(plan.op[row].tolist(), plan.value[row].tolist(), plan.noise[row], strict=True)
    for op, value, noise in layers:
        image = PAPERS[plan.ops[op]](image, value, tuple(noise.double().tolist()))
    return image


def count_equal(images: list[Image.Image], plan: Plan) -> tuple[int, int]:
    """Return how many PIL and uint8 images come out bit for bit as the papers' do."""
    expected = to_batch([run_papers(im, plan, row) for row, im in enumerate(images)])
    pil = to_batch([apply_image(im, plan.rows([row])) for row, im in enumerate(images)])
    exact = apply_batch(to_batch(images), plan)
    return (
        int((pil == expected).flatten(1).all(1).sum()),
        int((exact == expected).flatten(1).all(1).sum()),
    )


def smooth_difference(batch: Tensor, plan: Plan, mode: InterpolationMode) -> Tensor:
    """Return the (mean, largest) difference of each float image from uint8 in levels, (B, 2)."""
    exact = apply_batch(batch, plan, interpolation=mode).float()
    smooth = 255 * apply_batch(batch.float() / 255, plan, interpolation=mode)
    difference = (smooth - exact).abs().flatten(1)
    return torch.stack([difference.mean(1), difference.amax(1)], 1)


def in_parts(images: list[Image.Image], plan: Plan) -> list[tuple[list[Image.Image], Plan]]:
    """Cut images and plan alike: float batches of 224 pixels take their memory."""
    starts = range(0, len(images), BATCH)
    return [(images[i : i + BATCH], plan.rows(slice(i, i + BATCH))) for i in starts]


def measure(
    images: list[Image.Image], names: list[list[str]], legal: bool, generator: torch.Generator
) -> dict[str, Any]:
    """Return counts and differences for one way to fill the layers."""
    plan = draw_plan(names, False, generator)
    parts = in_parts(images, plan)
    wide = in_parts(images, draw_plan(names, True, generator)) if legal else []
    equal = torch.tensor([count_equal(*part) for part in [*parts, *wide]]).sum(0).tolist()
    row: dict[str, Any] = {"images": len(images) * (1 + legal)}
    row |= {"pil_equal": equal[0], "exact_equal": equal[1]}
    for mode in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
        found = torch.cat([smooth_difference(to_batch(ims), p, mode) for ims, p in parts])
        row[f"smooth_{mode.value}_mean_levels"] = round(found[:, 0].mean().item(), 4)
        row[f"smooth_{mode.value}_largest_levels"] = round(found[:, 1].max().item(), 3)
    return row


def kind(op: str) -> str:
    """Return "photometric" for ops that recolor, "geometric" for those that move pixels."""
    law = OPS[op].kind
    return "photometric" if isinstance(law, Pointwise | Blend) else "geometric"


def main() -> None:
    """Measure every op of the table, then chains, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--chains", type=int, default=300)
    given = parser.parse_args()
    images = load_photographs(given.folder, given.images)
    generator = torch.Generator().manual_seed(SEED)
    rows = []
    for op in OPS:
        row = measure(images, [[op]] * len(images), True, generator)
        rows.append({"op": op, "kind": kind(op), **row})
        print(rows[-1])
    count = given.chains
    picks = torch.randint(len(OPS), (count, CHAIN), generator=generator).tolist()
    chains = [[list(OPS)[pick] for pick in row] for row in picks]
    chained = (images * math.ceil(count / len(images)))[:count]
    rows.append({"op": f"chains of {CHAIN}", "kind": "all"})
    rows[-1] |= measure(chained, chains, False, generator)
    print(rows[-1])
    settings = {"photographs": len(images), "side": SIDE, "chain": CHAIN}
    print(save_result("parity", rows, seeds=[SEED], settings=settings))


if __name__ == "__main__":
    main()
