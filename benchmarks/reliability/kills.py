"""Kill jobs at random moments, resume them, and compare their results with those of whole runs."""

import multiprocessing
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reliability.jobs import result_of, run_job

__all__ = ["Killed", "Killer", "kill_rows", "run_in_process"]

SHARES = {
    "search screening": 0.5,
    "compare, 2 processes": 0.08,
    "search screening, 2 processes": 0.08,
}
"""Kills of a job relative to others; processes that start anew cost most of the time."""


def run_in_process(run: Callable[..., None], *arguments: Any, seconds: float | None = None) -> int:
    """Run a function in a process of its own, kill it after ``seconds``; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reliability.preload"])
    process = context.Process(target=run, args=arguments)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode or 0


class Killed(NamedTuple):
    """Outcome of a job that was killed and resumed.

    Attributes:
        kills: how often it was killed.
        same: whether its result is that of a job that was not killed.
        exit_code: of the last process.
    """

    kills: int
    same: bool
    exit_code: int


class Killer:
    """Kills a job at random moments and resumes it, in processes of their own.

    Args:
        name: of `jobs.JOBS`.
        seed: of the moments.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self._name, self._moments = name, random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            run_in_process(run_job, name, Path(folder))  # starts the server of processes, too
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            code = run_in_process(run_job, name, Path(folder))
            self._seconds = time.monotonic() - start
            if code != 0:
                raise RuntimeError(f"{name} fails without being killed: exit code {code}.")
            self._result = result_of(Path(folder))

    def kill_and_resume(self, kills: int = 2) -> Killed:
        """Kill the job up to ``kills`` times, each at another moment, then let it finish."""
        done = 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for _ in range(kills):
                moment = self._moments.uniform(0, self._seconds)
                code = run_in_process(run_job, self._name, folder, seconds=moment)
                done += code == -signal.SIGKILL
                if code not in (0, -signal.SIGKILL):
                    return Killed(done, False, code)
            code = run_in_process(run_job, self._name, folder)
            return Killed(done, code == 0 and result_of(folder) == self._result, code)


def kill_rows(jobs: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each job, with ``count`` kills of all jobs together."""
    shares = {name: SHARES.get(name, 1.0) for name in jobs}
    for name, share in shares.items():
        start, killer, outcomes = time.monotonic(), Killer(name), list[Killed]()
        while sum(outcome.kills for outcome in outcomes) < count * share / sum(shares.values()):
            outcomes.append(killer.kill_and_resume())
        yield {
            "part": "kills",
            "job": name,
            "kills": sum(outcome.kills for outcome in outcomes),
            "runs": len(outcomes),
            "identical_results": sum(outcome.same for outcome in outcomes),
            "seconds": round(time.monotonic() - start, 1),
        }
