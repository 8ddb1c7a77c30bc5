"""Callbacks of a search: a progress line, a log of JSON lines, TensorBoard."""

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from learned_augment._io import check_output_path
from learned_augment.policy import Policy
from learned_augment.runtime.loop import StepReport
from learned_augment.runtime.progress import Progress

__all__ = ["Callback", "JsonLog", "ProgressLine", "SearchReport", "most_applied", "tensorboard"]

_REFRESH_SECONDS = 0.5


@dataclass(frozen=True)
class SearchReport(StepReport):
    """Report of a step of a search, which callbacks receive: a `StepReport` with a policy.

    Attributes:
        policy: Returns the best policy so far.

    Examples:
        >>> from learned_augment import search
        >>> def show(report):
        ...     print(f"step {report.step} of {report.steps}: {report.policy().depth} layers")
        >>> policy = search("digits", method="dada", reduce=60, epochs=2, callbacks=[show])
        step 1 of 2: 2 layers
        step 2 of 2: 2 layers
    """

    policy: Callable[[], Policy]


Callback: TypeAlias = Callable[[SearchReport], None]


def most_applied(policy: Policy, count: int = 3) -> list[tuple[str, float]]:
    """Return the ops that a policy applies most often, with their mean number per image."""
    applied = {name: float(layers.sum()) for name, layers in policy.op_shares().items()}
    applied.pop("Identity", None)
    return sorted(applied.items(), key=lambda item: -item[1])[:count]


class ProgressLine:
    """A line on a terminal: step, losses, the ops applied most, time left.

    Use it as a context manager; the line is wiped at the end.

    Args:
        shown: As for `runtime.progress.Progress`.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._progress = Progress(shown=shown)
        self._refreshed = -_REFRESH_SECONDS
        self._ops = ""

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()

    def __call__(self, report: SearchReport) -> None:
        """Show one step."""
        if not self._progress.shown:
            return  # a policy may take a while
        if report.seconds - self._refreshed >= _REFRESH_SECONDS:
            self._refreshed = report.seconds
            ops = most_applied(report.policy())
            self._ops = ", ".join(f"{name} {times:.2f}" for name, times in ops)
        losses = "".join(
            f" {name.replace('_', ' ')} {report.metrics[name]:.2f},"
            for name in ("train_loss", "val_loss")
            if name in report.metrics
        )
        text = (
            f"{report.phase}: step {report.step}/{report.steps},{losses} "
            f"most applied: {self._ops or 'no op'}"
        )
        self._progress.show(text, report.seconds_left, report.all_phases_timed)


class JsonLog:
    """A log with one JSON object per step, appended to ``path``.

    Args:
        path: The log; made if it does not exist.

    Raises:
        ValueError: If no file can be written there, or the file there is not a log.
    """

    def __init__(self, path: Path) -> None:
        self._path = check_output_path(path)
        if path.is_file():
            with path.open("rb") as file:
                # A full disk or a kill may have cut the first line short. Other JSON begins with a
                # line of one bracket.
                first = file.readline(8).strip()
                if first == b"{" or not b'{"step":'.startswith(first):
                    raise ValueError(f"{path} is not the log of a search; give another path.")
        self._is_whole = False

    def __call__(self, report: SearchReport) -> None:
        """Append one step; a failing disk gives a warning and does not end the search."""
        row = {
            "step": report.step,
            "steps": report.steps,
            "seconds": round(report.seconds, 3),
            "time": round(time.time(), 3),
            **report.metrics,
        }
        try:
            # A line that a full disk or a kill has cut short is ended first.
            start = "" if self._is_whole or _ends_a_line(self._path) else "\n"
            self._is_whole = False
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{start}{json.dumps(row)}\n")
            self._is_whole = True
        except OSError as error:
            warnings.warn(
                f"The log {self._path} could not be written ({error}); the search goes on.",
                RuntimeWarning,
                stacklevel=2,
            )


def _ends_a_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def tensorboard(folder: Path) -> Callback:
    """Return a callback that writes every metric as a TensorBoard scalar under ``folder``.

    Raises:
        ModuleNotFoundError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'Logging to TensorBoard needs tensorboard: pip install "learned-augment[tensorboard]".'
        ) from None
    writer = SummaryWriter(str(folder))

    def write(report: SearchReport) -> None:
        for name, value in report.metrics.items():
            writer.add_scalar(name, value, report.step)
        writer.flush()

    return write
