"""An op that is added to the table of ops is known everywhere, without a change of another file.

The fixture ``toy`` makes the ops; tests/backends/test_dispatch.py tests them on every backend.
"""

import copy
import pickle
from dataclasses import replace

import pytest

from learned_augment import compare
from learned_augment.builders import from_layers
from learned_augment.evaluation.random_baseline import random_baseline
from learned_augment.ops import OPS, Geometric, Op
from learned_augment.reporting.example_images import op_example
from learned_augment.reporting.html import policy_page
from learned_augment.search import METHODS, search
from learned_augment.search.dada.space import choose_pairs
from learned_augment.search.deepaa.candidates import find_candidates
from learned_augment.search_spaces import SPACES
from tests.search.test_methods import ITS_OWN, SMALL, images


@pytest.fixture
def halved(monkeypatch):
    """An op of the table's own kinds, under a new name and with limits of its own."""
    monkeypatch.setitem(OPS, "Halved", replace(OPS["Brightness"], name="Halved", low=0.25))
    return OPS["Halved"]


def test_dada_searches_it_over_all_of_its_values(halved):
    pairs = choose_pairs(["Halved", "Rotate"])
    assert pairs.ops == ("Rotate", "Halved")
    span = pairs.space["Halved"]
    assert (span.low, span.high) == (0.25, halved.high)
    assert choose_pairs().ops == tuple(SPACES["dada"])


def test_deepaa_searches_it_at_every_level(halved):
    candidates = find_candidates((3, 32, 32), ops=["Halved", "Rotate"], count=5, distinct=False)
    assert candidates.ops == ("Identity", "Rotate", "Halved")
    values = candidates.value[candidates.op == 2].tolist()
    step = (halved.high - 0.25) / 4
    assert values == pytest.approx([0.25 + step * level for level in range(5)])
    assert len(find_candidates((3, 32, 32), distinct=False)) == 139


def test_a_random_op_is_a_candidate_of_its_own(monkeypatch):
    monkeypatch.setitem(OPS, "Still", replace(OPS["Invert"], name="Still", random=True))
    candidates = find_candidates((3, 16, 16), ops=["Still", "Invert", "Rotate"])
    number = candidates.ops.index("Still")
    (still,) = (candidates.op == number).nonzero()[:, 0].tolist()
    assert (candidates.group == candidates.group[still]).sum() == 1


@pytest.mark.usefixtures("halved")
@pytest.mark.parametrize("method", METHODS)
def test_a_search_ends_with_it(method):
    given = {**SMALL, **ITS_OWN[method], "epochs": 1}
    policy = search(images(), method=method, ops=["Halved", "Rotate"], progress=False, **given)
    assert "Halved" in policy.about["ops"]


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_op_can_be_searched(toy, method):
    given = {**SMALL, **ITS_OWN[method], "epochs": 1}
    policy = search(images(), method=method, ops=[toy.name, "Rotate"], progress=False, **given)
    assert toy.name in policy.about["ops"]


def test_every_kind_of_op_has_a_random_baseline(toy):
    policy = from_layers([[(toy.name, 0.7, 3.0), ("Rotate", 0.3, 9.0)]], {"space": "dada"})
    baselines = [random_baseline(policy, seed) for seed in range(8)]
    assert len({int(baseline.op[0, 0, 0]) for baseline in baselines}) == 2
    for baseline in baselines:
        values = baseline.value[baseline.op == baseline.ops.index(toy.name)].tolist()
        assert values
        assert all(toy.low <= value <= toy.high for value in values)


def test_every_kind_of_op_is_in_pictures_and_pages(toy):
    assert op_example(toy.name, 3.0).size == op_example("Rotate", 30.0).size
    assert toy.name in policy_page(from_layers([[(toy.name, 1.0, 3.0)]]))


def lean(value, noise, width, height):
    return 1.0, 0.1 * value, 0.0, 0.0, 1.0, 0.0


def own_op(monkeypatch, matrix):
    op = Op("Lean", "tenths", 0.0, 4.0, 0.0, Geometric(matrix))
    monkeypatch.setitem(OPS, "Lean", op)
    return from_layers([[("Lean", 1.0, 3.0)]], {"name": "lean"})


def test_a_policy_takes_an_op_of_the_users_own_to_another_process(monkeypatch):
    policy = own_op(monkeypatch, lean)
    sent = pickle.dumps(policy)
    assert copy.deepcopy(policy) == pickle.loads(sent) == policy
    del OPS["Lean"]
    assert pickle.loads(sent).ops == policy.ops
    assert OPS["Lean"].kind.matrix is lean


def test_processes_train_under_an_op_of_the_users_own(monkeypatch):
    settings = {"seeds": 2, "epochs": 1, "train_size": 40, "base": "none", "progress": False}
    policies = ["none", own_op(monkeypatch, lean)]
    alone = compare("digits", policies, workers=1, **settings)
    assert compare("digits", policies, workers=2, **settings) == alone
    given = {**SMALL, "epochs": 1, "ops": ["Lean", "Rotate"], "progress": False}
    options = {"designs": 4, "finals": 1}
    found = [search(images(), options=options | {"workers": n}, **given) for n in (1, 2)]
    assert found[0] == found[1]


def test_an_op_that_no_other_process_can_be_sent_is_trained_in_this_one(monkeypatch):
    settings = {"seeds": 2, "epochs": 1, "train_size": 40, "base": "none", "progress": False}
    policies = ["none", own_op(monkeypatch, lambda *given: lean(*given))]
    assert not compare("digits", policies, **settings).missing()
    with pytest.raises(ValueError, match=r"does not know the op 'Lean'.*workers=1"):
        compare("digits", policies, workers=2, **settings)
