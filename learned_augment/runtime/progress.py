"""Progress of a long job as one line on standard error, with an estimate of the time left."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping

from learned_augment._text import duration

__all__ = ["Pace", "Progress", "is_terminal"]


class Pace:
    """Mean time of a step in each phase of a job."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._steps: Counter[str] = Counter()

    def step(self, phase: str = "") -> None:
        """Count one finished step of ``phase``, which began when the previous one ended."""
        now = time.monotonic()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._steps[phase] += 1
        self._last = now

    def seconds(self, phase: str = "") -> float:
        """Return the mean time of a step; 0 for a phase without a finished step."""
        return self._seconds[phase] / self._steps[phase] if phase in self._seconds else 0.0

    def left(self, ahead: Mapping[str, int]) -> tuple[float, bool]:
        """Estimate the time of the steps ``ahead``, given by phase.

        Returns:
            The seconds of all phases with a finished step, and whether every phase ahead has one.
        """
        seconds = sum(self.seconds(phase) * steps for phase, steps in ahead.items())
        return seconds, all(phase in self._seconds for phase, steps in ahead.items() if steps)


class Progress:
    """A line on standard error, rewritten at each step, never wider than the terminal.

    Nothing is shown where standard error is missing or closed.

    Args:
        total: Number of steps of the whole job, which `step` needs.
        shown: True shows the line, False does not; None shows it on a terminal.

    Attributes:
        shown: Whether the line is shown.
    """

    def __init__(self, total: int = 0, shown: bool | None = None) -> None:
        self._terminal = is_terminal()
        self.shown = self._terminal if shown is None else shown
        self._left, self._pace = total, Pace()
        self._width = 0

    def step(self, text: str) -> None:
        """Count one finished step and show ``text`` with the time left."""
        self._pace.step()
        self._left -= 1
        self.show(text, *self._pace.left({"": self._left}))

    def show(self, text: str, seconds: float, whole: bool = True) -> None:
        """Show ``text`` with the time left: ``seconds``, or more if not ``whole``."""
        left = f", {'' if whole else 'at least '}{duration(seconds)} left"
        # A line that wraps could not be rewritten; the end of the text matters least.
        room = shutil.get_terminal_size().columns - 1 if self._terminal else len(text + left)
        self._write((text[: max(0, room - len(left))] + left)[:room])

    def close(self) -> None:
        """Wipe the line."""
        self._write("")

    def _write(self, text: str) -> None:
        if not self.shown or sys.stderr is None:
            return
        try:
            sys.stderr.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
            sys.stderr.flush()
        except (OSError, ValueError):  # a closed stream, or a terminal that is gone
            self.shown = False
        self._width = len(text)


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False
