"""The two random layers of the papers' large networks: Shake-Shake and ShakeDrop."""

import torch
from torch import Tensor, nn

__all__ = ["ShakeDrop", "ShakeShake"]


class ShakeShake(nn.Module):
    """Mixes two branches: a random share of the one, the rest of the other, for each image.

    Both shares are uniform in [0, 1], drawn anew for the backward pass. This is the mode that the
    papers use, "shake-shake-image". In inference each share is 1/2.

    Gastaldi, Shake-Shake regularization, arXiv:1705.07485.
    """

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mixture (B, C, H, W) of two branches of that shape."""
        if not self.training:
            return (first + second) / 2
        forward, backward = _uniform(first, 0, 1), _uniform(first, 0, 1)
        shown = second + forward * (first - second)
        felt = second + backward * (first - second)
        return felt + (shown - felt).detach()


class ShakeDrop(nn.Module):
    """Scales a branch at random, in a share of the steps.

    One coin decides for the whole batch; with it, every image gets a factor, uniform in [-1, 1]
    for the forward and in [0, 1] for the backward pass, as the papers' code has it.

    Args:
        probability: of the coin; inference scales by 1 - probability.

    Yamada et al., ShakeDrop Regularization for Deep Residual Learning, arXiv:1802.02375.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Return the scaled branch, (B, C, H, W)."""
        if not self.training:
            return branch * (1 - self.probability)
        shaken = torch.rand((), device=branch.device) < self.probability
        one = branch.new_ones(())
        shown = branch * torch.where(shaken, _uniform(branch, -1, 1), one)
        felt = branch * torch.where(shaken, _uniform(branch, 0, 1), one)
        return felt + (shown - felt).detach()

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"probability={self.probability:.3f}"


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Draw a number for each image, (B, 1, 1, 1).

    It comes from torch's global generator of the images' device, so a seeded training repeats it.
    """
    drawn = torch.rand(len(images), 1, 1, 1, device=images.device)
    return (low + (high - low) * drawn).to(images.dtype)
