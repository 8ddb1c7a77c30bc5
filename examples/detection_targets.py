"""Augment an image with boxes and a mask, and show what became of them.

python examples/detection_targets.py --out targets.png
"""

import argparse
from collections.abc import Sequence

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

from learned_augment import LearnedAugment


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture and say how many boxes are left in each draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", default="dada-imagenet")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--out", default="targets.png")
    given = parser.parse_args(arguments)

    image, target = sample()
    train = v2.Compose([LearnedAugment(given.policy, fill=128), v2.SanitizeBoundingBoxes()])
    torch.manual_seed(0)
    pictures, counts = [picture(image, target)], []
    for _ in range(given.draws):
        moved, moved_target = train(image, target)
        pictures.append(picture(moved, moved_target))
        counts.append(len(moved_target["boxes"]))
    v2.functional.to_pil_image(make_grid(pictures, nrow=3)).save(given.out)
    print(f"{given.out}: boxes left in each draw: {counts}")


def sample() -> tuple[tv_tensors.Image, dict]:
    """Return an image of two rectangles, their boxes and their masks."""
    size, corners = (120, 160), [(20, 30, 70, 60), (90, 50, 140, 110)]
    pixels = torch.full((3, *size), 200, dtype=torch.uint8)
    masks = torch.zeros(len(corners), *size, dtype=torch.uint8)
    for index, (left, top, right, bottom) in enumerate(corners):
        pixels[index, top:bottom, left:right] = 40
        masks[index, top:bottom, left:right] = 1
    boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
    target = {"boxes": boxes, "masks": tv_tensors.Mask(masks), "labels": torch.tensor([1, 2])}
    return tv_tensors.Image(pixels), target


def picture(image: torch.Tensor, target: dict) -> torch.Tensor:
    """Return the image with its masks tinted and its boxes outlined."""
    shaded = draw_segmentation_masks(image, target["masks"].bool(), alpha=0.4)
    boxes = target["boxes"]
    return draw_bounding_boxes(shaded, boxes, colors="red", width=2) if len(boxes) else shaded


if __name__ == "__main__":
    main()
