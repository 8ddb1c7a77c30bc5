"""Cost of a search as a dry run states it: memory is counted, not guessed."""

import pytest
import torch
from torch import nn

from learned_augment.cli import main
from learned_augment.search import estimate
from learned_augment.search.peak_memory import peak_bytes
from tests.search.test_methods import SMALL_DADA, images

# torch's own forward mode builds its decompositions with a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

KILO = 1024


def deep(classes):
    """Weights of 4 MiB in layers of which each is small compared with the whole."""
    layers = [layer for _ in range(16) for layer in (nn.Linear(256, 256), nn.Tanh())]
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 256), *layers,
                         nn.Linear(256, classes))  # fmt: skip


def bytes_of(network):
    return sum(parameter.nbytes for parameter in network.parameters())


@pytest.mark.parametrize("derivative", ["difference", "exact"])
@pytest.mark.parametrize("magnitude", ["true", "none"])
def test_memory_counts_the_copies_of_the_weights(derivative, magnitude):
    options = {"derivative": derivative, "magnitude": magnitude}
    cost = estimate(images(), **{**SMALL_DADA, "network": deep}, options=options)
    # At the update: the module's own; weights, velocity and averaged validation gradient; the
    # step's gradient, plain and clipped, look-ahead and validation gradient; the next velocity.
    copies = (cost.memory_bytes - cost.data_bytes) / bytes_of(deep(3))
    assert 9 <= copies < 10


@pytest.mark.parametrize("magnitude", ["true", "none"])
def test_a_forward_mode_pass_holds_tangents_and_results(magnitude):
    def wide(classes):
        return nn.Sequential(
            nn.Conv2d(3, 64, 3), nn.Tanh(), nn.Conv2d(64, 64, 3), nn.Tanh(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
        )  # fmt: skip

    near, exact = (
        estimate(
            images(),
            **{**SMALL_DADA, "network": wide},
            options={"derivative": derivative, "magnitude": magnitude},
        ).memory_bytes
        for derivative in ("difference", "exact")
    )
    results = 6 * 64 * 4 * (14**2 + 12**2)
    assert near > results
    assert exact >= near
    assert (exact > 1.3 * near) == (magnitude == "true")


def test_a_dry_run_of_the_exact_derivative_says_what_it_takes(capsys):
    given = ["search", "--data", "digits", "--dry-run", "--method", "dada"]
    given += ["--option", "derivative=exact"]
    assert main([*given, "--reduce", "40", "--batch-size", "8", "--out", "never.safetensors"]) == 0
    assert "MiB of it images" in capsys.readouterr().out


class TestMostBytes:
    def test_a_tensor_counts_until_it_is_freed(self):
        def work():
            one = torch.zeros(KILO, dtype=torch.uint8)
            two = one + one
            del one
            for _ in range(3):
                two + two

        assert peak_bytes(work) == 2 * KILO

    def test_views_and_changes_in_place_take_no_memory(self):
        held = torch.zeros(KILO, dtype=torch.uint8)
        assert peak_bytes(lambda: held.view(2, -1).t().add_(1), held, held[:7]) == KILO

    def test_existing_tensors_are_found_at_any_depth_and_subtracted_when_freed(self):
        class Owner:
            def __init__(self):
                self.parts = [{"kept": (nn.Linear(KILO, 1, bias=False),)}]
                self.replaced = torch.zeros(KILO)
                self.parts.append(self)

        owner = Owner()

        def work():
            owner.replaced = None
            owner.replaced = torch.zeros(2 * KILO)

        assert peak_bytes(work, owner) == (4 + 8) * KILO
        assert peak_bytes(lambda: None, owner) == (4 + 8) * KILO

    def test_saved_tensors_count_until_the_backward_pass_is_done(self):
        x = torch.zeros(KILO, requires_grad=True)

        def work():
            y = x
            for _ in range(5):
                y = y.exp()  # each keeps its result
            torch.autograd.grad(y.sum(), x)

        # Five results, the gradient of the sum and the product that replaces it.
        assert 4 * KILO * (1 + 5 + 1) <= peak_bytes(work, x) <= 4 * KILO * (1 + 5 + 2) + 16


def test_a_long_search_is_told_in_hours():
    cost = estimate("digits", method="dada", reduce=60, epochs=2)
    assert "; about 2 h 01 min" in str(cost._replace(seconds=7265.0))
