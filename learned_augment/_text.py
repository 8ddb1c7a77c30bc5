"""Short texts: aligned and markdown tables, first lines of errors, lists cut short, times."""

from collections.abc import Iterable, Sequence

__all__ = ["align", "duration", "encodable", "first_line", "leading", "markdown", "printable"]


def align(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return rows of cells as lines of aligned columns.

    Args:
        rows: The rows; all have the same number of cells.
        right: Columns to align to the right.
    """
    numbers, widths = set(right), [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(
    heads: Sequence[object], rows: Iterable[Sequence[object]], right: Iterable[int] = ()
) -> list[str]:
    """Return the lines of a markdown table.

    Args:
        heads: One for each column.
        rows: The cells of each row.
        right: Columns to align to the right.
    """
    numbers = set(right)
    rule = ["--:" if place in numbers else "---" for place in range(len(heads))]
    return ["| " + " | ".join(map(str, line)) + " |" for line in (heads, rule, *rows)]


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode; bytes of a file's name that are no text are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Return a text without the control characters that a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its final period.

    Without a message it is the name of the error's class.
    """
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__


def leading(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first ``most`` items as a text that says how many more there are."""
    shown, left = separator.join(items[:most]), len(items) - most
    return f"{shown} and {left} more" if left > 0 else shown


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, or in minutes and seconds if it is shorter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
