"""Flags that hold several values: `a,b,c`."""

from collections.abc import Callable

from bnn_hvd.errors import UserError


def words(text: str) -> list[str]:
    """Return the parts of `a,b`, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(text: str, flag: str, valid: Callable[[float], bool] = lambda number: True, bound: str = "") -> list[float]:
    """Return the numbers in `0.1,0.2`.

    bound: what `valid` asks of each, in words.

    Raises:
      UserError: a part is no number, or not a valid one.
    """
    try:
        found = [float(word) for word in words(text)]
    except ValueError:
        found = [float("nan")]
    if not all(number == number and valid(number) for number in found):
        raise UserError(f"{flag}={text} must be numbers{bound}, separated by commas")
    return found


def counts(text: str, flag: str) -> list[int]:
    """Return the positive whole numbers in `1,2,4`, in ascending order; there must be one.

    Raises:
      UserError: there is none, or a part is something else.
    """
    parts = words(text)
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"{flag}={text} must be numbers: 1,2,4")
    return sorted(map(int, parts))
