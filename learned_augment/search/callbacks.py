"""What a search shows and writes while it runs: a line on a terminal, JSON lines, TensorBoard."""

import json
import time
import warnings
from pathlib import Path

from learned_augment._io import check_output_path
from learned_augment.runtime.progress import Progress
from learned_augment.search.loop import StepReport, Watcher

__all__ = ["JsonLines", "Line", "best_ops", "tensorboard"]

SHOWN_EVERY = 0.5


def best_ops(report: StepReport, count: int = 3) -> list[tuple[str, float]]:
    """Return the ops that the policy so far applies most often, with the mean times per image."""
    shares = {name: float(layers.sum()) for name, layers in report.policy().op_shares().items()}
    shares.pop("Identity", None)
    return sorted(shares.items(), key=lambda item: -item[1])[:count]


class Line:
    """The progress line of a search: how far, time left, losses, the leading ops.

    Use it as a context manager; the line is wiped at the end.

    Args:
        shown: As for `progress.Progress`.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self.progress = Progress(shown=shown)
        self.last = -SHOWN_EVERY
        self.best = ""

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()

    def __call__(self, report: StepReport) -> None:
        """Show one step."""
        if report.seconds - self.last >= SHOWN_EVERY:
            self.last = report.seconds
            self.best = ", ".join(f"{name} {share:.2f}" for name, share in best_ops(report))
        losses = "".join(
            f" {name.replace('_', ' ')} {report.metrics[name]:.2f},"
            for name in ("train_loss", "val_loss")
            if name in report.metrics
        )
        text = (
            f"{report.phase}: step {report.step}/{report.steps},{losses} most applied: {self.best}"
        )
        self.progress.show(text, report.left, report.left_is_all)


class JsonLines:
    """A log with one JSON object per step, appended to ``path``.

    Args:
        path: The log; made if it does not exist.

    Raises:
        ValueError: If its folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = check_output_path(path)

    def __call__(self, report: StepReport) -> None:
        """Append one step; a disk that refuses ends no search, but is told."""
        row = {
            "step": report.step,
            "steps": report.steps,
            "seconds": round(report.seconds, 3),
            "time": round(time.time(), 3),
            **report.metrics,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            warnings.warn(
                f"The log {self.path} could not be written ({error}); the search goes on.",
                RuntimeWarning,
                stacklevel=2,
            )


def tensorboard(folder: Path) -> Watcher:
    """Return a watcher that writes every metric as a TensorBoard scalar under ``folder``.

    Raises:
        ModuleNotFoundError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Logging to TensorBoard needs it: pip install 'learned-augment[tensorboard]'."
        ) from None
    writer = SummaryWriter(str(folder))

    def write(report: StepReport) -> None:
        for name, value in report.metrics.items():
            writer.add_scalar(name, value, report.step)
        writer.flush()

    return write
