"""What a run records in MLflow: enough to find out later how a model was made."""

from mlflow_practices.tracking import experiments
from mlflow_practices.tracking.recording import log_params
from mlflow_practices.tracking.session import Session

from {{ cookiecutter.package_name }}.model_evaluation import Evaluated

STAGES = ("data-preparation", "model-training", "model-evaluation")


def test_the_runs_of_one_pipeline_are_linked(session: Session, evaluated: Evaluated) -> None:
    runs = [experiments.find_runs(session.client, session.settings, stage)[0] for stage in STAGES]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["pipeline_id"] for run in runs} == {evaluated.version.pipeline_id}
    assert {run.data.tags["data_version"] for run in runs} == {evaluated.version.data_version}
    upstream = [run.data.tags.get("upstream_run_id") for run in runs]
    assert upstream == [None, runs[0].info.run_id, runs[1].info.run_id]


def test_a_training_can_be_repeated(session: Session, evaluated: Evaluated) -> None:
    run = session.client.get_run(evaluated.version.run_id)
    assert run.data.params["training.estimator"] == session.settings.training.estimator
    assert run.data.params["random_seed"] == str(session.settings.training.seed)
    assert run.data.tags["python_version"]
    assert run.data.tags["author"]


def test_metrics_are_linked_to_data_and_model(session: Session, evaluated: Evaluated) -> None:
    [run] = experiments.find_runs(session.client, session.settings, STAGES[2], max_results=1)
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "test"
    for name, found in evaluated.verdict.metrics.items():
        assert run.data.metrics[f"test_{name}"] == found.value


def test_no_credential_is_logged(session: Session) -> None:
    with session.stage("model-training") as stage:
        log_params({"api_key": "sk-123456", "note": "write to ann@example.com"})
    params = session.client.get_run(stage.run_id).data.params
    assert "sk-123456" not in params["api_key"]
    assert "ann@example.com" not in params["note"]
