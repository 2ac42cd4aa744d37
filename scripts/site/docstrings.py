"""The docstrings of the package, in which `name: what it is` is an argument, as Google's style has them."""

import re
from collections.abc import Collection


def with_heading(docstring: str, names: Collection[str]) -> str:
    """Return a docstring whose paragraphs `name: text` are under "Args:".

    names: of the arguments; a paragraph that begins with another word stays as it is.
    """
    begins = re.compile(rf"(?:{'|'.join(map(re.escape, names)) or '(?!)'}): ")
    paragraphs = docstring.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if begins.match(paragraph):
            lines = [f"        {line.strip()}" if line[:1] == " " else f"    {line}" for line in paragraph.splitlines()]
            paragraphs[number] = "\n".join(["Args:", *lines])
    return "\n\n".join(paragraphs)


def with_each_attribute(docstring: str) -> str:
    """Return a docstring in which each attribute of `a, b, c: text` has a line; the others refer to the first."""
    lines: list[str] = []
    others: list[str] = []
    for line in docstring.splitlines():
        if not line.startswith("    "):  # the lines of one attribute end here
            lines += others
            others = []
        if several := re.match(r"  (\w+)((?:, \w+)+)(?=: )", line):
            line = f"  {several[1]}{line[several.end() :]}"
            others = [f"  {name}: see `{several[1]}`." for name in several[2].split(", ")[1:]]
        lines.append(line)
    return "\n".join(lines + others)
