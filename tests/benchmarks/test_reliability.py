"""Hostile files, kills, failing writes and data loaders; large runs: benchmarks/reliability."""

import ast
import importlib
import multiprocessing
import random
import signal
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks.record import ROOT
from benchmarks.reliability.__main__ import MOST_MIB, is_faulty
from benchmarks.reliability.environment import environment_row
from benchmarks.reliability.faults import FAULTS, Fault, failing_write, survives
from benchmarks.reliability.fuzz import FuzzTarget, Guard, fuzz_rows, make_targets, try_input
from benchmarks.reliability.jobs import JOBS, START, phase_of, result_of, run_job
from benchmarks.reliability.kills import Killer
from benchmarks.reliability.loaders import LoaderSettings, Served, load_rows, serve, slope
from benchmarks.reliability.mutations import mutate_bytes, mutate_data, mutate_json
from learned_augment._io import write_atomically
from learned_augment.runtime.rng import default_threads


@pytest.fixture(scope="module")
def guard():
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timer of processor time here")
    made = Guard()
    made.install()
    return made


@pytest.mark.filterwarnings("ignore:Fewer than val_batch:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("count", [2_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_broken_file_gives_a_valid_value_or_an_error_in_our_words(tmp_path, guard, count):
    rows = {row["target"]: row for row in fuzz_rows(count, make_targets(tmp_path), tmp_path, guard)}
    assert sum(row["inputs"] for row in rows.values()) == pytest.approx(count, abs=5)  # rounded
    assert not [row["first_wrong"] for row in rows.values() if row["wrong"]]
    assert all(row["valid"] and row["refused"] for row in rows.values() if row["inputs"] >= 50)
    assert max(row["extra_memory_mib"] for row in rows.values()) <= MOST_MIB


def reading(read):
    return FuzzTarget("made", [b"abc"], lambda data, rng: data, read, 1.0)


def refuse(path):
    raise ValueError("expected abc, got something else")


def fail(path):
    raise KeyError("ops")


def compile_text(path):
    exec(compile("pass", "name", "exec"))


def take_long(path):
    while True:
        pass


def misread(path):
    path.read_bytes().decode("utf-32")


def say_nothing(path):
    raise ValueError


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: None, "valid"),
        (refuse, "refused"),
        (fail, "KeyError: 'ops'"),
        (misread, "UnicodeDecodeError"),
        (say_nothing, "an error without words"),
        (compile_text, "_Ran: compile"),
        (take_long, "_TooSlow"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_file_that_does_anything_else_is_told(tmp_path, guard, monkeypatch, read, outcome):
    monkeypatch.setattr("benchmarks.reliability.fuzz.SECONDS", 0.2)
    told = try_input(reading(read), b"abc", tmp_path / "file", guard)
    assert told.startswith(outcome)


def test_a_module_that_loads_late_is_no_code_of_a_file(tmp_path, guard, monkeypatch):
    (tmp_path / "loaded_late.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    target = reading(lambda path: importlib.import_module("loaded_late") and None)
    assert try_input(target, b"abc", tmp_path / "file", guard) == "valid"
    assert sys.modules.pop("loaded_late")


def test_mutations_change_valid_data_and_leave_the_original():
    document = {"a": [1, 2, {"b": "c"}], "d": 0.5}
    rng = random.Random(0)
    texts = {mutate_json(document, rng) for _ in range(200)}
    assert len(texts) > 150
    assert document == {"a": [1, 2, {"b": "c"}], "d": 0.5}
    state = {"w": torch.zeros(3), "n": [1, 2]}
    assert any(
        mutate_data(state, rng, lambda rng: "x")["w"] == "x" for _ in range(200) if "w" in state
    )
    assert sum(mutate_bytes(bytes(100), rng) != bytes(100) for _ in range(100)) > 50


def calls(module):
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_file_is_unpickled():
    modules = [
        path for name in ("learned_augment", "benchmarks") for path in (ROOT / name).rglob("*.py")
    ]
    loads = [node for module in modules for name, node in calls(module) if name == "torch.load"]
    assert loads
    for node in loads:
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert given.get("weights_only") == "True"
    unpickling = ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec", "np.load")
    names = {module.name for module in modules for name, _ in calls(module) if name in unpickling}
    # Messages between processes that one program started.
    assert names == {"process_pool.py"}


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    from learned_augment.runtime.checkpoint import encode, read

    path = tmp_path / "state"
    path.write_bytes(encode({"state": torch.zeros(2**20)}))
    assert torch.equal(read(path, "state")[0], torch.zeros(2**20))
    packed = tmp_path / "packed"
    with (
        zipfile.ZipFile(path) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in whole.infolist():
            small.writestr(entry.filename, whole.read(entry))
    assert packed.stat().st_size < path.stat().st_size / 50
    with pytest.raises(ValueError, match="its parts are larger than the file"):
        read(packed, "state")


def test_a_tensor_that_repeats_one_number_is_no_state(tmp_path):
    from learned_augment.runtime.checkpoint import read

    path = tmp_path / "state"
    torch.save({"state": torch.zeros(1).expand(2**40), "sha256": "0" * 32}, path)
    with pytest.raises(ValueError, match="a tensor is larger than the file"):
        read(path, "state")


@pytest.fixture(scope="module", params=["compare", "papers training"])
def job(request):
    """A job with its number of writes and its result."""
    with tempfile.TemporaryDirectory() as place, failing_write(None) as count:
        run_job(request.param, Path(place))
        return request.param, count[0], result_of(Path(place))


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.failure != "killed"], ids=" ".join
)
def test_a_write_that_fails_costs_no_result_and_leaves_no_broken_file(job, fault):
    name, writes, result = job
    assert survives(name, fault, 1 + writes // 2, result)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.failure == "killed"], ids=" ".join
)
def test_a_process_that_is_killed_while_it_writes_leaves_no_broken_file(job, fault):
    name, writes, result = job
    assert survives(name, fault, 1 + writes // 2, result)


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_is_killed_at_any_moment_ends_with_the_same_result(name):
    outcome = Killer(name).kill_and_resume()
    assert outcome.same, outcome


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.failure != "killed"], ids=" ".join
)
def test_an_injected_fault_is_that_of_one_write(tmp_path, fault):
    with failing_write(fault, 2) as count:
        write_atomically(tmp_path / "a", b"12")
        with pytest.raises(OSError, match=r"No space left|Permission denied"):
            write_atomically(tmp_path / "a", b"34")
        write_atomically(tmp_path / "b", b"56")
    assert count == [3]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"12", b"56"]


def test_a_torn_write_leaves_one_byte_until_it_is_cleaned_up(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    with failing_write(Fault("write", "disk full"), 1), pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"12")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


@pytest.mark.parametrize("name", [name for name in JOBS if "processes" not in name])
def test_a_job_has_one_thread_whatever_the_machine_allows(tmp_path, monkeypatch, name):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default_threads() == 2
    counts, set_count = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (counts.append(n), set_count(n)))
    run_job(name, tmp_path)
    assert set(counts) == {1}


def test_a_job_knows_the_phase_of_its_last_step(tmp_path):
    assert phase_of(tmp_path) == START
    run_job("search deepaa", tmp_path)
    assert phase_of(tmp_path) == "policy"


def test_an_environment_counts_the_outcomes_of_its_tests(tmp_path):
    path = tmp_path / "test_of_versions.py"
    path.write_text(
        "import pytest\n\n\ndef test_a():\n    pass\n\n\ndef test_b():\n    assert False\n\n\n"
        "def test_c():\n    pytest.skip('not here')\n\n\n"
        "def test_d(missing):\n    pass\n"
    )
    row = environment_row([str(path)])
    assert [row[name] for name in ("passed", "skipped", "failed")] == [1, 1, 2]
    assert row["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert is_faulty(row)


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
    (row,) = load_rows(512, [settings])
    assert row["same_seed_same_pixels"]
    assert row["seeds_differ"]
    assert (row["images"], row["batches"], row["repeated_batches"]) == (512, 8, 0)


def test_workers_that_persist_draw_on_in_the_next_epoch():
    settings = LoaderSettings(2, "fork", True, 1)
    first, again = (serve(512, settings, 0) for _ in range(2))
    assert first.epochs == again.epochs
    assert first.epochs[0] == serve(512, settings._replace(persistent=False), 0).epochs[0]
    assert first.repeated == 0


def test_batches_that_repeat_are_counted():
    assert Served(((1, 2), (2, 3)), ()).repeated == 1


def test_a_slope_is_that_of_the_last_half():
    found, error = slope([500, 400, 0, 9, 10, 12, 14, 16])
    assert found == pytest.approx(2.0)
    assert error == pytest.approx(0.0, abs=1e-6)
