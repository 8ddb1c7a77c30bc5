"""Measure the shape of the source code: lines, headers, functions and imports.

    python -m benchmarks.structure [--before CHECKOUT]

Headers are module docstrings, imports and ``__all__``. The length of a function is without its
docstring. An importer is another module of the package, ``__init__.py`` included. An op name counts
as listed wherever it is a string outside ``ops/`` and the search spaces. ``--before`` measures a
checkout of an earlier commit as well; without it, the rows of the earlier commit stay as they are.
"""

import argparse
import ast
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.record import before_and_after
from learned_augment.ops import OPS

PACKAGE = "learned_augment"
MANY = 10
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A source file.

    Attributes:
        name: Dotted name in the package.
        path: Relative to the checkout.
        text: Its source.
    """

    name: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.text.splitlines())

    def header(self) -> int:
        """Return the lines of docstring, imports and ``__all__``."""
        return sum(_span(node) for node in self.tree.body if _is_header(node))

    def functions(self) -> Iterator[Function]:
        """Yield every function and method."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def _is_header(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node)


def _is_docstring(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def length(function: Function) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    return _span(function) - (_span(first) if _is_docstring(first) else 0)


def arguments(function: Function) -> int:
    """Return how many arguments a function has."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return len(named) - (bool(named) and named[0].arg in ("self", "cls"))


def modules_of(checkout: Path) -> dict[str, Module]:
    """Return the package's modules by name."""
    found = {}
    for path in sorted((checkout / PACKAGE).rglob("*.py")):
        relative = path.relative_to(checkout)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, relative, path.read_text(encoding="utf-8"))
    return found


def imports(module: Module, known: Mapping[str, Module], everywhere: bool = False) -> set[str]:
    """Return the package's modules that one imports at its top level, or also in functions."""
    nodes = ast.walk(module.tree) if everywhere else _top_level(module.tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            # Names that are no modules come from the module itself.
            found |= (named & known.keys()) | ({node.module} if named - known.keys() else set())
    return (found & known.keys()) - {module.name}


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield from ast.walk(node) if isinstance(node, ast.If | ast.Try) else [node]


def cycles(graph: Mapping[str, set[str]]) -> int:
    """Return how many modules reach themselves by imports."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += graph[name]
        return found

    return sum(name in reached(name) for name in graph)


def op_names(module: Module) -> int:
    """Return how many strings of a module are names of ops."""
    nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
    return sum(isinstance(node.value, str) and node.value in OPS for node in nodes)


def _folder(module: Module) -> str:
    parts = module.path.parts
    return "/".join(parts[:2]) + "/" if len(parts) > 2 else f"{parts[0]}/*.py"


def measure(checkout: Path) -> list[dict[str, Any]]:
    """Return one row for the package and one for each folder of the checkout."""
    modules = modules_of(checkout)
    found = modules.values()
    graph = {m.name: imports(m, modules) for m in found}
    deep = {m.name: imports(m, modules, everywhere=True) for m in found}
    importers = Counter(chain.from_iterable(deep.values()))
    functions = [f for m in found for f in m.functions()]
    lengths = sorted(map(length, functions))
    lines = sum(m.lines for m in found)
    listed = [m for m in found if "ops" not in m.path.parts and "spaces" not in m.path.stem]
    whole = {
        "folder": PACKAGE,
        "files": len(modules),
        "lines": lines,
        "lines_median_file": statistics.median_low(m.lines for m in found),
        "lines_largest_file": max(m.lines for m in found),
        "header_percent": round(100 * sum(m.header() for m in found) / lines, 1),
        "modules_with_one_importer": sum(count == 1 for count in importers.values()),
        "functions": len(functions),
        "function_lines_median": statistics.median_low(lengths),
        "function_lines_p90": lengths[int(0.9 * len(lengths))],
        "function_lines_max": lengths[-1],
        "functions_above_10_arguments": sum(arguments(f) > MANY for f in functions),
        "most_arguments": max(map(arguments, functions)),
        "modules_in_import_cycles": cycles(graph),
        "modules_in_import_cycles_with_functions": cycles(deep),
        "op_names_listed": sum(map(op_names, listed)),
        "modules_listing_op_names": sum(op_names(m) > 0 for m in listed),
    }
    return [whole, *_folders(checkout, modules)]


def _folders(checkout: Path, modules: Mapping[str, Module]) -> Iterator[dict[str, Any]]:
    files, lines = Counter[str](), Counter[str]()
    for module in modules.values():
        files[_folder(module)] += 1
        lines[_folder(module)] += module.lines
    for folder in ("tests", "benchmarks", "examples", "pretrained_policies"):
        for path in (checkout / folder).rglob("*.py"):
            files[f"{folder}/"] += 1
            lines[f"{folder}/"] += len(path.read_text(encoding="utf-8").splitlines())
    for folder in files:
        yield {"folder": folder, "files": files[folder], "lines": lines[folder]}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    for row in before_and_after("structure", parser.parse_args().before, measure):
        print(row)


if __name__ == "__main__":
    main()
