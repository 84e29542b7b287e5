"""The project's tests/serving, run against a server and logged with the current run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowException

from .. import privacy
from ..config import sources
from ..errors import PracticeError, listed
from ..tracking import recording
from ..tracking.session import Session
from .settings import DeploymentSettings

SHOWN = 5  # failed tests, or lines of pytest's output, in an error; all are in the JUnit file


class ServingTestError(PracticeError):
    """A server did not pass its tests, or they could not be run; the message names each."""


def run_serving_tests(session: Session, url: str, place: str, mark: str = "") -> str:
    """Run the tests against a server, log their JUnit file and counts, and return the counts as text.

    Args:
        session: of the project; ``deployment.tests`` is the folder of the tests.
        url: of the server.
        place: staging or production, for the names of what is logged.
        mark: of the tests to run; all by default.

    Raises:
        ServingTestError: a test failed, none ran, or ``deployment.test_seconds`` are over.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ServingTestError("pytest, which runs the tests, is not installed; run `make setup`")
    tests = session.settings.section(DeploymentSettings).tests
    with TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        output = _run_pytest(session, url, report, mark)
        if not report.exists():
            raise ServingTestError(f"{tests} cannot be run:\n  {output}")
        junit = report.read_text(encoding="utf-8")
    suite = ET.fromstring(junit)[0]
    cases, problems, skipped = list(suite.iter("testcase")), [], 0
    for case in cases:
        for result in case:
            if result.tag in ("failure", "error"):
                message = " ".join(str(result.get("message")).split())
                problems.append(f"{case.get('name')}: {message}")
            elif result.tag == "skipped":
                skipped += 1
    passed = len(cases) - len(problems) - skipped
    seconds = float(suite.get("time", "nan"))
    counts = {"passed": passed, "failed": len(problems), "skipped": skipped, "seconds": seconds}
    try:
        recording.log_text(junit, f"junit/{place}.xml")
        recording.log_metrics_efficiently({f"{place}_tests_{key}": n for key, n in counts.items()})
    except MlflowException:
        if not problems:  # which matter more than that they cannot be recorded
            raise
    if problems:
        hidden = len(problems) - SHOWN
        shown = problems if hidden <= 0 else [*problems[:SHOWN], f"and {hidden} more"]
        heading = f"{len(problems)} of {len(cases)} tests failed"
        raise ServingTestError(privacy.redact_text(listed(heading, shown)))
    if not passed:
        raise ServingTestError(f"no test of {tests} was run\n  {output}")
    return f"{passed} tests passed, {skipped} skipped" if skipped else f"{passed} tests passed"


def _run_pytest(session: Session, url: str, report: Path, mark: str) -> str:
    """Run the tests and return the end of pytest's output."""
    root, prefix = session.settings.root, sources.variable_prefix(session.project.package)
    settings = session.settings.section(DeploymentSettings)
    command = [sys.executable, "-m", "pytest", str(root / settings.tests), "-q", "-m", mark]
    command += ["--junit-xml", str(report), "-p", "no:cacheprovider"]
    variables = {
        "SERVING_URL": url,
        f"{prefix}ROOT": str(root),
        f"{prefix}ENV": session.settings.environment,
    }
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=settings.test_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServingTestError(
            f"the tests took longer than {settings.test_seconds} s (deployment.test_seconds)"
        ) from None
    return privacy.redact_text("\n  ".join((done.stdout + done.stderr).splitlines()[-SHOWN:]))
