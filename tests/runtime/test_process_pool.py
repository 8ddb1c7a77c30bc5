import multiprocessing
import os
import pickle
import signal
import threading
import time

import pytest
import torch

from learned_augment.runtime import process_pool as spawning
from learned_augment.runtime.process_pool import in_processes


def report(number):
    """Press Ctrl-C on this process, which is to go on; the last job takes very long."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600 if number == 3 else 0)
    return number, os.getpid(), torch.get_num_threads()


def broken(number):
    if number == 1:
        raise ArithmeticError(f"job {number}")
    return number


def dies(number):
    os._exit(1)


def test_jobs_run_elsewhere_with_one_thread_until_the_caller_leaves():
    results = {}
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


def test_an_error_in_a_job_is_raised_here_and_says_where_it_happened(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *given: None)  # for processes of their own
    ours, theirs = multiprocessing.Pipe()
    serving = threading.Thread(target=spawning._serve, args=(pickle.dumps(broken), theirs))
    serving.start()
    ours.send((0,))
    assert spawning._answer(ours) == 0
    ours.send((1,))
    with pytest.raises(ArithmeticError, match="job 1") as caught:
        spawning._answer(ours)
    assert "in broken" in caught.value.__notes__[0]
    ours.close()
    serving.join(10)
    assert not serving.is_alive()


def test_a_process_that_ended_is_noticed():
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(RuntimeError, match=r"ended before its job did: .*__main__"):
        spawning._answer(ours)


@pytest.mark.slow
@pytest.mark.parametrize(("function", "error"), [(broken, ArithmeticError), (dies, RuntimeError)])
def test_errors_and_deaths_of_real_processes_are_noticed(function, error):
    with pytest.raises(error):
        list(in_processes(function, [(0,), (1,), (2,)], workers=1))


def test_what_cannot_be_sent_is_refused_before_any_process_starts():
    with pytest.raises(ValueError, match="a lambda or inner function cannot"):
        next(in_processes(lambda number: number, [(1,)], workers=1))
    assert list(in_processes(report, [], workers=2)) == []
