"""Do the three engines mean what the papers' PIL code means? Op by op, and in chains of six.

    python -m benchmarks.parity FOLDER [--images 100] [--chains 300]

FOLDER holds natural photographs, searched to the bottom. Each is cut to a square of 224 pixels.
``papers`` below writes every op as the papers call PIL, apart from the package. The PIL and the
uint8 engine are counted bit for bit, at values of the papers' ranges and of the op's whole legal
range; the float engine's difference from the uint8 engine is in grey levels, papers' ranges only.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode

from benchmarks.record import save_result
from learned_augment.backends import apply_batch
from learned_augment.backends.pil import apply_image
from learned_augment.ops import OPS, Blend, Pointwise
from learned_augment.plan import Plan
from learned_augment.reporting.contact_sheet import find_pictures
from learned_augment.search_spaces import SPACES

SIDE = 224
SEED = 0
CHAIN = 6
GREY = (125, 123, 114)
BATCH = 20

Papers = Callable[[Image.Image, float, tuple[float, ...]], Image.Image]


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Transform as the papers do: by a matrix from output to input, nearest neighbour, black."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def rectangle(image: Image.Image, box: tuple[float, ...]) -> Image.Image:
    """Paint a box, both ends included."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, GREY)
    return image


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep some bits; PIL refuses to keep none, which its formula would turn black."""
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def cutout(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Erase as AutoAugment's and DADA's code does."""
    width, height = image.size
    size = value * width
    x0 = int(max(0, noise[0] * width - size / 2))
    y0 = int(max(0, noise[1] * height - size / 2))
    return rectangle(image, (x0, y0, min(width, x0 + size), min(height, y0 + size)))


def cutout_clipped(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Erase as DeepAA's code does."""
    half = value * SIDE / 2
    x, y = noise[0] * SIDE, noise[1] * SIDE  # 256 / 224 of the side is more than there is
    start = [int(max(0, centre - half)) for centre in (x, y)]
    stop = [int(min(SIDE, centre + half)) for centre in (x, y)]
    return rectangle(image, (*start, *stop))


def pad_crop(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Pad with grey, then cut out the size of the image."""
    pad = int(value * SIDE + 0.5)
    x, y = int(noise[0] * (2 * pad + 1)), int(noise[1] * (2 * pad + 1))
    return ImageOps.expand(image, pad, GREY).crop((x, y, x + SIDE, y + SIDE))


def resized_crop(image: Image.Image, value: float, noise: tuple[float, ...]) -> Image.Image:
    """Cut out a rectangle and resize it; one proposal, then the whole square."""
    area = (value + (1 - value) * noise[0]) * SIDE * SIDE
    aspect = math.exp((2 * noise[1] - 1) * math.log(4 / 3))
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    x, y = 0, 0
    if width <= SIDE and height <= SIDE:
        x, y = int(noise[2] * (SIDE - width + 1)), int(noise[3] * (SIDE - height + 1))
    else:
        width = height = SIDE
    # Two steps: resize(..., box=) would look at pixels outside the crop.
    return image.crop((x, y, x + width, y + height)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


papers: dict[str, Papers] = {
    "Identity": lambda im, v, n: im,
    "ShearX": lambda im, v, n: affine(im, 1, v, 0, 0, 1, 0),
    "ShearY": lambda im, v, n: affine(im, 1, 0, 0, v, 1, 0),
    "TranslateX": lambda im, v, n: affine(im, 1, 0, v * im.size[0], 0, 1, 0),
    "TranslateY": lambda im, v, n: affine(im, 1, 0, 0, 0, 1, v * im.size[1]),
    "Rotate": lambda im, v, n: im.rotate(v),
    "AutoContrast": lambda im, v, n: ImageOps.autocontrast(im),
    "Invert": lambda im, v, n: ImageOps.invert(im),
    "Equalize": lambda im, v, n: ImageOps.equalize(im),
    "Solarize": lambda im, v, n: ImageOps.solarize(im, math.ceil(v)),
    "Posterize": lambda im, v, n: posterize(im, int(v)),
    "Contrast": lambda im, v, n: ImageEnhance.Contrast(im).enhance(v),
    "Color": lambda im, v, n: ImageEnhance.Color(im).enhance(v),
    "Brightness": lambda im, v, n: ImageEnhance.Brightness(im).enhance(v),
    "Sharpness": lambda im, v, n: ImageEnhance.Sharpness(im).enhance(v),
    "Flip": lambda im, v, n: ImageOps.mirror(im) if n[0] < v else im,
    "Cutout": cutout,
    "CutoutClipped": cutout_clipped,
    "PadCrop": pad_crop,
    "ResizedCrop": resized_crop,
}


def load_photographs(folder: Path, count: int) -> list[Image.Image]:
    """Return ``count`` photographs, evenly picked, each the central square at 224 pixels."""
    pictures = find_pictures([folder])
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
    steps = zip(plan.op[row].tolist(), plan.value[row].tolist(), plan.noise[row], strict=True)
    for op, value, noise in steps:
        image = papers[plan.ops[op]](image, value, tuple(noise.double().tolist()))
    return image


def count_equal(images: list[Image.Image], plan: Plan) -> tuple[int, int]:
    """Return how many images the PIL and the uint8 engine make bit for bit as the papers do."""
    expected = to_batch([run_papers(im, plan, row) for row, im in enumerate(images)])
    pil = to_batch([apply_image(im, plan.steps(row)) for row, im in enumerate(images)])
    exact = apply_batch(to_batch(images), plan)
    return (
        int((pil == expected).flatten(1).all(1).sum()),
        int((exact == expected).flatten(1).all(1).sum()),
    )


def smooth_difference(batch: Tensor, plan: Plan, mode: InterpolationMode) -> Tensor:
    """Return each image's (mean, largest) difference from the uint8 engine in levels, (B, 2)."""
    exact = apply_batch(batch, plan).float()
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
    """Return "photometric" for ops that recolour, "geometric" for those that move pixels."""
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
