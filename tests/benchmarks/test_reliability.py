"""Jobs that are killed or cannot write, and data loaders; large runs: benchmarks/reliability.py.

LEARNED_AUGMENT_KILLS sets how often each job is killed.
"""

import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest

from benchmarks.reliability import (
    FAULTS,
    Killer,
    LoaderSettings,
    failing_write,
    run_job,
    serve,
    slope,
    survives,
)
from learned_augment._io import write_atomically

KILLS = int(os.environ.get("LEARNED_AUGMENT_KILLS", "1"))


@pytest.fixture(scope="module", params=["compare", "papers training"])
def job(request):
    """A job with its number of writes and its result."""
    with tempfile.TemporaryDirectory() as place, failing_write("", 0) as count:
        run_job(request.param, Path(place))
        return request.param, count[0], (Path(place) / "result").read_bytes()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_that_fails_costs_no_result_and_leaves_no_broken_file(job, fault):
    name, writes, result = job
    assert survives(name, fault, 1 + writes // 2, result)


@pytest.mark.parametrize(
    "name", ["papers training", pytest.param("compare", marks=pytest.mark.slow)]
)
def test_a_job_that_is_killed_at_any_moment_ends_with_the_same_result(name):
    killer = Killer(name)
    outcomes = [killer.kill_and_resume() for _ in range(KILLS)]
    assert all(outcome.same for outcome in outcomes), outcomes


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_that_of_one_write(tmp_path, fault):
    with failing_write(fault, 2) as count:
        write_atomically(tmp_path / "a", b"12")
        with pytest.raises(OSError, match="No space left"):
            write_atomically(tmp_path / "a", b"34")
        write_atomically(tmp_path / "b", b"56")
    assert count == [3]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"12", b"56"]


LOADERS = [(0, "none"), (1, "fork"), (2, "fork")]
SLOW = [(workers, start) for start in ("spawn", "forkserver") for workers in (1, 2)]


@pytest.mark.parametrize(
    ("workers", "start"),
    [*LOADERS, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)],
)
def test_a_loader_repeats_its_pixels_by_seed_and_never_otherwise(workers, start):
    if workers and start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no start method {start} here")
    settings = LoaderSettings(workers, start, False, 2)
    first, again = (serve(192, settings, 0) for _ in range(2))
    assert first.epochs == again.epochs
    assert len(set(first.epochs)) == 2
    assert serve(192, settings, 1).epochs[0] != first.epochs[0]


def test_workers_that_persist_draw_on_in_the_next_epoch():
    settings = LoaderSettings(2, "fork", True, 1)
    first, again = (serve(192, settings, 0) for _ in range(2))
    assert first.epochs == again.epochs
    assert first.epochs[0] == serve(192, settings._replace(persistent=False), 0, 1).epochs[0]
    assert first.epochs[0] != first.epochs[1]


def test_a_slope_is_that_of_the_last_half():
    found, error = slope([500, 400, 0, 9, 10, 12, 14, 16])
    assert found == pytest.approx(2.0)
    assert error == pytest.approx(0.0, abs=1e-6)
