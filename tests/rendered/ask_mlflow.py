"""Print as JSON what MLflow says of a rendered project; run with the project's interpreter.

Its arguments: the tracking address and the project's name.
"""

import json
import sys
from pathlib import Path

import mlflow

uri, project = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
answer: dict[str, object] = {"runs": [], "version": None}
for experiment in client.search_experiments(filter_string=f"name LIKE '{project}/%'"):
    for run in client.search_runs([experiment.experiment_id], order_by=["start_time"]):
        answer["runs"].append(  # type: ignore[attr-defined]
            {
                "experiment": experiment.name.rpartition("/")[2],
                "status": run.info.status,
                "id": run.info.run_id,
                "tags": run.data.tags,
                "params": run.data.params,
                "metrics": run.data.metrics,
                "artifacts": [item.path for item in client.list_artifacts(run.info.run_id)],
                "inputs": [
                    entry.dataset.digest
                    for entry in (run.inputs.dataset_inputs if run.inputs else [])
                ],
            }
        )
if models := client.search_registered_models(filter_string=f"name = '{project}'"):
    model = mlflow.pyfunc.load_model(f"models:/{project}@challenger")
    version = client.get_model_version_by_alias(project, "challenger")
    answer["version"] = {
        "number": int(version.version),
        "run_id": version.run_id,
        "tags": version.tags,
        "description": version.description,
        "aliases": models[0].aliases,
        "requirements": Path(mlflow.pyfunc.get_model_dependencies(version.source))
        .read_text()
        .split(),
        "inputs": model.metadata.get_input_schema().input_names(),
        "predictions": model.predict(model.input_example).tolist(),
    }
print(json.dumps(answer))
