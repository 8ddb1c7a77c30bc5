"""Train a small network on CIFAR-10; one line chooses the augmentation.

python examples/train_cifar.py                          (random images, to try it)
python examples/train_cifar.py --root data --epochs 30 --policy dada-cifar10
"""

import argparse
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CIFAR10, FakeData
from torchvision.transforms import v2

from learned_augment import LearnedAugment

TO_FLOAT = [
    v2.PILToTensor(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(mean=[0.491, 0.482, 0.447], std=[0.247, 0.243, 0.262]),
]


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, and return the share of test images that are classified correctly."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder of CIFAR-10, downloaded if it is missing")
    parser.add_argument("--policy", default="dada-cifar10")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start-method", choices=("fork", "spawn"), default=None)
    given = parser.parse_args(arguments)

    crop_and_flip = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
    # LearnedAugment stands where AutoAugment stood.
    train = v2.Compose([*crop_and_flip, LearnedAugment(given.policy), *TO_FLOAT])
    test = v2.Compose(TO_FLOAT)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    loader = DataLoader(
        data_set(given.root, train),
        batch_size=64,
        shuffle=True,
        num_workers=given.workers,
        multiprocessing_context=given.start_method,
    )
    network = nn.Sequential(
        *[nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()],
        *[nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 10)],
    ).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for epoch in range(given.epochs):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(network(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")

    right = total = 0
    with torch.no_grad():
        for images, labels in DataLoader(data_set(given.root, test, False), batch_size=256):
            right += int((network(images.to(device)).argmax(1).cpu() == labels).sum())
            total += len(labels)
    print(f"{given.policy}: {100 * right / total:.1f} % of {total} test images.")
    return right / total


def data_set(root: str | None, transform: v2.Transform, train: bool = True) -> Dataset:
    """Return CIFAR-10, or random images where no folder is given."""
    if root is not None:
        return CIFAR10(root, train=train, transform=transform, download=True)
    return FakeData(128, (3, 32, 32), transform=transform, random_offset=0 if train else 128)


if __name__ == "__main__":
    main()
