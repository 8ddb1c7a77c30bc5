"""What does ``import learned_augment`` cost beside ``import torchvision``?

    python benchmarks/import_cost.py [--rounds 15]

Every import runs in a process of its own, in turn; the first round warms the disk's cache and does
not count. Seconds are of the import alone, without the interpreter's start. The fastest rounds are
compared: other work on the machine only ever adds.
"""

import argparse
import statistics
import subprocess
import sys

from record import save_result

MODULES = ("torch", "torchvision", "learned_augment")
MOST = 0.5  # seconds more than torchvision


def seconds(module: str) -> float:
    """Return how long one fresh process takes to import a module."""
    code = f"from time import perf_counter as t; a = t(); import {module}; print(t() - a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure in turn, write the result, and fail if the import costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for turn in range(rounds + 1):
        for module in MODULES:
            spent = seconds(module)
            if turn:
                times[module].append(spent)
    rows = [
        {
            "module": module,
            "median_s": round(statistics.median(spent), 3),
            "fastest_s": round(min(spent), 3),
            "slowest_s": round(max(spent), 3),
        }
        for module, spent in times.items()
    ]
    extra = round(min(times["learned_augment"]) - min(times["torchvision"]), 3)
    settings = {"rounds": rounds, "extra_s": extra, "most_extra_s": MOST}
    for row in rows:
        print(row)
    print(f"learned_augment costs {extra:.3f} s more than torchvision (at most {MOST} s)")
    print(save_result("import_cost", rows, settings=settings))
    sys.exit(extra > MOST)


if __name__ == "__main__":
    main()
