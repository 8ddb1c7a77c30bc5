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

__all__ = ["in_processes"]

_Result = TypeVar("_Result")


def in_processes(
    function: Callable[..., _Result], jobs: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, _Result]]:
    """Run `function(*job)` for every job, and yield (place of the job, result) as they finish.

    Each process computes with one thread, takes jobs in their order, and leaves Ctrl-C to the
    caller; closing the iterator ends them all.

    Args:
        function: what to run; sent to each process once.
        jobs: its arguments.
        workers: how many processes, 1 or more.

    Raises:
        ValueError: if `function` or a job cannot be sent to another process.
        RuntimeError: if a process ended before its job did.
    """
    payload, messages = _sent(function), [_sent(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    crew: list[tuple[BaseProcess, Any]] = []
    busy: dict[Any, int] = {}
    started = 0
    try:
        while started < len(jobs) or busy:
            while started < len(jobs) and len(busy) < workers:
                idle = next((line for _, line in crew if line not in busy), None)
                line = idle or _hired(context, crew, payload)
                line.send_bytes(messages[started])
                busy[line] = started
                started += 1
            for ready in wait(list(busy)):
                yield busy.pop(ready), _answer(ready)
    finally:
        for process, line in crew:
            line.close()
            process.terminate()
        for process, _ in crew:
            process.join()


def _hired(context: Any, crew: list[tuple[BaseProcess, Any]], payload: bytes) -> Any:
    """Start one more process and return the connection to it."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(payload, theirs), daemon=True)
    process.start()
    theirs.close()  # so that the line breaks when the process ends
    crew.append((process, ours))
    return ours


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
