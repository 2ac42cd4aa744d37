"""A notebook as a page: its text, its code and the outputs that are kept in it."""

import base64
import json
from typing import Any


def page(notebook: str, stem: str) -> tuple[str, dict[str, bytes]]:
    """Return the Markdown of a notebook, and its figures by file name.

    notebook: the content of the .ipynb. stem: what the names of the figures begin with.
    """
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in json.loads(notebook)["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else _fenced(text, "python"))
        for output in cell.get("outputs", []):
            if "text" in output:
                parts.append(_fenced("".join(output["text"]), "text"))
            elif png := _png(output):
                name = f"{stem}_{len(figures) + 1}.png"
                figures[name] = base64.b64decode(png)
                parts.append(f"![Figure {len(figures)}]({name})")
    return "\n\n".join(parts) + "\n", figures


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def _png(output: dict[str, Any]) -> str:
    png = output.get("data", {}).get("image/png", "")
    return png if isinstance(png, str) else "".join(png)
