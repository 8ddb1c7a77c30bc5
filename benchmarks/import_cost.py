"""Measure the time of ``import learned_augment`` next to ``import torchvision``.

    python -m benchmarks.import_cost [--rounds 15]

Every import runs in a process of its own, in turn; the first round warms the disk's cache and does
not count. Seconds are of the import alone, without the interpreter's start. Compared are medians of
processor seconds, which other work on the machine does not stretch as it does the clock's.
"""

import argparse
import statistics
import subprocess
import sys

from benchmarks.record import save_result

MODULES = ("torch", "torchvision", "learned_augment")
MOST = 0.5  # seconds more than torchvision


def seconds(module: str) -> tuple[float, float]:
    """Return how long one fresh process takes to import a module: processor, clock."""
    code = (
        "from time import perf_counter as t, process_time as p; a, b = p(), t(); "
        f"import {module}; print(p() - a, t() - b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    processor, clock = map(float, done.stdout.split())
    return processor, clock


def main() -> None:
    """Measure in turn, write the result, and fail if the import costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[tuple[float, float]]] = {module: [] for module in MODULES}
    for turn in range(rounds + 1):
        for module in MODULES:
            spent = seconds(module)
            if turn:
                times[module].append(spent)
    costs = {module: _summary(spent) for module, spent in times.items()}
    rows = [{"module": module, **cost} for module, cost in costs.items()]
    ours, theirs = (costs[m]["processor_s"] for m in ("learned_augment", "torchvision"))
    extra = round(ours - theirs, 3)
    settings = {"rounds": rounds, "extra_s": extra, "most_extra_s": MOST}
    for row in rows:
        print(row)
    print(f"learned_augment costs {extra:.3f} s more than torchvision (at most {MOST} s)")
    print(save_result("import_cost", rows, settings=settings))
    sys.exit(extra > MOST)


def _summary(spent: list[tuple[float, float]]) -> dict[str, float]:
    processor, clock = zip(*spent, strict=True)
    return {
        "processor_s": round(statistics.median(processor), 3),
        "clock_s": round(statistics.median(clock), 3),
        "clock_fastest_s": round(min(clock), 3),
    }


if __name__ == "__main__":
    main()
