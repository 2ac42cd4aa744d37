"""Execute notebooks: `python docs/tutorials/execute.py [--store] [NOTEBOOK ...]` (default: all of this folder).

Cells run as plain Python, so that neither the tests nor a cluster need Jupyter: no magics, no `!command`. What they
print, the figures that they leave open, and a figure that is the value of their last line are their outputs; --store
writes them into the notebook.
"""

import argparse
import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
DPI = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(FOLDER.glob("*.ipynb")), metavar="NOTEBOOK")
    parser.add_argument("--store", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args()
    for path in options.notebooks:
        notebook = execute(json.loads(path.read_text()))
        if options.store:
            path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        print(f"executed: {path.name}", file=sys.stderr)


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook with the outputs of its code cells; an exception of a cell is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        cell["outputs"] = outputs("".join(cell["source"]), f"<cell {number}>", names)
        cell["execution_count"] = number
    return notebook


def outputs(source: str, where: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell; return what it printed, and its figures."""
    printed, last = io.StringIO(), None
    tree = ast.parse(source, where)
    ending = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, where, "exec"), names)
            if isinstance(ending, ast.Expr):
                last = eval(compile(ast.Expression(ending.value), where, "eval"), names)
    except Exception as error:
        error.add_note(f"{where} had printed:\n{printed.getvalue()}")
        raise
    found: list[dict[str, Any]] = []
    if shown := printed.getvalue().replace(f"{Path.cwd()}/", ""):  # the same wherever it runs
        text = shown.splitlines(keepends=True)
        found.append({"output_type": "stream", "name": "stdout", "text": text})
    figures = [plt.figure(number) for number in plt.get_fignums()]
    for figure in [*figures, *([last] if isinstance(last, Figure) and last not in figures else [])]:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        png = base64.b64encode(buffer.getvalue()).decode()
        found.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": png}})
    plt.close("all")
    return found


if __name__ == "__main__":
    main()
