"""Run one part of the reliability benchmark and record its rows."""

import argparse
import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import benchmarks.reliability
from benchmarks import record
from benchmarks.reliability.environment import environment_row
from benchmarks.reliability.faults import fault_rows
from benchmarks.reliability.fuzz import Guard, fuzz_rows, make_targets
from benchmarks.reliability.jobs import JOBS
from benchmarks.reliability.kills import kill_rows
from benchmarks.reliability.loaders import load_rows, loader_settings

MOST_MIB = 64
"""Memory that reading a broken file may take."""


def is_faulty(row: dict[str, Any]) -> bool:
    """Return whether a row shows a fault."""
    if row["part"] == "fuzz":
        return row["wrong"] > 0 or row["extra_memory_mib"] > MOST_MIB
    if row["part"] == "environment":
        return bool(row["status"] != 0)
    if row["part"] == "load":
        grows = row["memory_kib_per_1000_images"] > 3 * row["memory_standard_error"] + 10
        same = row["same_seed_same_pixels"] and row["seeds_differ"]
        return grows or not same or row["repeated_batches"] > 0
    return bool(row["identical_results"] < row.get("runs", row.get("failed_writes")))


def identity(row: dict[str, Any]) -> str:
    """Return what distinguishes a row from others, whatever was measured."""
    return str([row.get(name) for name in _IDENTITY])


_IDENTITY = (
    *("part", "target", "job", "step", "failure", "versions"),
    *("workers", "start", "persistent", "threads"),
)


def save(part: str, rows: Sequence[dict[str, Any]]) -> None:
    """Put rows of one part into the result file, in place of those of the same identity."""
    try:
        earlier = record.load_result("reliability")
    except FileNotFoundError:
        earlier = {"rows": [], "settings": {}}
    all_rows = {identity(row): row for row in [*earlier["rows"], *rows]}
    settings = {**earlier["settings"], part: record.circumstances()}
    record.save_result("reliability", [*all_rows.values()], seeds=[0, 1], settings=settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part and record its rows; return the exit status."""
    parser = argparse.ArgumentParser(
        description=benchmarks.reliability.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True)
    fuzz = parts.add_parser("fuzz")
    fuzz.add_argument("--count", type=int, default=1_000_000, help="broken files")
    fuzz.add_argument("--targets", nargs="+", help="what reads them; all by default")
    load = parts.add_parser("load")
    load.add_argument("--images", type=int, default=100_000, help="of each setting")
    starts = ["none", *multiprocessing.get_all_start_methods()]
    load.add_argument("--starts", nargs="+", choices=starts, default=starts, help="of workers")
    kills = parts.add_parser("kills")
    kills.add_argument("--count", type=int, default=200)
    faults = parts.add_parser("faults")
    alone = [name for name in JOBS if "processes" not in name]
    for part, jobs in ((kills, list(JOBS)), (faults, alone)):
        part.add_argument("--jobs", nargs="+", choices=JOBS, default=jobs)
    parts.add_parser("environment")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", RuntimeWarning)  # small data, writes that fail
    found: dict[str, dict[str, Any]] = {}
    for row in rows_of(options):
        print(row, flush=True)
        found[identity(row)] = row  # a later row of a target replaces its earlier one
        save(options.part, [row])
    return int(any(map(is_faulty, found.values())))


def rows_of(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of the part that was asked for."""
    if options.part == "load":
        settings = (each for each in loader_settings() if each.start in options.starts)
        yield from load_rows(options.images, settings)
    elif options.part == "environment":
        yield environment_row()
    elif options.part == "kills":
        yield from kill_rows(options.jobs, options.count)
    elif options.part == "faults":
        yield from fault_rows(options.jobs)
    else:
        memory = Path("/dev/shm")  # files there cost no disk
        with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            guard = Guard()
            guard.install()
            targets = make_targets(Path(folder))
            chosen = [one for one in targets if one.name in (options.targets or [one.name])]
            if len(chosen) < len(options.targets or ()):
                raise SystemExit(f"Known targets: {', '.join(one.name for one in targets)}.")
            yield from fuzz_rows(options.count, chosen, Path(folder), guard)


if __name__ == "__main__":
    sys.exit(main())
