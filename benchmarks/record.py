"""Write and read result files, which hold what is needed to repeat a measurement."""

import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from learned_augment._io import write_atomically
from learned_augment.runtime.rng import usable_cores

__all__ = [
    "CHECKPOINTS",
    "PACKAGES",
    "RESULTS",
    "ROOT",
    "before_and_after",
    "circumstances",
    "load_result",
    "save_result",
    "versions",
]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CHECKPOINTS = ROOT / "benchmarks" / "checkpoints"
PACKAGES = ("learned-augment", "torch", "torchvision", "kornia", "numpy", "pillow", "safetensors")


def save_result(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int] = (),
    settings: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
) -> Path:
    """Write ``results/NAME.json`` and return its path.

    It holds date, machine, versions, commit, command, seeds and the measured rows. Tables are
    rendered from these files alone, see ``tables.py``.

    Args:
        name: What the benchmark is called.
        rows: What was measured: plain JSON data, with units in the names (``images_per_s``).
        seeds: Every seed that decided a number.
        settings: Sizes, counts, data: what else decided the numbers.
        packages: Versions to record besides the package's own dependencies.
    """
    document = {
        "name": name,
        **circumstances(packages),
        "seeds": list(seeds),
        "settings": dict(settings or {}),
        "rows": [dict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(_placeless(document), indent=1, allow_nan=False) + "\n"
    return write_atomically(RESULTS / f"{name}.json", text.encode())


def circumstances(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return date, command, commit, machine and versions of what is measured now."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": _command(),
        "commit": _commit(),
        "machine": machine(),
        "versions": versions((*PACKAGES, *packages)),
    }


def before_and_after(
    name: str, before: Path | None, measure: Callable[[Path], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Measure two checkouts, write ``results/NAME.json``, and return its rows.

    Args:
        name: What the benchmark is called.
        before: Checkout of an earlier commit; None keeps the rows that the file has of it.
        measure: Returns the rows of a checkout.
    """
    if before is not None:
        rows = [{"state": "before", "commit": _commit(before), **row} for row in measure(before)]
    else:
        known = load_result(name)["rows"] if (RESULTS / f"{name}.json").is_file() else []
        rows = [row for row in known if row["state"] == "before"]
    rows += [{"state": "after", "commit": _commit(ROOT), **row} for row in measure(ROOT)]
    save_result(name, rows)
    return rows


def load_result(name: str) -> dict[str, Any]:
    """Return what ``save_result`` wrote under ``name``."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def machine() -> dict[str, Any]:
    """Return processor, cores that may be used, graphics card (or None) and system."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _cpu(), "cores": usable_cores(), "gpu": gpu, "system": platform.system()}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return Python's version and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    try:
        module = ".".join(script.relative_to(ROOT).with_suffix("").parts)
        module = module.removesuffix(".__main__")  # of a package, which runs by its own name
    except ValueError:
        module = script.stem
    return shlex.join(["python", "-m", module, *map(_placeless, sys.argv[1:])])


def _placeless(value: Any) -> Any:
    """Cut paths down to names: where a folder lies on one machine helps nobody on another."""
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(item) for item in value]
    return _ABSOLUTE.sub(r"\1\2", value) if isinstance(value, str) else value


_ABSOLUTE = re.compile(r"^(\w+:)?/(?:[^/]+/)*([^/]+)/?$")


def _commit(here: Path = ROOT) -> str:
    """Return the commit, marked when the package or the benchmarks have uncommitted changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "learned_augment", "benchmarks")
    clean = all("benchmarks/results/" in line for line in changed.splitlines())
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("" if clean else " (changed)")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"
