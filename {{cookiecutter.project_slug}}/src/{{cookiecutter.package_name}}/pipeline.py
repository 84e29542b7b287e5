"""The stages in their order, with one pipeline id. To add a step, add a line to `run`."""

from mlflow_practices.console import print_text, timed
from mlflow_practices.evaluation.report import print_report
from mlflow_practices.tracking.session import Session

from . import data_preparation, model_evaluation, model_training
from .model_evaluation import Evaluated


def run(session: Session) -> Evaluated:
    """Prepare, train and evaluate; print the time of each stage and the results."""
    with timed(session, "data preparation"):
        prepared = data_preparation.run(session)
    with timed(session, "model training"):
        trained = model_training.run(session, prepared.manifest)
    with timed(session, "model evaluation"):
        evaluated = model_evaluation.run(session, trained.version)
    for note in prepared.manifest.notes:
        print_text(session, f"note: {note}")
    print_report(session, evaluated.version.title, evaluated.verdict)
    print_text(session, f"preparation  {prepared.address}")
    print_text(session, f"training     {trained.address}")
    print_text(session, f"evaluation   {evaluated.address}")
    return evaluated
