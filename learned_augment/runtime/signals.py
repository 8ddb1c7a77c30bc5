"""Ctrl-C and SIGTERM let a long job finish the step that it is in."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ignore_interrupts", "interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what kill, batch systems and containers send


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Let a first Ctrl-C or SIGTERM finish the step under way; a second one acts at once."""
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

    # A handler that Python does not know could not be restored.
    known = [number for number in _SIGNALS if signal.getsignal(number) is not None]
    before = {number: signal.getsignal(number) for number in known}
    try:
        for number in known:
            signal.signal(number, press)
        yield pressed.is_set
    finally:
        restore()


def ignore_interrupts(worker: int = 0) -> None:
    """Leave Ctrl-C and SIGTERM, which reach all processes of a group, to the one that trains.

    Args:
        worker: its number, which a ``DataLoader`` tells its ``worker_init_fn``.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
