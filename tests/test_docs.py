"""The documentation is held to the code: what it shows runs, parses, links and builds."""

import ast
import contextlib
import doctest
import hashlib
import importlib
import inspect
import io
import pkgutil
import re
import shlex
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

import learned_augment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
OPTIONAL = ("timm", "lightning", "datasets", "transformers", "matplotlib", "sklearn")
"""Packages that a page may need beside the package's own; without them it is skipped."""
BLOCK = re.compile(
    r"^```python[^\n]*\n(?P<code>.*?)^```\n(?:\s*^```text title=\"Output\"\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(learned_augment.__path__, "learned_augment.")
    if not name.endswith("__main__")
]

DIRECTIVE = re.compile(r"^::: (\S+)\n((?:    .*\n)*)", re.MULTILINE)
"""What a page of the reference shows: an address, and options."""
WITHOUT_EXAMPLE = {
    "learned_augment.search.SearchMethod": "a Protocol; the guide on search methods implements it",
}
"""Names of the reference that need no example, each with the reason."""


def reference_names():
    """Return the classes and functions of the package and of the pages of the reference."""
    names = [f"learned_augment.{name}" for name in learned_augment.__all__]
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        for address, options in DIRECTIVE.findall(page.read_text(encoding="utf-8") + "\n"):
            target, listed = found(address), re.search(r"members: \[(.*)\]", options)
            if listed:
                names += [f"{address}.{member}" for member in listed[1].split(", ")]
            elif inspect.ismodule(target):
                names += [f"{address}.{member}" for member in target.__all__]
            else:
                names.append(address)
    return [
        name
        for name in dict.fromkeys(names)
        if inspect.isclass(found(name)) or inspect.isroutine(found(name))
    ]


def found(address):
    """Return the module of an address, or else what its parent has by the last name."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module(address)
    parent, _, name = address.rpartition(".")
    return getattr(found(parent), name)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs the optional package {error.name}")
    monkeypatch.chdir(tmp_path)  # for the files that examples write
    assert doctest.testmod(module).failed == 0


def test_the_drop_in_example_is_a_doctest():
    assert doctest.testmod(importlib.import_module("learned_augment.transform")).attempted > 0


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    if not blocks:
        pytest.skip("the page shows no Python")
    for package in OPTIONAL:
        if any(re.search(rf"^(import|from) {package}\b", b["code"], re.MULTILINE) for b in blocks):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = {"__name__": "page"}
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that a page shows
            exec(compile(block["code"], str(page), "exec"), names)
        if block["output"] is not None:
            assert printed.getvalue() == block["output"]


@pytest.mark.parametrize("number", range(len(BLOCK.findall(PAGES[0].read_text(encoding="utf-8")))))
def test_a_block_of_the_readme_runs_alone_as_pasted(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = list(BLOCK.finditer(PAGES[0].read_text(encoding="utf-8")))[number]["code"]
    exec(compile(code, f"README block {number}", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_commands_of_a_page_exist(page):
    from learned_augment.cli import build_parser

    for line in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)[1:]
        if "--version" in words or "--help" in words:
            continue
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: {line}")


def commands(text):
    """Return what follows ``learned-augment`` in the shell blocks, a line each."""
    lines = "\n".join(SHELL.findall(text)).replace("\\\n", " ").split("\n")
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part.split(" | ")[0] for part in parts if part.startswith("learned-augment ")]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "pretrained_policies" / "README.md"])
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_site_builds_without_a_warning(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}, of the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "fonts.googleapis.com" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_hashes_of_shipped_policies_are_stated():
    folder = ROOT / "pretrained_policies"
    page = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in page


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_citations_name_the_version_and_the_repository():
    stated = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    repository = "https://github.com/learned-augment/learned-augment"
    assert f"\nversion: {learned_augment.__version__}\n" in stated
    assert f"\nrepository-code: {repository}\n" in stated
    assert f"version = {{{learned_augment.__version__}}}" in readme
    assert f"url = {{{repository}}}" in readme


@pytest.mark.parametrize("name", reference_names())
def test_every_public_name_has_an_example(name):
    if name in WITHOUT_EXAMPLE:
        pytest.skip(WITHOUT_EXAMPLE[name])
    target = inspect.unwrap(found(name))
    own = f"{target.__module__}.{target.__qualname__}"
    # The finder of `test_docstring_examples`: what it does not find does not run.
    tests = doctest.DocTestFinder().find(importlib.import_module(target.__module__))
    names = [test.name for test in tests if test.examples]
    assert any(test == own or is_public_method(test, own) for test in names), f"{own}: no example"


def is_public_method(name, owner):
    return name.startswith(f"{owner}.") and not name.removeprefix(f"{owner}.").startswith("_")


def test_names_without_an_example_are_names_of_the_reference():
    assert set(WITHOUT_EXAMPLE) <= set(reference_names())


def test_the_readme_lists_every_policy():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in learned_augment.list_policies():
        assert f"`{name}`" in readme


def messages():
    """Return every text of the package's source, with … for what is filled in."""
    for path in (ROOT / "learned_augment").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", re.findall(r"^### `(.*)`$", TROUBLES, re.MULTILINE))
def test_the_package_has_the_message_that_a_heading_quotes(heading):
    quoted = ".*".join(re.escape(part.strip()) for part in heading.split("…"))
    assert any(re.search(quoted, text, re.DOTALL) for text in messages())


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_benchmarks_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"python -m (benchmarks[\w.]*\w)", text):
        assert find_spec(name) is not None, f"{page.name}: {name}"
    for path in re.findall(r"`(benchmarks/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
