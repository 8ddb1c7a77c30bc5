"""Duties of every search method; the tests run over the table of methods."""

import json
from functools import cache, partial

import pytest
import torch
from torch import nn

from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.random_baseline import random_baseline
from learned_augment.policy import Policy
from learned_augment.runtime.checkpoint import encode
from learned_augment.search import METHODS, prepare, search

pytestmark = pytest.mark.parametrize("method", METHODS)


def images(seed=0, per_class=8, classes=3, side=16):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    pixels = torch.randint(120, (len(labels), 3, side, side), generator=generator)
    # A class is the place of a bright bar.
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 4 * label + 2 : 4 * label + 5, 3:13] += 120
    data = pixels.to(torch.uint8)
    names = tuple("abcdef"[:classes])
    return ImageData("bars", names, data, labels, data[::4], labels[::4])


def network(classes, dropout=0.2):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(6 * 7 * 7, classes),
    )


def smooth_network(classes):
    """No kinks, so that differences and derivatives can be compared."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 7 * 7, classes),
    )


SMALL = {"network": network, "epochs": 3, "batch_size": 6, "learning_rate": 0.05}
SMALL_DADA = {"method": "dada", **SMALL}
# DeepAA freezes its network, and refuses one that drops out.
ITS_OWN = {
    "dada": {},
    "deepaa": {"network": partial(network, dropout=0.0), "options": {"steps": 2, "depth": 2}},
    "screening": {"options": {"designs": 5, "finals": 1, "workers": 1}},
}


def found(method, **changes):
    given = {**SMALL, **ITS_OWN.get(method, {}), "method": method, **changes}
    return search(images(), **given, progress=False)


@cache
def whole(method):
    """The policy of a search that nothing cuts, which several tests compare with."""
    return found(method)


def test_the_result_is_a_policy_that_says_how_it_was_made(method, tmp_path):
    policy = found(method, seed=7)
    assert isinstance(policy, Policy)
    assert policy.about["search"]["seed"] == 7
    assert policy.about["search"]["method"] == method
    assert set(policy.about) >= {"name", "placement", "ops", "versions", "metrics", "parameters"}
    assert random_baseline(policy).weights.shape == policy.weights.shape
    assert "stopped" not in policy.about
    path = policy.save(tmp_path / "found.safetensors")
    assert Policy.load(path) == policy


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(method):
    assert found(method) == whole(method)
    assert found(method, seed=1) != whole(method)


def test_torchs_global_generator_is_left_as_it_was(method):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found(method, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_search_cut_at_any_step_and_resumed_gives_the_same_policy(method, tmp_path):
    for cut in (1, 4):
        path = tmp_path / f"cut{cut}.pt"

        def stop(report, cut=cut):
            if report.step == cut:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            found(method, checkpoint=path, save_every=0, callbacks=[stop])
        assert path.exists() == (cut > 1)
        steps = []
        resumed = found(method, checkpoint=path, callbacks=[lambda r, s=steps: s.append(r.step)])
        assert steps[0] == cut
        assert resumed == whole(method)


def test_a_finished_checkpoint_gives_the_policy_without_a_step(method, tmp_path):
    path = tmp_path / "search.pt"
    first = found(method, checkpoint=path)
    steps = []
    assert found(method, checkpoint=path, callbacks=[steps.append]) == first
    assert steps == []


def test_state_round_trips(method):
    one, two = (
        prepare(images(), method=method, **{**SMALL, **ITS_OWN[method]}).method for _ in range(2)
    )
    with torch.random.fork_rng():
        one.step()
    two.load_state_dict(one.state_dict())
    assert two.done == one.done == 1
    torch.manual_seed(0)
    first = one.step()
    torch.manual_seed(0)
    assert two.step() == first
    assert two.policy() == one.policy()


def test_a_state_is_not_changed_by_the_search_that_goes_on_from_it(method):
    one, two, three = (
        prepare(images(), method=method, **{**SMALL, **ITS_OWN[method]}).method for _ in range(3)
    )
    one.step()
    state = one.state_dict()
    two.load_state_dict(state)
    before = encode(state)
    two.step()
    two.step()
    assert encode(state) == before
    three.load_state_dict(state)
    assert three.policy() == one.policy()


def test_callbacks_get_finite_metrics_of_every_step(method):
    reports = []
    found(method, callbacks=[reports.append])
    assert [report.step for report in reports] == list(range(1, reports[-1].steps + 1))
    assert reports[-1].seconds_left == 0
    assert reports[-1].all_phases_timed
    assert isinstance(reports[0].policy(), Policy)
    json.dumps([report.metrics for report in reports], allow_nan=False)


def test_ops_can_be_restricted_excluded_and_extended(method):
    policy = found(method, epochs=1, ops=["Rotate", "Flip", "Invert"], exclude=["Invert"])
    assert set(policy.about["ops"]) - {"Identity"} == {"Rotate", "Flip"}
    applied = set(policy.ops) - {"Identity"}
    # A screening may find that no op helps.
    assert applied == {"Rotate", "Flip"} or (method == "screening" and applied < {"Rotate", "Flip"})
    with pytest.raises(ValueError, match=r"Unknown op 'Rotat'.*Known.*: .*Rotate"):
        found(method, ops=["Rotat", "Flip"])
    if method == "screening":  # one op can be measured, but makes no pair
        return
    with pytest.raises(ValueError, match="at least two ops"):
        found(method, ops=["Rotate"])


def test_given_validation_images_are_used(method):
    other = images(seed=9)
    assert found(method, val=other, epochs=1) != found(method, epochs=1)
    with pytest.raises(ValueError, match="val= to have the classes"):
        found(method, val=images(classes=2))


def test_unknown_options_are_refused_with_the_known_ones(method):
    with pytest.raises(ValueError, match=r"no option 'estimater'\. Options: \w+, "):
        found(method, options={"estimater": "loo"})
