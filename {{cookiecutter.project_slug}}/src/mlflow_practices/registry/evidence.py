"""What an approval rests on: a model's files and their evaluation, and whether both still hold."""

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
    """What tells one evaluated model from every other: SHA-256 digests, and where they are from."""

    evaluation_run_id: str
    evaluation_digest: str
    data_version: str
    model_digest: str


def read_artifact(run: Run, path: str) -> str:
    """Return the text of a run's artifact, by its own address: by the run's, MLflow asks thrice."""
    text: str = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{path}")
    return text


def log_verdict(
    version: Version,
    model_digest: str,
    champion: Version | None,
    limits: Gates,
    verdict: Mapping[str, Any],
) -> str:
    """Log what was found of which files, by which limits, beside which champion.

    Return the file's SHA-256.
    """
    written = recording.log_text(
        json.dumps(
            {
                "model": str(version),
                "model_digest": model_digest,
                "data_version": version.data_version,
                "champion": champion and str(champion),
                "limits": limits.model_dump(mode="json"),
                **verdict,
            },
            indent=2,
            ensure_ascii=False,
        ),
        VERDICT,
    )
    found = _sha256(written)
    recording.set_tags({DIGEST: found, "verdict": verdict["outcome"]})
    log_undefined(verdict["undefined"])
    return found


def latest_evaluation(client: MlflowClient, settings: Settings, version: Version) -> Run | None:
    """Return the newest finished evaluation run of a version."""
    return _newest(client, settings, "model-evaluation", f"tags.model_version = '{version}'")


def check_evaluation(
    client: MlflowClient, settings: Settings, version: Version
) -> tuple[Evidence | None, list[str]]:
    """Return what an approval of a version can rest on, and every reason against it.

    It must have passed its evaluation, on the data prepared last and beside the champion of
    today, and neither its files nor that evaluation may have changed since.
    """
    again = f"run `evaluate --version {version.number}`"
    run = latest_evaluation(client, settings, version)
    if run is None:
        return None, [f"no finished evaluation; {again}"]
    where = f"the evaluation {run.info.run_id}"
    try:
        text = read_artifact(run, VERDICT)
        found = json.loads(text)
        with TemporaryDirectory() as folder:
            files = model_files.digest(model_files.download(version, folder))
    except ModelFilesError as error:
        return None, [str(error)]
    except (MlflowException, OSError, ValueError) as error:
        return None, [f"{where} holds no readable {VERDICT} ({type(error).__name__}); {again}"]
    rests_on = Evidence(
        evaluation_run_id=run.info.run_id,
        evaluation_digest=_sha256(text),
        data_version=run.data.tags.get("data_version", ""),
        model_digest=files,
    )
    if run.data.tags.get(DIGEST) != rests_on.evaluation_digest:
        reasons = [f"{where}: {VERDICT} is not the file that it wrote; {again}"]
    else:
        reasons = [
            *_tampered(run, found, rests_on, where),
            *(_failed(found, where) if found["outcome"] == "failed" else ()),
            *_stale(client, settings, version, found, again),
        ]
    if not any(item.path == CARD for item in client.list_artifacts(run.info.run_id)):
        reasons.append(f"{where} holds no model card ({CARD}); {again}")
    return rests_on, reasons


def _tampered(run: Run, found: Mapping[str, Any], rests_on: Evidence, where: str) -> Iterator[str]:
    if run.data.tags.get("verdict") != found["outcome"]:
        yield f"{where}: its tag `verdict` is not what {VERDICT} says"
    for name, entry in found["metrics"].items():
        logged, value = run.data.metrics.get(f"test_{name}", math.nan), entry["value"]
        if not math.isclose(logged, value, rel_tol=1e-9):
            yield f"{where}: its metric test_{name} is {logged:.6g}, {VERDICT} says {value:.6g}"
    if found["model_digest"] != rests_on.model_digest:
        yield (
            f"the model's files have the digest {rests_on.model_digest[:12]}, "
            f"those evaluated {found['model_digest'][:12]}"
        )


def _failed(found: Mapping[str, Any], where: str) -> Iterator[str]:
    gates = [gate for gate in found["gates"] if not gate["passed"]]
    yield f"{where} failed: {'; '.join(gate['reason'] for gate in gates)}"


def _stale(
    client: MlflowClient, settings: Settings, version: Version, found: Mapping[str, Any], again: str
) -> Iterator[str]:
    champion = versions.find_by_alias(
        client, versions.production_name(settings.project.name), versions.CHAMPION
    )
    if found["champion"] != (champion and str(champion)):
        yield (
            f"stale: evaluated beside {found['champion'] or 'no champion'}, "
            f"now it is {champion or 'none'}; {again}"
        )
    if found["limits"] != settings.evaluation.gates.model_dump(mode="json"):
        yield f"stale: evaluated by other gates than {settings.environment} has now; {again}"
    measured = found["data_version"]
    if measured != version.data_version:
        yield f"stale: evaluated on the data {measured}, trained on {version.data_version}; {again}"
    same = f"tags.environment = '{settings.environment}'"
    prepared = _newest(client, settings, "data-preparation", same)
    newest = prepared.data.tags.get("data_version") if prepared else None
    if newest and newest != measured:
        yield f"stale: the data {newest} was prepared since; train and evaluate on it"


def _newest(client: MlflowClient, settings: Settings, phase: str, which: str) -> Run | None:
    finished = f"{which} AND attributes.status = 'FINISHED'"
    return next(iter(experiments.find_runs(client, settings, phase, finished, max_results=1)), None)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
