"""Long work gives the same result whatever the caller has set, and leaves the caller as it was.

Nothing reaches for a network that was not asked to.
"""

import os
import random
import signal
import sys
import warnings
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from learned_augment import Policy, compare, search
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.runtime.rng import thread_count
from learned_augment.search import METHODS, estimate
from tests.search.test_methods import ITS_OWN, SMALL, images
from tests.training.test_training import linear, made_data


@cache
def data_of(name):
    """Return the data of a search or comparison, made once and under no settings of a test."""
    if name == "compare":
        return made_data()
    return images(seed=4, per_class=16 if name == "screening" else 8)


def searched(method, run=search, **changes):
    given = {**SMALL, "network": linear, "epochs": 2, **ITS_OWN[method], "method": method}
    given |= {"network": linear} if method == "screening" else {}
    return run(data_of(method), **{**given, "progress": False, **changes})


def compared():
    policies = ("none", "none+trivialaugment")
    settings = {"seeds": 2, "epochs": 2, "network": linear, "batch_size": 16}
    return compare(data_of("compare"), policies, **settings, workers=1, progress=False)


WORK = {name: partial(searched, name) for name in METHODS} | {"compare": compared}


@cache
def expected(name):
    return WORK[name]()


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def generators(seed):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


# All settings at once, in two sets that exclude each other: a result that one of them changes
# differs in its set.
SURROUNDINGS = {
    "no gradients, low precision, three threads": (
        partial(generators, 11),
        torch.no_grad,
        partial(torch.autocast, "cpu", dtype=torch.bfloat16),
        partial(default_dtype, torch.float16),
        partial(torch.device, "meta"),
        partial(thread_count, 3),
        partial(warnings.catch_warnings, action="error"),
    ),
    "inference, double precision": (
        partial(generators, 12),
        torch.inference_mode,
        partial(default_dtype, torch.float64),
        partial(torch.autograd.set_detect_anomaly, False),
    ),
}


@contextmanager
def surrounded(name):
    with ExitStack() as stack:
        for context in SURROUNDINGS[name]:
            stack.enter_context(context())
        yield


def settings():
    """Return all that work could leave changed in its process."""
    cudnn = torch.backends.cudnn
    return {
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "defaults": (torch.get_default_device(), torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "products": torch.get_float32_matmul_precision(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "generators": (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
        ),
        "warnings": tuple(warnings.filters),
        "floating point": np.geterr(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "signals": (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)),
        "script": id(sys.modules["__main__"]),
        "path": list(sys.path),
    }


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("name", WORK)
def test_the_callers_settings_change_no_result_and_stay(name, surroundings):
    assert expected(name) is not None
    with surrounded(surroundings):
        before = settings()
        assert WORK[name]() == expected(name)
        assert settings() == before


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_an_estimate_leaves_the_callers_settings(surroundings):
    data_of("dada")
    with surrounded(surroundings):
        before = settings()
        assert searched("dada", estimate).steps > 0
        assert settings() == before


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_work_that_fails_leaves_the_callers_settings(surroundings):
    def fail(report):
        raise KeyError("a callback of the user")

    data_of("dada")
    with surrounded(surroundings):
        before = settings()
        with pytest.raises(KeyError, match="a callback of the user"):
            searched("dada", callbacks=[fail])
        assert settings() == before


def test_a_network_that_python_and_numpy_initialize_is_seeded_too():
    def random_network(classes):
        built = linear(classes)
        with torch.no_grad():
            built[2].weight[0, 0] = random.random()
            built[2].weight[0, 1] = float(np.random.rand())
        return built

    with generators(1):
        before = settings()
        first = searched("dada", network=random_network)
        assert settings() == before
    with generators(2):
        assert searched("dada", network=random_network) == first


def test_another_process_finds_the_same_without_a_network(from_fresh_process):
    for name in METHODS:
        found = Policy.load(from_fresh_process / f"{name}.safetensors")
        assert found == expected(name)
    written = (from_fresh_process / "compare.json").read_text()
    assert ComparisonResult.from_json(written) == expected("compare")
