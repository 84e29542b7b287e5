"""Each extension point of a rendered project, by the very examples of its documentation."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from renderings import RunProject, render_into

PAGES = ("README.md", "docs/make-it-yours.md")
EXAMPLE = re.compile(r"^```(python|yaml)\n# (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def apply_examples(project: Path) -> list[str]:
    """Do to a project what the examples of its documentation say; return their headings."""
    package = project / "src/my_ml_project"
    pages = [(project / page).read_text(encoding="utf-8") for page in PAGES]
    found = EXAMPLE.findall("\n".join(pages))
    for kind, heading, code in found:
        name, _, how = heading.partition(", ")
        path = project / name if kind == "yaml" else package / name
        if kind == "yaml":
            merged = yaml.safe_load(path.read_text(encoding="utf-8"))
            merge(merged, yaml.safe_load(code))
            path.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
        elif how == "new":
            path.write_text(code, encoding="utf-8")
        elif how:
            word, _, place = how.rpartition("before ") if "before" in how else how.rpartition("of ")
            put(path, code, place, instead="in place" in word)
        else:
            replace_definitions(path, code)
    return [heading for _, heading, _ in found]


def merge(values: dict[str, object], more: dict[str, object]) -> None:
    for key, value in more.items():
        known = values.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and key != "params":
            merge(known, value)
        else:
            values[key] = value


def put(path: Path, code: str, place: str, *, instead: bool) -> None:
    """Put code before the one line that holds ``place``, or in its place."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    [at] = [number for number, line in enumerate(lines) if place in line]
    gap = "\n\n" if lines[at].startswith("def ") else ""
    lines[at : at + instead] = [code + gap]
    path.write_text("".join(lines), encoding="utf-8")


def replace_definitions(path: Path, code: str) -> None:
    """Put each function and class of the code in the place of its namesake, else at the end."""
    source = path.read_text(encoding="utf-8")
    imports = []
    for node in ast.parse(code).body:
        lines = code.splitlines()[node.lineno - 1 : node.end_lineno]
        text = "\n".join(lines)
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(text)
            continue
        same = [
            known
            for known in ast.parse(source).body
            if getattr(known, "name", "") == getattr(node, "name", None)
        ]
        if same:
            rows = source.splitlines()
            rows[same[0].lineno - 1 : same[0].end_lineno] = [text]
            source = "\n".join(rows) + "\n"
        else:
            gap = "\n\n" if isinstance(node, ast.FunctionDef | ast.ClassDef) else "\n"
            source = f"{source.rstrip()}\n{gap}{text}\n"
    first = next(
        node.lineno
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "module", "") != "__future__"
    )
    rows = source.splitlines()
    rows[first - 1 : first - 1] = imports
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module", params=["classification", "regression"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project to which every example was done, and its source beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    project = render_into(folder, hooks=True, problem_type=request.param, create_experiments=False)
    headings = apply_examples(project)
    assert len(headings) == 13, headings
    table = pd.read_csv(project / "data/raw/penguins.csv")
    database = sqlite3.connect(project / "data/external/survey.db")
    pd.concat([table, table.head(3)]).to_sql("penguins", database, index=False)
    database.close()
    (project / "data/raw/penguins.csv").unlink()
    return project


def test_the_examples_work_together(project: Path, run_project: RunProject) -> None:
    done = run_project(project, "ruff", "format", ".")  # who pastes an example formats it
    done = run_project(project, "ruff", "check", "--fix", ".")
    assert done.returncode == 0, done.stdout
    done = run_project(project, "mypy")
    assert done.returncode == 0, done.stdout
    done = run_project(project, "my_ml_project", "run")
    assert done.returncode == 0, done.stderr
    regression = "near" in (project / "src/my_ml_project/metrics.py").read_text(encoding="utf-8")
    # Another source, kept under the name of its content; cleaning, which is said.
    [kept] = (project / "data/raw").glob("source-*.parquet")
    assert len(pd.read_parquet(kept)) == 347
    assert "rows left out by data_preparation.clean" in done.stdout
    shown = run_project(project, "my_ml_project", "data", "verify").stdout
    assert f"ok       {kept}" in shown
    ignored = ["git", "-C", str(project), "check-ignore", str(kept)]
    assert subprocess.run(ignored, capture_output=True, check=False).returncode == 0
    # The metric, with its interval and its gate.
    metric = "near" if regression else "mistakes"
    assert re.search(rf"│ {metric} +│ +[\d.]+ │ +[\d.]+ to [\d.]+ │ +[\d.]+ │", done.stdout)
    # The command, the section and the step.
    latest = run_project(project, "my_ml_project", "latest")
    assert latest.stdout.strip() == "my-ml-project/1"
    assert (project / "models/newest.txt").read_text(encoding="utf-8") == "my-ml-project/1\n"
    settings = run_project(project, "my_ml_project", "settings", "show").stdout
    assert re.search(r"latest\.file +'models/newest.txt' +configs/base.yaml", settings)
    # The estimator and the derived feature: saved without pickle, and served the fast way.
    files = project / "mlruns"
    assert list(files.rglob("model.skops"))
    assert not list(files.rglob("*.pkl"))
    [report] = files.rglob("optimized/report.json")
    assert '"winner":"original"' not in report.read_text(encoding="utf-8").replace(" ", "")
    travels = {path.name for path in files.rglob("code/my_ml_project/*.py")}
    assert travels == {"__init__.py", "features.py", "estimators.py"}


def test_the_projects_own_tests_pass_with_them(project: Path, run_project: RunProject) -> None:
    done = run_project(project, "pytest", "-q")
    assert done.returncode == 0, done.stdout


def test_a_mistyped_key_of_an_own_section_is_named(project: Path, run_project: RunProject) -> None:
    done = run_project(project, "my_ml_project", "settings", "show", "--set", "latest.fiel=x")
    assert done.returncode == 1
    assert "latest.fiel: unknown key; allowed: file; did you mean latest.file?" in done.stderr


def test_a_clean_that_derives_a_column_is_refused(project: Path, run_project: RunProject) -> None:
    path = project / "src/my_ml_project/data_preparation.py"
    source = path.read_text(encoding="utf-8")
    try:
        path.write_text(source.replace('.query("year > 2007")', ".assign(age=1)"), "utf-8")
        done = run_project(project, "my_ml_project", "prepare")
    finally:
        path.write_text(source, encoding="utf-8")
    assert done.returncode == 1
    assert "put that into features.py, or training and serving would differ" in done.stderr
