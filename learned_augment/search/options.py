"""The options of one search method: a dataclass that reads itself from names and values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from learned_augment._settings import check_at_least

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """Base of every method's options; a subclass is a frozen dataclass with only defaults.

    A field's default gives its type: bool, int, float or str; a default of None stands for float.

    Attributes:
        choices: The allowed values of the fields that name a choice.
        minimum: The least value of the fields that have one; all of these must be finite.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    minimum: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )
        check_at_least(self, **self.minimum)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Return the options that ``given`` names; texts become numbers where numbers are expected.

        Raises:
            ValueError: If there is no such option (the message lists them), or its value is wrong.
        """
        types = {f.name: float if f.default is None else type(f.default) for f in fields(cls)}
        unknown = sorted(set(given) - set(types))
        if unknown:
            raise ValueError(
                f"The method has no option {unknown[0]!r}. Options: {', '.join(types)}."
            )
        values = {name: cls._converted(name, value, types[name]) for name, value in given.items()}
        return cls(**cls._completed(values))

    def outputs(self) -> dict[str, Path]:
        """Return the files that an option makes the search write, by the name of the option."""
        return {}

    @classmethod
    def _completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values with those that others imply; a subclass may override it."""
        return values

    @classmethod
    def _converted(cls, name: str, value: Any, kind: type) -> Any:
        if kind is bool and isinstance(value, str):
            if value.lower() not in ("true", "false"):
                raise ValueError(f"Expected {name} as true or false, got {value!r}.")
            return value.lower() == "true"
        try:
            read = kind(value)
        except (TypeError, ValueError, OverflowError):
            read = None
        truncated = kind is int and isinstance(value, float) and read != value
        if read is None or value is None or truncated:
            raise ValueError(f"Expected {name} as {kind.__name__}, got {value!r}.")
        return read
