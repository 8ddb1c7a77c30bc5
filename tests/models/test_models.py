import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from learned_augment.models import (
    NETWORKS,
    ShakeDrop,
    ShakeShake,
    build_network,
    pyramidnet,
    shake_shake,
    small_cnn,
    wide_resnet,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

QUICK = ["small-cnn", "wrn-16-1"]


LARGE = {  # of the papers' large networks: a smaller sibling of the same code
    "shake-shake": lambda classes: shake_shake(8, 4, classes),
    "pyramidnet": lambda classes: pyramidnet(29, 12, classes),
}


def on_paper(name, classes=10):
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return NETWORKS[name](classes)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network, size=32):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("depth", "width", "classes", "expected"),
    [(40, 2, 10, 2_246_474), (28, 10, 10, 36_489_290)],
)
def test_wide_resnet_has_the_parameters_of_the_papers(depth, width, classes, expected):
    assert parameters(wide_resnet(depth, width, classes)) == expected


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("wrn-40-2", 10, 2.2),
        ("wrn-28-10", 10, 36.5),
        ("shake-shake-26-2x32d", 10, 2.9),
        ("shake-shake-26-2x96d", 10, 26.2),
        ("resnet50", 1000, 25.6),
        ("resnet200", 1000, 64.7),
    ],
)
def test_networks_have_as_many_parameters_as_their_papers_say(name, classes, millions):
    assert round(parameters(on_paper(name, classes)) / 1e6, 1) == millions


def test_shake_shake_112_is_wider_alone():
    # No paper prints a count: quadratic in the width but for stem, normalisation and head.
    ratio = parameters(on_paper("shake-shake-26-2x112d")) / parameters(
        on_paper("shake-shake-26-2x96d")
    )
    assert ratio == pytest.approx((112 / 96) ** 2, rel=2e-3)


def test_pyramidnet_272_has_the_parameters_of_its_paper():
    network = on_paper("pyramidnet-272")
    assert parameters(network) == 26_210_842
    assert parameters(network) == pytest.approx(26.0e6, rel=0.01)  # as printed


def test_pyramidnet_272_has_272_layers_that_widen_by_200_channels():
    network = on_paper("pyramidnet-272")
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 272
    assert network.head.in_features == 4 * (16 + 200)
    inner = [block.branch[1].out_channels for block in network.blocks]
    assert all(round(16 + 200 * (i + 1) / 90) == inner[i] for i in range(90))
    assert [i for i, block in enumerate(network.blocks) if block.stride == 2] == [30, 60]


def test_shakedrop_grows_linearly_to_one_half():
    chances = [m.chance for m in on_paper("pyramidnet-272").modules() if isinstance(m, ShakeDrop)]
    assert chances == pytest.approx([0.5 * (i + 1) / 90 for i in range(90)])


@pytest.mark.parametrize("name", ["shake-shake-26-2x32d", "shake-shake-26-2x96d"])
def test_shake_shake_26_has_26_layers_of_its_width(name):
    network = on_paper(name)
    width = int(name.split("2x")[1].removesuffix("d"))
    assert len(network.blocks) == 12
    assert [block.first[1].out_channels for block in network.blocks] == [
        width * 2**stage for stage in range(3) for _ in range(4)
    ]


@pytest.mark.parametrize(
    ("network", "depth"), [("resnet50", (3, 4, 6, 3)), ("resnet200", (3, 24, 36, 3))]
)
def test_resnets_have_the_blocks_of_their_papers(network, depth):
    built = on_paper(network, 1000)
    assert tuple(len(getattr(built, f"layer{i}")) for i in range(1, 5)) == depth


def test_wide_resnet_40_2_has_the_papers_parameters_outside_batch_norm():
    network = wide_resnet(40, 2, 10)
    norms = sum(parameters(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert parameters(network) - norms == 2_241_066


def test_wide_resnet_strides_in_the_second_convolution_as_the_papers_cost_says():
    # 0.356 G multiply-adds; striding in the first convolution would give 0.328 G.
    assert round(multiply_adds(wide_resnet(40, 2, 10)) / 1e9, 3) == 0.356


def test_wide_resnet_without_convolution_biases_has_the_original_parameters():
    convolutions = [m for m in wide_resnet(40, 2, 10).modules() if isinstance(m, nn.Conv2d)]
    biases = sum(c.out_channels for c in convolutions)
    assert parameters(wide_resnet(40, 2, 10, conv_bias=False)) == 2_246_474 - biases


@pytest.mark.parametrize(("depth", "width"), [(39, 2), (4, 2), (40, 0)])
def test_wide_resnet_refuses_shapes_that_do_not_exist(depth, width):
    with pytest.raises(ValueError, match="Wide-ResNet must be"):
        wide_resnet(depth, width, 10)


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


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_a_training_step(name):
    # At 16 pixels, ResNets normalise two values a channel: 200 layers of that explode.
    size = 64 if name.startswith("resnet") else 16
    network = NETWORKS[name](3)
    weights = list(network.parameters())
    before = [weight.detach().clone() for weight in weights]
    loss = nn.functional.cross_entropy(network(torch.randn(2, 3, size, size)), torch.tensor([0, 2]))
    loss.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in weights)
    torch.optim.SGD(weights, lr=0.01).step()
    assert any(not torch.equal(w, old) for w, old in zip(weights, before, strict=True))


def test_small_cnn_costs_what_it_says():
    assert round(multiply_adds(small_cnn(10)) / 1e6, 1) == 2.8


def test_small_cnn_takes_other_channels():
    assert small_cnn(4, channels=1)(torch.zeros(2, 1, 16, 16)).shape == (2, 4)


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("name", [*QUICK, "resnet50"])
def test_every_network_gives_a_logit_per_class_at_any_size(name, size):
    network = NETWORKS[name](7).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_works_in_place(name):
    network = on_paper(name)
    in_place = [m for m in network.modules() if getattr(m, "inplace", False)]
    assert not in_place


@pytest.mark.parametrize("name", [*QUICK, *LARGE])
def test_jvp_equals_the_gradient_times_the_tangent(name):
    network = {**NETWORKS, **LARGE}[name](3).double().eval()
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


@pytest.mark.parametrize("name", QUICK)
def test_networks_learn_a_batch_by_heart(name):
    network = NETWORKS[name](2)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 2
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_build_network_takes_names_factories_and_modules():
    module = nn.Flatten()
    assert build_network(module, 5) is module
    assert build_network("small-cnn", 5)[-1].out_features == 5
    assert build_network(lambda n: nn.Linear(2, n), 5).out_features == 5


def test_build_network_lists_the_names_it_knows():
    with pytest.raises(
        ValueError, match=r"No network named 'wrn'\. Available: small-cnn, wrn-16-1"
    ):
        build_network("wrn", 10)


@pytest.mark.parametrize(
    ("choice", "message"), [(3, "got int"), (lambda n: n, "factory to return a .*Module, got int")]
)
def test_build_network_refuses_other_things(choice, message):
    with pytest.raises(TypeError, match=message):
        build_network(choice, 10)


@pytest.mark.parametrize(("name", "layer"), [("shake-shake", "ShakeShake"), ("pyramidnet", "Drop")])
def test_networks_that_shake_are_refused_by_a_search_that_freezes_them(name, layer):
    from learned_augment.search.deepaa.suitability import check_suitable

    with pytest.raises(ValueError, match=rf"Layer 'blocks.0.\w+' is \w*{layer}.*Wide-ResNet"):
        check_suitable(LARGE[name](3), torch.zeros(2, 3, 16, 16), gram=False)
