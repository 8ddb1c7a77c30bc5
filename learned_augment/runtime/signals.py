"""Handling of Ctrl-C and SIGTERM: no long job loses what it has finished."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from learned_augment.runtime.progress import is_terminal

__all__ = ["ignore_interrupts", "interrupts", "termination_interrupts"]

_WAITS = b"\nThe current step ends first. Ctrl-C again ends at once, and saves nothing.\n"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what kill, batch systems and containers send


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Return a context in which a first Ctrl-C or SIGTERM waits for the end of the current step.

    A second one acts at once. On a terminal a line says so: a step may take minutes.
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

    # A handler that Python does not know could not be restored.
    known = [number for number in _SIGNALS if signal.getsignal(number) is not None]
    before = {number: signal.getsignal(number) for number in known}
    try:
        for number in known:
            signal.signal(number, press)
        yield pressed.is_set
    finally:
        restore()


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Return a context in which SIGTERM raises KeyboardInterrupt, as Ctrl-C does.

    By default it would end the process at once, with all that it has finished. A handler that the
    caller has set stays.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_interrupts(worker: int = 0) -> None:
    """Ignore Ctrl-C and SIGTERM in a worker: they reach all processes, and one handles them.

    Args:
        worker: Its number, which a ``DataLoader`` tells its ``worker_init_fn``.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
