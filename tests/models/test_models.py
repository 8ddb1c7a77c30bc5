import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from learned_augment.models import NETWORKS, WideResNet, build_network, small_cnn
from tests.models.networks import (
    check_jvp,
    check_nothing_works_in_place,
    check_training_step,
    on_paper,
    parameters,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

QUICK = ["small-cnn", "wrn-16-1"]


def multiply_adds(network, size=32):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("depth", "width", "classes", "expected"),
    [(40, 2, 10, 2_246_474), (28, 10, 10, 36_489_290)],
)
def test_wide_resnet_has_the_parameters_of_the_papers(depth, width, classes, expected):
    assert parameters(WideResNet(depth, width, classes)) == expected


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("wrn-40-2", 10, 2.2),
        ("wrn-28-10", 10, 36.5),
        ("resnet50", 1000, 25.6),
    ],
)
def test_networks_have_as_many_parameters_as_their_papers_say(name, classes, millions):
    assert round(parameters(on_paper(NETWORKS[name], classes)) / 1e6, 1) == millions


def test_resnet50_has_the_blocks_of_its_paper():
    built = on_paper(NETWORKS["resnet50"], 1000)
    assert tuple(len(getattr(built, f"layer{i}")) for i in range(1, 5)) == (3, 4, 6, 3)


def test_wide_resnet_40_2_has_the_papers_parameters_outside_batch_norm():
    network = WideResNet(40, 2, 10)
    norms = sum(parameters(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert parameters(network) - norms == 2_241_066


def test_wide_resnet_strides_in_the_second_convolution_as_the_papers_cost_says():
    # 0.356 G multiply-adds; striding in the first convolution would give 0.328 G.
    assert round(multiply_adds(WideResNet(40, 2, 10)) / 1e9, 3) == 0.356


@pytest.mark.parametrize(("depth", "width"), [(39, 2), (4, 2), (40, 0)])
def test_wide_resnet_refuses_shapes_that_do_not_exist(depth, width):
    with pytest.raises(ValueError, match="Wide-ResNet must be"):
        WideResNet(depth, width, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_a_training_step(name):
    check_training_step(name, NETWORKS[name])


def test_small_cnn_costs_what_it_says():
    assert round(multiply_adds(small_cnn(10)) / 1e6, 1) == 2.8


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("name", [*QUICK, "resnet50"])
def test_every_network_gives_a_logit_per_class_at_any_size(name, size):
    network = NETWORKS[name](7).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_works_in_place(name):
    check_nothing_works_in_place(on_paper(NETWORKS[name]))


@pytest.mark.parametrize("name", QUICK)
def test_jvp_equals_the_gradient_times_the_tangent(name):
    check_jvp(NETWORKS[name])


@pytest.mark.parametrize("name", QUICK)
def test_networks_learn_a_batch_exactly(name):
    network = NETWORKS[name](2)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
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
    ("choice", "message"),
    [
        (3, "got int"),
        (torch.nn.Linear, "got Linear, which raised: "),
        (lambda n: n, "factory to return a .*Module, got int"),
    ],
)
def test_build_network_refuses_other_things(choice, message):
    with pytest.raises(TypeError, match=message):
        build_network(choice, 10)
