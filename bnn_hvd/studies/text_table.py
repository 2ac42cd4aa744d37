"""Tables for a terminal."""

from collections.abc import Sequence


def aligned(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the table as text; each column is as wide as its widest word."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)).rstrip()
        for words in [heads, *lines]
    )
