"""Policies on disk: one safetensors file each, found by name or path, written atomically.

A file holds the four tensors of a policy and one metadata key with a JSON document (format
version, ops with their units, ``about``). Loading executes nothing.
"""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torchvision.transforms import AutoAugmentPolicy

from learned_augment._io import write_atomically
from learned_augment.ops import OPS
from learned_augment.policy import Policy

__all__ = [
    "decode",
    "encode",
    "list_policies",
    "load",
    "resolve",
    "save",
]

FORMAT = 2
KEY = "learned_augment"
TENSORS = {"mixture": "F64", "weights": "F64", "op": "I64", "value": "F64"}
MAX_BYTES = 256 * 2**20
DEEPEST = 100
"""Levels that ``about`` may have, far under what writing it out as JSON can bear."""


def list_policies() -> list[str]:
    """Return the names of the shipped policies, sorted."""
    return sorted(path.stem for path in _folder().glob("*.safetensors"))


def load(name_or_path: str | Path) -> Policy:
    """Load a policy: a shipped one by its name, or a file by its path.

    Raises:
        ValueError: If there is no such policy (the message lists the names), or if the file is
            not a policy file, truncated, of another format version, or holds figures that are
            not a policy.
    """
    path = _find(name_or_path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a policy file of at most {MAX_BYTES} bytes.")
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def resolve(policy: str | Path | Policy | AutoAugmentPolicy) -> Policy:
    """Return the policy that is meant by a policy, a name, a path, or torchvision's name.

    Raises:
        ValueError: For anything else, and as ``load`` does.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, AutoAugmentPolicy):
        return Policy.from_torchvision(policy)
    if isinstance(policy, str | Path):
        return load(policy)
    raise ValueError(
        f"Expected a policy name, a path, a Policy or an AutoAugmentPolicy, got {policy!r}. "
        f"Shipped policies: {', '.join(list_policies())}."
    )


def save(policy: Policy, path: str | Path) -> Path:
    """Write a policy as a safetensors file, replacing what is there in one step.

    Raises:
        ValueError: If the path does not end in ``.safetensors`` or its folder does not exist.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Expected a path ending in .safetensors, got {str(path)!r}.")
    return write_atomically(path, encode(policy))


def encode(policy: Policy) -> bytes:
    """Return the policy's file as bytes; equal policies give equal bytes.

    Raises:
        ValueError: If ``about`` is nested deeper than a file may be.
    """
    _check_depth(dict(policy.about))
    document = {
        "format": FORMAT,
        "ops": [{"name": name, "unit": OPS[name].unit} for name in policy.ops],
        "about": dict(policy.about),
    }
    # One key: safetensors writes several in a different order each run.
    metadata = {KEY: json.dumps(document, sort_keys=True, ensure_ascii=False)}
    return safetensors.torch.save({name: getattr(policy, name) for name in TENSORS}, metadata)


def decode(data: bytes) -> Policy:
    """Return the policy that ``encode`` wrote.

    Raises:
        ValueError: As ``load``.
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
    return Policy(ops=ops, **tensors, about=document["about"])


def _folder() -> Path:
    """Return the shipped policies: inside an installed package, beside an editable one."""
    inside = Path(__file__).parent / "pretrained_policies"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "pretrained_policies"


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    looks_like_path = isinstance(name_or_path, Path) or text.endswith(".safetensors")
    path = Path(text) if looks_like_path else _folder() / f"{text}.safetensors"
    if not looks_like_path and text not in list_policies():
        raise ValueError(
            f"No pretrained policy named {text!r}. Available: {', '.join(list_policies())}; "
            "or a path ending in .safetensors."
        )
    if not path.is_file():
        raise ValueError(f"No policy file at {text!r}; shipped: {', '.join(list_policies())}.")
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
    _check_depth(about)
    if version == 1:
        document = _from_format_1(document)
    dtypes = {name: row.get("dtype") for name, row in header.items() if name != "__metadata__"}
    if dtypes != TENSORS:
        raise ValueError(f"expected tensors {TENSORS}, got {dtypes}.")
    return dict(document)


def _from_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of format 1 in the words of format 2."""
    about = document["about"]
    if about.get("placement") == "beside":
        about = {**about, "placement": "after"}
    ops = document["ops"]
    if isinstance(ops, list):
        ops = [_op_from_format_1(row) for row in ops]
    return {**document, "about": about, "ops": ops}


def _op_from_format_1(row: Any) -> Any:
    if isinstance(row, dict) and row.get("unit") == "chance of mirroring left-right":
        return {**row, "unit": "probability of mirroring left-right"}
    return row


def _check_depth(about: dict[str, Any]) -> None:
    level: list[Any] = [about]
    for _ in range(DEEPEST):
        nested = [part for part in level if isinstance(part, dict | list)]
        parts = (part.values() if isinstance(part, dict) else part for part in nested)
        level = [value for values in parts for value in values]
        if not level:
            return
    raise ValueError(f"expected 'about' to be nested at most {DEEPEST} levels deep.")


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
    for name, unit in units.items():
        if name not in OPS:
            raise ValueError(f"unknown op {name!r}. Known ops: {', '.join(OPS)}.")
        if unit != OPS[name].unit:
            raise ValueError(f"{name} is in {unit!r} there, but in {OPS[name].unit!r} here.")
    return tuple(units)
