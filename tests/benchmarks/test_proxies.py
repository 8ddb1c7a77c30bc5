"""Proxies of the benchmark do not change what they share."""

from copy import deepcopy

import torch

from benchmarks.proxies import Bench, gradients
from tests.search.test_methods import images, network


def test_gradients_leave_the_shared_network_as_it_is():
    shared = network(3).eval()
    before = deepcopy(shared.state_dict())
    bench = Bench("bars", images(per_class=20), {"all ops": (shared, 0.0)})
    assert all(abs(loss) < float("inf") for loss in gradients("all ops")(bench, ()).values())
    assert not shared.training
    assert all(torch.equal(before[name], held) for name, held in shared.state_dict().items())
