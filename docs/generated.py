"""Print parts of the documentation from the code: each ``<!-- print: NAME -->`` is one part."""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from learned_augment import Policy, list_policies
from learned_augment._text import markdown
from learned_augment.backends.dispatch import TABLE, Row
from learned_augment.cli import build_parser
from learned_augment.commands import Exit
from learned_augment.ops import OPS
from learned_augment.search.presets import PRESETS
from learned_augment.search_spaces import SPACES

MARK = re.compile(r"<!-- print: ([\w-]+) -->")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Replace every mark of a page; MkDocs calls this before it renders the page.

    A link to ``repo:PATH`` leads to that file of the repository.
    """
    printed = MARK.sub(lambda mark: PRINTED[mark.group(1)](), markdown)
    return printed.replace("](repo:", f"]({config.repo_url}/blob/main/")


def ops() -> str:
    """Every op with its unit, range, identity value and kind."""
    rows = [
        [
            f"`{op.name}`",
            op.unit or "no value",
            f"{op.low:g} to {op.high:g}" if op.unit else "",
            "none" if op.identity_value is None else f"{op.identity_value:g}",
            op.kind_name,
            "yes" if op.random else "",
            f"`{op.kind.kornia}`" if op.kind.kornia else "",
        ]
        for op in OPS.values()
    ]
    heads = ["op", "unit of the value", "range", "identity value", "kind", "chooses a place"]
    heads += ["Kornia function for floats"]
    return table(heads, rows)


def spaces() -> str:
    """Every search space: the value of an op at magnitude 0 and at magnitude 1."""
    return "\n\n".join(f"### `{name}`\n\n{_space(name)}" for name in SPACES)


def _space(name: str) -> str:
    rows = [
        [f"`{op}`", f"{span.low:.4g}", f"{span.high:.4g}", "yes" if span.mirrored else ""]
        for op, span in SPACES[name].items()
    ]
    return table(["op", "value at 0", "value at 1", "mirrored"], rows)


def presets() -> str:
    """Every preset with its settings."""
    heads = ["preset", "method", "network", "images", "epochs", "images a step", "learning rate"]
    heads += ["weight decay", "base augmentation", "cutout"]
    rows = [
        [
            f"`{name}`",
            preset.method or "any",
            f"`{preset.network}`",
            f"{preset.reduce:,}" if preset.reduce else "all",
            str(preset.epochs),
            str(preset.batch_size),
            f"{preset.learning_rate:g}",
            f"{preset.weight_decay:g}",
            f"`{preset.base}`",
            f"{preset.cutout:g}" if preset.cutout else "",
        ]
        for name, preset in PRESETS.items()
    ]
    return table(heads, rows)


def policies() -> str:
    """Every shipped policy with its form, placement and source."""
    rows = []
    for name in list_policies():
        policy = Policy.load(name)
        sub_policies, layers, candidates = policy.weights.shape
        form = f"{sub_policies} x {layers} x {candidates}"
        about = policy.about
        rows.append([f"`{name}`", about["method"], form, about["placement"], about["paper"]])
    heads = ["policy", "method", "sub-policies x layers x candidates", "placement", "paper"]
    return table(heads, rows)


def command_line() -> str:
    """Every command with its arguments."""
    parts = []
    for name, parser in commands().items():
        rows = [
            [_argument(action), _cell(action.help or "")]
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        parts += [f"## `{name}`", parser.description or "", table(["argument", "meaning"], rows)]
    return "\n\n".join(parts)


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name."""
    (children,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    return dict(children.choices)  # type: ignore[arg-type]


def _argument(action: argparse.Action) -> str:
    value = action.metavar or "/".join(map(str, action.choices or ()))
    if not action.option_strings:
        return f"`{value or action.dest}`"
    more = " ..." if action.nargs == "+" else ""
    takes = action.nargs != 0
    return " ".join(f"`{o} {value}{more}`" if takes else f"`{o}`" for o in action.option_strings)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def exit_codes() -> str:
    """Every exit code with its meaning."""
    return table(["code", "meaning"], [[str(int(code)), code.meaning] for code in Exit])


def dispatch() -> str:
    """The table that chooses the backend."""
    names = [field.name for field in fields(Row)]
    rows = [[getattr(row, name) or "" for name in names] for row in TABLE]
    return table(names, [[f"`{row[0]}`", *row[1:]] for row in rows])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table."""
    return "\n".join(markdown(heads, rows))


PRINTED: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "dispatch": dispatch,
    "exit-codes": exit_codes,
    "ops": ops,
    "policies": policies,
    "presets": presets,
    "spaces": spaces,
}
"""Every part by its name."""
