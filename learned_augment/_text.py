"""What messages cut short: the first line of an error, the first few of many names, a time."""

from collections.abc import Sequence

__all__ = ["duration", "first_line", "leading"]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's kind if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def leading(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first ``most`` items as a text that says how many more there are."""
    shown, left = separator.join(items[:most]), len(items) - most
    return f"{shown} and {left} more" if left > 0 else shown


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, or in minutes and seconds if it is shorter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
