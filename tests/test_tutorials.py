"""The notebooks run from top to bottom; the assertions in their cells check what their text claims."""

import importlib.util
import json
from pathlib import Path

import pytest
import running

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    job = running.python(FOLDER / "execute.py", path, cwd=tmp_path)
    assert job.returncode == 0, job.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs(path):
    """A reader who can't run it sees its figures; every cell was run, in order."""
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    figures = [output for cell in code for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(figures) >= 3


def load_execute():
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook(*cells):
    return {"cells": [{"cell_type": "code", "source": [cell], "outputs": []} for cell in cells]}


def test_cells_share_names_and_leave_outputs():
    found = load_execute().execute(notebook("a = 2", "print(a + 1)\nimport matplotlib.pyplot as plt\nplt.plot([a])"))
    first, second = found["cells"]
    assert first["outputs"] == []
    stream, figure = second["outputs"]
    assert stream["text"] == ["3\n"]
    assert figure["data"]["image/png"].startswith("iVBOR")


def test_a_figure_that_is_the_value_of_a_cell_is_its_output():
    """As Jupyter shows it; a figure of pyplot is shown once, and other values are not."""
    made = "from matplotlib.figure import Figure\nfigure = Figure()\nfigure.subplots()\nfigure"
    cells = load_execute().execute(notebook(made, "import matplotlib.pyplot as plt\nplt.figure()", "1 + 1"))["cells"]
    assert [len(cell["outputs"]) for cell in cells] == [1, 1, 0]


def test_outputs_do_not_tell_where_the_notebook_ran():
    cells = load_execute().execute(notebook("from pathlib import Path\nprint(Path('runs').absolute())"))["cells"]
    assert cells[0]["outputs"][0]["text"] == ["runs\n"]


def test_a_failing_cell_is_an_error():
    with pytest.raises(AssertionError):
        load_execute().execute(notebook("assert 1 > 2"))
