"""The commands of a new user are the README's own, and one that fails is no result."""

import pytest

from benchmarks import tables
from benchmarks.first_steps import README, Command, first_commands, first_example, measure

TEXT = README.read_text(encoding="utf-8")


def test_the_commands_are_those_of_the_readme():
    found = first_commands(TEXT)
    assert [command.text.split()[:2] for command in found] == [
        ["python", "first_example.py"],
        ["learned-augment", "search"],
        ["learned-augment", "compare"],
    ]
    for command in found[1:]:
        assert f"&& {command.text}" in TEXT
    assert first_example(TEXT) in TEXT
    assert found[1].leaves == "mine.safetensors"
    assert "--data digits" in found[1].text


@pytest.mark.slow  # it compiles anew, as for a new user
def test_the_first_example_leaves_its_picture_in_an_empty_folder():
    (row,) = measure(first_commands(TEXT)[:1], first_example(TEXT))
    assert row["clock_s"] > 0
    assert row["total_s"] == row["clock_s"]
    assert row["last_line"] == "torch.Size([8, 3, 224, 224])"


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "pass"])
def test_a_command_that_fails_or_leaves_nothing_is_no_result(code):
    with pytest.raises(RuntimeError, match=r"first_example\.py (ended with 3|left no x\.png)"):
        measure([Command("picture", "python first_example.py", "x.png")], code)


def test_the_table_counts_commands():
    row = {"reaches": "picture", "command": "python x.py", "number": 1}
    row |= {"clock_s": 7.4, "total_s": 7.4, "last_line": ""}
    machine = {"cpu": "some", "cores": 2, "gpu": None}
    result = {"rows": [row], "date": "2026-11-29", "machine": machine, "command": "python"}
    result["versions"] = {"torch": "2", "pillow": "13"}
    assert "| picture | `python x.py` | 1 | 7 | 7 |" in tables.first_steps(result)
