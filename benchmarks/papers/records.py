"""Result files of ``train.py``: one row for each seed of one configuration."""

import json
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks import record
from benchmarks.papers.trainer import PaperTrainer
from learned_augment.runtime.checkpoint import differences
from learned_augment.runtime.distributed import rank

__all__ = ["PaperRecord"]


class PaperRecord:
    """Finished trainings under one name.

    Attributes:
        name: of the result file, without its ending.
        configuration: what all rows share; plain JSON data.
        rows: one a finished seed.
    """

    def __init__(
        self, name: str, configuration: Mapping[str, Any], rows: list[dict[str, Any]]
    ) -> None:
        self.name, self.configuration, self.rows = name, dict(configuration), rows

    @classmethod
    def open(cls, name: str, configuration: Mapping[str, Any]) -> "PaperRecord":
        """Return the record of ``train-NAME.json``, empty if there is no such file.

        Raises:
            ValueError: if the file is of another configuration, or no such record.
        """
        wanted = json.loads(json.dumps(configuration))
        path = record.RESULTS / f"train-{name}.json"
        if not path.exists():
            return cls(name, wanted, [])
        try:
            document = record.load_result(f"train-{name}")
            settings, rows = document["settings"], list(document["rows"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a result file ({error}); move it away.") from None
        if found := differences(settings, wanted):
            raise ValueError(
                f"{path} holds results of another configuration: {'; '.join(found)}. Give the "
                "same settings, or another --name."
            )
        return cls(name, wanted, rows)

    @property
    def seeds(self) -> list[int]:
        """Finished seeds."""
        return [row["seed"] for row in self.rows]

    def add(self, seed: int, sha256: str, trainer: PaperTrainer) -> None:
        """Add a finished training to what is in the file by now, in process 0.

        Raises:
            ValueError: if by now the file is of another configuration.
        """
        if rank() > 0:
            return
        with _alone(self.name):  # other seeds of this name may finish at the same time
            rows = {
                row["seed"]: row for row in PaperRecord.open(self.name, self.configuration).rows
            }
            rows[seed] = _row(seed, sha256, trainer)
            self.rows = [rows[key] for key in sorted(rows)]
            name = f"train-{self.name}"
            record.save_result(name, self.rows, seeds=self.seeds, settings=self.configuration)

    def summary(self) -> str:
        """Return mean and deviation over the seeds, after the last and at the best epoch."""
        parts = []
        for which in ("last", "best"):
            values = [row[f"{which}_epoch_accuracy_percent"] for row in self.rows]
            spread = f" (sd {statistics.stdev(values):.2f})" if len(values) > 1 else ""
            parts.append(f"{which} epoch {statistics.fmean(values):.2f} %{spread}")
        count = len(self.rows)
        return f"{self.name}: {', '.join(parts)}; {count} seed{'s' if count > 1 else ''}"


def _row(seed: int, sha256: str, trainer: PaperTrainer) -> dict[str, Any]:
    trained = trainer.result()
    return {
        "seed": seed,
        "last_epoch_accuracy_percent": trained.accuracy,
        "best_epoch_accuracy_percent": trained.best,
        "best_epoch": next(epoch for epoch, found in trained.accuracies if found == trained.best),
        "steps": trainer.steps,
        "training_seconds": round(trainer.seconds, 3),
        "policy_sha256": sha256,
        "epoch_losses": list(trained.losses),
        "epoch_accuracies_percent": [list(test) for test in trained.accuracies],
    }


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let one process at a time read and write the results of a name."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where a second seed at the same moment is not held back
        yield
        return
    record.RESULTS.mkdir(exist_ok=True)
    with (record.RESULTS / f".train-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield
