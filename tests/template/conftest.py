"""Rendering through Cookiecutter's own road, hooks included, by pytest-cookies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_cookies.plugin import Cookies

from renderings import TEMPLATE, Bake, Baked


@pytest.fixture
def bake(cookies: Cookies, tmp_path: Path) -> Bake:
    """Return a function that renders the given answers, with the hooks."""

    def bake(**given: Any) -> Baked:
        found = cookies.bake(extra_context=given, template=str(TEMPLATE))
        folder = max((tmp_path / "cookies").iterdir())
        return Baked(found.project_path, found.exception, folder)

    return bake
