"""Kill jobs at random moments, resume them, and compare their results with those of whole runs."""

import multiprocessing
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reliability.jobs import START, phase_of, result_of, run_job

__all__ = ["Killed", "Killer", "kill_rows", "run_in_process"]

SHARES = {"compare, 2 processes": 0.3, "search screening, 2 processes": 0.3}
"""Kills of a job relative to others; processes that start anew cost most of the time."""


def run_in_process(run: Callable[..., None], *arguments: Any, seconds: float | None = None) -> int:
    """Run a function in a process of its own, kill it after ``seconds``; return its exit code."""
    process = start_process(run, *arguments)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode or 0


def start_process(run: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a function in a process of its own, which finds everything loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reliability.preload"])
    process = context.Process(target=run, args=arguments)
    process.start()
    return process


class Killed(NamedTuple):
    """Outcome of a job that was killed and resumed.

    Attributes:
        phases: in which it was killed, see `jobs.phase_of`.
        same: whether its result is that of a job that was not killed.
        exit_code: of the last process.
    """

    phases: tuple[str, ...]
    same: bool
    exit_code: int


class Killer:
    """Kills a job at random moments and resumes it, in processes of their own.

    Every second moment lies after the start of the job, which takes a large part of its time.

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
            process = start_process(run_job, name, Path(folder))
            while process.is_alive() and phase_of(Path(folder)) == START:
                process.join(0.02)
            self._start_seconds = time.monotonic() - start
            process.join()
            self._seconds, code = time.monotonic() - start, process.exitcode
            if code != 0:
                raise RuntimeError(f"{name} fails without being killed: exit code {code}.")
            self._result = result_of(Path(folder))

    def kill_and_resume(self, kills: int = 2) -> Killed:
        """Kill the job up to ``kills`` times, each at another moment, then let it finish."""
        phases: list[str] = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for number in range(kills):
                earliest = self._start_seconds if number % 2 else 0.0
                moment = self._moments.uniform(earliest, self._seconds)
                code = run_in_process(run_job, self._name, folder, seconds=moment)
                if code != -signal.SIGKILL:
                    break
                phases.append(phase_of(folder))
            else:
                code = run_in_process(run_job, self._name, folder)
            return Killed(tuple(phases), code == 0 and result_of(folder) == self._result, code)


def kill_rows(jobs: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each job, with ``count`` kills of all jobs together."""
    shares = {name: SHARES.get(name, 1.0) for name in jobs}
    for name, share in shares.items():
        start, killer, outcomes = time.monotonic(), Killer(name), list[Killed]()
        wanted = count * share / sum(shares.values())
        while sum(len(outcome.phases) for outcome in outcomes) < wanted:
            outcomes.append(killer.kill_and_resume())
        phases = Counter(phase for outcome in outcomes for phase in outcome.phases)
        yield {
            "part": "kills",
            "job": name,
            "kills": phases.total(),
            "kills_by_phase": dict(phases),
            "runs": len(outcomes),
            "identical_results": sum(outcome.same for outcome in outcomes),
            "seconds": round(time.monotonic() - start, 1),
        }
