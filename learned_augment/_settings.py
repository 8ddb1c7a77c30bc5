"""Checks of numbers in settings."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import fields
from math import inf
from typing import Any

__all__ = [
    "check_at_least",
    "check_rates",
    "convert_fields",
    "flag",
    "positive_number",
    "real_number",
    "whole_number",
]


def whole_number(name: str, value: Any) -> int:
    """Return a whole number, also one of NumPy's, as an int; TypeError for others and bools."""
    try:
        if type(value).__name__ in ("bool", "bool_"):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Expected {name} as a whole number, got {value!r}.") from None


def positive_number(name: str, value: Any) -> int:
    """Return a whole number of at least 1 as an int; ValueError for anything else, bools too."""
    try:
        number = whole_number(name, value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"Expected {name} of at least 1, a whole number, got {value!r}.")
    return number


def convert_fields(settings: Any, convert: Callable[[str, Any], Any], names: Iterable[str]) -> None:
    """Convert fields of frozen ``settings``; None stays where it is the default of the field."""
    defaults = {field.name: field.default for field in fields(settings)}
    for name in names:
        value = getattr(settings, name)
        if value is not None or defaults[name] is not None:
            object.__setattr__(settings, name, convert(name, value))


def real_number(name: str, value: Any) -> float:
    """Return a number, also one of NumPy's, as a float; TypeError for others, texts too."""
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"Expected {name} as a number, got {value!r}.") from None


def flag(name: str, value: Any) -> bool:
    """Return a truth value, also one of NumPy's; TypeError for others: "false" would be true."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"Expected {name} to be True or False, got {value!r}.")
    return bool(value)


def check_at_least(settings: object, **lowest: float) -> None:
    """Raise ValueError if a field of ``settings`` is not finite or is below its lowest value."""
    for name, low in lowest.items():
        number = getattr(settings, name)
        if not low <= number < inf:
            raise ValueError(f"{name} must be {low:g} or more, got {number}.")


def check_rates(learning_rate: float, weight_decay: float) -> None:
    """Raise ValueError if a rate of an optimizer is out of range."""
    if not 0 < learning_rate < inf or not 0 <= weight_decay < inf:
        raise ValueError(
            "Expected learning_rate > 0 and weight_decay >= 0, got "
            f"{learning_rate} and {weight_decay}."
        )
