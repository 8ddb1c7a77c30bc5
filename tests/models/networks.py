"""Checks that every network passes, the package's and those of the papers' tables."""

import torch
from torch import nn


def on_paper(build, classes=10):
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return build(classes)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def check_training_step(name, build):
    """Check that a step of SGD has a finite gradient in every weight and changes some."""
    # At 16 pixels, ResNets normalize two values a channel: 200 layers of that explode.
    size = 64 if name.startswith("resnet") else 16
    network = build(3)
    weights = list(network.parameters())
    before = [weight.detach().clone() for weight in weights]
    loss = nn.functional.cross_entropy(network(torch.randn(2, 3, size, size)), torch.tensor([0, 2]))
    loss.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in weights)
    torch.optim.SGD(weights, lr=0.01).step()
    assert any(not torch.equal(w, old) for w, old in zip(weights, before, strict=True))


def check_nothing_works_in_place(network):
    assert not [m for m in network.modules() if getattr(m, "inplace", False)]


def check_jvp(build):
    """Check that forward mode gives the gradient times the tangent."""
    network = build(3).double().eval()
    weights = {k: v.detach() for k, v in network.named_parameters()}
    tangent = {k: torch.randn_like(v) for k, v in weights.items()}
    images, labels = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 0])

    def loss(w):
        logits = torch.func.functional_call(network, w, (images,))
        return nn.functional.cross_entropy(logits, labels)

    _, forward = torch.func.jvp(loss, (weights,), (tangent,))
    gradient = torch.func.grad(loss)(weights)
    backward = sum((gradient[k] * tangent[k]).sum() for k in weights)
    torch.testing.assert_close(forward, backward)
