"""What the documentation shows runs: docstring examples, and every Python block of the README."""

import doctest
import hashlib
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import learned_augment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# What a block may need beyond the project's own requirements, and skips without.
NEEDS = {"timm": "timm", "lightning": "lightning", "datasets": "datasets"}
PREPARE = """
import torch
from PIL import Image
from torchvision import tv_tensors
image = Image.new("RGB", (64, 48), (90, 120, 30))
images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
"""
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(learned_augment.__path__, "learned_augment.")
    if not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs the optional package {error.name}")
    assert doctest.testmod(module).failed == 0


def test_the_drop_in_example_is_a_doctest():
    assert doctest.testmod(importlib.import_module("learned_augment.transform")).attempted > 0


def test_the_readme_has_the_four_swaps():
    text = "\n".join(BLOCKS)
    for word in ("torchvision", "timm", "lightning", "datasets"):
        assert f"import {word}" in text or f"from {word}" in text


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0][:50])
def test_readme_block_runs(block, tmp_path):
    for word, package in NEEDS.items():
        if re.search(rf"(import|from) {word}", block):
            pytest.importorskip(package)
    (tmp_path / "block.py").write_text(PREPARE + block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_links_within_the_project_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "pretrained_policies" / "README.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_hashes_of_shipped_policies_are_stated():
    folder = ROOT / "pretrained_policies"
    page = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in page


def test_the_readme_lists_every_policy():
    for name in learned_augment.list_policies():
        assert f"`{name}`" in README
