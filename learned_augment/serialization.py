"""The file format of policies: one safetensors file, found by name or by path."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from learned_augment import hub
from learned_augment._io import check_ending, write_atomically
from learned_augment._text import encodable
from learned_augment.ops import OPS

__all__ = ["KEY", "TENSORS", "check_depth", "decode", "encode", "list_policies", "read", "write"]

FORMAT = 2
KEY = "learned_augment"
TENSORS = {"mixture": "F64", "weights": "F64", "op": "I64", "value": "F64"}
MAX_BYTES = 256 * 2**20
DEEPEST = 100
"""Most levels of nested JSON in a file; Python could write far more."""

Contents: TypeAlias = tuple[tuple[str, ...], dict[str, Tensor], dict[str, Any]]
"""Op names, tensors by name, and ``about``."""

_UNITS_OF_FORMAT_1 = {
    "chance of mirroring left-right": "probability of mirroring left-right",
    "factor, 0 is grey": "factor, 0 is gray",
}


def list_policies() -> list[str]:
    """Return the names of the shipped policies, sorted.

    Examples:
        >>> list_policies()[0]
        'dada-cifar10'
    """
    return sorted(path.stem for path in _folder().glob("*.safetensors"))


def read(name_or_path: str | Path) -> tuple[Path, bytes]:
    """Return the path and contents of a policy file: a shipped one by its name, or any by its path.

    Raises:
        ValueError: If there is no such file (the message lists the shipped names), or it cannot be
            read or is too large.
    """
    try:
        path = _find(name_or_path)
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: expected a policy file of at most {MAX_BYTES} bytes.")
        return path, path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name_or_path}: cannot be read: {error}.") from error


def write(path: str | Path, data: bytes) -> Path:
    """Write a policy file; an existing file is replaced whole or not at all.

    Raises:
        ValueError: If the path does not end in ``.safetensors`` or its folder does not exist.
    """
    return write_atomically(check_ending(path, [".safetensors"], "a path"), data)


def encode(ops: tuple[str, ...], tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """Return a policy's file as bytes; equal policies give equal bytes.

    The file holds the four tensors and one metadata key with a JSON document: the format version,
    the ops with their units, and ``about``.

    Raises:
        ValueError: If ``about`` is nested deeper than a file may be.
    """
    check_depth(dict(about), "'about'")
    document = {
        "format": FORMAT,
        "ops": [{"name": name, "unit": OPS[name].unit} for name in ops],
        "about": dict(about),
    }
    # One key: safetensors writes several in a different order each run.
    # A lone surrogate, which UTF-8 lacks, becomes its escape in JSON.
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    metadata = {KEY: encodable(text)}
    return safetensors.torch.save(dict(tensors), metadata)


def decode(data: bytes) -> Contents:
    """Return the ops, tensors and ``about`` that ``encode`` wrote; the tensors are unchecked.

    Nothing in the file is executed.

    Raises:
        ValueError: If the bytes are no policy file, truncated, or of another format version.
    """
    try:
        document = _document(data)
    except RecursionError as error:
        raise ValueError("its metadata is nested too deeply for a policy's.") from error
    ops = _ops(document)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"not a whole safetensors file ({error}).") from error
    return ops, tensors, document["about"]


def _folder() -> Path:
    """Return the folder of the shipped policies: in the package, or next to an editable one."""
    inside = Path(__file__).parent / "pretrained_policies"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "pretrained_policies"


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text.startswith(hub.PREFIX):
        return hub.download(text)
    looks_like_path = isinstance(name_or_path, Path) or text.endswith(".safetensors")
    path = Path(text) if looks_like_path else _folder() / f"{text}.safetensors"
    if not looks_like_path and text not in list_policies():
        raise ValueError(
            f"No pretrained policy named {text!r}. Available: {', '.join(list_policies())}; "
            "or a path or an hf:// address ending in .safetensors. Build others, such as "
            "RandAugment, with learned_augment.builders; only compare knows them by name."
        )
    if not path.is_file():
        raise ValueError(
            f"No policy file at {text!r}. Shipped policies are loaded by name, a str: "
            f"{', '.join(list_policies())}."
        )
    return path


def _document(data: bytes) -> dict[str, Any]:
    """Read and check the header alone, before any tensor is built."""
    header = _header(data)
    if KEY not in header.get("__metadata__", {}):
        raise ValueError(f"a safetensors file, but not a policy: no {KEY!r} in its metadata.")
    try:
        document = json.loads(header["__metadata__"][KEY])
        version, about = document["format"], document["about"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("its metadata is not the JSON document of a policy.") from error
    if version not in (1, FORMAT) or isinstance(version, bool):
        raise ValueError(
            f"expected format version 1 to {FORMAT}, got {version!r}; update the package."
        )
    if not isinstance(about, dict):
        raise ValueError(f"expected 'about' to be a mapping, got {type(about).__name__}.")
    check_depth(about, "'about'")
    if version == 1:
        document = _from_format_1(document)
    dtypes = {name: row.get("dtype") for name, row in header.items() if name != "__metadata__"}
    if dtypes != TENSORS:
        raise ValueError(f"expected tensors {TENSORS}, got {dtypes}.")
    return dict(document)


def _from_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of format 1 in the words of format 2."""
    about, ops = document["about"], document.get("ops")
    if about.get("placement") == "beside":
        about = {**about, "placement": "after"}
    if isinstance(ops, list):
        ops = [_op_from_format_1(row) for row in ops]
    return {**document, "about": about, "ops": ops}


def _op_from_format_1(row: Any) -> Any:
    unit = row.get("unit") if isinstance(row, dict) else None
    return {**row, "unit": _UNITS_OF_FORMAT_1.get(unit, unit)} if isinstance(unit, str) else row


def check_depth(document: Any, name: str) -> None:
    """Raise ValueError if a JSON document is nested deeper than a file may be.

    Args:
        document: JSON data.
        name: What the message calls it.
    """
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        nested = [part for part in level if isinstance(part, dict | list)]
        parts = (part.values() if isinstance(part, dict) else part for part in nested)
        level = [value for values in parts for value in values]
        if not level:
            return
    raise ValueError(f"expected {name} to be nested at most {DEEPEST} levels deep.")


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("not a safetensors file, or a truncated one.")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ValueError("not a safetensors file: its header is not JSON.") from error
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        raise ValueError("not a safetensors file: its header is not a mapping of mappings.")
    return header


def _ops(document: dict[str, Any]) -> tuple[str, ...]:
    try:
        units = {row["name"]: row["unit"] for row in document["ops"]}
    except (TypeError, KeyError) as error:
        raise ValueError("expected 'ops' to list names and units.") from error
    if len(units) != len(document["ops"]):  # positions in the list would name other ops
        raise ValueError("expected 'ops' to list every op once.")
    for name, unit in units.items():
        if name not in OPS:
            raise ValueError(f"unknown op {name!r}. Known ops: {', '.join(OPS)}.")
        if unit != OPS[name].unit:
            raise ValueError(f"{name} is in {unit!r} there, but in {OPS[name].unit!r} here.")
    return tuple(units)
