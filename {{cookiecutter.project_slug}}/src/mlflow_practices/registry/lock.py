"""A lock that a run holds: one promotion, or one deployment, at a time on all machines.

MLflow has no lock. The runs in progress take tickets instead (Lamport's bakery algorithm,
https://doi.org/10.1145/361082.361093), which only needs that a written tag can be read. The lowest
ticket holds the lock until its run ends or its time is over.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from mlflow import MlflowClient
from mlflow.entities import Run

from ..config.settings import Settings
from ..errors import PracticeError
from ..tracking import experiments, recording, utc, utc_now

TICKET, UNTIL = "lease_ticket", "lease_until"  # tags of a run
CHOOSING = "choosing"
CHOOSING_SECONDS = 10  # that another run may need to choose its ticket: two requests


class LockError(PracticeError):
    """Another run holds the lock; the message says whose run, which version, and until when."""


def acquire(client: MlflowClient, settings: Settings, action: str, seconds: float) -> None:
    """Take the lock of an action for the current run, for at most ``seconds``.

    The run's end releases it. The tag ``action`` of the run is set.

    Raises:
        LockError: another run holds it.
    """
    run_id = recording.run_id()
    until = utc(datetime.now(UTC) + timedelta(seconds=seconds))
    recording.set_tags({"action": action, TICKET: CHOOSING, UNTIL: until})
    others = runs_in_progress(client, settings, action, but=run_id)
    ticket = 1 + max((_ticket(run) for run in others), default=0)
    recording.set_tags({TICKET: str(ticket)})
    deadline = time.monotonic() + CHOOSING_SECONDS
    while True:
        others = runs_in_progress(client, settings, action, but=run_id)
        choosing = [run for run in others if run.data.tags[TICKET] == CHOOSING]
        if not choosing or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    # A run that is still choosing has the ticket 0: it may have read less than this one.
    first = min(others, key=_order, default=None)
    if first is not None and _order(first) < (ticket, run_id):
        tags = first.data.tags
        raise LockError(
            f"the {action} of {tags.get('model_version', 'a version')} by "
            f"{tags.get('author', 'somebody')} came first "
            f"({tags.get('process', 'run ' + first.info.run_id)}), until {tags[UNTIL]} at the "
            "latest; try again when it has ended"
        )


def runs_in_progress(
    client: MlflowClient, settings: Settings, action: str, but: str = ""
) -> list[Run]:
    """Return the runs that hold the lock of an action or wait for it, except the run ``but``."""
    running = f"tags.action = '{action}' AND attributes.status = 'RUNNING'"
    found = experiments.find_runs(client, settings, "model-deployment", running)
    now = utc_now()
    return [
        run
        for run in found
        if run.info.run_id != but and TICKET in run.data.tags and run.data.tags[UNTIL] > now
    ]


def _order(run: Run) -> tuple[int, str]:
    return _ticket(run), run.info.run_id


def _ticket(run: Run) -> int:
    ticket = run.data.tags[TICKET]
    return int(ticket) if ticket.isdigit() else 0
