"""One line on a terminal that says how far a long job is, and nothing in a pipe."""

import sys
import time

__all__ = ["Progress"]


class Progress:
    """A line on standard error, rewritten at each step.

    Args:
        total: number of steps of the whole job.
        shown: True writes, False does not; None writes when standard error is a terminal.
    """

    def __init__(self, total: int, shown: bool | None = None) -> None:
        self._total = total
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._start = time.monotonic()
        self._steps = 0
        self._width = 0

    def step(self, text: str) -> None:
        """Count one finished step and show `text` with the time left."""
        self._steps += 1
        spent = time.monotonic() - self._start
        self._write(f"{text}, {_duration(spent / self._steps * (self._total - self._steps))} left")

    def close(self) -> None:
        """Wipe the line."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            sys.stderr.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
            sys.stderr.flush()
            self._width = len(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
