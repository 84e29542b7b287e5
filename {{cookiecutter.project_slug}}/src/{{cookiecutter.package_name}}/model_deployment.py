"""Deploy a model version: staging tests, promotion, checks in production, rollback."""

from mlflow_practices.deployment.pipeline import Deployed, deploy_model_pipeline
from mlflow_practices.deployment.pipeline_steps import (
    check_preconditions,
    run_smoke_tests,
    run_staging_tests,
    try_canary,
    verify_production,
    watch_live_metrics,
)
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.session import Session


def run(session: Session, version: Version) -> Deployed:
    """Bring an approved version to production; if that fails, production stays as it was.

    A step is a function that takes the deployment and returns a note for its log. A step that raises
    ends the deployment. Add your own steps; each may take ``deployment.test_seconds``.
    """
    return deploy_model_pipeline(
        version,
        session,
        # These steps do not change production.
        before_promotion=[check_preconditions, run_staging_tests, try_canary],
        # If one of these fails, the former champion comes back.
        after_promotion=[verify_production, run_smoke_tests, watch_live_metrics],
    )
