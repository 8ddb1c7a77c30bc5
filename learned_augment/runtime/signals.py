"""Handling of Ctrl-C, SIGTERM and SIGHUP: no long job loses what it has finished."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from learned_augment.runtime.progress import is_terminal

__all__ = ["ignore_interrupts", "interrupts", "termination_interrupts"]

_WAITS = b"\nThe current step ends first. Ctrl-C again ends at once, and saves nothing.\n"

_ENDS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # sent by kill, batch systems and containers; sent when a terminal or ssh closes (not on Windows)

_SIGNALS = (signal.SIGINT, *_ENDS)


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Return a context in which a first Ctrl-C, SIGTERM or SIGHUP waits for the end of the step.

    A second one acts at once. On a terminal a line says so: a step may take minutes. What ``nohup``
    has set to be ignored stays ignored.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may handle signals
        return

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def press(signum: int, frame: object) -> None:
        pressed.set()
        restore()
        if is_terminal():
            with suppress(OSError, ValueError):  # print() must not run inside another print()
                os.write(sys.stderr.fileno(), _WAITS)

    before = {}
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        # A handler that Python does not know could not be restored.
        if handler is not None and not (number in _ENDS and handler == signal.SIG_IGN):
            before[number] = handler
    try:
        for number in before:
            signal.signal(number, press)
        yield pressed.is_set
    finally:
        restore()


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Return a context in which SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    By default they would end the process at once, with all that it has finished. A handler that the
    caller has set stays.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    ends = [number for number in _ENDS if signal.getsignal(number) == signal.SIG_DFL]
    if not in_main_thread:
        ends = []  # only the main thread may handle signals
    for number in ends:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ends:
            signal.signal(number, signal.SIG_DFL)


def ignore_interrupts(worker: int = 0) -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP in a worker: they reach all, and one handles them.

    Args:
        worker: Its number, which a ``DataLoader`` tells its ``worker_init_fn``.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
