"""Networks whose derivatives DeepAA would take wrongly are refused before any training."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from torch import nn
from torch.nn.utils import spectral_norm
from torchvision.ops import StochasticDepth

from learned_augment.search.deepaa.network_checks import check_derivatives
from tests.search.test_deepaa import FORWARD, GRAM, STEADY, Shortcut, found, prepared

METHODS = pytest.mark.parametrize("gram", [True, False], ids=["gram", "forward"])


class Standardized(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Small(nn.Module):
    def __init__(self, first=nn.Conv2d, head=None):
        super().__init__()
        self.first, self.norm = first(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 2)
        self.call = head or (lambda network, x: network.head(x))

    def forward(self, x):
        x = torch.tanh(self.second(torch.tanh(self.norm(self.first(x)))))
        return self.call(self, x.mean((2, 3)))


def tied():
    network = Small()
    third = nn.Conv2d(6, 6, 3, padding=1)
    third.weight = network.second.weight
    network.second = nn.Sequential(network.second, third)
    return network


def unused(network, x):
    network.second(x[:, :, None, None])
    return network.head(x)


def blank(network):
    nn.init.zeros_(network.norm.weight)
    nn.init.zeros_(network.head.weight)
    return network


def reparametrized():
    return Small(first=lambda *sizes, **options: spectral_norm(nn.Conv2d(*sizes, **options)))


ODD = {
    "weights standardized": lambda: Small(first=Standardized),
    "behind a head and a scale of zeros": lambda: blank(Small(first=Standardized)),
    "without a call": lambda: Small(head=lambda net, x: F.linear(x, net.head.weight)),
    "tied": tied,
    "reparametrized": reparametrized,
    "unused": lambda: Small(head=unused),
    "by keyword": lambda: Small(head=lambda net, x: net.head(input=x)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
def test_unusual_uses_of_layers_are_refused_with_gram_and_accepted_with_forward(name):
    network, images = ODD[name](), torch.randn(2, 3, 8, 8)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=r'Rewards "gram" need .*but here: .*rewards="forward"'):
        check_derivatives(network, images, gram=True)
    check_derivatives(network, images, gram=False)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(before[key], t) for key, t in network.state_dict().items())


def test_an_addition_in_place_is_refused_before_the_network_is_trained():
    with pytest.raises(ValueError, match=r"layer 'second' is changed in place.*\"forward\""):
        prepared(GRAM, network=Shortcut)
    prepared(FORWARD, network=Shortcut)


@METHODS
def test_an_activation_in_place_changes_nothing(gram):
    options = {**(GRAM if gram else FORWARD), "depth": 1}

    def network(inplace):
        built = STEADY(3)
        built[2] = nn.ReLU(inplace=inplace)
        return built

    torch.manual_seed(0)
    plain = found(options, network=lambda classes: network(False))
    assert torch.equal(found(options, network=lambda classes: network(True)).weights, plain.weights)


@METHODS
def test_torchvisions_networks_are_accepted(gram):
    check_derivatives(
        torchvision.models.resnet18(num_classes=3), torch.randn(2, 3, 32, 32), gram=gram
    )


@METHODS
def test_a_confident_network_is_accepted(gram):
    network = STEADY(3)
    network[-1].weight.data *= 300
    check_derivatives(network, torch.randn(2, 3, 16, 16), gram=gram)


class Rare(nn.Module):
    def forward(self, x):
        return torchvision.ops.stochastic_depth(x, 1e-6, "batch", training=True)


@METHODS
def test_layers_that_are_random_in_inference_are_refused_however_rarely_they_act(gram):
    images = torch.randn(2, 3, 16, 16)
    with pytest.raises(ValueError, match="draws at random"):
        check_derivatives(nn.Sequential(Rare(), STEADY(3)), images, gram=gram)
    check_derivatives(nn.Sequential(StochasticDepth(0.5, "row"), STEADY(3)), images, gram=gram)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return slope

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * tangent


class Wrapped(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def test_a_forward_mode_unlike_the_backward_pass_is_refused():
    network = STEADY(3)
    network[2] = Wrapped(Doubled.apply)
    with pytest.raises(ValueError, match=r"should agree with its gradients, but are .* off"):
        check_derivatives(network, torch.randn(2, 3, 16, 16), gram=False)


@METHODS
def test_a_network_without_a_backward_pass_is_refused(gram):
    network = STEADY(3)
    network[2] = Wrapped(lambda x: torch.sigmoid(x).add_(1))
    with pytest.raises(ValueError, match=r"has no gradients: .* inplace=True"):
        check_derivatives(network, torch.randn(2, 3, 16, 16), gram=gram)
