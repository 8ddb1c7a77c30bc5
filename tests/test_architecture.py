"""The floor plan: imports only go up, without cycles; importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "learned_augment"
FLOORS = [
    ["ops", "wording"],
    ["spaces"],
    ["plan", "chances", "policy"],
    ["builders", "controls", "files", "engines"],
    ["checks", "singles", "transform", "jobs", "networks", "data", "placement", "training"],
    ["searchers"],
    ["report", "figures", "sheet", "comparison"],
    ["commands", "cli", "__main__"],
]
# Constructors and methods of Policy that belong to a higher floor: imported when they are called.
DOORS = {("policy", "files"), ("policy", "builders")}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Yield (room imported, whether at module level) of the package's own imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "learned_augment":
                names = [f"learned_augment.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("learned_augment."):
                yield name.split(".")[1], node in tree.body


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_go_up(path):
    room = room_of(path)
    if room == "__init__":
        return
    for target, at_module_level in imports(path):
        if target == room or (target[0].isupper()) or target == "__version__":
            continue
        assert target in FLOOR, f"{target} has no floor"
        if not at_module_level and (room, target) in DOORS:
            continue
        assert FLOOR[target] <= FLOOR[room], f"{room} (floor {FLOOR[room]}) imports {target}"


def test_no_room_is_named_for_nothing():
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "core", "base", "common", "helpers", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_small(path):
    assert len(path.read_text().splitlines()) <= 250


def test_importing_the_package_leaves_training_and_plotting_alone():
    heavy = ["matplotlib", "tensorboard", "sklearn", "numba", "learned_augment.searchers",
             "learned_augment.comparison.verdict", "learned_augment.cli"]  # fmt: skip
    code = f"import sys, learned_augment; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
