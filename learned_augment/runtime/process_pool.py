"""Jobs run in processes of one thread each, by concurrent.futures."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, TypeVar

import torch

from learned_augment._io import NOT_PICKLED
from learned_augment.ops import registered_ops
from learned_augment.runtime.rng import usable_cores
from learned_augment.runtime.signals import ignore_interrupts

__all__ = [
    "WorkerError",
    "Workers",
    "core_count",
    "default_workers",
    "in_processes",
    "needs_no_script",
]

_Result = TypeVar("_Result")

_MOST_PROCESSES = 61  # Windows waits for no more at once


class WorkerError(RuntimeError):
    """A process ended before its job did."""


class Workers:
    """Processes that run one job after another, each with one thread.

    They are spawned, not forked, as torch's threads do not survive a fork. They ignore Ctrl-C and
    leave it to the caller. Use the object as a context manager, which ends all processes; they also
    end with this process.

    Args:
        function: What to run; sent to each process once.
        count: How many processes, 1 or more; each starts with its first job.

    Raises:
        ValueError: If `function` cannot be sent to another process.
    """

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        payload = _pickled(function)
        self._names_script = _names_script(payload)
        self._folder = TemporaryDirectory()
        # The function goes through a file: a pipe to a process that dies early would block.
        self._path = Path(self._folder.name) / "function"
        self._path.write_bytes(payload)
        context = multiprocessing.get_context("spawn")
        self._receiver, self._sender = context.Pipe(duplex=False)
        count = min(count, _MOST_PROCESSES)
        self._pool = ProcessPoolExecutor(count, context, _start, (self._receiver,))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Run `function(*job)` for every job; yield (place of the job, result) as they finish.

        Jobs start in their order. If the iterator is not read to its end, the workers cannot be
        used again: close them.

        Raises:
            ValueError: If a job cannot be sent to another process.
            WorkerError: If a process ended before its job did.
        """
        messages = list(map(_pickled, jobs))
        names_script = self._names_script or any(map(_names_script, messages))
        try:
            with _interrupts_ignored(), nullcontext() if names_script else _script_hidden():
                places = {
                    self._pool.submit(_run, self._path, message): place
                    for place, message in enumerate(messages)
                }
            for future in as_completed(places):
                yield places[future], future.result()
        except BrokenProcessPool:
            raise WorkerError(
                "A process ended before its job did: out of memory, or the script that started it "
                'lacks `if __name__ == "__main__":` around what it runs. Add it, or take workers=1.'
            ) from None

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self._sender.close()
        self._pool.shutdown(cancel_futures=True)
        self._receiver.close()
        self._folder.cleanup()


def in_processes(
    function: Callable[..., _Result], jobs: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, _Result]]:
    """Run jobs in several processes; see `Workers`. Closing the iterator ends the processes."""
    with Workers(function, workers) as processes:
        yield from processes.run(jobs)


def needs_no_script(thing: object) -> bool:
    """Return whether another process can load `thing` without running the caller's script."""
    try:
        return not _names_script(pickle.dumps(thing))
    except NOT_PICKLED:
        return False


def default_workers(
    device: torch.device, network: str | Callable[..., Any], ops: Iterable[str]
) -> int:
    """Return the number of processes that train small networks side by side.

    It is one on a GPU, and where other processes would need the caller's script for the network or
    for one of the named ops; else one for each core.
    """
    several = device.type == "cpu" and needs_no_script((network, registered_ops(ops)))
    return core_count() if several else 1


def core_count() -> int:
    """Return the number of cores that this process may use, 1 if it may not start processes."""
    return 1 if multiprocessing.current_process().daemon else usable_cores()


def _names_script(payload: bytes) -> bool:
    """Return whether a pickle needs something that the caller's script defines."""
    return b"__main__" in payload


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Return a context in which new processes do not run the caller's script.

    They do not need it. A script without the line `if __name__ == "__main__":` would even fail
    in them.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Return a context in which new processes ignore Ctrl-C from their start on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is None:  # set outside Python, which could not restore it
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(receiver: Connection) -> None:
    """Set a new process up: no interrupts, one thread, and its end with the caller."""
    ignore_interrupts()
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_caller, args=(receiver,), daemon=True).start()


def _end_with_caller(receiver: Connection) -> None:
    """End this process when the caller closes the other end of the pipe, or is killed."""
    try:
        receiver.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@cache
def _function(path: Path) -> Callable[..., Any]:
    return _received(path.read_bytes())  # type: ignore[no-any-return]


def _run(path: Path, message: bytes) -> Any:
    return _function(path)(*_received(message))


def _received(payload: bytes) -> Any:
    try:
        return pickle.loads(payload)
    except (AttributeError, ImportError) as error:
        raise ValueError(
            f"Another process does not find a function or class of the caller ({error}). Define "
            "it in a file that can be imported, or take workers=1."
        ) from None


def _pickled(thing: object) -> bytes:
    try:
        return pickle.dumps(thing)
    except NOT_PICKLED as error:
        raise ValueError(
            "Expected something that other processes can be sent, such as a network by name, a "
            "module or a function at the top level of a file; a lambda or inner function cannot: "
            f"{error}. Or take workers=1."
        ) from None
