"""Imports only go up, without cycles, and importing the package stays light."""

import ast
import json
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "learned_augment"
# Modules or packages, lowest layer first; a module imports only from its own layer or lower ones.
# The longest name that fits a module counts, so a package can have layers of its own.
LAYERS = [
    ["_version", "_text", "_io", "_settings", "_errors", "hub"],
    ["ops"],
    ["search_spaces"],
    ["model_card"],
    ["sampling"],
    ["serialization"],
    ["policy"],
    ["builders"],
    ["backends", "backends.lowering"],
    ["backends.warp", "backends.pil"],
    ["backends.torch_uint8", "backends.targets"],
    ["backends.kornia_float"],
    ["backends.numba", "backends.triton"],
    ["backends.dispatch"],
    ["_validation"],
    ["transform"],
    ["runtime", "datasets", "models"],
    ["evaluation.random_baseline", "evaluation.named_policies", "evaluation.statistics"],
    ["training"],
    ["search.options", "search.presets", "search.split", "search.callbacks"],
    ["search.alignment", "search.batches", "search.peak_memory"],
    ["search.config", "search.cost", "search.proxy_network"],
    ["search.method"],
    ["search.dada", "search.deepaa", "search.screening"],
    ["search.api"],
    ["search"],
    ["evaluation"],
    ["reporting"],
    ["commands", "cli", "__main__"],
    ["__init__"],
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def layer_of(name):
    parts = name.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next(LAYER[name] for name in names if name in LAYER)


def imports(path):
    """Yield the package's own modules that a file imports, inside functions too.

    An import for type checkers alone does not count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if is_for_type_checkers(node)]
    unseen = {id(part) for node in typing for part in ast.walk(node)}
    for node in ast.walk(tree):
        names = []
        if id(node) in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("learned_augment"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("learned_augment."):
                yield module_of(name.split(".")[1:])


def is_for_type_checkers(node):
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def module_of(parts):
    """Return the longest part of a dotted name that is a module or package."""
    for count in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:count])
        if path.is_dir() or path.with_suffix(".py").is_file():
            return ".".join(parts[:count])
    return "__init__"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_go_up(path):
    name = name_of(path)
    for target in imports(path):
        assert layer_of(target) <= layer_of(name), f"{name} imports {target} of a higher layer"


@pytest.mark.parametrize("method", ["dada", "deepaa", "screening"])
def test_no_search_method_knows_another(method):
    targets = {
        target for path in (PACKAGE / "search" / method).glob("*.py") for target in imports(path)
    }
    others = {name for name in targets if layer_of(name) == LAYER["search.dada"]}
    assert all(name.startswith(f"search.{method}") for name in others), others


def test_no_imports_in_circles():
    graph = {name_of(path): set(imports(path)) for path in MODULES}

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in graph.get(name, ()):
                if target != name:
                    visit(target, [*trail, name])
            done.add(name)

    done = set()
    for name in graph:
        visit(name, [])


def test_a_class_shares_its_name_with_no_other():
    places = {}
    for path in [*MODULES, *PACKAGE.with_name("benchmarks").rglob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_module_is_named_for_nothing():
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "core", "base", "common", "helpers", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_docstring_of_a_module_is_one_sentence(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    ends = [end.start() for end in re.finditer(r"[.?!](?=\s|$)", docstring)]
    assert ends == [len(docstring) - 1], docstring


def test_importing_the_package_loads_no_optional_package(from_fresh_process):
    answers = json.loads((from_fresh_process / "imports.json").read_text())
    assert answers["loaded by the package"] == []
