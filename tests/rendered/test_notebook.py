"""The notebook runs from top to bottom on what the pipeline left."""

from pathlib import Path

import nbclient
import nbformat
from typer.testing import CliRunner

import my_ml_project.__main__ as cli

NOTEBOOK = Path(__file__).parents[2] / "notebooks/explore.ipynb"


def test_the_notebook_explores_the_prepared_data(project: Path) -> None:
    assert CliRunner().invoke(cli.app, ["prepare"]).exit_code == 0
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(project))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("data version" in output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
