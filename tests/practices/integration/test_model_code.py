"""The project's code travels with a model: versions of several commits are served and judged.

Each command is a process of its own with an editable copy of the project's package; what a version
must answer says MLflow's own loading, in a process that has neither the project nor the practices.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.deployment import canary
from mlflow_practices.deployment.serving_checks import expected_predictions
from mlflow_practices.deployment.serving_checks.server_under_test import ServerUnderTest
from mlflow_practices.model.safe_loading import UnsafeModelError
from mlflow_practices.model.signature import features
from mlflow_practices.registry import (
    approval,
    decisions,
    evidence,
    loading,
    local_models,
    model_files,
    promotion,
    signing,
    versions,
)
from mlflow_practices.registry.versions import Version
from mlflow_practices.scoring.served_model import ServedModel
from mlflow_practices.tracking.session import Session

import projects
from servers import START, ServingProcess, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends servers by signals")
BEFORE = (
    (
        '        ("dates",',
        '        ("ratio", make_pipeline(Ratio(), *_numeric()), ["size", "count"]),\n        ("dates",',
    ),
    ('numbers = list(known.select_dtypes("number"))', "numbers: list[str] = []"),
    ("{*dates, *numbers}]", '{*dates, *numbers, "size", "count"}]'),
    ("if TYPE_CHECKING:", "from .division import divide\n\nif TYPE_CHECKING:"),
)
RATIO = '''
class Ratio(TransformerMixin, BaseEstimator):
    """How far the size is from 50, for each one of the count."""

    def fit(self, X, y=None):
        self.center_ = 50.0
        return self

    def transform(self, X):
        return self.transform_arrays([X[name].to_numpy(float) for name in X.columns])

    def transform_arrays(self, columns):
        return divide(columns[0] - self.center_, columns[1] + 1)[:, None]

    def get_feature_names_out(self, names=None):
        return np.asarray(["ratio"], dtype=object)
'''
# The other way round: an old model with this code would answer the opposite.
OPPOSITE = RATIO.replace("columns[0] - self.center_", "self.center_ - columns[0]")
FRAMES_ONLY = RATIO.replace("transform_arrays(self", "_of(self").replace(
    "self.transform_arrays", "self._of"
)
DIVISION = "def divide(above, below):\n    return above / below\n"
ESTIMATOR = '''
"""An estimator of the project's own."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class NearestMean(ClassifierMixin, BaseEstimator):
    """Predict the class whose mean is the nearest."""

    def __init__(self, shrink=0.0):
        self.shrink = shrink

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        means = [np.asarray(X)[np.asarray(y) == label].mean(axis=0) for label in self.classes_]
        self.means_ = np.array(means) * (1 - self.shrink)
        return self

    def predict_proba(self, X):
        distance = ((np.asarray(X)[:, None] - self.means_) ** 2).sum(axis=2)
        chances = np.exp(distance.min(axis=1, keepdims=True) - distance)
        return chances / chances.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
'''
OUTSIDE = f"""
import importlib.util, json, sys
import pandas as pd
for name in ("{projects.PACKAGE}", "mlflow_practices"):
    assert importlib.util.find_spec(name) is None, name
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.read_parquet(sys.argv[2])
assert "mlflow_practices" not in sys.modules
print(json.dumps(model.predict(rows).tolist()))
"""


@dataclass(frozen=True)
class Team:
    """A project in ``folder``, under git, with a copy of its package in ``src``."""

    folder: Path

    @property
    def code(self) -> Path:
        return self.folder / "src" / str(projects.PACKAGE)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder / 'src'}{os.pathsep}{os.environ['PYTHONPATH']}"
        return {projects.ROOT: str(self.folder), "PYTHONPATH": path}

    @property
    def session(self) -> Session:
        """A session of this process, whose package was never edited."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(projects.ROOT, str(self.folder))
            session = projects.open_project()
            _ = session.client
            return session

    def edit(self, own: str) -> str:
        """Write features.py with an own class, and return the commit."""
        text = (Path(os.environ["PYTHONPATH"]) / projects.PACKAGE / "features.py").read_text()
        for old, new in BEFORE:
            assert old in text
            text = text.replace(old, new, 1)
        (self.code / "features.py").write_text(text + own)
        return self.commit()

    def commit(self) -> str:
        for words in (["add", "src"], ["commit", "--quiet", "-m", "edit", "--allow-empty"]):
            subprocess.run(["git", "-C", str(self.folder), *words], check=True)
        return subprocess.check_output(
            ["git", "-C", str(self.folder), "rev-parse", "HEAD"], text=True
        ).strip()

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", projects.PACKAGE, *words],
            env=os.environ | self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def train(self, *words: str) -> Version:
        """Run the pipeline, and return the version."""
        done = self.run("run", *words)
        assert done.returncode == 0, done.stderr
        return versions.find(self.session.client, "example")

    def approve(self, version: Version) -> None:
        approval.approve_model("example", version.number, "looks right", self.session)

    def files(self, version: Version, folder: Path) -> Path:
        return model_files.download(version, str(folder))

    def serve(self, model: str = "", **variables: str) -> ServingProcess:
        number = len(list(self.folder.glob("serving*.log")))
        fast = {f"{projects.PREFIX}SERVING__POLL_SECONDS": "0.1"}
        log = self.folder / f"serving-{number}.log"
        return ServingProcess(
            self.folder, log, "--model", model, **(self.environment | fast | variables)
        )


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Team]:
    team = Team(tmp_path_factory.mktemp("team"))
    table = projects.make_table()
    high = table["size"].fillna(50) > 50
    table["label"] = np.where(high, "high", "low")
    projects.make_project(team.folder, table, empty_store)
    (team.folder / "configs/local.yaml").write_text("approval: {valid_days: 30}")
    swapped = table.assign(label=np.where(high, "low", "high"))
    swapped.to_csv(team.folder / "data/raw/swapped.csv", index=False)
    copytree(Path(os.environ["PYTHONPATH"]) / projects.PACKAGE, team.code)
    (team.code / "division.py").write_text(DIVISION)
    (team.code / "estimators.py").write_text(ESTIMATOR)
    for words in (
        ["init", "--quiet"],
        ["config", "user.email", "ann@example.com"],
        ["config", "user.name", "Ann"],
    ):
        subprocess.run(["git", "-C", str(team.folder), *words], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield team


@pytest.fixture(scope="module")
def rows(team: Team) -> pd.DataFrame:
    table = pd.read_csv(team.folder / "data/raw/table.csv", parse_dates=["seen"])
    return features(table.drop(columns=["customer", "price"]), "label")


def outside(team: Team, version: Version, rows: pd.DataFrame, folder: Path) -> list[str]:
    """Return what MLflow's own loading predicts where there is neither project nor practices."""
    rows.to_parquet(folder / "rows.parquet")
    files = model_files.download(version, str(folder / f"outside-{version.number}"))
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(files), str(folder / "rows.parquet")],
        env=kept,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class History:
    """Two versions: ``old`` was the champion before ``features.py`` was edited for ``new``."""

    old: Version
    new: Version
    commits: tuple[str, str]
    right: dict[int, list[str]]  # what each version answers, by its number
    while_old: tuple[list[str], str]  # what the server answered before the edit, its format
    evaluation: dict[str, Any]  # of the new one


@pytest.fixture(scope="module")
def history(team: Team, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("history")
    first = team.edit(RATIO)
    old = team.train()
    team.approve(old)
    promotion.promote(team.session, old)
    with team.serve() as server:
        while_old = ask(server, rows)[0], server.get("/version")["format"]
    second = team.edit(OPPOSITE)
    new = team.train("--set", "data.raw=data/raw/swapped.csv")
    run = evidence.latest_evaluation(team.session.client, team.session.settings, new)
    assert run is not None
    judged = json.loads(evidence.read_artifact(run, evidence.VERDICT))
    team.approve(new)
    right = {each.number: outside(team, each, rows, folder) for each in (old, new)}
    assert np.mean(np.array(right[old.number]) != right[new.number]) > 0.8
    return History(old, new, (first, second), right, while_old, judged)


def ask(server: ServingProcess, rows: pd.DataFrame) -> tuple[list[str], str]:
    """Return a server's answers, and the version that gave them."""
    text = rows.assign(seen=rows["seen"].dt.strftime("%Y-%m-%d"))
    body = text.to_json(orient="split", index=False).encode()
    request = Request(
        f"{server.address}/invocations",
        b'{"dataframe_split": ' + body + b"}",
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["predictions"], answer.headers["X-Model-Version"]


def test_an_own_transformer_travels_and_is_served_on_the_fast_road(
    team: Team, history: History, tmp_path: Path
) -> None:
    assert history.while_old[0] == history.right[history.old.number]
    assert history.while_old[1] in ("onnx", "arrays")
    files = team.files(history.old, tmp_path)
    assert {path.suffix for path in files.glob("model.*")} == {".skops"}
    code = files / "code" / projects.PACKAGE
    travelled = {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()}
    assert travelled == {"__init__.py", "features.py", "division.py"}
    assert (code / "__init__.py").read_bytes() == b""
    assert RATIO in (code / "features.py").read_text()


def test_a_champion_of_before_an_edit_is_judged_beside_the_new_version(history: History) -> None:
    assert history.evaluation["champion"] == "example-production/1"
    accuracy = history.evaluation["metrics"]["accuracy"]
    assert accuracy["champion"] < 0.3  # its answers are the opposite
    assert accuracy["value"] > 0.7


def test_a_champion_of_before_an_edit_is_served_and_scores_as_before(
    team: Team, history: History, rows: pd.DataFrame, tmp_path: Path
) -> None:
    right, table = history.right[history.old.number], team.folder / "data/raw/table.csv"
    with team.serve() as server:
        assert ask(server, rows) == (right, "example-production/1")
        assert server.get("/version")["format"] == history.while_old[1]
        # What a deployment's tests compare with, in this process, whose code is another again.
        expected = expected_predictions.compute(
            ServerUnderTest(server.address, team.session), tmp_path / "expected"
        )
        assert expected.source.startswith("the test split")
        assert expected.differences(ask(server, expected.rows)[0]) == []
    # From its copy, without the registry.
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with team.serve(**away) as server:
        assert ask(server, rows) == (right, "example-production/1")
    done = team.run("score", str(table), str(tmp_path / "out.csv"))
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].tolist() == right


def test_champion_and_canary_of_two_commits_answer_each_as_its_own_code_says(
    team: Team, history: History, rows: pd.DataFrame, tmp_path: Path
) -> None:
    session = team.session
    client, settings = session.client, session.settings
    digest = model_files.digest(team.files(history.new, tmp_path))
    until = datetime.now(UTC) + timedelta(minutes=5)
    copy = canary.start(client, settings, history.new, digest, 0.5, until)
    right = {
        "example-production/1": history.right[history.old.number],
        str(copy): history.right[history.new.number],
    }
    try:
        with team.serve() as server:
            server.wait(lambda health: health.get("canary", {}).get("version") == str(copy))
            seen = set()
            for _ in range(40):
                answers, version = ask(server, rows)
                assert answers == right[version]
                seen.add(version)
            assert seen == right.keys()
    finally:
        canary.end(client, settings)
    # In this process features.py is a third one.
    for each in (history.old, history.new, history.old):
        files = local_models.download(session, each, tmp_path / "copies")
        model = ServedModel(session, each, files)
        answers = model.predict(model.input_schema.read(rows)).tolist()
        assert answers == history.right[each.number]
        assert model.format in ("onnx", "arrays")
    assert not hasattr(sys.modules[f"{projects.PACKAGE}.features"], "Ratio")
    assert not any(str(tmp_path) in place for place in sys.path)


def test_a_rollback_after_an_edit_brings_the_old_answers_back(
    team: Team, history: History, rows: pd.DataFrame, tmp_path: Path
) -> None:
    session = team.session
    promoted = str(promotion.promote(session, history.new).champion)
    with team.serve() as server:
        assert ask(server, rows) == (history.right[history.new.number], promoted)
        promotion.rollback(session, "it answers the opposite")
        server.wait(lambda health: health["version"] == "example-production/1")
        assert ask(server, rows) == (history.right[history.old.number], "example-production/1")
        assert server.get("/version")["format"] == history.while_old[1]
    champion = versions.find(session.client, "example-production", "champion")
    model = loading.load(session, champion, team.files(champion, tmp_path))
    assert model.predict(rows).tolist() == history.right[history.old.number]


@pytest.fixture
def unapproved(team: Team, history: History, tmp_path: Path) -> tuple[Version, str, Path]:
    """Return a version whose code writes a file when it is imported, its commit, and the file."""
    mark = tmp_path / "it ran"
    commit = team.edit(f"{RATIO}\nopen({str(mark)!r}, 'w').close()\n")
    version = team.train("--set", "serving.optimize=false")
    assert mark.exists()
    team.edit(OPPOSITE)
    mark.unlink()
    return version, commit, mark


def test_other_code_that_nobody_approved_is_refused_and_none_of_it_runs(
    team: Team, unapproved: tuple[Version, str, Path], tmp_path: Path
) -> None:
    version, commit, mark = unapproved
    words = f"code/{projects.PACKAGE}/features.py: the model has other code"
    way = f"check out the commit {commit}"
    approving = f"approve the version, or {way}"
    table, output = str(team.folder / "data/raw/table.csv"), str(tmp_path / "out.csv")
    for command, remedy in (
        (["evaluate", "--version", str(version.number)], approving),
        (["score", table, output, "--model", f"models:/{version}"], approving),
        (["optimize", str(version)], way),  # which no approval lets execute other code
    ):
        done = team.run(*command)
        assert done.returncode == 1
        assert words in done.stderr
        assert remedy in done.stderr
    server = team.serve(f"models:/{version}")
    try:
        wait_until(lambda: f"refused {version}: {words}" in server.log.read_text(), START)
    finally:
        server.end()
    assert approving in server.log.read_text()
    assert not mark.exists()
    # Approved, it is executed, and nothing else changes.
    team.approve(version)
    done = team.run("score", table, output, "--model", f"models:/{version}")
    assert done.returncode == 0, done.stderr
    assert mark.exists()


def test_code_that_was_swapped_after_its_approval_is_refused(
    team: Team, history: History, tmp_path: Path
) -> None:
    session = team.session
    swapped = team.train("--set", "data.raw=data/raw/swapped.csv")
    team.approve(swapped)
    team.edit(RATIO)  # so that the version has other code than the project
    [place] = team.folder.glob(f"mlruns/**/{swapped.model_id}/artifacts/code/*/features.py")
    mark, text = tmp_path / "it ran", place.read_text()
    place.write_text(f"{text}\nopen({str(mark)!r}, 'w').close()\n")
    table = str(team.folder / "data/raw/table.csv")
    command = ["score", table, str(tmp_path / "out.csv"), "--model", f"models:/{swapped}"]
    done = team.run(*command)
    assert done.returncode == 1
    assert f"code/{projects.PACKAGE}/features.py: the model has other code" in done.stderr
    files = team.files(swapped, tmp_path / "files")
    with pytest.raises(UnsafeModelError, match="no valid approval covers its files"):
        loading.load(session, swapped, files)
    assert not mark.exists()
    place.write_text(text)
    done = team.run(*command)
    assert done.returncode == 0, done.stderr


def test_an_own_transformer_without_arrays_is_served_by_the_original(
    team: Team, history: History, rows: pd.DataFrame, tmp_path: Path
) -> None:
    team.edit(FRAMES_ONLY)
    version = team.train()
    with team.serve(f"models:/{version}") as server:
        assert server.get("/version")["format"] == "scikit-learn"
        assert ask(server, rows) == (outside(team, version, rows, tmp_path), str(version))


def test_an_own_estimator_trains_is_judged_and_served(
    team: Team, history: History, rows: pd.DataFrame, tmp_path: Path
) -> None:
    team.edit(RATIO)
    own = ["--set", f"training.estimator={projects.PACKAGE}.estimators.NearestMean"]
    own += ["--set", "training.params={shrink: 0.1}"]
    done = team.run("train", *own)
    assert done.returncode == 0, done.stderr
    version = versions.find(team.session.client, "example")
    judged = team.run("evaluate", *own)
    assert "accuracy" in judged.stdout, judged.stderr
    files = team.files(version, tmp_path)
    code = {path.name for path in (files / "code" / projects.PACKAGE).iterdir()}
    assert code == {"__init__.py", "features.py", "division.py", "estimators.py"}
    assert projects.PACKAGE not in (files / "requirements.txt").read_text()
    with team.serve(f"models:/{version}") as server:
        assert server.get("/version")["format"] == "arrays"
        answers = ask(server, rows)
    assert answers == (outside(team, version, rows, tmp_path), str(version))
    assert len(set(answers[0])) == 2


def test_a_pipeline_of_libraries_alone_travels_without_code(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    session = projects.open_project(overrides=["data.drop=[customer, price, seen]"])
    files = model_files.download(projects.train(session), str(tmp_path_factory.mktemp("files")))
    assert not (files / "code").exists()


def test_only_an_unaltered_approval_of_just_these_files_covers_code(
    team: Team, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, source = team.session, history.old
    client, number = session.client, str(source.number)
    champion = versions.find(client, "example-production", "1")
    digest = model_files.digest(team.files(source, tmp_path))

    def covered() -> tuple[bool, ...]:
        return tuple(loading.is_approved(session, each, digest) for each in (source, champion))

    assert covered() == (True, True)
    assert not loading.is_approved(session, champion, "0" * 64)
    record = client.get_model_version("example", number).tags[decisions.RECORD_TAG]
    client.set_model_version_tag(
        "example", number, decisions.RECORD_TAG, record.replace("right", "wrong")
    )
    assert covered() == (False, False)
    client.set_model_version_tag("example", number, decisions.RECORD_TAG, record)
    assert covered() == (True, True)
    approvers = team.folder / decisions.APPROVERS
    with monkeypatch.context() as signed:
        signed.setenv(signing.KEY, str(tmp_path / "key.pem"))
        approvers.write_text(f"ann@example.com: {signing.keygen(tmp_path / 'key.pem')}")
        assert covered() == (False, False)  # it is not signed
        approvers.unlink()
    with monkeypatch.context() as later:
        later.setattr(decisions, "now", lambda: datetime.now(UTC) + timedelta(days=31))
        assert covered() == (False, True)  # what is in production stays
    approval.reject_model("example", source.number, "it harms", session)
    assert covered() == (False, False)
