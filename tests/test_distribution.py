"""Wheel and source distribution: their files, licenses and lower bounds."""

import json
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from learned_augment import Policy, list_policies
from learned_augment._version import __version__

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def run(*command, folder=ROOT):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The paths of the wheel and of the source distribution."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder))
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def tracked():
    """The files of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    return {name for name in run("git", "ls-files", "-z").split("\0") if (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_its_policies_and_nothing_else(built, tracked):
    kept = {name for name in tracked if name.startswith("learned_augment/")}
    policies = {"README.md", *(f"{name}.safetensors" for name in list_policies())}
    info = f"learned_augment-{__version__}.dist-info"
    metadata = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    with zipfile.ZipFile(built[0]) as archive:
        assert sorted(archive.namelist()) == sorted(
            [
                *kept,
                *(f"learned_augment/pretrained_policies/{name}" for name in policies),
                *(f"{info}/{name}" for name in metadata),
            ]
        )
        for name in policies:
            shipped = archive.read(f"learned_augment/pretrained_policies/{name}")
            assert shipped == (ROOT / "pretrained_policies" / name).read_bytes()
        described = archive.read(f"{info}/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in described
    assert "\nLicense-File: LICENSE\n" in described
    for requirement in PROJECT["dependencies"]:
        assert f"\nRequires-Dist: {requirement}\n" in described


def test_the_source_distribution_holds_the_repository_and_nothing_else(built, tracked):
    with tarfile.open(built[1]) as archive:
        names = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    untracked = run("git", "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    assert names - {*untracked} - {"PKG-INFO"} == tracked
    assert "PKG-INFO" in names


def test_the_wheel_installs_without_dependencies_and_works_alone(built, tmp_path):
    place = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    run(*pip, "--target", str(place), str(built[0]))
    script = (
        f"import sys; sys.path.insert(0, {str(place)!r})\n"
        "import json, learned_augment\n"
        "from learned_augment.cli import main\n"
        "names = learned_augment.list_policies()\n"
        "policies = [learned_augment.Policy.load(name).name for name in names]\n"
        "print(json.dumps([learned_augment.__file__, policies]))\n"
        "sys.exit(main(['show', names[0], '--json', '--quiet']))\n"
    )
    first, _, shown = run(sys.executable, "-P", "-c", script, folder=tmp_path).partition("\n")
    file, policies = json.loads(first)
    assert Path(file) == place / "learned_augment" / "__init__.py"
    assert policies == list_policies()
    assert json.loads(shown)["about"]["name"] == policies[0]
    assert (place / "bin" / "learned-augment").exists() or sys.platform == "win32"


@pytest.mark.parametrize("name", list_policies())
def test_each_shipped_policy_states_its_source_and_its_license(name):
    about = Policy.load(name).about
    assert re.search(r"MIT|No licence is stated", about["licence"])
    assert "only the published figures are carried" in about["licence"]
    assert about["source"]["repository"].startswith("https://github.com/")
    assert re.fullmatch("[0-9a-f]{40}", about["source"]["commit"])
    listed = (ROOT / "pretrained_policies" / "README.md").read_text()
    (row,) = [line for line in listed.splitlines() if line.startswith("| ") and f"`{name}`" in line]
    assert about["source"]["repository"] in row
    assert f"`{about['source']['commit'][:7]}`" in row
    figures = json.loads((ROOT / "pretrained_policies" / "figures" / f"{name}.json").read_text())
    assert figures["licence"] == about["licence"]


def test_the_oldest_versions_that_are_tested_are_the_lower_bounds():
    pins = runpy.run_path(str(ROOT / ".ci" / "lower_bounds.py"))["lower_bounds"]()
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["fast"]]:
        name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert f"{name}=={version}.*" in pins
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert "pip install $(python .ci/lower_bounds.py)" in workflow
    assert "pip install $(python .ci/lower_bounds.py)" in (ROOT / ".ci" / "oldest").read_text()
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f'python: "{oldest}", torch: oldest' in workflow
