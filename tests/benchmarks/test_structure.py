"""The shape of source code is measured as its words say; a trace finds the files that run."""

import sys

import pytest

from benchmarks import record, structure, trace

SOURCE = {
    "__init__.py": '"""Toy."""\n',
    "first.py": (
        '"""One line."""\n\nimport os\nfrom learned_augment.second import twice\n\n'
        '__all__ = [\n    "once",\n]\n\n\n'
        'def once(a, b):\n    """Long\n    docstring.\n    """\n    return twice(a) + b\n'
    ),
    "second.py": (
        "def twice(a, b=0, c=0, d=0, e=0, f=0, g=0, h=0, i=0, j=0, *, k=0):\n"
        '    from learned_augment import first\n\n    return "Rotate"\n'
    ),
    "ops/geometric.py": 'NAME = "Rotate"\n',
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in SOURCE.items():
        path = tmp_path / "learned_augment" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_toy.py").write_text("a = 1\nb = 2\n")
    return tmp_path


def test_source_is_measured(checkout):
    whole, *folders = structure.measure(checkout)
    assert (whole["files"], whole["lines"]) == (4, 1 + 15 + 4 + 1)
    assert whole["header_percent"] == round(100 * 7 / 21, 1)
    assert whole["modules_with_one_importer"] == 2
    assert (whole["function_lines_median"], whole["function_lines_max"]) == (2, 4)
    assert (whole["functions_above_10_arguments"], whole["most_arguments"]) == (1, 11)
    assert whole["modules_in_import_cycles"] == 0
    assert whole["modules_in_import_cycles_with_functions"] == 2
    assert (whole["op_names_listed"], whole["modules_listing_op_names"]) == (1, 1)
    assert {row["folder"]: row["lines"] for row in folders} == {
        "learned_augment/*.py": 20, "learned_augment/ops/": 1, "tests/": 2,
    }  # fmt: skip


def test_rows_of_the_earlier_commit_stay(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    measured = []

    def measure(path):
        measured.append(path)
        return [{"lines": len(measured)}]

    record.before_and_after("x", checkout, measure)
    rows = record.before_and_after("x", None, measure)
    assert [(row["state"], row["lines"]) for row in rows] == [("before", 1), ("after", 3)]
    assert record.load_result("x")["rows"] == rows


def test_a_trace_counts_files_and_moves_between_them(tmp_path, monkeypatch):
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "low.py").write_text("def half(x):\n    return x / 2\n")
    (package / "high.py").write_text(
        "from toy.low import half\n\n\ndef own(x):\n    return x\n\n\n"
        "def run():\n    return own(half(4)) + max(map(half, (1, 2)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from toy import high

    tracer = trace.Tracer(package)
    tracer.run(high.run)
    assert (tracer.files, tracer.moves) == ({"low.py", "high.py"}, [3])
    for name in ("toy", "toy.low", "toy.high"):
        del sys.modules[name]
