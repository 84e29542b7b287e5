"""What of the project's code travels with a model, and what is refused because it could not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow_practices.config.project import Project
from mlflow_practices.model import code

Package = Callable[..., Project]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Return a function that writes a package of some files, none of which is imported."""

    def write(name: str, **files: str) -> Project:
        for path, text in {"__init__": '"""A shop."""', **files}.items():
            place = tmp_path / name / f"{path.replace('__in__', '/')}.py"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return Project(name, tmp_path, read=print, clean=print, build=print, metrics={})

    return write


def test_what_a_module_imports_travels_with_it(package: Package) -> None:
    shop = package(
        "shop_one",
        features=(
            "from typing import TYPE_CHECKING\n"
            "import numpy as np, scipy.special\n"
            "from . import ratios\n"
            "from .tools.dates import parts\n"
            "if TYPE_CHECKING:\n"
            "    from mlflow_practices.config.settings import Settings\n"
            "def build(X, settings):\n"
            "    import mlflow\n"
            "    from . import metrics\n"
            "class Own:\n"
            "    from .inner import one\n"
        ),
        ratios="try:\n    from .better import divide\nexcept ImportError:\n    import math\n",
        better="",
        inner="one = 1",
        tools__in____init__="",
        tools__in__dates="from .. import ratios\nfrom . import months\n",
        tools__in__months="",
        metrics="import mlflow_practices\n",
        other="import mlflow_practices\n",
    )
    found = code.collect(["shop_one.features.Own"], shop)
    assert set(found.files) == {
        "features.py",
        "ratios.py",
        "better.py",
        "inner.py",
        "tools/__init__.py",
        "tools/dates.py",
        "tools/months.py",
    }
    assert found.libraries == {"typing", "numpy", "scipy", "math"}
    with found.staged("shop_one") as paths:
        assert paths is not None
        [root] = map(Path, paths)
        assert root.name == "shop_one"
        assert (root / "__init__.py").read_bytes() == b""
        assert (root / "tools/dates.py").read_bytes() == found.files["tools/dates.py"]
    with code.collect([], shop).staged("shop_one") as none:
        assert none is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\nimport mlflow.sklearn", 2, "imports mlflow.sklearn, but this module travels"),
        ("from mlflow_practices import cli", 1, "Import it inside the function that needs it"),
        ("if 1:\n  with x:\n    import mlflow", 3, "has neither MLflow nor the practices"),
        ("from . import settings", 1, "imports mlflow_practices"),
        ("import shop_two.other", 1, "so write `from . import ...`"),
        ("from shop_two.other import x", 1, "so write `from . import ...`"),
        ("from . import other, VERSION", 1, "but VERSION is not a module"),
    ],
)
def test_what_would_not_import_elsewhere_is_refused(
    package: Package, text: str, line: int, words: str
) -> None:
    shop = package("shop_two", features=text, other="x = 1", settings="import mlflow_practices")
    with pytest.raises(code.CodeError, match=rf"\w+\.py: line {line}: ") as refused:
        code.collect(["shop_two.features.Own"], shop)
    assert words in str(refused.value)


def test_a_class_of_the_packages_own_init_is_refused(package: Package) -> None:
    shop = package("shop_three")
    with pytest.raises(code.CodeError, match="move it to a module of its own"):
        code.collect(["shop_three.Own"], shop)


def test_code_that_was_edited_since_it_was_imported_does_not_travel(package: Package) -> None:
    shop = package("shop_four", features="scale = 1")
    shop.module("features")
    assert code.collect(["shop_four.features.Own"], shop).files == {"features.py": b"scale = 1"}
    (shop.folder / "features.py").write_text("scale = 2")
    with pytest.raises(code.CodeError, match="was edited since this command began"):
        code.collect(["shop_four.features.Own"], shop)


def test_code_is_the_projects_own_only_if_every_file_is(package: Package, tmp_path: Path) -> None:
    shop = package("shop_five", features="from . import ratios", ratios="", other="")
    names = ["shop_five.features.Own"]
    folder = tmp_path / "model/code/shop_five"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    model = tmp_path / "model"
    assert code.changed_files(model, names, shop) == ["code/shop_five/features.py"]
    (folder / "features.py").write_text("from . import ratios")
    (folder / "ratios.py").touch()
    assert code.changed_files(model, names, shop) == []
    (folder / "ratios.py").write_text("x = 1")
    assert code.changed_files(model, names, shop) == ["code/shop_five/ratios.py"]
    (folder / "ratios.py").write_text("")
    (folder / "more.py").touch()
    assert code.changed_files(model, names, shop) == ["code/shop_five/more.py"]
    # In memory is what it was, whatever the file says now.
    (folder / "more.py").unlink()
    shop.module("features")
    for text in ("scale = 2", "from . import ratios"):
        (shop.folder / "features.py").write_text(text)
        (folder / "features.py").write_text(text)
        changed = ["code/shop_five/features.py"] if text == "scale = 2" else []
        assert code.changed_files(model, names, shop) == changed
