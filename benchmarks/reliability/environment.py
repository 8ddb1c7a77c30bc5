"""Run the tests that depend on versions most, with the versions that are installed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.record import PACKAGES, ROOT, versions

__all__ = ["TESTS", "environment_row"]

TESTS = (
    "tests/test_determinism.py",
    "tests/test_odd_inputs.py",
    "tests/test_policy.py",
    "tests/test_serialization.py",
    "tests/backends/test_targets.py",
)
"""Draws, pixels, files and refusals, which must not differ between versions."""


class _Outcomes(Counter[str]):
    """Counts outcomes of tests; a plugin of pytest."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self[report.outcome] += 1


def environment_row(tests: Sequence[str] = TESTS) -> dict[str, Any]:
    """Return the versions that are installed, and the outcomes of tests with them.

    Args:
        tests: paths from the root of the repository.
    """
    outcomes = _Outcomes()
    status = pytest.main(
        ["-q", "-p", "no:cacheprovider", *(str(ROOT / test) for test in tests)],
        plugins=[outcomes],
    )
    return {
        "part": "environment",
        "versions": versions((*PACKAGES, "numba")),
        **{name: outcomes[name] for name in ("passed", "skipped", "failed")},
        "status": int(status),
    }
