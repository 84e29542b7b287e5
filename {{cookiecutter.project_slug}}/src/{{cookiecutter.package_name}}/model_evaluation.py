"""A model version to metrics, plots, the verdict of its gates, and its model card."""

from dataclasses import dataclass
from tempfile import TemporaryDirectory

import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient, MlflowException
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from . import estimators, gates, plots
from .data import lineage, versioning
from .data.lineage import Transformation
from .estimators import Predictions
from .gates import Verdict
from .registry import approval, evidence, model_card, promotion, versions
from .registry.versions import Version
from .settings import Settings
from .tracking import documentation, experiments, recording

STATEMENTS = "configs/model_card.yaml"


class GateError(Exception):
    """A version did not pass its evaluation; the message names each gate that failed."""


@dataclass(frozen=True)
class Evaluated:
    """What was found of a version on the test split, and where the run is shown."""

    version: Version
    verdict: Verdict
    address: str

    @property
    def metrics(self) -> dict[str, float]:
        """Return the version's metrics."""
        return {name: found.value for name, found in self.verdict.metrics.items()}

    def require_passed(self) -> None:
        """Raise `GateError` unless every gate was passed."""
        if failed := self.verdict.failed:
            count = f"{len(failed)} of {len(self.verdict.gates)} gates"
            reasons = [f"{gate.name}: {gate.reason}" for gate in failed]
            raise GateError(evidence.listed(f"{self.version} failed {count}", reasons))


def run(settings: Settings, version: Version) -> Evaluated:
    """Judge a version on the test split of the data that it was trained on.

    The champion is judged on the same rows. A verdict of ``failed`` is a result, not an error: see
    `Evaluated.require_passed`.
    """
    folder = settings.path(settings.data.processed)
    statements = model_card.read_statements(settings.root / STATEMENTS)
    with experiments.stage_run(
        settings,
        "model-evaluation",
        pipeline_id=version.pipeline_id,
        upstream_run_id=version.run_id,
    ) as stage:
        client = MlflowClient()
        recording.set_tags({"data_version": version.data_version, "model_version": str(version)})
        manifest = versioning.load_manifest(folder, version.data_version)
        train, test = (versioning.read_split(manifest, name, folder) for name in ("train", "test"))
        measured_on = versioning.log_data_version(
            test,
            "test",
            source=str(folder / manifest.splits["test"].file),
            sample_rows=settings.privacy.sample_rows,
        )
        X, y = estimators.features(test, manifest.target), test[manifest.target]
        with TemporaryDirectory() as files:
            saved = evidence.fetch(version, files)
            digest, size = evidence.digest(saved), evidence.size(saved)
            model = mlflow.sklearn.load_model(str(saved))
        dummy = estimators.baseline(settings.problem_type).fit(
            train.drop(columns=manifest.target), train[manifest.target]
        )
        predictions = estimators.predict(model, X)
        champion, other = _champion(client, settings, X)
        verdict = gates.judge(
            settings.evaluation.gates,
            X,
            y,
            predictions,
            estimators.predict(dummy, X),
            other,
            latency_ms=estimators.latency(model, X),
            size_mb=size / 1e6,
            card_gaps=statements.gaps(),
            seed=settings.data.split.seed,
        )
        evidence.log_verdict(
            version, digest, champion, settings.evaluation.gates, verdict.as_dict()
        )
        recording.log_metrics_efficiently(
            _figures(verdict), dataset=measured_on.dataset, model_id=version.model_id
        )
        images = {
            name: recording.log_figure(figure, f"plots/{name}.png")
            for name, figure in plots.performance(y, predictions).items()
        }
        images |= _explain(settings, model, X, y)
        subject = model_card.collect(
            client, settings, version, manifest, verdict, statements, stage.run_id
        )
        _describe(client, settings, version, subject, images)
        lineage.track_data_lineage(
            {"test": measured_on.facts(), str(version): {"uri": version.uri}},
            [Transformation("predict and measure", len(test), len(test))],
            {verdict.outcome: {name: found.value for name, found in verdict.metrics.items()}},
        )
        return Evaluated(version, verdict, stage.address)


def _champion(
    client: MlflowClient, settings: Settings, X: pd.DataFrame
) -> tuple[Version | None, Predictions | str | None]:
    """Return the champion and what it says of the rows, or else why it can say nothing."""
    name = versions.production_name(settings.project.name)
    champion = versions.holder(client, name, versions.CHAMPION)
    if champion is None:
        return None, None
    with TemporaryDirectory() as files:
        try:
            saved = evidence.fetch(champion, files)
            promotion.require_unchanged(client, champion, saved)
            if misfit := estimators.misfit(Model.load(str(saved)).signature, X):
                return champion, misfit
            return champion, estimators.predict(mlflow.sklearn.load_model(str(saved)), X)
        except (
            evidence.EvidenceError,
            promotion.PromotionError,
            MlflowException,
            ValueError,
        ) as error:
            return champion, " ".join(str(error).split())


def _figures(verdict: Verdict) -> dict[str, float]:
    """Return what is logged as metrics of the run."""
    figures = {"latency_ms": verdict.latency_ms, "size_mb": verdict.size_mb}
    for name, found in verdict.metrics.items():
        figures[f"test_{name}"] = found.value
        for other in ("baseline", "champion"):
            if (value := getattr(found, other)) is not None:
                figures[f"{other}_{name}"] = value
    return figures


def _explain(
    settings: Settings, model: Pipeline, X: pd.DataFrame, y: pd.Series
) -> dict[str, bytes]:
    """Log permutation importance; it predicts once a column and repeat, so it has a limit."""
    limits = settings.evaluation
    if X.shape[1] > limits.importance_columns:
        reason = f"skipped: {X.shape[1]} columns, evaluation.importance_columns is lower"
        recording.set_tags({"permutation_importance": reason})
        return {}
    rows = X.sample(min(limits.importance_rows, len(X)), random_state=settings.data.split.seed)
    found = plots.importance(model, rows, y[rows.index], limits.importance_repeats)
    recording.log_dict(found.values, "permutation_importance.json")
    image = recording.log_figure(found.figure, "plots/permutation_importance.png")
    return {"permutation_importance": image}


def _describe(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    subject: model_card.Subject,
    images: dict[str, bytes],
) -> None:
    """Log the model card; set what fits of it, and the verdict, on the version."""
    card = model_card.write_card(subject, images)
    # An approval was of an earlier evaluation and no longer counts, a rejection does.
    last = approval.last(client, settings, version)
    state = last.state() if last and last.decision == "rejected" else model_card.NOT_APPROVED
    recording.log_text(model_card.with_approval(card.markdown, state), evidence.CARD)
    recording.log_text(model_card.with_approval(card.html, state), evidence.PAGE)
    verdict = subject.verdict
    outcomes = {
        f"{documentation.GATE}{gate.name.replace(' ', '_')}": (
            f"{'passed' if gate.passed else 'failed'}: {gate.reason}"
        )
        for gate in verdict.gates
    }
    documentation.document_model(
        client,
        version.name,
        version.number,
        model_card.with_approval(card.summary, state),
        {name: found.value for name, found in verdict.metrics.items()},
        subject.author,
        {
            "verdict": verdict.outcome,
            "evaluation_run_id": subject.evaluation_run_id,
            **outcomes,
        },
    )
