"""The server of processes imports this module, so that its forks find everything loaded."""

import tempfile
import warnings
from pathlib import Path

from benchmarks.reliability.jobs import run_job

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("papers training", "search dada", "search deepaa"):
        with tempfile.TemporaryDirectory() as folder:
            run_job(name, Path(folder))
