import dataclasses
import json

import pytest
import torch

from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.evaluation.runner import (
    RunCache,
    cached_runs,
    configuration,
    data_hash,
    network_hash,
    policy_hash,
)
from learned_augment.training import Recipe
from tests.training.test_training import linear, made_data

NAMED = named_policy("crop+dada-cifar10")


def wanted(seed=0, recipe=None, policy=NAMED, data="d", network="n", hardware="cpu"):
    return configuration(data, policy, network, recipe or Recipe(3), seed, hardware)


def test_a_stored_training_is_found_again(tmp_path):
    cache = RunCache(tmp_path / "new")
    assert cache.find(wanted()) is None
    cache.store(wanted(), {"accuracy": 91.5, "loss": None})
    assert RunCache(tmp_path / "new").find(wanted()) == {"accuracy": 91.5, "loss": None}
    assert len(list((tmp_path / "new").iterdir())) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"recipe": Recipe(4)},
        {"recipe": Recipe(3, channels_last=True)},
        {"policy": named_policy("none")},
        {"policy": named_policy("crop-flip+dada-cifar10")},
        {"policy": named_policy("crop+random:dada-cifar10")},
        {"data": "e"},
        {"network": "m"},
        {"hardware": "cpu, threads 2"},
    ],
    ids=str,
)
def test_another_configuration_is_another_training(tmp_path, changed):
    cache = RunCache(tmp_path)
    cache.store(wanted(), {"accuracy": 1.0})
    assert cache.find(wanted(**changed)) is None
    cache.store(wanted(**changed), {"accuracy": 2.0})
    assert cache.find(wanted(**changed)) == {"accuracy": 2.0}
    assert cache.find(wanted()) == {"accuracy": 1.0}


def test_the_name_of_a_policy_decides_nothing():
    renamed = dataclasses.replace(NAMED, name="other")
    assert wanted(policy=renamed) == wanted()


def test_settings_that_are_off_leave_no_trace():
    assert "test_every" not in wanted()["recipe"]
    assert wanted(recipe=Recipe(3, test_every=2))["recipe"]["test_every"] == 2


def test_every_part_of_the_data_counts():
    data = made_data()
    same, hashes = data_hash(made_data()), {data_hash(data)}
    assert hashes == {same}
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        tensor = getattr(data, field)
        hashes.add(data_hash(dataclasses.replace(data, **{field: tensor.flip(0)})))
    hashes.add(data_hash(dataclasses.replace(data, classes=(*data.classes[:2], "x", "y")[:3])))
    assert len(hashes) == 5  # names of classes do not count


def test_a_policy_is_its_figures():
    first = from_layers([[("Rotate", 1.0, 10.0)]], {"name": "first"})
    assert policy_hash(first) == policy_hash(from_layers([[("Rotate", 1.0, 10.0)]]))
    others = [("Rotate", 1.0, 10.1), ("ShearX", 1.0, 1.0)]
    hashes = {policy_hash(from_layers([[other]])) for other in others}
    assert len(hashes | {policy_hash(first)}) == 3


def test_a_network_is_its_modules_and_its_first_weights():
    state = torch.get_rng_state()
    named = network_hash("small-cnn", 10, seed=0)
    assert torch.equal(state, torch.get_rng_state())
    assert named == network_hash("small-cnn", 10, seed=0)
    assert len({named, network_hash("small-cnn", 10, 1), network_hash("small-cnn", 9, 0)}) == 3
    module = linear(3)
    before = network_hash(module, 3, 0)
    assert before == network_hash(module, 3, 1)  # it starts from its own weights
    with torch.no_grad():
        module[2].bias += 1
    assert network_hash(module, 3, 0) != before


def test_broken_and_foreign_files_are_refused_and_left(tmp_path):
    cache = RunCache(tmp_path)
    cache.store(wanted(), {"accuracy": 1.0})
    (path,) = tmp_path.iterdir()
    document = json.loads(path.read_text())
    document["configuration"]["seed"] = 7
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"another configuration \(it differs in seed\)"):
        cache.find(wanted())
    for text in ("", "[]", '{"measured": {}}', path.read_text()[:40]):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a finished training; delete it"):
            cache.find(wanted())
        assert path.read_text() == text


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"accuracy": "high", "loss": 1.0},
        {"accuracy": 101.0, "loss": 1.0},
        {"accuracy": 50.0, "loss": 1.0, "accuracies": [[1]]},
        {"accuracy": 50.0, "loss": 1.0, "accuracies": [[0.5, 50.0]]},
        {"accuracy": 50.0, "loss": 1.0, "more": 1},
        {"accuracy": 50.0, "loss": [1.0]},
    ],
    ids=str,
)
def test_measurements_that_no_training_makes_are_refused(tmp_path, measured):
    cache = RunCache(tmp_path)
    cache.store(wanted(), measured)
    with pytest.raises(ValueError, match="is not a finished training; delete it"):
        list(cached_runs(cache, {(0, "none"): wanted()}))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "no" / "where"):
        with pytest.raises(ValueError, match="Expected cache= to name a folder"):
            RunCache(folder)
