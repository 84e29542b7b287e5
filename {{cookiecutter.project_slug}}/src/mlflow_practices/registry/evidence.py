"""What an approval is based on: a model's files and their evaluation, both unchanged since."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from pydantic import BaseModel

from ..config.sections import Gates
from ..config.settings import Settings
from ..evaluation.metrics import log_undefined
from ..tracking import experiments, recording
from . import model_files, versions
from .model_files import ModelFilesError
from .versions import Version

VERDICT, CARD, PAGE = "verdict.json", "model_card.md", "model_card.html"
DIGEST = "verdict_sha256"  # a tag of the evaluation's run


class Evidence(BaseModel, frozen=True, extra="forbid"):
    """One evaluation of one model: its run, its data, and SHA-256 digests of verdict and files."""

    evaluation_run_id: str
    evaluation_digest: str
    data_version: str
    model_digest: str


def read_artifact(run: Run, path: str) -> str:
    """Return the text of a run's artifact; one request, where ``runs:/`` needs three."""
    text: str = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{path}")
    return text


def log_verdict(
    version: Version,
    model_digest: str,
    champion: Version | None,
    limits: Gates,
    verdict: Mapping[str, Any],
) -> None:
    """Log the verdict on files with this digest, the limits, and the champion compared with."""
    content = {
        "model": str(version),
        "model_digest": model_digest,
        "data_version": version.data_version,
        "champion": champion and str(champion),
        "limits": limits.model_dump(mode="json"),
        **verdict,
    }
    written = recording.log_text(json.dumps(content, indent=2, ensure_ascii=False), VERDICT)
    recording.set_tags({DIGEST: _sha256(written), "verdict": verdict["outcome"]})
    log_undefined(verdict["undefined"])


def latest_evaluation(client: MlflowClient, settings: Settings, version: Version) -> Run | None:
    """Return the newest finished evaluation run of a version."""
    return _latest(client, settings, "model-evaluation", f"tags.model_version = '{version}'")


def check_evaluation(
    client: MlflowClient, settings: Settings, version: Version
) -> tuple[Evidence | None, list[str]]:
    """Return the evidence for an approval of a version, and every reason against one.

    The version must have passed its evaluation, on the data prepared last and beside the present
    champion, and neither its files nor that evaluation may have changed since.
    """
    remedy = f"run `evaluate --version {version.number}`"
    run = latest_evaluation(client, settings, version)
    if run is None:
        return None, [f"no finished evaluation; {remedy}"]
    where = f"the evaluation {run.info.run_id}"
    try:
        text = read_artifact(run, VERDICT)
        verdict = json.loads(text)
        with TemporaryDirectory() as folder:
            model_digest = model_files.digest(model_files.download(version, folder))
    except ModelFilesError as error:
        return None, [str(error)]
    except (MlflowException, OSError, ValueError) as error:
        return None, [f"{where} holds no readable {VERDICT} ({type(error).__name__}); {remedy}"]
    found = Evidence(
        evaluation_run_id=run.info.run_id,
        evaluation_digest=_sha256(text),
        data_version=run.data.tags.get("data_version", ""),
        model_digest=model_digest,
    )
    if run.data.tags.get(DIGEST) != found.evaluation_digest:
        problems = [f"{where}: {VERDICT} is not the file that it wrote; {remedy}"]
    else:
        problems = list(_contradictions(where, run, verdict))
        if verdict["model_digest"] != model_digest:
            problems.append(
                f"the model's files have the digest {model_digest[:12]}, "
                f"those evaluated {verdict['model_digest'][:12]}"
            )
        problems += _outdated(client, settings, version, verdict, remedy)
    if not any(item.path == CARD for item in client.list_artifacts(run.info.run_id)):
        problems.append(f"{where} holds no model card ({CARD}); {remedy}")
    return found, problems


def _contradictions(where: str, run: Run, verdict: Mapping[str, Any]) -> Iterator[str]:
    if run.data.tags.get("verdict") != verdict["outcome"]:
        yield f"{where}: its tag `verdict` is not what {VERDICT} says"
    for name, entry in verdict["metrics"].items():
        logged, value = run.data.metrics.get(f"test_{name}", math.nan), entry["value"]
        if not math.isclose(logged, value, rel_tol=1e-9):
            figures = f"is {logged:.6g}, {VERDICT} says {value:.6g}"
            yield f"{where}: its metric test_{name} {figures}"
    if verdict["outcome"] == "failed":
        failed = [gate["reason"] for gate in verdict["gates"] if not gate["passed"]]
        yield f"{where} failed: {'; '.join(failed)}"


def _outdated(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    verdict: Mapping[str, Any],
    remedy: str,
) -> Iterator[str]:
    production = versions.production_name(settings.project.name)
    champion = versions.find_by_alias(client, production, versions.CHAMPION)
    if verdict["champion"] != (champion and str(champion)):
        yield (
            f"stale: evaluated beside {verdict['champion'] or 'no champion'}, "
            f"now it is {champion or 'none'}; {remedy}"
        )
    if verdict["limits"] != settings.evaluation.gates.model_dump(mode="json"):
        yield f"stale: evaluated by other gates than {settings.environment} has now; {remedy}"
    data = verdict["data_version"]
    if data != version.data_version:
        yield f"stale: evaluated on the data {data}, trained on {version.data_version}; {remedy}"
    environment = f"tags.environment = '{settings.environment}'"
    preparation = _latest(client, settings, "data-preparation", environment)
    newest = preparation.data.tags.get("data_version") if preparation else None
    if newest and newest != data:
        yield f"stale: the data {newest} was prepared since; train and evaluate on it"


def _latest(client: MlflowClient, settings: Settings, phase: str, condition: str) -> Run | None:
    finished = f"{condition} AND attributes.status = 'FINISHED'"
    found = experiments.find_runs(client, settings, phase, finished, max_results=1)
    return found[0] if found else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
