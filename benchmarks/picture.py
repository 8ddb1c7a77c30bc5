"""Make the README's picture: one photograph under several policies, a row each.

Usage: python -m benchmarks.picture     (writes benchmarks/results/sheet.jpg; needs scikit-learn)
"""

import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from learned_augment import LearnedAugment
from learned_augment._io import write_atomically

POLICIES = ["deepaa-imagenet", "deepaa-cifar10", "dada-imagenet", "fastaa-imagenet"]
DRAWS, SIDE, GAP, MARGIN = 7, 112, 4, 118
TARGET = Path(__file__).parent / "results" / "sheet.jpg"


def photograph() -> Image.Image:
    """Return a square cut of scikit-learn's flower, twice the side of a cell."""
    image = Image.fromarray(load_sample_image("flower.jpg"))
    return image.crop((160, 20, 560, 420)).resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS)


def sheet(image: Image.Image) -> Image.Image:
    """Return the sheet: the photograph, then one draw after the other."""
    size = (MARGIN + (DRAWS + 1) * (SIDE + GAP), len(POLICIES) * (SIDE + GAP))
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for row, name in enumerate(POLICIES):
        torch.manual_seed(3)
        augment, y = LearnedAugment(name), row * (SIDE + GAP)
        draw.text((MARGIN - 8, y + SIDE // 2), name, "black", font, anchor="rm")
        for column, picture in enumerate([image] + [augment(image) for _ in range(DRAWS)]):
            cell = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            canvas.paste(cell, (MARGIN + column * (SIDE + GAP), y))
    return canvas


if __name__ == "__main__":
    buffer = io.BytesIO()
    sheet(photograph()).save(buffer, "JPEG", quality=88)
    print(write_atomically(TARGET, buffer.getvalue()))
