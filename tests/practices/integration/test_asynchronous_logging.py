"""Logging over an unreliable line, and to a process that is ended: all arrives, and once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow_practices.tracking import asynchronous_logging, experiments, recording
from mlflow_practices.tracking.session import Session

import projects
from http_servers import Answer, Request, http_server, send
from servers import Server, TrainedProject

LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


@contextmanager
def unreliable(server: Server, times: int, status: int | None) -> Iterator[str]:
    """Yield the address of a proxy that loses the first answers to metrics and parameters.

    It closes the connection instead, or answers with a status; the server has written by then.
    """
    lost = Counter[bytes]()

    def respond(request: Request) -> Answer | None:
        answer = send(server.address, request)
        body = request.body
        if request.path != LOG_BATCH or b'"tags"' in body or lost[body] >= times:
            return answer
        lost[body] += 1
        return answer._replace(status=status) if status else None

    with http_server(respond) as address:
        yield address


@pytest.mark.parametrize("status", [None, 503], ids=["lost", "503"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["at once", "asynchronous"])
def test_what_is_sent_again_is_there_once(
    served: TrainedProject, monkeypatch: pytest.MonkeyPatch, status: int | None, asynchronous: bool
) -> None:
    served.use(monkeypatch)
    with unreliable(served.server, 1, status) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        session = projects.open_project(overrides=[f"tracking.asynchronous={asynchronous}"])
        values = np.append(np.arange(1500) / 7, [np.nan, np.inf])
        with session.stage("model-monitoring") as stage:
            recording.log_metrics_efficiently({"loss": values, "last": 0.5})
    client = MlflowClient(served.server.address)
    run = client.get_run(stage.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["last"] == 0.5
    assert run.data.params["training.seed"] == "42"
    history = client.get_metric_history(stage.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(len(values)))
    assert {m.step: m.value for m in history if m.step < 1500} == dict(enumerate(values[:1500]))


def test_a_line_that_stays_broken_fails_the_run_with_the_reason(
    served: TrainedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.use(monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with unreliable(served.server, 1000, None) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        session = projects.open_project(overrides=["tracking.asynchronous=true"])
        stage = session.stage("model-monitoring")
        run_id = stage.__enter__().run_id
        with pytest.raises(
            asynchronous_logging.LoggingError, match="arrive: no MLflow server answers"
        ):
            stage.__exit__(None, None, None)
    run = MlflowClient(served.server.address).get_run(run_id)
    assert run.info.status == "FAILED"
    assert "no MLflow server answers" in run.data.tags["failure_reason"]


LOOP = f"""
from mlflow_practices.cli import CommandLine
from mlflow_practices.tracking import recording

command_line = CommandLine("{projects.PACKAGE}")

@command_line.command("log")
def log(session):
    with session.stage("model-training"):
        step = 0
        while True:
            recording.log_metrics_efficiently(dict(loss=step / 2), step=step)
            print(step, flush=True)
            step += 1

command_line()
"""
LOG = ["log", "--set", "tracking.asynchronous=true"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_an_ended_process_sends_what_waits(session: Session) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOOP, *LOG], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        for _ in range(200):
            said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said += process.stdout.read()  # nothing more, perhaps
    assert process.returncode == 143
    last = int(said.split()[-1])
    client = session.client
    [run] = experiments.find_runs(client, session.settings, "model-training")
    assert run.info.status == "FAILED"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps)[: last + 1] == list(range(last + 1))
    assert len(steps) <= last + 2  # ended between the call and the print
