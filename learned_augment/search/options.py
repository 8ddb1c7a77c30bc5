"""The options of one search method: a dataclass that reads itself from names and values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from learned_augment._settings import check_at_least

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """Base of every method's options; a subclass is a frozen dataclass with only defaults.

    A field's default gives its type: bool, int, float or str. A default of None stands for a float
    that may be left out. Texts become numbers where numbers are expected.

    Attributes:
        choices: The allowed values of the fields that name a choice.
        minimum: The least value of the fields that have one; all of these must be finite.
        without_effect: The fields that do not change the result; a resumed search may change them.

    Raises:
        ValueError: If a value is of another type, or is not allowed.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    minimum: ClassVar[Mapping[str, float]] = {}
    without_effect: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                kind = float if field.default is None else type(field.default)
                object.__setattr__(self, field.name, self._converted(field.name, value, kind))
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )
        check_at_least(self, **self.minimum)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Return the options that ``given`` names; the others have their defaults.

        Raises:
            ValueError: If there is no such option (the message lists them), or its value is wrong.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(
                f"The method has no option {unknown[0]!r}. Options: {', '.join(known)}."
            )
        return cls(**given)

    def decisive(self) -> dict[str, Any]:
        """Return the options that change the result, as plain data."""
        return {
            name: value for name, value in asdict(self).items() if name not in self.without_effect
        }

    def outputs(self) -> dict[str, Path]:
        """Return the files that an option makes the search write, by the name of the option."""
        return {}

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
