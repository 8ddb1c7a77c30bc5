import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from learned_augment.runtime.process_pool import Workers, in_processes, needs_no_script


def report(number):
    """Press Ctrl-C on this process, which is to go on; the last job takes very long."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600 if number == 3 else 0)
    return number, os.getpid(), torch.get_num_threads()


def broken(number):
    if number == 1:
        raise ArithmeticError(f"job {number}")
    if number == 13:
        os._exit(1)
    return number


def dies(number):
    os._exit(1)


def square(number):
    return number**2


def script_run(folder, text, **options):
    """Run a script as a user would and return how it ended; it may take five minutes."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def test_jobs_run_elsewhere_with_one_thread_until_the_caller_leaves():
    results = {}
    handler = signal.getsignal(signal.SIGINT)
    for place, result in in_processes(report, [(n,) for n in range(4)], workers=1):
        results[place] = result
        if len(results) == 3:
            start = time.monotonic()
            break
    assert time.monotonic() - start < 30  # the last job was ended
    assert [results[place][0] for place in range(3)] == [0, 1, 2]
    pids = {pid for _, pid, _ in results.values()}
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert {threads for *_, threads in results.values()} == {1}
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_in_a_job_is_raised_here_and_leaves_the_workers_until_one_ends():
    with Workers(broken, 1) as workers:
        assert dict(workers.run([(0,), (2,)])) == {0: 0, 1: 2}
        with pytest.raises(ArithmeticError, match="job 1") as caught:
            list(workers.run([(1,)]))
        assert "in broken" in str(caught.value.__cause__)
        assert dict(workers.run([(5,)])) == {0: 5}
        with pytest.raises(RuntimeError, match=r"ended before its job did: .*__main__"):
            list(workers.run([(13,)]))


@pytest.mark.slow
def test_a_process_that_ended_is_noticed():
    with pytest.raises(RuntimeError, match=r"ended before its job did: .*__main__"):
        list(in_processes(dies, [(0,), (1,), (2,)], workers=2))


def test_functions_that_cannot_be_sent_are_refused_before_any_process_starts():
    with pytest.raises(ValueError, match="a lambda or inner function cannot"):
        next(in_processes(lambda number: number, [(1,)], workers=1))
    with pytest.raises(ValueError, match="a lambda or inner function cannot"):
        next(in_processes(report, [(lambda: 1,)], workers=1))
    assert list(in_processes(report, [], workers=2)) == []


def test_functions_of_the_script_need_the_script(monkeypatch):
    assert needs_no_script(square)
    assert needs_no_script(torch.nn.Linear(1, 1))
    assert not needs_no_script(lambda number: number)
    monkeypatch.setattr(square, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "square", square, raising=False)
    assert not needs_no_script(square)


@pytest.mark.slow
def test_a_script_is_not_run_again_for_what_others_define(tmp_path):
    done = script_run(
        tmp_path,
        """
        from learned_augment.runtime.process_pool import in_processes
        from tests.runtime.test_process_pool import square

        print("run")
        print(sorted(in_processes(square, [(3,), (4,)], workers=2)))
        """,
    )
    assert (done.stdout, done.returncode) == ("run\n[(0, 9), (1, 16)]\n", 0)


@pytest.mark.slow
def test_a_script_without_the_main_line_ends_with_the_sentence_that_explains_it(tmp_path):
    # What the processes are sent is larger than a pipe holds: nobody may wait for them to read it.
    done = script_run(
        tmp_path,
        """
        from functools import partial
        from learned_augment.runtime.process_pool import in_processes

        def count(data, number):
            return len(data) + number

        print(list(in_processes(partial(count, bytes(1 << 22)), [(1,), (2,)], workers=2)))
        """,
    )
    assert (done.stdout, done.returncode) == ("", 1)
    assert 'lacks `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_script_with_the_main_line_may_send_its_own_functions(tmp_path):
    done = script_run(
        tmp_path,
        """
        from learned_augment.runtime.process_pool import in_processes

        def double(number):
            return 2 * number

        if __name__ == "__main__":
            print(sorted(in_processes(double, [(1,), (2,)], workers=2)))
        """,
    )
    assert done.stdout == "[(0, 2), (1, 4)]\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_a_caller_that_is_killed(tmp_path):
    done = script_run(
        tmp_path,
        """
        import os, signal
        from learned_augment.runtime.process_pool import in_processes
        from tests.runtime.test_process_pool import report

        for _, (_, pid, _) in in_processes(report, [(0,), (3,)], workers=1):
            print(pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc") / done.stdout.strip()
    deadline = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not child.exists()
