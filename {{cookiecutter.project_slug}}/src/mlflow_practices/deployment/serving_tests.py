"""The tests of tests/serving, run against a server, and what came of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowException

from .. import privacy
from ..config import sources
from ..errors import PracticeError
from ..tracking import recording
from ..tracking.session import Session
from .settings import DeploymentSettings

SHOWN = 5  # tests that failed, in an error; all of them are in the JUnit file


class ServingTestError(PracticeError):
    """A server did not pass its tests, or they could not be run; the message names each."""


@dataclass(frozen=True)
class TestCounts:
    """How many tests there were; the seconds are of the whole run."""

    passed: int
    failed: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        """Return it in words."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} tests passed{skipped}"


def check(session: Session, address: str, where: str, mark: str = "") -> TestCounts:
    """Run the tests against a server, and log their JUnit file and figures with the current run.

    Args:
        session: of the project; ``deployment.tests`` says which tests.
        address: of the server.
        where: staging or production, for the names of what is logged.
        mark: of the tests that are run; all by default.

    Raises:
        ServingTestError: a test failed, none ran, or ``deployment.test_seconds`` are over.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ServingTestError("pytest is not installed, which runs the tests; run `make setup`")
    with TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        settings = session.settings.section(DeploymentSettings)
        said = _run(session, settings, address, report, mark)
        if not report.exists():
            raise ServingTestError(f"{settings.tests} cannot be run:\n  {said}")
        text = report.read_text(encoding="utf-8")
    suite = ET.fromstring(text).find("testsuite")
    assert suite is not None
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    tested = TestCounts(
        count["tests"] - failed - count["skipped"],
        failed,
        count["skipped"],
        float(suite.get("time", "0")),
    )
    problems = [
        f"{case.get('name')}: {' '.join(str(bad.get('message')).split())}"
        for case in suite.iter("testcase")
        for bad in case
        if bad.tag in ("failure", "error")
    ]
    try:
        recording.log_text(text, f"junit/{where}.xml")
        figures = {f"{where}_tests_{name}": value for name, value in vars(tested).items()}
        recording.log_metrics_efficiently(figures)
    except MlflowException:
        if not problems:  # which matter more than that they cannot be recorded
            raise
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        heading = f"{len(problems)} of {count['tests']} tests failed:"
        raise ServingTestError(
            privacy.redact_text("\n  ".join([heading, *problems[:SHOWN], *more]))
        )
    if not tested.passed:
        raise ServingTestError(f"no test of {settings.tests} was run\n  {said}")
    return tested


def _run(
    session: Session, settings: DeploymentSettings, address: str, report: Path, mark: str
) -> str:
    """Run pytest and return the end of what it said."""
    root, prefix = session.settings.root, sources.variable_prefix(session.project.package)
    command = [sys.executable, "-m", "pytest", str(root / settings.tests), "-q"]
    command += [
        "--junit-xml",
        str(report),
        "-p",
        "no:cacheprovider",
        *(["-m", mark] if mark else []),
    ]
    environment = {
        **os.environ,
        "SERVING_URL": address,
        f"{prefix}ROOT": str(root),
        f"{prefix}ENV": session.settings.environment,
    }
    limit = settings.test_seconds
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServingTestError(
            f"the tests were not done within {limit} s (deployment.test_seconds)"
        ) from None
    return privacy.redact_text("\n  ".join((done.stdout + done.stderr).splitlines()[-SHOWN:]))
