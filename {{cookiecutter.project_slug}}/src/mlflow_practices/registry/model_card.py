"""The card of a model version: what it is for, how well it does, what it was made of.

After Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run

from .. import privacy
from ..config.settings import Settings
from ..data.versioning import Manifest
from ..errors import did_you_mean
from ..evaluation.verdict import Verdict
from ..tracking import documentation, experiments, recording
from ..tracking.identity import Identity
from ..tracking.session import Session
from . import decisions, evidence
from .card_rendering import NOT_APPROVED, CardError, render_card, with_approval
from .versions import Version

TEMPLATE = "configs/model_card.md.j2"
NOT_FOUND = "not found"

_PLACEHOLDER = re.compile(
    r"\W*|<[^<>]*>|(?i:\W*(todo|tbd|fixme|xxx)\W*)|(TODO|TBD|FIXME|XXX)\b.*", re.DOTALL
)


@dataclass(frozen=True)
class Statements:
    """What only people can say about a model."""

    intended_use: str = ""
    users: str = ""
    out_of_scope: str = ""
    limits: str = ""
    ethics: str = ""
    contact: str = ""

    def gaps(self) -> list[str]:
        """Return the fields that are empty or hold a placeholder such as TODO."""
        return [name for name, text in asdict(self).items() if _PLACEHOLDER.fullmatch(text.strip())]


def read_statements(path: Path) -> Statements:
    """Read what people wrote.

    Raises:
        CardError: the file is missing, is not YAML, or has a key that a card has no place for.
    """
    known = [field.name for field in fields(Statements)]
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"{path}: no such file; write one with {', '.join(known)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read: {error}; save it as UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise CardError(
            f"{path}: {line}not valid YAML; put the text in quotes, or indented after a `|`"
        ) from None
    if not isinstance(found, dict | None):
        raise CardError(f"{path}: must be a mapping of {', '.join(known)}")
    for key, text in (found or {}).items():
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; there are {', '.join(known)}"
            raise CardError(f"{path}: {privacy.redact_text(str(key))}: unknown key{hint}")
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise CardError(f"{path}: {key}: is no text but {kind}; put it in quotes")
    return Statements(**{key: text or "" for key, text in (found or {}).items()})


def log_card(
    session: Session,
    version: Version,
    manifest: Manifest,
    verdict: Verdict,
    statements: Statements,
    plots: Mapping[str, bytes],
    evaluation_run_id: str,
) -> None:
    """Log the model card; set its short form, and the verdict, on the version.

    Raises:
        CardError: the template configs/model_card.md.j2 cannot be used.
    """
    client, settings = session.client, session.settings
    values = collect_values(
        client, settings, version, manifest, verdict, statements, evaluation_run_id
    )
    card = render_card(settings.root / TEMPLATE, values, plots)
    # An approval was of an earlier evaluation and no longer counts; a rejection still does.
    decision = decisions.latest_decision(client, settings, version)
    state = NOT_APPROVED
    if decision and decision.decision == "rejected":
        state = decision.describe()
    recording.log_text(with_approval(card.markdown, state), evidence.CARD)
    recording.log_text(with_approval(card.html, state), evidence.PAGE)
    outcomes = {"verdict": verdict.outcome, "evaluation_run_id": evaluation_run_id}
    for gate in verdict.gates:
        outcome = "passed" if gate.passed else "failed"
        outcomes[f"{documentation.GATE}{gate.name.replace(' ', '_')}"] = f"{outcome}: {gate.reason}"
    documentation.document_model(
        client,
        version.name,
        version.number,
        with_approval(card.description, state),
        {name: found.value for name, found in verdict.metrics.items()},
        str(Identity.from_tags(values["tags"])),
        outcomes,
    )


def collect_values(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    manifest: Manifest,
    verdict: Verdict,
    statements: Statements,
    evaluation_run_id: str,
) -> dict[str, Any]:
    """Return what the template of a card can print: what MLflow knows about a version."""
    training = experiments.find_run(client, version.run_id)
    tags = training.data.tags if training else {}
    params = training.data.params if training else {}
    preparation_id = tags.get("upstream_run_id", manifest.run_id)
    preparation = experiments.find_run(client, preparation_id)
    scores = preparation.data.metrics if preparation else {}
    who = Identity.from_tags(tags)
    gaps = statements.gaps()
    gates = settings.evaluation.gates
    return {
        "version": version,
        "manifest": manifest,
        "verdict": verdict,
        "problem_type": settings.problem_type,
        "evaluated": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "author": who.account or who.user or str(who),  # an address would be masked
        "statements": {
            name.replace("_", " ").capitalize(): text
            for name, text in asdict(statements).items()
            if name not in gaps
        },
        "not_stated": [name.replace("_", " ") for name in gaps],
        "confidence": gates.confidence,
        "slice_metric": gates.slices.metric or "",
        "quality": {name: scores.get(f"{name}_quality_score") for name in ("raw", "prepared")},
        "tags": tags,
        "params": params,
        "parameters": {k: v for k, v in sorted(params.items()) if k.startswith("training.")},
        "preparation_run": _found(preparation_id, preparation),
        "training_run": _found(version.run_id, training),
        "evaluation_run_id": evaluation_run_id,
        "requirements": _requirements(version),
    }


def _found(run_id: str, run: Run | None) -> str:
    return run_id if run else f"{run_id} {NOT_FOUND}".strip()


def _requirements(version: Version) -> str:
    with suppress(MlflowException, OSError):
        text = mlflow.artifacts.load_text(f"{version.uri}/requirements.txt")
        return ", ".join(text.split())
    return NOT_FOUND
