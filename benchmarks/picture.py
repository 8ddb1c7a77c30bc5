"""Make the picture of the README: photographs, a row of draws each, with the ops below.

Usage: python -m benchmarks.picture     (writes docs/assets/picture.jpg; needs scikit-learn)
"""

import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from learned_augment import LearnedAugment
from learned_augment._io import write_atomically
from learned_augment.policy import Step

ROWS = [
    ("dada-imagenet", "flower.jpg", (160, 20, 560, 420), 22),
    ("dada-imagenet", "china.jpg", (110, 0, 530, 420), 43),
    ("deepaa-imagenet", "flower.jpg", (160, 20, 560, 420), 4),
]
"""Policy, photograph, the square cut out of it, and seed of the draws."""
DRAWS, SIDE, GAP, TEXT = 6, 160, 8, 54
INK, PALE, PAPER = "#1f2328", "#59636e", "white"
TARGET = Path(__file__).parents[1] / "docs" / "assets" / "picture.jpg"


def photograph(name: str, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a square cut of one of scikit-learn's photographs, twice the side of a cell."""
    image = Image.fromarray(load_sample_image(name))
    return image.crop(box).resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS)


def caption(steps: list[Step]) -> list[str]:
    """Return a line for each op with its value."""
    lines = [f"{step.op.name} {step.value:.3g}" if step.op.unit else step.op.name for step in steps]
    if len(lines) > 3:
        lines[2:] = [f"and {len(lines) - 2} more"]
    return lines or ["nothing"]


def sheet() -> Image.Image:
    """Return the sheet: one row a policy and photograph, the photograph first."""
    size = ((DRAWS + 1) * (SIDE + GAP) - GAP, len(ROWS) * (SIDE + TEXT + GAP))
    canvas = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(canvas)
    small, large = ImageFont.load_default(12), ImageFont.load_default(14)
    for row, (policy, name, box, seed) in enumerate(ROWS):
        torch.manual_seed(seed)
        image, augment = photograph(name, box), LearnedAugment(policy, "bilinear")
        plan = augment.policy.sample(DRAWS)
        cells = [(image, [])]
        for index in range(DRAWS):
            params = {"plan": plan.rows([index])}
            cells.append((augment.transform(image, params), plan.steps(index)))
        y = row * (SIDE + TEXT + GAP)
        for column, (picture, steps) in enumerate(cells):
            x = column * (SIDE + GAP)
            canvas.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
            if column:
                text = "\n".join(caption(steps))
                pen.multiline_text((x, y + SIDE + 3), text, PALE, small, spacing=2)
            else:
                pen.text((x, y + SIDE + 3), policy, INK, large)
    return canvas


if __name__ == "__main__":
    buffer = io.BytesIO()
    sheet().save(buffer, "JPEG", quality=85, optimize=True)
    print(write_atomically(TARGET, buffer.getvalue()))
