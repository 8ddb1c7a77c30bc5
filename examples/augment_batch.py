"""Augment a batch of images on a CPU or GPU and save it as a grid.

python examples/augment_batch.py                       (an image of its own)
python examples/augment_batch.py photo.jpg --policy dada-imagenet
"""

import argparse
from collections.abc import Sequence

import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import make_grid

from learned_augment import LearnedAugment


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the grid and say where."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("image", nargs="?", help="an image file; without it the script makes one")
    parser.add_argument("--policy", default="dada-imagenet")
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--out", default="batch.png")
    given = parser.parse_args(arguments)

    image = Image.open(given.image).convert("RGB") if given.image else made_image()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = pil_to_tensor(image).expand(given.copies, -1, -1, -1).to(device)

    augment = LearnedAugment(given.policy, interpolation="bilinear")
    torch.manual_seed(0)
    augmented = augment(batch)  # every image of the batch has its own draw

    to_pil_image(make_grid(augmented.cpu(), nrow=4)).save(given.out)
    different = len({image.cpu().numpy().tobytes() for image in augmented})
    print(f"{given.out}: {given.copies} copies on {device}, {different} of them different.")


def made_image(side: int = 128) -> Image.Image:
    """Return an image with colors, edges and a direction."""
    down = torch.linspace(0, 255, side).expand(side, side)
    red, green = down.T, down
    blue = 255.0 * ((torch.arange(side)[:, None] // 16 + torch.arange(side) // 16) % 2)
    return to_pil_image(torch.stack([red, green, blue]).to(torch.uint8))


if __name__ == "__main__":
    main()
