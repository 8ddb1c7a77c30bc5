"""Networks of the papers' tables: sizes, random layers, forward mode."""

import pytest
import torch
from torch import nn

from benchmarks.papers.networks import NETWORKS, ShakeDrop, ShakeShake, pyramidnet, shake_shake
from learned_augment.models import NETWORKS as PACKAGE_NETWORKS
from tests.models.networks import (
    check_jvp,
    check_nothing_works_in_place,
    check_training_step,
    on_paper,
    parameters,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

LARGE = {  # of the papers' large networks: a smaller sibling of the same code
    "shake-shake": lambda classes: shake_shake(8, 4, classes),
    "pyramidnet": lambda classes: pyramidnet(29, 12, classes),
}


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("shake-shake-26-2x32d", 10, 2.9),
        ("shake-shake-26-2x96d", 10, 26.2),
        ("resnet200", 1000, 64.7),
    ],
)
def test_networks_have_as_many_parameters_as_their_papers_say(name, classes, millions):
    assert round(parameters(on_paper(NETWORKS[name], classes)) / 1e6, 1) == millions


def test_shake_shake_112_is_wider_alone():
    # No paper prints a count: quadratic in the width but for stem, normalization and head.
    ratio = parameters(on_paper(NETWORKS["shake-shake-26-2x112d"])) / parameters(
        on_paper(NETWORKS["shake-shake-26-2x96d"])
    )
    assert ratio == pytest.approx((112 / 96) ** 2, rel=2e-3)


def test_pyramidnet_272_has_the_parameters_of_its_paper():
    network = on_paper(NETWORKS["pyramidnet-272"])
    assert parameters(network) == 26_210_842
    assert parameters(network) == pytest.approx(26.0e6, rel=0.01)  # as printed


def test_pyramidnet_272_has_272_layers_that_widen_by_200_channels():
    network = on_paper(NETWORKS["pyramidnet-272"])
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 272
    assert network.head.in_features == 4 * (16 + 200)
    inner = [block.branch[1].out_channels for block in network.blocks]
    assert all(round(16 + 200 * (i + 1) / 90) == inner[i] for i in range(90))
    assert [i for i, block in enumerate(network.blocks) if block.stride == 2] == [30, 60]


def test_shakedrop_grows_linearly_to_one_half():
    probabilities = [
        m.probability
        for m in on_paper(NETWORKS["pyramidnet-272"]).modules()
        if isinstance(m, ShakeDrop)
    ]
    assert probabilities == pytest.approx([0.5 * (i + 1) / 90 for i in range(90)])


@pytest.mark.parametrize("name", ["shake-shake-26-2x32d", "shake-shake-26-2x96d"])
def test_shake_shake_26_has_26_layers_of_its_width(name):
    network = on_paper(NETWORKS[name])
    width = int(name.split("2x")[1].removesuffix("d"))
    assert len(network.blocks) == 12
    assert [block.first[1].out_channels for block in network.blocks] == [
        width * 2**stage for stage in range(3) for _ in range(4)
    ]


def test_resnet200_has_the_blocks_of_its_paper():
    built = on_paper(NETWORKS["resnet200"], 1000)
    assert tuple(len(getattr(built, f"layer{i}")) for i in range(1, 5)) == (3, 24, 36, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: shake_shake(25, 32, 10), "6 n \\+ 2"),
        (lambda: shake_shake(26, 31, 10), "must be even"),
        (lambda: pyramidnet(270, 200, 10), "9 n \\+ 2"),
        (lambda: pyramidnet(272, -1, 10), "0 or more"),
    ],
)
def test_large_networks_refuse_shapes_that_do_not_exist(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def factors(layer, *branches):
    """Return what a layer multiplied its first branch by, forwards and backwards."""
    first = branches[0].requires_grad_()
    out = layer(first, *branches[1:])
    out.sum().backward()
    return out.detach()[:, 0, 0, 0], first.grad[:, 0, 0, 0]


def test_shake_shake_draws_a_share_for_each_image_and_another_for_the_backward_pass():
    forward, backward = factors(
        ShakeShake().train(), torch.ones(4000, 1, 2, 2), torch.zeros(4000, 1, 2, 2)
    )
    for drawn in (forward, backward):
        assert 0 <= drawn.min() < 0.01
        assert 0.99 < drawn.max() <= 1
        assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert abs(torch.corrcoef(torch.stack([forward, backward]))[0, 1]) < 0.06


def test_shake_shake_shares_sum_to_one():
    branch = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(ShakeShake().train()(branch, branch), branch)
    first, second = torch.randn(2, 3, 2, 4, 4)
    torch.testing.assert_close(ShakeShake().eval()(first, second), (first + second) / 2)


def test_shakedrop_tosses_one_coin_a_batch():
    layer = ShakeDrop(0.5).train()
    seen = [factors(layer, torch.ones(200, 1, 2, 2)) for _ in range(60)]
    kept = [bool((forward == 1).all() and (backward == 1).all()) for forward, backward in seen]
    assert 15 < sum(kept) < 45  # 30 +- 3.9
    for (forward, backward), whole in zip(seen, kept, strict=True):
        if not whole:
            assert -1 <= forward.min() < -0.9 < 0.9 < forward.max() <= 1
            assert 0 <= backward.min() < 0.05 < 0.95 < backward.max() <= 1


def test_shakedrop_scales_by_what_it_keeps_in_inference():
    branch = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(ShakeDrop(0.3).eval()(branch), 0.7 * branch)


@pytest.mark.parametrize("name", LARGE)
def test_the_global_generator_decides_what_shakes(name):
    network, images = LARGE[name](3).train(), torch.randn(4, 3, 16, 16)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(network(images))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("name", LARGE)
def test_a_sibling_of_each_large_network_takes_a_training_step(name, size):
    network = LARGE[name](3)
    images, labels = torch.randn(2, 3, size, size), torch.tensor([0, 2])
    nn.functional.cross_entropy(network(images), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.eval()(images).shape == (2, 3)


# The others have the code of a network that is trained here or in tests/models/, and more of it.
@pytest.mark.parametrize(
    "name",
    [
        name if name == "shake-shake-26-2x32d" else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(NETWORKS.keys() - PACKAGE_NETWORKS.keys())
    ],
)
def test_every_network_takes_a_training_step(name):
    check_training_step(name, NETWORKS[name])


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - PACKAGE_NETWORKS.keys()))
def test_nothing_works_in_place(name):
    check_nothing_works_in_place(on_paper(NETWORKS[name]))


@pytest.mark.parametrize("name", LARGE)
def test_jvp_equals_the_gradient_times_the_tangent(name):
    check_jvp(LARGE[name])


@pytest.mark.parametrize(("name", "layer"), [("shake-shake", "ShakeShake"), ("pyramidnet", "Drop")])
def test_networks_that_shake_are_refused_by_a_search_that_freezes_them(name, layer):
    from learned_augment.search.deepaa.network_checks import check_derivatives

    with pytest.raises(ValueError, match=rf"Layer 'blocks.0.\w+' is \w*{layer}.*Wide-ResNet"):
        check_derivatives(LARGE[name](3), torch.zeros(2, 3, 16, 16), gram=False)
