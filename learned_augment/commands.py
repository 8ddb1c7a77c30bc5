"""What each command does: from given arguments to output, one function a command.

Arguments that were not given are absent, so that every default stays where it acts. What a user
got wrong comes out as ValueError, OSError or ModuleNotFoundError, before any long work starts.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from learned_augment._io import check_output_path, write_atomically
from learned_augment._text import align, leading
from learned_augment.policy import Policy
from learned_augment.reporting.text import policy_data, policy_text
from learned_augment.serialization import list_policies, load

__all__ = ["Given", "run_apply", "run_compare", "run_list", "run_search", "run_show"]

Given = dict[str, Any]

INTERRUPTED = 130


def run_list(given: Given) -> int:
    """Print the shipped policies, and under the table their licence statements."""
    rows = [["name", "method", "data set", "image size", "crop and flip", "licence"]]
    licences: list[str] = []
    for about in (load(name).about for name in list_policies()):
        licence = str(about.get("licence", "not stated"))
        licences += [] if licence in licences else [licence]
        facts = [about.get(key, "") for key in ("name", "method", "dataset", "image_size")]
        rows.append([*map(str, facts), about["placement"], f"[{licences.index(licence) + 1}]"])
    print("\n".join(align(rows, right=[3])))
    print(
        "\nreplaces: use it instead of the usual crop, flip and cutout; beside: together with them"
    )
    for number, licence in enumerate(licences):
        print(f"[{number + 1}] {licence}")
    return 0


def run_show(given: Given) -> int:
    """Print a policy as text or JSON, and draw it."""
    policy = load(given["policy"])
    if "plot" in given:
        from learned_augment.reporting.plots import check_figure_path, policy_figure, save_figure

        path = check_output_path(check_figure_path(given["plot"]))
        _say(f"Wrote {save_figure(policy_figure(policy), path)}.")
    if given.get("json"):
        print(json.dumps(policy_data(policy), indent=1))
    else:
        print(policy_text(policy))
    return 0


def run_apply(given: Given) -> int:
    """Write augmented copies of images, or one contact sheet of them."""
    from learned_augment.reporting.contact_sheet import find_pictures

    policy = load(given["policy"])
    augment = _augmentation(policy, given)
    pictures = find_pictures(given["images"])
    if "grid" in given:
        return _write_sheet(policy, augment, pictures, given)
    return _write_copies(policy, augment, pictures, given)


def run_compare(given: Given) -> int:
    """Train a network under several policies, print the result, and write it as data and page."""
    from learned_augment.evaluation.compare import compare
    from learned_augment.reporting.html import result_page

    target, page = (_writable(given.pop(name, None)) for name in ("json", "html"))
    result = compare(**given, extends=_earlier(target))
    if target is not None:
        write_atomically(target, result.to_json().encode())
    if page is not None:
        write_atomically(page, result_page(result).encode())
    print(result.table())
    return INTERRUPTED if result.missing() else 0


def _earlier(path: Path | None) -> Any:
    """Return the result that a file holds, if there is one: hours of work are not overwritten."""
    from learned_augment.evaluation.result import ComparisonResult

    if path is None or not path.exists():
        return None
    try:
        return ComparisonResult.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} exists: {error} Choose another file.") from None


def run_search(given: Given) -> int:
    """Search a policy on the user's data, write it to a file and print it."""
    out = _policy_path(given.pop("out"))
    given["options"] = dict(map(_option, given.get("options", [])))
    if given.pop("dry_run", False):
        return _estimate_search(given)
    from learned_augment.runtime.distributed import rank
    from learned_augment.search import search

    for path in (given.get("checkpoint"), given.get("log")):
        _writable(path)
    policy = search(**given)
    stopped = str(policy.about.get("stopped", ""))
    if rank() == 0:
        print(policy_text(policy))
        _tell_skipped(policy.about.get("skipped", []))
        if stopped:
            way = (
                "the same command goes on"
                if given.get("checkpoint")
                else "nothing was kept to go on from"
            )
            _say(f"Stopped: {stopped}; {way}.")
        _say(f"Wrote {policy.save(out)}.")
    return INTERRUPTED if stopped.startswith("interrupted") else 0


def _tell_skipped(names: Sequence[str]) -> None:
    if names:
        files = f"{len(names)} unreadable file{'' if len(names) == 1 else 's'}"
        _say(f"{files} left out: {leading(names)}.")


def _estimate_search(given: Given) -> int:
    from learned_augment.search import estimate
    from learned_augment.search.task import prepare

    task = prepare(**{key: given[key] for key in given if key not in _RUNNING})
    print(estimate(task))
    _tell_skipped(task.skipped)
    return 0


_RUNNING = ("checkpoint", "save_every", "time_budget", "log", "tensorboard_folder", "progress")
"""Arguments of a search that say how it runs, not what it searches."""


def _augmentation(policy: Policy, given: Given) -> Callable[[Any], Any]:
    from learned_augment.transform import LearnedAugment

    options = {key: given[key] for key in ("interpolation", "fill", "size") if key in given}
    seed = given.get("seed", 0)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"Expected --seed from -2**63 to 2**64 - 1, got {seed}.")
    return LearnedAugment(policy, **options, generator=torch.Generator().manual_seed(seed))


def _write_sheet(
    policy: Policy, augment: Callable[[Any], Any], pictures: list[Any], given: Given
) -> int:
    from learned_augment.reporting.contact_sheet import check_suffix, contact_sheet, encode_image

    path = _vacant(check_suffix(check_output_path(given["grid"])), given)
    if path.resolve() in {picture.path.resolve() for picture in pictures}:
        raise ValueError(f"{path} is one of the images to augment; choose another file.")
    skipped: list[str] | None = [] if given.get("skip_unreadable") else None
    sheet = contact_sheet(pictures, augment, given.get("variants", 8), policy.name, skipped)
    write_atomically(path, encode_image(sheet, path.suffix))
    _tell_skipped(skipped or [])
    _say(f"Wrote {path}.")
    return 0


def _write_copies(
    policy: Policy, augment: Callable[[Any], Any], pictures: list[Any], given: Given
) -> int:
    from learned_augment.reporting.contact_sheet import copy_paths, encode_image, read_pictures

    folder, variants = Path(given["out"]), given.get("variants", 1)
    # A name comes from a file that anyone may have made; it must not lead out of the folder.
    label = re.sub(r"[^\w.+-]+", "-", policy.name)
    paths = copy_paths(pictures, folder, label, variants)
    for path in paths:
        _vacant(path, given)
    skipped: list[str] | None = [] if given.get("skip_unreadable") else None
    for place, image in read_pictures(pictures, skipped):
        for path in paths[place * variants : (place + 1) * variants]:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, encode_image(augment(image)))
    _tell_skipped(skipped or [])
    count = len(paths) - variants * len(skipped or [])
    _say(f"Wrote {count} image{'' if count == 1 else 's'} to {folder}.")
    return 0


def _vacant(path: Path, given: Given) -> Path:
    if path.exists() and not given.get("overwrite"):
        raise ValueError(f"{path} exists; give --overwrite to replace it.")
    return path


def _writable(path: Path | None) -> Path | None:
    return None if path is None else check_output_path(path)


def _policy_path(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise ValueError(f"Expected --out to end in .safetensors, got {str(path)!r}.")
    return check_output_path(path)


def _option(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ValueError(f"Expected --option as NAME=VALUE, got {text!r}.")
    return name, value


def _say(text: str) -> None:
    print(text, file=sys.stderr)
