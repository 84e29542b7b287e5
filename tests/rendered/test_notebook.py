"""The notebook runs from top to bottom on what the pipeline left."""

from pathlib import Path

import nbclient
import nbformat
import pytest


@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_the_notebook_explores_the_prepared_data(
    pipeline_project: Path, problem_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pipeline_project / "src"))
    path = pipeline_project / "notebooks/explore.ipynb"
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=600).execute(cwd=str(path.parent))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("data version" in output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
