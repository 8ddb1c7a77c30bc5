"""Let each step of a write fail or be the last of its process, and run the job again."""

import errno
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.reliability.jobs import result_of, run_job
from benchmarks.reliability.kills import run_in_process

__all__ = ["FAULTS", "Fault", "failing_write", "fault_rows", "survives"]


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _denied() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_FAILURES: dict[str, Callable[[], None]] = {
    "disk full": _full,
    "permission denied": _denied,
    "killed": _killed,
}


class Fault(NamedTuple):
    """A step of a write, and how it fails; a "write" that fails leaves one byte."""

    step: str
    failure: str


FAULTS = (
    Fault("open", "disk full"),
    Fault("open", "permission denied"),
    Fault("open", "killed"),
    Fault("write", "disk full"),
    Fault("write", "killed"),
    Fault("fsync", "disk full"),
    Fault("fsync", "killed"),
    Fault("replace", "disk full"),
    Fault("replace", "permission denied"),
    Fault("replace", "killed"),
)


@contextmanager
def failing_write(fault: Fault | None, number: int = 0) -> Iterator[list[int]]:
    """Let one step of the ``number``-th write fail; yield the count of writes."""
    count = [0]
    plain_open, plain_replace, plain_sync = Path.open, Path.replace, os.fsync

    def reach(step: str) -> None:
        if fault is not None and step == fault.step and count[0] == number:
            _FAILURES[fault.failure]()

    class Torn:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *raised: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            self._file.write(data[:1])
            self._file.flush()
            reach("write")
            return 1 + self._file.write(data[1:])

    def opened(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode != "xb":
            return plain_open(path, mode, *more, **named)
        count[0] += 1
        reach("open")
        return Torn(plain_open(path, mode))

    def replaced(path: Path, target: Path) -> Path:
        reach("replace")
        return plain_replace(path, target)

    def synced(handle: int) -> None:
        reach("fsync")
        plain_sync(handle)

    with (
        patch.object(Path, "open", opened),
        patch.object(Path, "replace", replaced),
        patch("learned_augment._io.fsync", synced),
    ):
        yield count


def run_with_fault(name: str, folder: Path, fault: Fault, number: int) -> None:
    """Run a job whose ``number``-th write has a fault."""
    with failing_write(fault, number), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run_job(name, folder)


def survives(name: str, fault: Fault, number: int, result: bytes) -> bool:
    """Return whether a job gives ``result`` although its ``number``-th write has a fault once."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if fault.failure == "killed":
            code = run_in_process(run_with_fault, name, folder, fault, number)
            if code != -signal.SIGKILL or run_in_process(run_job, name, folder) != 0:
                return False
            return result_of(folder) == result
        try:
            run_with_fault(name, folder, fault, number)
        except OSError:
            run_job(name, folder)  # by the user, who has made room
        return result_of(folder) == result and not list(folder.rglob("*.tmp"))


def fault_rows(jobs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each job and fault, after every write of the job had the fault once."""
    for name in jobs:
        with tempfile.TemporaryDirectory() as place, failing_write(None) as count:
            run_job(name, Path(place))
            result = result_of(Path(place))
        writes = range(1, count[0] + 1)
        for fault in FAULTS:
            yield {
                "part": "faults",
                "job": name,
                "step": fault.step,
                "failure": fault.failure,
                "failed_writes": len(writes),
                "identical_results": sum(survives(name, fault, n, result) for n in writes),
            }
