"""What a run read, did and made, as JSON and as a drawing that a browser can show."""

from dataclasses import asdict
from pathlib import Path

import mlflow
import pytest
from matplotlib.figure import Figure
from mlflow_practices.config.settings import Settings
from mlflow_practices.data import lineage
from mlflow_practices.tracking import recording, store

STEPS = [
    lineage.Transformation("clean", 344, 340, ["4 rows without 'species' left out"]),
    lineage.Transformation("split", 340, 340, [f"detail {number}" for number in range(9)]),
]


def labels(figure: Figure) -> dict[str, tuple[float, float]]:
    """Return the boxes' texts and where they are."""
    return {text.get_text(): text.get_position() for text in figure.axes[0].texts}


def test_the_drawing_shows_sources_steps_with_rows_and_outputs() -> None:
    steps = [asdict(step) for step in STEPS]
    source, outputs = {"raw <a> & $b$": {"rows": 344}}, {"train": {}, "test": {"rows": 9}}
    figure = lineage.draw({"inputs": source, "transformations": steps, "outputs": outputs})
    places = labels(figure)
    raw, clean, split, train, test = (text for text in places if text)
    assert raw == "raw <a> & $b$\nrows 344"
    assert clean == "clean\n344 rows -> 340 rows\n4 rows without 'species' left out"
    assert split.startswith("split\n340 rows -> 340 rows\ndetail 0\n")
    assert split.endswith("\ndetail 5\nand 3 more")
    assert (train, test) == ("train", "test\nrows 9")
    x = [places[text][0] for text in (raw, clean, split, train, test)]
    assert 0 < x[0] < x[1] < x[2] < x[3] == x[4] < figure.axes[0].get_xlim()[1]
    assert places[train][1] > places[test][1]


def test_both_forms_are_artifacts_without_personal_data(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    log_figure = recording.log_figure

    def log(figure: Figure, path: str) -> bytes:
        drawn.extend(labels(figure))
        return log_figure(figure, path)

    monkeypatch.setattr(recording, "log_figure", log)
    store.connect(settings)
    with mlflow.start_run() as run:
        facts = {"rows": 3, "source": "https://ann:hunter2@example.org/t.csv"}
        lineage.track_data_lineage({"raw": facts}, STEPS, {"train": {"rows": 340}})
    folder = f"runs:/{run.info.run_id}/lineage"
    found = mlflow.artifacts.load_dict(f"{folder}/data_lineage.json")
    assert found["transformations"][0]["rows_in"] == 344
    assert found["outputs"] == {"train": {"rows": 340}}
    assert found["inputs"]["raw"]["source"].endswith("@example.org/t.csv")
    assert "hunter2" not in str(found) + "".join(drawn)
    assert any("340 rows" in text for text in drawn)
    image = mlflow.artifacts.download_artifacts(f"{folder}/data_lineage.png")
    assert Path(image).read_bytes().startswith(b"\x89PNG")
