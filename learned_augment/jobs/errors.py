"""What an error says, in a line that fits into a sentence."""

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's kind if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
