"""Time what a new user does first, from an empty folder: the commands of the README, as printed.

    python -m benchmarks.first_steps     (writes results/first_steps.json; minutes; nothing else
                                          should run meanwhile)

The package is installed already: the time of ``pip install`` depends on the network, so it is no
part of the result. Each command starts a new process; compiled code of earlier runs is not used.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, save_result

README = ROOT / "README.md"
EXAMPLE = "first_example.py"


@dataclass(frozen=True)
class Command:
    """One command of a new user.

    Attributes:
        reaches: What the user has after it.
        text: As the user types it.
        leaves: The file that it must write; None for a command that prints.
    """

    reaches: str
    text: str
    leaves: str | None


def first_example(readme: str) -> str:
    """Return the code of the README's first example."""
    found = re.search(
        r"^## First example\n+```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise ValueError("README.md holds no first example.")
    return found[1]


def demo_commands(readme: str) -> list[str]:
    """Return the commands of the README's main job, without those that install."""
    block = re.search(r"<!-- demo:begin -->\n```sh\n(.*?)```", readme, re.DOTALL)
    if block is None:
        raise ValueError("README.md holds no demo command.")
    parts = block[1].replace("\\\n", " ").split("&&")
    commands = [" ".join(part.split()) for part in parts]
    return [command for command in commands if command.startswith("learned-augment ")]


def first_commands(readme: str) -> list[Command]:
    """Return what a new user types, in order."""
    search, compare = demo_commands(readme)
    out = shlex.split(search)[shlex.split(search).index("--out") + 1]
    return [
        Command("first augmented picture", f"python {EXAMPLE}", "augmented.png"),
        Command("first policy of a search", search, out),
        Command("first verdict of a comparison", compare, None),
    ]


def run(command: Command, folder: Path) -> dict[str, Any]:
    """Run a command in a folder and return how long it took.

    Raises:
        RuntimeError: If it fails or leaves nothing.
    """
    words = shlex.split(command.text)
    started = [sys.executable, *words[1:]]
    if words[0] == "learned-augment":
        started = [sys.executable, "-m", "learned_augment", *words[1:]]
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {"PYTHONPATH": os.pathsep.join(places), "NUMBA_CACHE_DIR": str(folder / ".numba")}
    begin = time.perf_counter()
    done = subprocess.run(
        started, cwd=folder, env={**os.environ, **ours}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{command.text} ended with {done.returncode}: {done.stderr[-2000:]}")
    if command.leaves and not (folder / command.leaves).is_file():
        raise RuntimeError(f"{command.text} left no {command.leaves}.")
    lines = done.stdout.strip().splitlines()
    return {"clock_s": round(seconds, 1), "last_line": lines[-1] if lines else ""}


def measure(which: Sequence[Command], code: str) -> list[dict[str, Any]]:
    """Return a row for each command, run one after another in one empty folder."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / EXAMPLE).write_text(code, encoding="utf-8")
        for number, command in enumerate(which, 1):
            found = run(command, Path(name))
            total = round(sum(row["clock_s"] for row in rows) + found["clock_s"], 1)
            about = {"reaches": command.reaches, "command": command.text, "number": number}
            rows.append({**about, **found, "total_s": total})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Time every command and write the result."""
    readme = README.read_text(encoding="utf-8")
    rows = measure(first_commands(readme), first_example(readme))
    print(save_result("first_steps", rows, settings={"installation": "not part of the times"}))


if __name__ == "__main__":
    main()
