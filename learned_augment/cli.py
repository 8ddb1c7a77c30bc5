"""The command line, learned-augment: its arguments, exit codes and error messages."""

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from PIL.Image import DecompressionBombError

import learned_augment
from learned_augment import commands
from learned_augment._errors import is_out_of_memory
from learned_augment.commands import Exit, Given, Output
from learned_augment.runtime.process_pool import WorkerError

__all__ = ["build_parser", "main"]

_Commands: TypeAlias = Any
"""What ``add_subparsers`` returns; argparse keeps its type private."""

_MISTAKES = (
    ValueError,
    OSError,
    ModuleNotFoundError,
    ArithmeticError,
    DecompressionBombError,  # PIL's, for a copy of more than 179 million pixels
    WorkerError,
)
"""Errors that the user can mend, besides a lack of memory; all others are bugs with a traceback."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    A user's mistake is one sentence on standard error and exit code 2, never a traceback.

    Args:
        arguments: The words after the program's name; ``sys.argv`` by default.
    """
    _replace_unknown_letters()
    output = Output()
    try:
        given = vars(build_parser().parse_args(arguments))
        output = Output(given.pop("json", False), given.pop("quiet", False))
        with _warnings_in_words(output):
            code: int = given.pop("run")(given, output)
        output.flush()
    except KeyboardInterrupt:
        output.error("Interrupted.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _discard_standard_output()
        return Exit.CLOSED_PIPE
    except Exception as error:
        if not (isinstance(error, _MISTAKES) or is_out_of_memory(error)):
            raise
        output.error(f"learned-augment: {_sentence(error)}")
        _discard_standard_output()
        return Exit.MISTAKE
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    if is_out_of_memory(error):
        return "Out of memory; use fewer or smaller images."
    return " ".join(str(error).split())


@contextmanager
def _warnings_in_words(output: Output) -> Iterator[None]:
    """Show a warning as a sentence, without the line of code that it comes from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: output.error(
            f"learned-augment: warning: {message}"
        )
        yield


def _replace_unknown_letters() -> None:
    # Policies have letters such as ± that not every terminal knows; "?" keeps columns aligned.
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")


def _discard_standard_output() -> None:
    """Keep Python from writing what is left to standard output at exit, which may fail again."""
    try:
        sys.stdout.flush()
    except AttributeError:  # there is none
        return
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Absent arguments stay absent; a mistake gets one sentence instead of the usage lines."""

    def __init__(self, **options: Any) -> None:
        fixed = {"argument_default": argparse.SUPPRESS, "allow_abbrev": False}
        super().__init__(**{**options, **fixed})

    def error(self, message: str) -> NoReturn:
        Output().error(f"{self.prog}: {message}. See {self.prog} --help.")
        self.exit(Exit.MISTAKE)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="learned-augment",
        description="Learned augmentation policies: show, apply, compare, search and report them.",
        epilog=_exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"learned-augment {learned_augment.__version__}"
    parser.add_argument("--version", action="version", version=version)
    children = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_list,
        _add_show,
        _add_apply,
        _add_compare,
        _add_search,
        _add_report,
        _add_completion,
    ):
        add(children)
    return parser


def _exit_codes() -> str:
    return "exit codes:\n" + "\n".join(f"  {code:<4} {code.meaning}" for code in Exit)


def _command(
    children: _Commands, name: str, run: Callable[[Given, Output], int], text: str
) -> argparse.ArgumentParser:
    child: argparse.ArgumentParser = children.add_parser(
        name,
        help=text,
        description=text,
        epilog=_exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    child.set_defaults(run=run)
    child.add_argument("--json", action="store_true", help="print the result as JSON")
    text = "nothing on standard error but warnings and errors"
    child.add_argument("--quiet", action="store_true", help=text)
    return child


def _add_list(children: _Commands) -> None:
    _command(children, "list", commands.run_list, "List the shipped policies.")


def _add_show(children: _Commands) -> None:
    child = _command(children, "show", commands.run_show, "Show what a policy does.")
    child.add_argument("policy", metavar="NAME", help="a shipped policy or a .safetensors file")
    child.add_argument("--plot", metavar="FILE", type=Path, help="plot it, as .png, .pdf or .svg")


def _add_apply(children: _Commands) -> None:
    child = _command(children, "apply", commands.run_apply, "Write augmented copies of images.")
    add = child.add_argument
    add("--policy", metavar="NAME", required=True, help="a shipped policy or a .safetensors file")
    add("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    where = child.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="DIR", type=Path, help="folder for the copies, as PNG")
    where.add_argument("--grid", metavar="FILE", type=Path, help="one contact sheet instead")
    add("--variants", metavar="N", type=_count, help="copies of each image (1; on a sheet 8)")
    add("--seed", metavar="N", type=int, help="of the draws (0)")
    add("--size", metavar="PIXELS", type=_count, help="side of the copies (the image's own)")
    add("--interpolation", choices=("nearest", "bilinear", "bicubic"), help="(nearest)")
    add("--fill", metavar="R,G,B", type=_color, help="color outside the image, or one gray (0)")
    _add_skip(child)
    add("--overwrite", action="store_true", help="replace files that exist")


def _add_compare(children: _Commands) -> None:
    text = "Train one network under several policies and say which help."
    child = _command(children, "compare", commands.run_compare, text)
    add = child.add_argument
    _add_data(child, required=False)
    add(
        "--policies",
        metavar="NAME",
        nargs="+",
        help="none; a base augmentation: crop, flip, crop-flip, resized-crop, resized-crop-flip; "
        "identity, cutout, trivialaugment, deeptrivialaugment, randaugment, randaugment-N-M, "
        "autoaugment, a shipped name, random:NAME for its random baseline, a .safetensors file; or "
        "BASE+POLICY, such as crop-flip+trivialaugment (none trivialaugment randaugment)",
    )
    add(
        "--base",
        metavar="NAME",
        help="also train this base augmentation, and each policy after it; none for the policies "
        "as listed (crop-flip, or crop for digits; none if a policy names one)",
    )
    add("--seeds", metavar="N", type=int, help="trainings of each policy (5)")
    add("--epochs", metavar="N", type=int, help="passes over the training images")
    add("--network", metavar="NAME", help="(small-cnn)")
    add("--batch-size", metavar="N", type=int, help="images per step")
    add("--learning-rate", metavar="RATE", type=_number, help="at the start of its cosine")
    add("--precision", metavar="NAME", help="float32 or bfloat16 (float32)")
    add("--channels-last", action="store_true", help="memory pixel by pixel")
    add("--test-every", metavar="N", type=int, help="epochs between tests (after the last only)")
    add("--train-size", metavar="N", type=int, help="train on N images only (all)")
    add("--reference", metavar="NAME", help="the policy that the others are compared with")
    add("--interest", metavar="POINTS", type=_number, help="difference the seeds should show (1)")
    add("--device", metavar="NAME", help="cpu, cuda, ... (a GPU if there is one)")
    add("--cache", metavar="DIR", type=Path, help="keep finished trainings, repeat none of them")
    add("--workers", metavar="N", type=int, help="trainings at once (one a core)")
    add(
        "--out", metavar="FILE", type=Path, help="write the result as JSON, or extend the one there"
    )
    add("--html", metavar="FILE", type=Path, help="write a page with curves and intervals")


def _add_search(children: _Commands) -> None:
    text = "Search a policy for your own images."
    child = _command(children, "search", commands.run_search, text)
    add = child.add_argument
    _add_data(child, required=True)
    add("--out", metavar="FILE", type=Path, required=True, help="the policy, a .safetensors file")
    add("--val", metavar="SOURCE", help="validation images (a part of those of --data)")
    add("--method", metavar="NAME", help="screening, dada or deepaa (screening)")
    text = "settings (the method's); --network to --cutout change single ones"
    add("--preset", metavar="NAME", help=text)
    add("--network", metavar="NAME", help="network that is trained")
    add("--epochs", metavar="N", type=int, help="passes over the training images")
    add("--batch-size", metavar="N", type=int, help="images per step")
    add("--learning-rate", metavar="RATE", type=_number, help="of the network")
    add("--weight-decay", metavar="RATE", type=_number, help="of the network")
    add("--reduce", metavar="N", type=int, help="number of images, training and validation")
    add("--base", metavar="NAME", help="base augmentation of dada and deepaa: crop-flip, none")
    add("--cutout", metavar="SIDE", type=_number, help="cutout after it, fraction of the side")
    add("--ops", metavar="OP", nargs="+", help="search among these ops only")
    add("--exclude", metavar="OP", nargs="+", help="ops to leave out")
    _add_option(child)
    add("--seed", metavar="N", type=int, help="fixes everything random (0)")
    add("--device", metavar="NAME", help="cpu, cuda, ... (a GPU if there is one)")
    add("--threads", metavar="N", type=int, help="CPU threads of dada and deepaa (all cores)")
    add("--checkpoint", metavar="FILE", type=Path, help="resume from it, and write it")
    add("--save-every", metavar="SECONDS", type=_number, help="between checkpoints (60)")
    add("--time-budget", metavar="SECONDS", type=_number, help="stop then, with the policy so far")
    add("--dry-run", action="store_true", help="say what it would take, and stop")
    add("--log", metavar="FILE", type=Path, help="one JSON line per step")
    add("--tensorboard", metavar="DIR", type=Path, dest="tensorboard_folder", help="scalars")


def _add_report(children: _Commands) -> None:
    text = "Write a page about a policy or a comparison."
    child = _command(children, "report", commands.run_report, text)
    text = "a shipped policy, a .safetensors file, or the file of compare --out"
    child.add_argument("source", metavar="FILE", help=text)
    text = "the page, an .html file"
    child.add_argument("--out", metavar="PAGE", type=Path, required=True, help=text)


def _add_completion(children: _Commands) -> None:
    text = 'Print a shell\'s completion script: eval "$(learned-augment completion bash)".'
    run = lambda given, output: commands.run_completion(given, output, children.choices)  # noqa: E731
    child = _command(children, "completion", run, text)
    child.add_argument("shell", choices=("bash", "zsh"))


def _add_data(child: argparse.ArgumentParser, required: bool) -> None:
    child.add_argument(
        "--data",
        metavar="SOURCE",
        required=required,
        help="digits, cifar10:ROOT, cifar100:ROOT, svhn:ROOT or folder:PATH"
        + ("" if required else " (digits)"),
    )
    add = child.add_argument
    add("--image-size", metavar="PIXELS", type=int, help="resize the images of a folder")
    _add_skip(child)
    add(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress line (on a terminal)",
    )


def _add_skip(child: argparse.ArgumentParser) -> None:
    text = "leave out files that cannot be read"
    child.add_argument("--skip-unreadable", action="store_true", help=text)


def _add_option(child: argparse.ArgumentParser) -> None:
    child.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        dest="options",
        help="one of the method's own options; may be repeated",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return number


def _color(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected a gray or R,G,B of 0 to 255, got {text!r}")
    levels = tuple(float(part) for part in parts)
    if max(levels) > 255:
        raise argparse.ArgumentTypeError(f"expected levels of 0 to 255, got {text!r}")
    return levels
