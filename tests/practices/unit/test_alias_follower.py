"""What a server knows of the registry, of a version that never changes."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow_practices.registry import versions
from mlflow_practices.registry.versions import ModelReference, Version
from mlflow_practices.serving.alias_follower import AliasFollower
from mlflow_practices.serving.settings import ServingSettings


def test_a_pinned_server_that_started_without_the_registry_learns_that_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_registry(*_: object) -> Version:
        raise OSError("no connection")

    version = Version("m", 1, "id", "run", "data", "pipeline")
    settings = SimpleNamespace(
        section=lambda _: ServingSettings(poll_seconds=0.01),
        path=lambda _: tmp_path,
        project=SimpleNamespace(name="m"),
    )
    session: Any = SimpleNamespace(settings=settings, client=None)
    follower = AliasFollower(session, ModelReference("m", "1"), lambda _: None)
    copy: Any = SimpleNamespace(version=version, format="arrays")
    monkeypatch.setattr(follower.loader, "load_last", lambda: copy)
    monkeypatch.setattr(versions, "find", no_registry)
    follower.check_alias()
    assert (follower.model, follower.registry_problem) == (copy, "no connection")
    monkeypatch.setattr(versions, "find", lambda *_: version)
    follower.start()
    deadline = time.monotonic() + 30
    while follower.registry_problem and time.monotonic() < deadline:
        time.sleep(0.01)
    follower.end()
    follower.join(30)
    assert follower.registry_problem == ""
    assert follower.model is copy
