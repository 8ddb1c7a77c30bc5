"""DeepAA's input: what is refused before anything is trained, and what is told."""

import warnings

import pytest
import torch

from learned_augment.datasets.image_data import ImageData
from learned_augment.search import prepare, search
from learned_augment.search.deepaa.gram_rewards import Grams
from learned_augment.search.deepaa.options import DeepAAOptions
from learned_augment.search.deepaa.search import _CONVERGED
from tests.search.test_deepaa import FORWARD, GRAM, STEADY, prepared, run
from tests.search.test_methods import ITS_OWN, SMALL, images


def test_a_network_trained_by_another_recipe_is_refused(tmp_path):
    options = {**GRAM, "network_file": str(tmp_path / "network.pt")}
    run(prepared(options).method)
    with pytest.raises(ValueError, match=r"was trained with epochs 3 instead of 4; give the same"):
        prepared(options, epochs=4)
    with pytest.raises(ValueError, match=r"learning_rate .* instead of 0\.5"):
        prepared(options, learning_rate=0.5)


def test_the_networks_path_is_checked_before_it_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"No folder .*nowhere"):
        prepared({**GRAM, "network_file": str(tmp_path / "nowhere" / "network.pt")})


@pytest.mark.parametrize(
    ("name", "value"),
    [("network_file", None), ("steps", float("inf")), ("steps", 2.7), ("depth", 1.9)],
)
def test_a_value_that_would_have_to_be_changed_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"Expected {name} as .*, got {value}"):
        DeepAAOptions.read({name: value})


def test_whole_numbers_may_be_written_as_floats_or_texts():
    assert DeepAAOptions.read({"steps": 3.0, "depth": "2"}) == DeepAAOptions(steps=3, depth=2)


def test_an_infinite_identity_and_an_unused_tolerance_are_refused():
    with pytest.raises(ValueError, match="identity as a finite number"):
        DeepAAOptions(identity=float("nan"))
    with pytest.raises(ValueError, match=r"tolerance 0, got 0\.1"):
        DeepAAOptions(rewards="forward", tolerance=0.1)


def test_a_subset_larger_than_the_number_of_distinct_candidates_is_refused():
    with pytest.raises(ValueError, match=r"subset to be at most 130, .* got 131"):
        prepared({**FORWARD, "subset": 131})
    assert prepared({**FORWARD, "subset": 130}).method.options.subset == 130


def test_a_layer_that_has_hardly_learned_does_not_end_the_search():
    options = {**GRAM, "depth": "auto", "steps": 1}
    method = prepared(options).method
    start = float(method.layer.probabilities()[0])
    while not method.layers:
        method.step()
    assert _CONVERGED <= float(method.layers[0][0]) < start
    assert not method.finished


def test_an_untrained_network_leaves_all_images_to_the_policy():
    method = prepared({**GRAM, "pretrain": False}).method
    usable = torch.cat(method.rewards.pairs.train_by_class).tolist()
    assert sorted(usable) == list(range(len(method.split.train_labels)))


def test_a_class_without_an_image_to_augment_is_named():
    data = images()
    lone = (data.train_labels == 2).nonzero()[2:, 0]  # a class of two: one image in each half
    rows = [row for row in range(len(data.train_labels)) if row not in lone.tolist()]
    few = ImageData(
        "few",
        data.classes,
        data.train_images[rows],
        data.train_labels[rows],
        data.test_images,
        data.test_labels,
    )
    with pytest.warns(RuntimeWarning, match=f"No image is left to augment.* of {data.classes[2]}:"):
        prepare(few, method="deepaa", options=GRAM, **{**SMALL, "network": STEADY})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(GRAM)


def test_a_network_without_a_gradient_gives_no_reward():
    square, pulls = torch.zeros(2, 3, 3).double(), torch.zeros(2, 3).double()
    empty = Grams(square, square.sum(0), pulls)
    probabilities = torch.full((3,), 1 / 3).double()
    assert empty.cosines(probabilities).tolist() == [0, 0]
    assert not empty.rewards(probabilities).any()


def test_ctrl_c_in_the_last_step_does_not_count_as_interrupted():
    import signal

    def stop(report):
        if report.step == report.steps:
            signal.raise_signal(signal.SIGINT)

    policy = search(images(), **SMALL, **ITS_OWN["screening"], callbacks=[stop], progress=False)
    assert "stopped" not in policy.about
