"""What a run read, did and made, as JSON and as a drawing that a browser can show."""

from xml.etree import ElementTree

import mlflow
from mlflow_practices.config.settings import Settings
from mlflow_practices.data import lineage
from mlflow_practices.tracking import store

STEPS = [
    lineage.Transformation("clean", 344, 340, ["4 rows without 'species' left out"]),
    lineage.Transformation("split", 340, 340, [f"detail {number}" for number in range(9)]),
]
TEXT = "{http://www.w3.org/2000/svg}text"


def test_the_drawing_shows_sources_steps_with_rows_and_outputs() -> None:
    svg = lineage.draw({"raw <a> & 'b'": {"rows": 344}}, STEPS, {"train": {}, "test": {"rows": 9}})
    root = ElementTree.fromstring(svg)
    texts = [str(element.text) for element in root.iter(TEXT)]
    for text in ("raw <a> & 'b'", "344 rows -> 340 rows", "train", "rows 9", "and 3 more"):
        assert text in texts
    assert "detail 7" not in texts
    places = {text: float(e.attrib["x"]) for text, e in zip(texts, root.iter(TEXT), strict=True)}
    assert places["rows 344"] < places["clean"] < places["split"] < places["train"]
    assert places["train"] == places["test"]
    assert max(places.values()) < float(root.attrib["width"])


def test_both_forms_are_artifacts_without_personal_data(settings: Settings) -> None:
    store.connect(settings)
    with mlflow.start_run() as run:
        facts = {"rows": 3, "source": "https://ann:hunter2@example.org/t.csv"}
        lineage.track_data_lineage({"raw": facts}, STEPS, {"train": {"rows": 340}})
    folder = f"runs:/{run.info.run_id}/lineage"
    found = mlflow.artifacts.load_dict(f"{folder}/data_lineage.json")
    assert found["transformations"][0]["rows_in"] == 344
    assert found["outputs"] == {"train": {"rows": 340}}
    svg = mlflow.artifacts.load_text(f"{folder}/data_lineage.svg")
    assert "340 rows" in svg
    assert "hunter2" not in svg + str(found)
