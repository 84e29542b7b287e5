"""The content hash sees every change, and prepared data that changed is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.data import versioning

SOURCE = versioning.Source(path="data/raw/table.csv", sha256="0" * 64, bytes=1, rows=1)


def prepared(folder: Path, table: pd.DataFrame) -> versioning.Manifest:
    splits = {"train": table, "validation": table.head(20), "test": table.tail(20)}
    return versioning.write(splits, folder, SOURCE, [], "label", run_id="r", pipeline_id="p")


def test_the_hash_survives_copies_and_parquet(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "table.parquet")
    halves = pd.concat([table.head(100), table.iloc[100:]])
    for same in (table.copy(), halves, pd.read_parquet(tmp_path / "table.parquet")):
        assert versioning.content_hash(same) == versioning.content_hash(table)


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a number": lambda t: t.assign(price=t["price"].where(t.index != 239, t["price"] + 1e-12)),
    "a text": lambda t: t.assign(colour=t["colour"].where(t.index != 239, "pink")),
    "a gap": lambda t: t.assign(colour=t["colour"].mask(t.index == 239)),
    "a date": lambda t: t.assign(seen=t["seen"].where(t.index != 239, pd.Timestamp(0))),
    "a flag": lambda t: t.assign(active=t["active"] ^ (t.index == 239)),
    "a type": lambda t: t.assign(count=t["count"].astype("float64")),
    "a name": lambda t: t.rename(columns={"size": "Size"}),
    "the order of columns": lambda t: t[t.columns[::-1]],
    "the order of rows": lambda t: t.iloc[::-1],
    "text for numbers": lambda t: t.assign(count=t["count"].astype(str)),
    "missing for 'nan'": lambda t: t.assign(colour=t["colour"].fillna("nan")),
    "where one text ends": lambda t: t.assign(
        colour=t["colour"].replace({"red": "re", "green": "dgreen"})
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_hash_sees(change: Callable[[pd.DataFrame], pd.DataFrame], table: pd.DataFrame) -> None:
    assert versioning.content_hash(change(table)) != versioning.content_hash(table)


def test_equal_numbers_hash_equally() -> None:
    first = pd.DataFrame({"a": [0.0, np.nan]})
    second = pd.DataFrame({"a": [-0.0, -np.nan]})
    assert versioning.content_hash(first) == versioning.content_hash(second)


def test_what_was_written_is_read_back(tmp_path: Path, table: pd.DataFrame) -> None:
    manifest = prepared(tmp_path, table)
    assert versioning.load_manifest(tmp_path) == manifest
    assert versioning.load_manifest(tmp_path, manifest.version) == manifest
    pd.testing.assert_frame_equal(versioning.read_split(manifest, "train", tmp_path), table)
    assert prepared(tmp_path, table).version == manifest.version
    assert prepared(tmp_path, table.iloc[::-1]).version != manifest.version
    assert versioning.load_manifest(tmp_path, manifest.version) == manifest  # kept


def test_changed_data_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    manifest = prepared(tmp_path, table)
    path = tmp_path / manifest.splits["test"].file
    table.head(20).to_parquet(path)
    with pytest.raises(
        versioning.VersionError, match=r"changed since it was prepared: expected \w+, found \w+"
    ):
        versioning.read_split(manifest, "test", tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(versioning.VersionError, match="cannot be read"):
        versioning.read_split(manifest, "test", tmp_path)
    path.unlink()
    with pytest.raises(versioning.VersionError, match="missing; run `prepare` again"):
        versioning.read_split(manifest, "test", tmp_path)


def test_a_missing_or_broken_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(versioning.VersionError, match="no prepared data"):
        versioning.load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": ')
    with pytest.raises(versioning.VersionError, match="not a manifest"):
        versioning.load_manifest(tmp_path)


def test_a_failed_write_leaves_the_last_version(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = prepared(tmp_path, table)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        prepared(tmp_path, table.iloc[::-1])
    assert versioning.load_manifest(tmp_path) == manifest
    assert not list(tmp_path.glob(".partial-*"))
