"""The card of a model version: what it is for, what it reaches, what it was made of.

After Mitchell et al., Model Cards for Model Reporting (2019).
"""

import difflib
import html
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run

from .. import privacy
from ..config.settings import Settings
from ..data.versioning import Manifest
from ..errors import PracticeError
from ..evaluation.verdict import Verdict
from ..tracking import experiments
from ..tracking.identity import Identity
from .evidence import PAGE
from .markdown import escape, facts, inline, page, prose, table
from .versions import Version

NOT_APPROVED = "none yet"
NOT_FOUND = "not found"
SUMMARY_LIMIT = 5_000  # characters of a description; a registry in PostgreSQL refuses more
APPROVAL_LIMIT = 600
SLICES = 20

_PLACEHOLDER = re.compile(
    r"\W*|<[^<>]*>|(?i:\W*(todo|tbd|fixme|xxx)\W*)|(TODO|TBD|FIXME|XXX)\b.*", re.DOTALL
)
_APPROVAL = re.compile(r"^(\*\*Approval:\*\* ).*()$", re.MULTILINE)
_APPROVAL_HTML = re.compile(r'(<p id="approval">.*?</strong> ).*?(</p>)', re.DOTALL)


class CardError(PracticeError):
    """The statements cannot be read; the message says where, what is wrong and the remedy."""


@dataclass(frozen=True)
class Statements:
    """What only people can say of a model."""

    intended_use: str = ""
    users: str = ""
    out_of_scope: str = ""
    limits: str = ""
    ethics: str = ""
    contact: str = ""

    def gaps(self) -> list[str]:
        """Return the fields that are empty or hold a placeholder such as TODO."""
        return [name for name, text in asdict(self).items() if _PLACEHOLDER.fullmatch(text.strip())]


@dataclass(frozen=True)
class CardFacts:
    """What a card says; `collect_facts` finds it. The mappings are shown line by line."""

    name: str
    model: Mapping[str, str]
    statements: Statements
    verdict: Verdict
    confidence: float
    slice_metric: str
    data: Mapping[str, str]
    notes: Sequence[str]
    parameters: Mapping[str, str]
    lineage: Mapping[str, str]
    environment: Mapping[str, str]
    evaluation_run_id: str
    author: str = ""


@dataclass(frozen=True)
class Card:
    """A card as Markdown with its plots beside it, as HTML that needs no other file, and cut to
    what a version's description may hold.
    """

    markdown: str
    html: str
    summary: str


def read_statements(path: Path) -> Statements:
    """Read what people wrote.

    Raises:
        CardError: the file is missing, no YAML, or says something that a card has no place for.
    """
    known = [field.name for field in fields(Statements)]
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"{path}: no such file; write one with {', '.join(known)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read: {error}; save it as UTF-8 text") from None
    except yaml.YAMLError as error:
        line = f"line {mark.line + 1}: " if (mark := getattr(error, "problem_mark", None)) else ""
        raise CardError(
            f"{path}: {line}not valid YAML; put the text in quotes, or indented after a `|`"
        ) from None
    if not isinstance(found, dict | None):
        raise CardError(f"{path}: must be a mapping of {', '.join(known)}")
    for key, text in (found or {}).items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise CardError(f"{path}: {privacy.redact_text(str(key))}: unknown key; {hint}")
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise CardError(f"{path}: {key}: is no text but {kind}; put it in quotes")
    return Statements(**{key: text or "" for key, text in (found or {}).items()})


def collect_facts(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    manifest: Manifest,
    verdict: Verdict,
    statements: Statements,
    evaluation_run_id: str,
) -> CardFacts:
    """Ask MLflow what it knows of a version; of a run that was deleted, it says "not found"."""
    training = experiments.find_run(client, version.run_id)
    tags, params = (training.data.tags, training.data.params) if training else ({}, {})
    who = Identity.from_tags(tags)
    preparation_id = tags.get("upstream_run_id", manifest.run_id)
    preparation = experiments.find_run(client, preparation_id)
    gates = settings.evaluation.gates
    return CardFacts(
        name=str(version),
        model={
            "Estimator": params.get("training.estimator", NOT_FOUND),
            "Target": manifest.target,
            "Problem type": settings.problem_type,
            "Evaluated": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "Author": who.account or who.user or str(who),  # an address would be masked
        },
        statements=statements,
        verdict=verdict,
        confidence=gates.confidence,
        slice_metric=gates.slices.metric or "",
        data=_data(manifest, preparation),
        notes=manifest.notes,
        parameters={k: v for k, v in sorted(params.items()) if k.startswith("training.")},
        lineage={
            "Chain": f"{manifest.source.path} -> data {manifest.version} -> training -> {version}",
            "Preparation run": _found(preparation_id, preparation),
            "Training run": _found(version.run_id, training),
            "Evaluation run": evaluation_run_id,
            "Pipeline": version.pipeline_id or NOT_FOUND,
            "Commit": _commit(tags),
        },
        environment={
            "Python": tags.get("python_version", NOT_FOUND),
            "Packages": tags.get("packages", NOT_FOUND),
            "The model needs": _requirements(version),
        },
        evaluation_run_id=evaluation_run_id,
        author=str(who),
    )


def render_card(subject: CardFacts, plots: Mapping[str, bytes]) -> Card:
    """Write a card; ``plots`` are PNG images by name, logged as ``plots/<name>.png``."""
    verdict, name = subject.verdict, inline(subject.name)
    outcome = f"{verdict.outcome}, {len(verdict.failed)} of {len(verdict.gates)} gates failed"
    header = f"# {name}\n\n**Approval:** {NOT_APPROVED}\n\n**Verdict:** {outcome}"
    images = {f"plots/{plot}.png": image for plot, image in plots.items()}
    notes = {f"Note {number}": note for number, note in enumerate(subject.notes, 1)}
    texts = {
        "Model": facts(subject.model),
        "Intended use and limits": _statements(subject.statements),
        "Gates": _gates(verdict),
        "Metrics": _metrics(verdict, subject.confidence),
        "Slices": _slices(verdict, subject.slice_metric),
        "Data": facts({**subject.data, **notes}),
        "Parameters": table(("Parameter", "Value"), subject.parameters.items()),
        "Plots": "\n\n".join(f"![{address}]({address})" for address in images),
        "Lineage": facts(subject.lineage),
        "Environment": facts(subject.environment),
    }
    sections = {title: f"## {title}\n\n{text}" for title, text in texts.items() if text}
    markdown = "\n\n".join([header, *sections.values()]) + "\n"
    whole = page(subject.name, markdown, images)
    whole = whole.replace("<p><strong>Approval:", '<p id="approval"><strong>Approval:', 1)
    return Card(markdown, whole, _summary(header, sections, subject.evaluation_run_id))


def with_approval(text: str, state: str) -> str:
    """Return a card, in any of its three forms, with another state of approval in its place."""
    if '<p id="approval">' in text:  # nobody else can have written that: it would be escaped
        shown, pattern = html.escape(" ".join(state.split())), _APPROVAL_HTML
    else:
        shown, pattern = escape(state, APPROVAL_LIMIT), _APPROVAL
    return pattern.sub(lambda found: f"{found[1]}{shown}{found[2]}", text, count=1)


def _summary(header: str, sections: Mapping[str, str], run_id: str) -> str:
    """Join the sections that fit, those that a decision needs first; plots need the HTML."""
    end = f"The whole card, also what is too long for here, is `{PAGE}` of the run `{run_id}`."
    room = SUMMARY_LIMIT - APPROVAL_LIMIT - len(f"{header}\n\n{end}")
    kept = set()
    for title in sorted(sections, key=lambda title: title not in ("Gates", "Metrics")):
        if title != "Plots" and len(sections[title]) + 2 <= room:
            kept.add(title)
            room -= len(sections[title]) + 2
    return "\n\n".join([header, *(sections[title] for title in sections if title in kept), end])


def _statements(statements: Statements) -> str:
    gaps = statements.gaps()
    stated = [
        f"**{name.replace('_', ' ').capitalize()}**\n\n{prose(text)}"
        for name, text in asdict(statements).items()
        if name not in gaps
    ]
    if gaps:
        stated.append(f"**Not stated:** {', '.join(gaps).replace('_', ' ')}")
    return "\n\n".join(stated)


def _gates(verdict: Verdict) -> str:
    rows = [
        (
            gate.name,
            "passed" if gate.passed else "FAILED",
            _figure(gate.value),
            _figure(gate.limit),
            gate.reason,
        )
        for gate in sorted(verdict.gates, key=lambda gate: gate.passed)
    ]
    return table(("Gate", "Outcome", "Found", "Limit", "Meaning"), rows)


def _metrics(verdict: Verdict, confidence: float) -> str:
    head = ("Metric", "Value", f"{100 * confidence:g} % interval", "Baseline", "Champion")
    rows = [
        (
            name,
            _figure(found.value),
            f"{_figure(found.low)} to {_figure(found.high)}",
            _figure(found.baseline),
            _figure(found.champion),
        )
        for name, found in verdict.metrics.items()
    ]
    cost = f"a row takes {_figure(verdict.latency_ms)} ms, the files {_figure(verdict.size_mb)} MB"
    undefined = {f"{name} is not defined": reason for name, reason in verdict.undefined.items()}
    parts = [table(head, rows), f"{verdict.rows:,} test rows; {cost}.", facts(undefined)]
    return "\n\n".join(part for part in parts if part)


def _slices(verdict: Verdict, metric: str) -> str:
    worst, count = verdict.slices[:SLICES], len(verdict.slices)
    rows = [(s.column, s.value, f"{s.rows:,}", _figure(s.metric)) for s in worst]
    more = f"\n\nThe worst {SLICES} of {count}." if count > SLICES else ""
    return table(("Column", "Value", "Rows", metric), rows) + more


def _data(manifest: Manifest, preparation: Run | None) -> dict[str, str]:
    scores = preparation.data.metrics if preparation else {}
    quality = [
        f"{name} {_figure(scores.get(f'{name}_quality_score'), NOT_FOUND)}"
        for name in ("raw", "prepared")
    ]
    return {
        "Version": manifest.version,
        "Source": f"{manifest.source.path}, {manifest.source.rows:,} rows",
        "SHA-256 of the source": manifest.source.sha256,
        "Rows": ", ".join(f"{name} {split.rows:,}" for name, split in manifest.splits.items()),
        "Columns": f"{len(manifest.columns)}, with the target {manifest.target}",
        "Quality scores": ", ".join(quality),
    }


def _commit(tags: Mapping[str, str]) -> str:
    dirty = ", files differed from it" if tags.get("git_dirty") == "true" else ""
    return tags.get("git_commit", NOT_FOUND) + dirty


def _requirements(version: Version) -> str:
    with suppress(MlflowException, OSError):
        text = mlflow.artifacts.load_text(f"{version.uri}/requirements.txt")
        return ", ".join(text.split())
    return NOT_FOUND


def _found(run_id: str, run: Run | None) -> str:
    return run_id if run else f"{run_id} {NOT_FOUND}".strip()


def _figure(value: float | None, missing: str = "-") -> str:
    return missing if value is None else f"{value:.4g}"
