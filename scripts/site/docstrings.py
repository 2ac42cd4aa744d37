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
