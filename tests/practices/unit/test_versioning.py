"""Prepared data is found again as it was written, and refused when a byte of it changed."""

import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow_practices.config.settings import Settings
from mlflow_practices.data import DataError, hashing, versioning
from mlflow_practices.tracking import store

SOURCE = versioning.Source(path="data/raw/table.csv", sha256="0" * 64, bytes=1, rows=1)


def prepared(folder: Path, table: pd.DataFrame) -> versioning.Manifest:
    splits = {"train": table, "validation": table.head(20), "test": table.tail(20)}
    return versioning.write(splits, folder, SOURCE, [], "label", run_id="r", pipeline_id="p")


def test_what_was_written_is_read_back(tmp_path: Path, table: pd.DataFrame) -> None:
    manifest = prepared(tmp_path, table)
    assert versioning.load_manifest(tmp_path) == manifest
    assert versioning.load_manifest(tmp_path, manifest.version) == manifest
    pd.testing.assert_frame_equal(versioning.read_split(manifest, "train", tmp_path), table)
    assert prepared(tmp_path, table).version == manifest.version
    assert prepared(tmp_path, table.iloc[::-1]).version != manifest.version
    assert versioning.load_manifest(tmp_path, manifest.version) == manifest  # kept


def test_one_changed_byte_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    manifest = prepared(tmp_path, table)
    path = tmp_path / manifest.splits["test"].file
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = hashing.file_hash(path)
        expected = manifest.splits["test"].sha256
        message = f"{path}: changed since it was prepared: expected SHA-256 {expected}, "
        message += f"found {found}; run `prepare` again"
        with pytest.raises(DataError, match=re.escape(message)):
            versioning.read_split(manifest, "test", tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="missing; run `prepare` again"):
        versioning.read_split(manifest, "test", tmp_path)


def test_an_edited_manifest_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    manifest = prepared(tmp_path, table)
    path = tmp_path / versioning.MANIFEST
    other = manifest.splits["train"].hash.translate(str.maketrans("0123456789", "1234567890"))
    path.write_text(path.read_text().replace(manifest.splits["train"].hash, other))
    with pytest.raises(DataError, match="edited since it was written"):
        versioning.load_manifest(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="not a manifest"):
        versioning.load_manifest(tmp_path)
    with pytest.raises(DataError, match=f"there are: {manifest.version}"):
        versioning.load_manifest(tmp_path, "nothing")


def test_verify_names_each_file(tmp_path: Path, table: pd.DataFrame) -> None:
    raw = tmp_path / "table.csv"
    table.to_csv(raw)
    source = versioning.describe_source(raw, "table.csv", len(table))
    splits = {"train": table, "validation": table.head(20), "test": table.tail(20)}
    manifest = versioning.write(splits, tmp_path, source, [], "label", run_id="r", pipeline_id="p")

    def statuses() -> list[str]:
        return [check.status for check in versioning.verify(manifest, tmp_path, raw)]

    assert statuses() == ["ok"] * 4
    raw.write_text("size\n1\n")
    (tmp_path / manifest.splits["validation"].file).unlink()
    assert statuses() == ["changed", "ok", "missing", "ok"]


def logged(settings: Settings, table: pd.DataFrame, **options: Any) -> Run:
    client = store.connect(settings)
    with mlflow.start_run() as run:
        versioning.log_data_version(table, "train", source="data/train.parquet", **options)
    return client.get_run(run.info.run_id)


def test_a_version_is_logged_with_shape_schema_sample_and_source(
    settings: Settings, table: pd.DataFrame
) -> None:
    run = logged(settings, table.assign(email="ann@example.org"), policies={"customer": "mask"})
    assert run.data.params == {
        "train_hash": hashing.content_hash(table.assign(email="ann@example.org")),
        "train_rows": "240",
        "train_columns": "9",
    }
    assert run.inputs is not None
    [entry] = run.inputs.dataset_inputs
    assert entry.dataset.digest == run.data.params["train_hash"]
    assert "data/train.parquet" in entry.dataset.source
    assert "colour" in str(entry.dataset.schema)
    address = f"runs:/{run.info.run_id}/data"
    schema = mlflow.artifacts.load_dict(f"{address}/train_schema.json")["columns"]
    assert schema[:2] == [
        {"name": "size", "type": "float64"},
        {"name": "count", "type": "int64"},
    ]
    sample = mlflow.load_table("data/train_sample.json", run_ids=[run.info.run_id])
    assert len(sample) == 5
    assert list(sample["label"]) == list(table["label"].head())
    assert set(sample["email"]) == set(sample["customer"]) == {"[REDACTED]"}


def test_a_table_that_code_made_needs_no_source(settings: Settings, table: pd.DataFrame) -> None:
    client = store.connect(settings)
    with mlflow.start_run() as run:
        found = versioning.log_data_version(table, "made")
    inputs = client.get_run(run.info.run_id).inputs
    assert inputs is not None
    [entry] = inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("made", found.digest)
    assert entry.dataset.source_type == "code"


def test_a_wide_table_keeps_within_the_limits(settings: Settings) -> None:
    names = [f"a_rather_long_name_of_a_column_{number}" for number in range(5000)]
    wide = pd.DataFrame(np.ones((20, 5000)), columns=names)
    run = logged(settings, wide, sample_rows=2)
    assert run.data.params["train_columns"] == "5000"
    assert run.inputs is not None
    assert names[-1] in str(run.inputs.dataset_inputs[0].dataset.schema)
    run = logged(settings, wide.add_prefix("x" * 200), sample_rows=0)
    assert run.inputs is not None
    assert len(run.inputs.dataset_inputs[0].dataset.schema or "") < 1000
    schema = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/data/train_schema.json")
    assert len(schema["columns"]) == 5000
