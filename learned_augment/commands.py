"""The commands: one function each, from given arguments to output."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from learned_augment._io import (
    PAGE_ENDINGS,
    check_ending,
    check_output_path,
    check_outputs,
    write_atomically,
)
from learned_augment._text import align, leading, printable
from learned_augment.evaluation.compare import compare
from learned_augment.evaluation.named_policies import policy_names
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.model_card import provenance
from learned_augment.policy import Policy
from learned_augment.reporting.text import policy_data, policy_text
from learned_augment.runtime.distributed import rank
from learned_augment.search.api import estimate, search, written_path
from learned_augment.serialization import list_policies
from learned_augment.transform import LearnedAugment

__all__ = [
    "Exit",
    "Given",
    "Output",
    "run_apply",
    "run_compare",
    "run_completion",
    "run_list",
    "run_report",
    "run_search",
    "run_show",
]

Given = dict[str, Any]
"""Arguments by name. Those that were not given are absent, so that a default is stated only once:
by the function that acts on it."""


class Exit(IntEnum):
    """Exit codes of every command, each with its meaning."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "Exit":
        """Make a code with its meaning."""
        exit_code = int.__new__(cls, code)
        exit_code._value_ = code
        exit_code.meaning = meaning
        return exit_code

    DONE = 0, "done"
    BUG = 1, "a bug; the traceback says where"
    MISTAKE = 2, "a wrong argument, a file that cannot be read or written; one sentence says which"
    INTERRUPTED = 130, "ended early by Ctrl-C or a kill; what was finished is printed and written"
    CLOSED_PIPE = 141, "the reader of the output has gone"


class Output:
    """Writes results to standard output, and notes and errors to standard error.

    Nothing is written to a stream that is missing.

    Args:
        as_json: Write results as JSON, not as text.
        quiet: Write no notes.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json, self.quiet = as_json, quiet

    def result(self, text: str | None, data: Any) -> None:
        """Write a result: the text, if there is one, or the data as JSON."""
        shown = json.dumps(data, indent=1) if self._as_json else text
        if shown is not None and sys.stdout is not None:
            print(shown, file=sys.stdout)

    def note(self, text: str) -> None:
        """Write a note, unless quiet."""
        if not self.quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Write an error or a warning."""
        if sys.stderr is not None:  # print would take standard output instead
            print(text, file=sys.stderr)

    def flush(self) -> None:
        """Write what is left to standard output, so that a failure shows here and not at exit."""
        if sys.stdout is not None:
            sys.stdout.flush()


def run_list(given: Given, output: Output) -> Exit:
    """Print the shipped policies, with their license statements under the table."""
    rows = [["name", "method", "data set", "image size", "crop and flip", "license"]]
    licenses: list[str] = []
    abouts = [Policy.load(name).about for name in list_policies()]
    for about in abouts:
        license_text = provenance(about).get("License", "not stated")
        licenses += [] if license_text in licenses else [license_text]
        facts = [about.get(key, "") for key in ("name", "method", "dataset", "image_size")]
        number = f"[{licenses.index(license_text) + 1}]"
        rows.append([*map(str, facts), about["placement"], number])
    lines = [
        *align(rows, right=[3]),
        "",
        "replaces: use it instead of crop, flip and cutout; after: use it after crop and flip",
        *(f"[{number}] {text}" for number, text in enumerate(licenses, 1)),
    ]
    output.result("\n".join(lines), [dict(about) for about in abouts])
    return Exit.DONE


def run_show(given: Given, output: Output) -> Exit:
    """Print a policy as text or JSON, and plot it."""
    policy = Policy.load(given["policy"])
    if "plot" in given:
        from learned_augment.reporting.plots import FORMATS, policy_figure, save_figure

        path = check_output_path(check_ending(given["plot"], FORMATS))
        output.note(f"Wrote {save_figure(policy_figure(policy), path)}.")
    output.result(policy_text(policy), policy_data(policy))
    return Exit.DONE


def run_apply(given: Given, output: Output) -> Exit:
    """Write augmented copies of images, or one contact sheet of them."""
    from learned_augment.reporting.image_files import find_images

    policy = Policy.load(given["policy"])
    augment = _augmentation(policy, given)
    pictures = find_images(given["images"])
    write = _write_sheet if "grid" in given else _write_copies
    written, skipped = write(policy, augment, pictures, given)
    _note_skipped(skipped, output)
    count = f"{len(written)} image{'' if len(written) == 1 else 's'}"
    output.note(
        f"Wrote {given['grid']}." if "grid" in given else f"Wrote {count} to {given['out']}."
    )
    output.result(None, {"written": list(map(str, written)), "skipped": skipped})
    return Exit.DONE


def run_compare(given: Given, output: Output) -> Exit:
    """Train a network under several policies, print the result, and write it as data and page."""
    out, page = given.pop("out", None), given.pop("html", None)
    check_outputs({"--out": out, "--html": page}, folders={"--cache": given.get("cache")})
    if page is not None:
        check_ending(page, PAGE_ENDINGS, "--html")
    if output.quiet:
        given["progress"] = False
    result = compare(**given, extends=_earlier(out))
    try:
        if out is not None:
            write_atomically(out, result.to_json().encode())
            output.note(f"Wrote {out}.")
        if page is not None:
            from learned_augment.reporting.html import result_page

            write_atomically(page, result_page(result).encode())
            output.note(f"Wrote {page}.")
    finally:  # a disk that is full now must not cost the result
        output.result(result.table(), json.loads(result.to_json()))
    return Exit.INTERRUPTED if result.missing() else Exit.DONE


def _earlier(path: Path | None) -> ComparisonResult | None:
    """Return the result that a file holds, or None if there is no file.

    A new comparison extends this result instead of overwriting hours of work.
    """
    if path is None or not path.exists():
        return None
    try:
        return ComparisonResult.load(path)
    except ValueError as error:
        raise ValueError(f"{error} The file exists; choose another.") from None


def run_search(given: Given, output: Output) -> Exit:
    """Search a policy on the user's data, write it to a file and print it."""
    given["options"] = dict(map(_option, given.get("options", [])))
    if given.pop("dry_run", False):
        return _estimate_search(given, output)
    if output.quiet:
        given["progress"] = False
    policy = search(**given)
    stopped, skipped = str(policy.about.get("stopped", "")), policy.about.get("skipped", [])
    if rank() == 0:
        _note_skipped(skipped, output)
        if stopped:
            way = (
                "the same command continues it"
                if given.get("checkpoint")
                else "without --checkpoint it cannot be continued"
            )
            output.note(f"Stopped: {stopped}; {way}.")
        path = written_path(given["out"], policy)
        written = _holds(path, policy)
        if written:
            output.note(f"Wrote {path}.")
        file = {"file": str(path) if written else None}
        output.result(policy_text(policy), policy_data(policy) | file)
        if not written:
            return Exit.MISTAKE
    return Exit.INTERRUPTED if stopped.startswith("interrupted") else Exit.DONE


def _holds(path: Path, policy: Policy) -> bool:
    """Return whether a file holds a policy; `search` only warns if it cannot be written."""
    try:
        return path.read_bytes() == policy.encode()
    except OSError:
        return False


def _estimate_search(given: Given, output: Output) -> Exit:
    cost = estimate(**given)
    phases = [phase._asdict() for phase in cost.phases]
    if rank() == 0:
        output.result(str(cost), cost._asdict() | {"phases": phases})
        _note_skipped(cost.skipped, output)
    return Exit.DONE


def run_report(given: Given, output: Output) -> Exit:
    """Write a page about a policy or a comparison."""
    from learned_augment.reporting.html import write_report

    out = given["out"]
    write_report(given["source"], out)
    output.note(f"Wrote {out}.")
    output.result(None, {"written": [str(out)]})
    return Exit.DONE


def run_completion(given: Given, output: Output, parsers: Mapping[str, Any]) -> Exit:
    """Print a script by which a shell completes commands, options and names of policies."""
    names = dict.fromkeys(("policy", "source"), " ".join(list_policies()))
    names["policies"] = " ".join(policy_names())
    cases = []
    for command, parser in parsers.items():
        words = []
        for action in parser._actions:
            words += action.option_strings
            choices = names.get(action.dest, " ".join(action.choices or ()))
            if choices and action.option_strings:
                cases += [
                    f'"{command} {option}") words="{choices}";;' for option in action.option_strings
                ]
            words += choices.split() if not action.option_strings else []
        cases.append(f'"{command} "*) words="{" ".join(words)}";;')
    script = _COMPLETION.format(commands=" ".join(parsers), cases="\n        ".join(cases))
    if given["shell"] == "zsh":
        script = "autoload -U +X bashcompinit && bashcompinit\n" + script
    output.result(script, {"shell": given["shell"], "script": script})
    return Exit.DONE


_COMPLETION = """_learned_augment() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words="{commands} --help --version"
    if [ "$COMP_CWORD" -gt 1 ]; then
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
        {cases}
        *) words="";;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _learned_augment learned-augment"""


def _note_skipped(names: Sequence[str], output: Output) -> None:
    if names:
        files = f"{len(names)} unreadable file{'' if len(names) == 1 else 's'}"
        output.note(f"{files} left out: {printable(leading(names))}.")


def _augmentation(policy: Policy, given: Given) -> Callable[[Any], Any]:
    options = {key: given[key] for key in ("interpolation", "fill", "size") if key in given}
    seed = given.get("seed", 0)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"Expected --seed from -2**63 to 2**64 - 1, got {seed}.")
    return LearnedAugment(policy, **options, generator=torch.Generator().manual_seed(seed))


def _write_sheet(
    policy: Policy, augment: Callable[[Any], Any], pictures: list[Any], given: Given
) -> tuple[list[Path], list[str]]:
    """Write one contact sheet; return its path and the files left out."""
    from learned_augment.reporting.contact_sheet import contact_sheet
    from learned_augment.reporting.image_files import check_suffix, encode_image

    path = _vacant(check_suffix(check_output_path(given["grid"])), given)
    if path.resolve() in {picture.path.resolve() for picture in pictures}:
        raise ValueError(f"{path} is one of the images to augment; choose another file.")
    skipped: list[str] | None = [] if given.get("skip_unreadable") else None
    sheet = contact_sheet(pictures, augment, given.get("variants", 8), policy.name, skipped)
    write_atomically(path, encode_image(sheet, path.suffix))
    return [path], skipped or []


def _write_copies(
    policy: Policy, augment: Callable[[Any], Any], pictures: list[Any], given: Given
) -> tuple[list[Path], list[str]]:
    """Write copies of every image; return their paths and the files left out."""
    from learned_augment.reporting.image_files import copy_paths, encode_image, read_images

    folder, variants = Path(given["out"]), given.get("variants", 1)
    # A name comes from a file that anyone may have made; it must not lead out of the folder.
    label = re.sub(r"[^\w.+-]+", "-", policy.name)
    paths = copy_paths(pictures, folder, label, variants)
    for path in paths:
        _vacant(path, given)
    skipped: list[str] | None = [] if given.get("skip_unreadable") else None
    # A broken file, or a fill of other channels than an image's, fails before a copy is written.
    modes: dict[str, Path] = {}
    for place, image in read_images(pictures, skipped):
        modes.setdefault(image.mode, pictures[place].path)
    for mode, path in modes.items():
        try:
            _augmentation(policy, given)(Image.new(mode, (8, 8)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    written = []
    for place, image in read_images(pictures, None if skipped is None else []):
        for path in paths[place * variants : (place + 1) * variants]:
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(write_atomically(path, encode_image(augment(image))))
    return written, skipped or []


def _vacant(path: Path, given: Given) -> Path:
    if path.exists() and not given.get("overwrite"):
        raise ValueError(f"{path} exists; give --overwrite to replace it.")
    return path


def _option(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ValueError(f"Expected --option as NAME=VALUE, got {text!r}.")
    return name, value
