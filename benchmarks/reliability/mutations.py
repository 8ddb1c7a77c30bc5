"""Break valid inputs in ways that a tool, a disk or an attacker would; all from one generator."""

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "hostile_state",
    "mutate_bytes",
    "mutate_data",
    "mutate_json",
    "mutate_safetensors",
    "safetensors_bytes",
    "split_safetensors",
]

LENGTHS = (0, 1, 7, 2**16, 2**31, 2**32 - 1, 2**62, 2**64 - 1)
HUGE = 10**400
NESTED = 2000
"""Levels of what is nested too deeply; a parser in C bears fewer."""

_LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    1.5,
    -0.0,
    2**31,
    2**63,
    -(2**63) - 1,
    HUGE,
    1e-300,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "1",
    "nan",
    "a\x00b",
    "\x1b[2J\n",
    "\ud800",
    "\u202e漢字",
    "__import__('os').system('false')",
    "../../etc/passwd",
    "x" * 5000,
    [],
    {},
    [None],
    [[1, 2]],
    [["a", 1], ["b", 2]],
    {"": None},
    {"name": 1},
)


def hostile(rng: random.Random) -> Any:
    """Return a JSON value of a kind that nobody expects."""
    if rng.random() < 0.03:
        return nested(rng.choice((50, 99, 101, 500)), rng.random() < 0.5)
    if rng.random() < 0.15:
        return rng.choice((rng.uniform(-2, 2), rng.randint(-300, 300), rng.random()))
    return copy.deepcopy(rng.choice(_LEAVES))


def nested(levels: int, lists: bool) -> Any:
    """Return a value of so many levels."""
    value: Any = 0
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return value


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, repeat, insert or move bytes, or lie about the length of the header."""
    if not data:
        return rng.randbytes(rng.randint(0, 16))
    broken = bytearray(data)
    place = rng.randrange(len(broken))
    if rng.random() < 0.5:  # headers decide more than the data behind them
        place = min(place, rng.randrange(64))
    length = rng.choice((1, 1, 2, 8, 64, len(data)))
    kind = rng.randrange(8)
    if kind == 0:
        for _ in range(rng.choice((1, 1, 2, 8))):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        broken[place] = rng.randrange(256)
    elif kind == 2:
        del broken[place:]
    elif kind == 3:
        del broken[place : place + length]
    elif kind == 4:
        broken[place:place] = rng.randbytes(min(length, 256))
    elif kind == 5:
        broken[place:place] = broken[place : place + min(length, 4096)]
    elif kind == 6:
        broken[:8] = rng.choice((*LENGTHS, len(data), rng.randrange(2 * len(data)))).to_bytes(
            8, "little"
        )
    else:
        broken[place : place + length] = bytes(min(length, len(broken) - place))
    return bytes(broken)


def mutate_data(value: Any, rng: random.Random, leaf: Callable[[random.Random], Any]) -> Any:
    """Return a copy of nested data with one place changed.

    Args:
        value: mappings, lists and leaves; it stays as it is.
        rng: chooses the place and the change.
        leaf: returns what may stand at the place instead.
    """
    if not isinstance(value, Mapping | Sequence) or isinstance(value, str | bytes) or not value:
        return leaf(rng)
    if rng.random() < 0.08:
        return leaf(rng)
    broken: Any = dict(value) if isinstance(value, Mapping) else list(value)
    key = rng.choice(list(broken)) if isinstance(broken, dict) else rng.randrange(len(broken))
    kind = rng.random()
    if kind < 0.12:
        del broken[key]
    elif kind < 0.18 and isinstance(broken, dict):
        broken[rng.choice(("", "x", "format", f"{key}s", "name"))] = broken.pop(key)
    elif kind < 0.18:
        broken.insert(key, copy.copy(broken[key]))
    elif kind < 0.22 and isinstance(broken, dict):
        broken[rng.choice(("extra", "__class__", "self", "format"))] = leaf(rng)
    elif kind < 0.22:
        broken[key:key] = [leaf(rng)]
    elif kind < 0.25 and isinstance(broken, list):
        broken *= rng.choice((2, 50))
    elif kind < 0.28:
        other = rng.choice(list(broken)) if isinstance(broken, dict) else rng.randrange(len(broken))
        broken[key], broken[other] = broken[other], broken[key]
    else:
        broken[key] = mutate_data(broken[key], rng, leaf)
    return broken


def mutate_json(document: Any, rng: random.Random) -> bytes:
    """Return a document with some places changed, as text that may be broken as well."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        document = mutate_data(document, rng, hostile)
    text = json.dumps(document)
    chance = rng.random()
    if chance < 0.01:
        text = text.replace("0", "[" * NESTED, 1)
    elif chance < 0.02:
        text = text.replace("1", "9" * 5000, 1)
    elif chance < 0.03:
        text = text.replace('{"', '{"format": 2, "', 1)  # one name twice
    elif chance < 0.1:
        return mutate_bytes(text.encode(), rng)
    return text.encode()


@cache
def split_safetensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the bytes of the tensors of a valid file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def safetensors_bytes(header: Any, tensors: bytes) -> bytes:
    """Return a file of a header, valid or not, and the bytes of tensors."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def mutate_safetensors(data: bytes, key: str, rng: random.Random) -> bytes:
    """Change a file's bytes, its header, its tensors, or the document in its metadata.

    Args:
        data: a valid file.
        key: of the metadata that holds a JSON document.
        rng: chooses what changes.
    """
    kind = rng.random()
    if kind < 0.25:
        return mutate_bytes(data, rng)
    header, tensors = split_safetensors(data)
    header = {name: dict(row) for name, row in header.items()}
    if kind < 0.65:
        document = _parsed(header["__metadata__"][key])
        header["__metadata__"][key] = mutate_json(document, rng).decode(errors="replace")
    elif kind < 0.8:
        header = mutate_data(header, rng, hostile)
    else:
        tensors = _mutate_numbers(header, tensors, rng)
    return safetensors_bytes(header, tensors)


@cache
def _parsed(text: str) -> Any:
    return json.loads(text)


def _mutate_numbers(header: dict[str, Any], tensors: bytes, rng: random.Random) -> bytes:
    """Change numbers of tensors, their dtype, or their shape with the data."""
    name = rng.choice([name for name in header if name != "__metadata__"])
    row = header[name]
    start, end = row["data_offsets"]
    broken = bytearray(tensors)
    kind = "<i8" if row["dtype"] == "I64" else "<f8"
    numbers = np.frombuffer(bytes(broken[start:end]), kind).copy()
    choice = rng.random()
    if choice < 0.15:
        row["dtype"] = rng.choice(("F64", "I64", "U64", "F32", "F16", "BF16", "BOOL", "C64", "?"))
        return tensors
    if choice < 0.3:
        row["shape"] = rng.choice(
            ([], [0], [-1], [1, *row["shape"]], row["shape"][::-1], [len(numbers)], [2**62, 4])
        )
        return tensors
    if choice < 0.4:
        numbers[:] = rng.choice((numbers[::-1].copy(), np.zeros_like(numbers), numbers * 2))
    else:
        whole = (0, 1, -1, 15, 16, 2**31, 2**63 - 1, -(2**63))
        real = (0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, -1e308, 7.5, np.nan, np.inf, -np.inf)
        for _ in range(rng.choice((1, 1, 3))):
            numbers[rng.randrange(len(numbers))] = rng.choice(whole if kind == "<i8" else real)
    broken[start:end] = numbers.tobytes()
    return bytes(broken)


def hostile_state(rng: random.Random) -> Any:
    """Return what may stand in the state of a job instead of a number, a tensor or a container."""
    if rng.random() < 0.5:
        return _hostile_tensor(rng)
    return rng.choice((None, True, -1, 0, 1, 2**63, HUGE, -1.5, float("nan"), 1e308, "x", [], {}))


def _hostile_tensor(rng: random.Random) -> Tensor:
    shape = rng.choice(((), (0,), (1,), (3,), (2, 2), (5056,)))
    dtype = rng.choice((torch.uint8, torch.int64, torch.float32, torch.float64, torch.bool))
    return torch.full(shape, rng.choice((0, 1, 255)), dtype=dtype)
