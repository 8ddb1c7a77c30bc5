"""The documentation is held to the code: what it shows runs, parses, links and builds."""

import ast
import contextlib
import doctest
import hashlib
import importlib
import inspect
import io
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from torchvision.transforms.v2.functional import to_pil_image

import learned_augment
from learned_augment import Policy
from learned_augment.cli import main
from learned_augment.ops import OPS
from tests.conftest import save_photos, smooth_image

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


@pytest.fixture
def same_ops():
    """Forget the ops that an example registers: other tests run over all ops."""
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


@pytest.mark.usefixtures("same_ops")
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


@pytest.mark.usefixtures("same_ops")
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


def shell_commands(page):
    """Return the commands of the shell blocks of a page, those that ``&&`` joins one by one."""
    blocks = "\n".join(SHELL.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    parts = [part.strip() for line in blocks.splitlines() for part in line.split(" && ")]
    return [re.sub(" +", " ", part) for part in parts if part]


COMMANDS = {page: shell_commands(page) for page in PAGES}
OURS, COMPLETION, PROCESSES = "learned-augment ", 'eval "$(learned-augment ', "torchrun "
"""How a command begins that a test below runs."""
NOT_RUN = {
    r"python3 -m venv ": ".ci/run makes the environment, by the README's commands",
    r"\. \.venv/bin/activate": "as above",
    r"pip install ": "needs a package index; .ci/run installs the package",
    r"pytest ": "runs these tests; .ci/run runs it",
    r"hf auth login": "asks a person for a token",
    r"python -c .*(push_to_hub|hf://)": "runs in test_hub.py, with a stand-in for the Hub",
}
"""How a command begins that no test here runs, with the reason."""
SHORTER = {
    " search ": "--epochs 2 --batch-size 16 --option designs=4 "
    "--option finals=1 --option workers=1",
    " search --data digits ": "--reduce 120",
    " compare ": "--epochs 1 --seeds 2 --train-size 30 --workers 1",
}
"""What is appended to a command that would take minutes; the last of two equal options counts."""


def shortened(command):
    """Return the words of a command, with the options that make it short."""
    more = [options for part, options in SHORTER.items() if part in command]
    return shlex.split(" ".join([command, *more]), comments=True)


def make_stand_ins(commands):
    """Save tiny files under the names that the pages use, but not what a command writes itself."""
    save_photos(Path("photos"), count=20)
    to_pil_image(smooth_image()).save("photo.jpg")
    if not any("--out mine.safetensors" in command for command in commands):
        Policy.load("dada-imagenet").save("mine.safetensors")


def check_written(words, printed):
    """Check that a command wrote each file that it names, and said so."""
    for option, name in pairwise(words):
        if option in ("--out", "--plot", "--grid", "--html"):
            assert f"Wrote {name}." in printed
            assert Path(name).is_file()


def pages_with(beginning):
    """Return the mark by which a test runs for each page with a command that begins so."""
    pages = [page for page in PAGES if any(c.startswith(beginning) for c in COMMANDS[page])]
    return pytest.mark.parametrize("page", pages, ids=[IDS[PAGES.index(page)] for page in pages])


@pages_with(OURS)
def test_the_commands_of_a_page_run_in_order(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    make_stand_ins(COMMANDS[page])
    for command in COMMANDS[page]:
        if not command.startswith(OURS):
            continue
        words = shortened(command)
        try:
            status = main(words[1:])
        except SystemExit as end:  # --help
            status = end.code
        out, err = capsys.readouterr()
        assert status == 0, f"{command}: {err}"
        assert out or "Wrote" in err, command
        assert "warning" not in err, command
        if "--dry-run" not in words:
            check_written(words, err)


def run_here(words):
    """Run a command with the programs beside this Python; return its output and its errors."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(words[0], path=path)
    assert program, f"{words[0]} is not installed"
    env = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",  # there may be fewer GPUs than processes
        "PET_STANDALONE": "1",  # torchrun takes a free port, as another test may have the usual one
    }
    done = subprocess.run(
        [program, *words[1:]], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


@pytest.mark.slow  # seconds, and test_cli.py tries what bash completes
@pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="no bash of Unix here"
)
@pages_with(COMPLETION)
def test_a_shell_completes_commands_after_the_line_of_a_page(page):
    for command in COMMANDS[page]:
        if command.startswith(COMPLETION):
            out, err = run_here(["bash", "-c", f"{command}\ncomplete -p learned-augment"])
            assert "_learned_augment learned-augment" in out
            assert err == ""


@pytest.mark.slow  # four processes
@pages_with(PROCESSES)
def test_the_processes_of_torchrun_write_one_policy(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_stand_ins(COMMANDS[page])
    for command in COMMANDS[page]:
        if command.startswith(PROCESSES):
            words = shortened(command)
            _, err = run_here(words)
            check_written(words, err)
            assert err.count("Wrote") == 1


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_a_page_runs_or_says_why_not(page):
    for command in COMMANDS[page]:
        runs = command.startswith((OURS, COMPLETION, PROCESSES))
        assert runs != any(re.match(kind, command) for kind in NOT_RUN), command


@pytest.mark.parametrize("kind", NOT_RUN)
def test_a_command_that_does_not_run_is_on_a_page(kind):
    assert any(re.match(kind, command) for page in PAGES for command in COMMANDS[page])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_block_of_a_page_is_of_a_known_kind(page):
    fences = re.findall(r"^.*```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for head in fences[::2]:
        assert re.fullmatch(r"```(sh|mermaid|bibtex|(python|text)\b.*)", head), head


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "pretrained_policies" / "README.md"])
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}, of the extra docs")
    # With --quiet, --strict would not count the warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(
        [*command, "--site-dir", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "fonts.googleapis.com" not in (tmp_path / "index.html").read_text(encoding="utf-8")
    for page in (tmp_path / "reference").rglob("*.html"):
        # An example under another heading than "Examples:" is set as a quotation, not as code.
        assert "<blockquote>" not in page.read_text(encoding="utf-8"), page


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
    for path in re.findall(r"`(?:python )?(benchmarks/[\w./-]+)[` ]", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
