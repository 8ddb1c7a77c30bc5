"""Trace which files of the package an image passes on its way through ``LearnedAugment``.

    python -m benchmarks.trace [--before CHECKOUT]

Each kind of input is augmented often under AutoAugment's policy, with a new draw and a new image
size each time; compiled code is loaded before. A file counts if one of its functions runs in any of
these calls. A file of compiled kernels counts if a kernel runs that stands in it, or that refers to
a kernel in it. A move is a call from one file into another; the figure is the median over the
calls. ``--before`` traces a checkout of an earlier commit as well; without it, the rows of the
earlier commit stay as they are.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

CALLS = 100
BATCH = 16
SIDES = range(20, 45)


class Tracer:
    """Records, as a profile function, the files of a package that run and the moves between them.

    Attributes:
        files: Files whose Python functions ran, relative to the package.
        compiled: Files of the compiled kernels that ran.
        moves: Moves of each call.
    """

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.files: set[str] = set()
        self.compiled: set[str] = set()
        self.moves: list[int] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Record an event as ``sys.setprofile`` reports it."""
        if event == "call" and (file := self._file(frame)):
            self.files.add(file)
            self._enter(file, frame.f_back)

    def _enter(self, file: str, caller: FrameType | None) -> None:
        while caller is not None and not (origin := self._file(caller)):
            caller = caller.f_back
        if caller is not None and origin != file:
            self.moves[-1] += 1

    def run(self, call: Callable[[], object]) -> None:
        """Record one call."""
        self.moves.append(0)
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)

    def _file(self, frame: FrameType) -> str:
        return self._name(frame.f_code.co_filename)

    def _name(self, path: str) -> str:
        return path.removeprefix(self.package) if path.startswith(self.package) else ""

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """Record the calls of compiled kernels in the main thread, too."""
        from numba.core.registry import CPUDispatcher

        original = CPUDispatcher.__call__

        def call(kernel: Any, *arguments: Any, **named: Any) -> Any:
            file = self._name(kernel.py_func.__code__.co_filename)
            # A helper of the call before, which comes late, belongs to that one.
            if file and threading.current_thread() is threading.main_thread():
                self.compiled |= {name for path in _reached(kernel) if (name := self._name(path))}
                self._enter(file, sys._getframe(1))
            return original(kernel, *arguments, **named)

        CPUDispatcher.__call__ = call
        try:
            yield
        finally:
            CPUDispatcher.__call__ = original


def _reached(kernel: Any) -> set[str]:
    """Return the files of a kernel and of all kernels that its source refers to."""
    found, waiting = set(), [kernel.py_func]
    while waiting:
        function = waiting.pop()
        if function not in found:
            found.add(function)
            named = [function.__globals__.get(name) for name in function.__code__.co_names]
            kernels = [getattr(value, "py_func", None) for value in named]
            waiting += [kernel for kernel in kernels if isinstance(kernel, FunctionType)]
    return {function.__code__.co_filename for function in found}


def inputs(side: int) -> dict[str, Any]:
    """Return the four kinds of input, of one size."""
    import torch
    from torchvision.transforms.v2.functional import to_pil_image

    levels = torch.randint(256, (BATCH, 3, side, side), dtype=torch.uint8)
    return {
        "one PIL image": to_pil_image(levels[0]),
        "one uint8 image": levels[0],
        "uint8 batch": levels,
        "float batch": levels / 255,
    }


def trace() -> list[dict[str, Any]]:
    """Return a row for each kind of input, for the package that is on the path."""
    import torch
    from torchvision.transforms import AutoAugmentPolicy

    import learned_augment

    torch.manual_seed(0)
    assert learned_augment.__file__ is not None
    package = Path(learned_augment.__file__).parent
    transform = learned_augment.LearnedAugment(AutoAugmentPolicy.CIFAR10)
    for images in inputs(SIDES[-1] + 1).values():
        for _ in range(CALLS):
            transform(images)
    tracers = {name: Tracer(package) for name in inputs(1)}
    for side in SIDES:
        for name, images in inputs(side).items():
            with tracers[name].kernels():
                for _ in range(CALLS // len(SIDES)):
                    tracers[name].run(lambda images=images: transform(images))  # type: ignore[misc]
    return [
        {
            "input": name,
            "count": len(tracer.files | tracer.compiled),
            "moves": statistics.median_low(tracer.moves),
            "files": sorted(tracer.files),
            "compiled": sorted(tracer.compiled - tracer.files),
        }
        for name, tracer in tracers.items()
    ]


def traced(checkout: Path) -> list[dict[str, Any]]:
    """Return the rows of the package of a checkout, traced in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--print"],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    """Trace, print and save."""
    from benchmarks.record import before_and_after

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    rows = before_and_after("trace", parser.parse_args().before, traced)
    for row in rows:
        print(row["state"], row["input"], f"{row['count']} files, {row['moves']} moves:")
        print("   ", *row["files"], "compiled:", *row["compiled"])


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(json.dumps(trace()))
    else:
        main()
