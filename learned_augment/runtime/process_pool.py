"""Jobs in processes of their own, which run until they are done or the caller stops.

Processes are spawned, not forked: torch's threads do not survive a fork.
"""

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

__all__ = ["Workers", "in_processes"]

_Result = TypeVar("_Result")


class Workers:
    """Processes that stay for job after job, each computing with one thread.

    They leave Ctrl-C to the caller. Use as a context manager, which ends them.

    Args:
        function: what to run; sent to each process once.
        count: how many processes, 1 or more; each starts with its first job.

    Raises:
        ValueError: if `function` cannot be sent to another process.
    """

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        self._payload, self._count = _sent(function), count
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[tuple[BaseProcess, Any]] = []
        self._busy: dict[Any, int] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Run `function(*job)` for every job; yield (place of the job, result) as they finish.

        Jobs are taken in their order. An iterator that is left before its end leaves the workers
        unusable: close them.

        Raises:
            ValueError: if a job cannot be sent to another process.
            RuntimeError: if a process ended before its job did.
        """
        messages = [_sent(job) for job in jobs]
        started = 0
        while started < len(jobs) or self._busy:
            while started < len(jobs) and len(self._busy) < self._count:
                connection = self._idle()
                connection.send_bytes(messages[started])
                self._busy[connection] = started
                started += 1
            for ready in wait(list(self._busy)):
                yield self._busy.pop(ready), _answer(ready)

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        for process, connection in self._processes:
            connection.close()
            process.terminate()
        for process, _ in self._processes:
            process.join()
        self._processes, self._busy = [], {}

    def _idle(self) -> Any:
        """Return the connection to an idle process, or to a new one."""
        idle = next((line for _, line in self._processes if line not in self._busy), None)
        if idle is not None:
            return idle
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(self._payload, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the connection breaks when the process ends
        self._processes.append((process, ours))
        return ours


def in_processes(
    function: Callable[..., _Result], jobs: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, _Result]]:
    """Run jobs in processes of their own, see `Workers`; closing the iterator ends them all."""
    with Workers(function, workers) as processes:
        yield from processes.run(jobs)


def _sent(thing: object) -> bytes:
    try:
        return pickle.dumps(thing)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "Expected something that other processes can be sent, such as a network by name, a "
            "module or a function at the top level of a file; a lambda or inner function cannot: "
            f"{error}. Or take workers=1."
        ) from None


def _answer(line: Any) -> Any:
    try:
        done, result = line.recv()
    except (EOFError, ConnectionError):
        raise RuntimeError(
            "A process ended before its job did: out of memory, or the script that started it "
            'lacks `if __name__ == "__main__":` around what it runs.'
        ) from None
    if not done:
        raise result
    return result


def _serve(payload: bytes, line: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    function = pickle.loads(payload)
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        try:
            answer = (True, function(*job))
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = (False, error)
        line.send(answer)
