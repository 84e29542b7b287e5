"""Which local copies of served models are kept, where several workers share a folder."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_practices.registry import local_models
from mlflow_practices.registry.versions import Version


def make_copy(folder: Path, number: int, age: float = 2 * local_models.LOADING_SECONDS) -> Version:
    """Make a copy without a model, that was downloaded ``age`` seconds ago."""
    version = Version("m", number, f"id-{number}", "run", "data", "pipeline")
    copy = folder / f"m-{number}-id-{number}"
    copy.mkdir()
    (copy / local_models.RECORD).write_text("{}", encoding="utf-8")
    downloaded = copy.stat().st_mtime - age
    os.utime(copy, (downloaded, downloaded))
    return version


def kept_copies(folder: Path) -> list[str]:
    """Return the names of the copies that are still there."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_the_copy_before_is_kept_however_many_workers_switch(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        version = make_copy(tmp_path, number)
        for _worker in range(3):
            local_models.mark_served(version, tmp_path)
    assert kept_copies(tmp_path) == ["m-2-id-2", "m-3-id-3"]


def test_a_copy_that_another_worker_loads_is_kept(tmp_path: Path) -> None:
    served = make_copy(tmp_path, 1)
    make_copy(tmp_path, 2, age=1)
    make_copy(tmp_path, 3)
    local_models.mark_served(served, tmp_path)
    assert kept_copies(tmp_path) == ["m-1-id-1", "m-2-id-2"]
