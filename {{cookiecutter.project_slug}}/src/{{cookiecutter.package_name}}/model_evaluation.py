"""Evaluate a model version: metrics, plots, gates, model card."""

from dataclasses import asdict, dataclass

from mlflow_practices.data.lineage import Transformation, track_data_lineage
from mlflow_practices.data.splits import read_and_log_split
from mlflow_practices.data.versioning import load_manifest
from mlflow_practices.evaluation.gates import judge
from mlflow_practices.evaluation.plots import log_importance, log_performance
from mlflow_practices.evaluation.predictions import measure_latency, predict, predict_baseline
from mlflow_practices.evaluation.verdict import Verdict, require_passed
from mlflow_practices.registry.evaluation_inputs import load_candidate, predict_as_champion
from mlflow_practices.registry.evidence import log_verdict
from mlflow_practices.registry.model_card import log_card, read_statements
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.recording import log_metrics_efficiently, set_tags
from mlflow_practices.tracking.session import Session


@dataclass(frozen=True)
class Evaluated:
    """The results of a version on the test split, and the address of the run."""

    version: Version
    verdict: Verdict
    address: str

    def require_passed(self) -> None:
        """Raise `GateError`, which names each failed gate, unless the version passed all gates."""
        require_passed(str(self.version), self.verdict)


def run(session: Session, version: Version) -> Evaluated:
    """Evaluate a version on the test split of the data that it was trained on.

    The champion predicts the same rows. A verdict of ``failed`` is a result, not an error: see
    `Evaluated.require_passed`.
    """
    settings = session.settings
    statements = read_statements(settings.root / "configs/model_card.yaml")
    with session.stage(
        "model-evaluation", pipeline_id=version.pipeline_id, upstream_run_id=version.run_id
    ) as stage:
        set_tags({"data_version": version.data_version, "model_version": str(version)})
        manifest = load_manifest(settings.path(settings.data.processed), version.data_version)
        test = read_and_log_split(manifest, "test", settings)
        candidate = load_candidate(session, version)
        predictions = predict(candidate.model, test.X)
        champion = predict_as_champion(session, test.X)
        verdict = judge(
            settings.evaluation.gates,
            test.X,
            test.y,
            predictions,
            predict_baseline(manifest, test.X, settings),
            champion.predictions,
            latency_ms=measure_latency(candidate.model, test.X),
            size_mb=candidate.size / 1e6,
            card_gaps=statements.gaps(),
            seed=settings.data.split.seed,
            metrics=session.project.metrics,
        )
        log_verdict(
            version, candidate.digest, champion.version, settings.evaluation.gates, asdict(verdict)
        )
        log_metrics_efficiently(verdict.figures(), dataset=test.dataset, model_id=version.model_id)
        images = log_performance(test.y, predictions, verdict)
        images |= log_importance(candidate.model, test, settings)
        log_card(session, version, manifest, verdict, statements, images, stage.run_id)
        track_data_lineage(
            {"test": test.facts(), str(version): {"uri": version.uri}},
            [Transformation("predict and measure", len(test.X), len(test.X))],
            {verdict.outcome: {name: found.value for name, found in verdict.metrics.items()}},
        )
        return Evaluated(version, verdict, stage.address)
