"""One deployment at a time, on whichever machine: a lease held by the deployment's run.

MLflow offers no lock. The runs that are under way take tickets instead, as in Lamport's bakery
algorithm (https://doi.org/10.1145/361082.361093), which needs nothing but that a tag that was
written is read. The lowest ticket holds the lease, until its run ends or its time is over.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from mlflow import MlflowClient
from mlflow.entities import Run

from ..config.settings import Settings
from ..errors import PracticeError
from ..tracking import experiments, recording, utc, utc_now

ACTION = "deployment"
TICKET, UNTIL = "lease_ticket", "lease_until"  # tags of a run
CHOOSING = "choosing"
CHOOSING_SECONDS = 10  # that another run may take for it: two requests


class LeaseError(PracticeError):
    """Another deployment is under way; the message says whose, of what, and until when."""


def claim(client: MlflowClient, settings: Settings, run_id: str, seconds: float) -> None:
    """Take the lease for the current run, for ``seconds`` at most.

    Raises:
        LeaseError: another run holds it.
    """
    until = utc(datetime.now(UTC) + timedelta(seconds=seconds))
    recording.set_tags({"action": ACTION, TICKET: CHOOSING, UNTIL: until})
    others = _others(client, settings, run_id)
    ticket = 1 + max((_number(run) for run in others), default=0)
    recording.set_tags({TICKET: str(ticket)})
    deadline = time.monotonic() + CHOOSING_SECONDS
    while True:
        others = _others(client, settings, run_id)
        choosing = [run for run in others if run.data.tags[TICKET] == CHOOSING]
        if not choosing or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    first = [run for run in others if (_number(run), run.info.run_id) < (ticket, run_id)]
    for run in (*first, *choosing):
        tags = run.data.tags
        raise LeaseError(
            f"{tags.get('author', 'somebody')} is deploying {tags.get('model_version', 'a version')} "
            f"({tags.get('process', 'run ' + run.info.run_id)}), until {tags[UNTIL]} at the latest; "
            "deploy again when it has ended"
        )


def _others(client: MlflowClient, settings: Settings, run_id: str) -> list[Run]:
    running = f"tags.action = '{ACTION}' AND attributes.status = 'RUNNING'"
    found = experiments.find_runs(client, settings, "model-deployment", running)
    now = utc_now()
    return [
        run
        for run in found
        if run.info.run_id != run_id and TICKET in run.data.tags and run.data.tags[UNTIL] > now
    ]


def _number(run: Run) -> int:
    ticket = run.data.tags[TICKET]
    return int(ticket) if ticket.isdigit() else 0
