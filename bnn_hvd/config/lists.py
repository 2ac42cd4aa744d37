"""Flags with several values: `a,b,c`."""

from collections.abc import Callable

from bnn_hvd.errors import UserError


def words(text: str) -> list[str]:
    """Return the different parts of `a,b`, in their order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(text: str, flag: str, valid: Callable[[float], bool] = lambda number: True, bound: str = "") -> list[float]:
    """Return the numbers in `0.1,0.2`.

    bound: the condition of `valid`, for the message.

    Raises:
      UserError: a part is no number, or not `valid`.
    """
    try:
        found = [float(word) for word in words(text)]
    except ValueError:
        found = [float("nan")]
    if not all(number == number and valid(number) for number in found):
        raise UserError(f"{flag}={text} must be numbers{bound}, separated by commas")
    return found


def counts(text: str, flag: str) -> list[int]:
    """Return the positive whole numbers in `1,2,4`, in ascending order.

    Raises:
      UserError: there is none, or a part is no positive whole number.
    """
    parts = words(text)
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"{flag}={text} must be numbers, positive and whole: 1,2,4")
    return sorted(map(int, parts))
