"""Run an MLflow server with accounts for a rendered project, until standard input ends.

Run with the project's interpreter in its folder; the argument is a folder for the server's files.
It prints a line of JSON: the variables with which each account is used. The administrator has made
the experiments and the model, and given each account what its environment needs.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = ["src", str(Path(__file__).parents[1])]
from mlflow_practices import tracking
from mlflow_practices.tracking import experiments, store

import servers

PROJECT = "my-ml-project"
RIGHTS = {"developer": "EDIT", "deployer": "EDIT", "reader": "READ"}

folder = Path(sys.argv[1])
folder.mkdir()
with servers.mlflow_server(folder, accounts=True) as server:
    for name in RIGHTS:
        server.add_account(name)
    with server.administration() as rights:
        client = store.open_store(server.address)
        experiments.create_experiments(client, PROJECT)
        client.create_registered_model(PROJECT)
        for name, right in RIGHTS.items():
            rights.grant_user_permission(name, "registered_model", PROJECT, right)
            for phase in tracking.PHASES:
                found = client.get_experiment_by_name(f"{PROJECT}/{phase}")
                assert found is not None
                rights.grant_user_permission(name, "experiment", found.experiment_id, right)
    print(json.dumps({name: server.login(name) for name in RIGHTS}), flush=True)
    sys.stdin.read()
