"""One line on a terminal that says how far a long job is, and nothing in a pipe."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping

from learned_augment._text import duration

__all__ = ["Pace", "Progress"]


class Pace:
    """How long the steps of a job take, by phase, and how long the job will take from here."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._steps: Counter[str] = Counter()

    def step(self, phase: str = "") -> None:
        """Count one finished step of ``phase``, begun where the last one ended."""
        now = time.monotonic()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._steps[phase] += 1
        self._last = now

    def seconds(self, phase: str = "") -> float:
        """Return the mean time of a step; 0 for a phase that has had none."""
        return self._seconds[phase] / self._steps[phase] if phase in self._seconds else 0.0

    def left(self, ahead: Mapping[str, int]) -> tuple[float, bool]:
        """Return the seconds that steps ``ahead``, by phase, will take, as far as that is known.

        Returns:
            The seconds, and whether they are all: not where a phase ahead has had no step yet.
        """
        seconds = sum(self.seconds(phase) * steps for phase, steps in ahead.items())
        return seconds, all(phase in self._seconds for phase, steps in ahead.items() if steps)


class Progress:
    """A line on standard error, rewritten at each step, never wider than the terminal.

    Args:
        total: number of steps of the whole job, all alike; for `step`.
        shown: True writes, False does not; None writes when standard error is a terminal.
    """

    def __init__(self, total: int = 0, shown: bool | None = None) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if shown is None else shown
        self._left, self._pace = total, Pace()
        self._width = 0

    def step(self, text: str) -> None:
        """Count one finished step and show ``text`` with the time left."""
        self._pace.step()
        self._left -= 1
        self.show(text, *self._pace.left({"": self._left}))

    def show(self, text: str, seconds: float, whole: bool = True) -> None:
        """Show ``text`` with the time left: ``seconds``, or if not ``whole`` at least so many."""
        left = f", {'' if whole else 'at least '}{duration(seconds)} left"
        # A line that wraps could not be rewritten; what matters least stands at the text's end.
        room = shutil.get_terminal_size().columns - 1 if self._terminal else len(text + left)
        self._write((text[: max(0, room - len(left))] + left)[:room])

    def close(self) -> None:
        """Wipe the line."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            sys.stderr.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
            sys.stderr.flush()
            self._width = len(text)
