"""A deployment under load, with its steps' seconds: one that succeeds, and one that is rolled back.

The rendered project's own `deploy` on an MLflow server's store, production as a process of this
machine, tests/serving as it is rendered. The load asks on two connections, each as soon as it has the
answer to its last request, before, during and after the deployments.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common

LOAD = Path(__file__).with_name("children") / "load.py"
CONNECTIONS = 2
LIMIT = 600  # seconds after which the load ends if nothing else ends it
STEP = re.compile(r"^(\S.*?)\s{2,}(?:done|failed)\s+([\d.]+) s", re.MULTILINE)
ROW = {
    "island": "Dream",
    "bill_length_mm": 50.0,
    "bill_depth_mm": 18.5,
    "flipper_length_mm": 197.0,
    "body_mass_g": 3750.0,
    "sex": "male",
    "year": 2008,
}


def main() -> None:
    """Deploy three versions: the first alone, the others under load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--watch", type=float, default=10, help="seconds of the watch window")
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        for words in (["init", "--quiet"], ["config", "user.email", "ann@example.com"]):
            common.run(["git", *words], project)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        variables = {
            "PYTHONPATH": str(project / "src"),
            "MY_ML_PROJECT__SERVING__PORT": str(port),
            "MY_ML_PROJECT__DEPLOYMENT__WATCH__SECONDS": str(options.watch),
        }

        def command(*words: str, **more: str) -> str:
            whole = [sys.executable, "-m", common.PACKAGE, *words]
            return common.run(whole, project, **variables, **more)

        def approve() -> None:
            command("approve", common.PROJECT, "--reason", "a benchmark")

        command("run")
        approve()
        steps = {"the first": seconds_of(command("deploy"))}
        lost: dict[str, dict[str, Any]] = {}
        try:
            for name, limit in (("rolled back", "0.001"), ("a success", "10000")):
                command("train", "--set", f"training.seed={len(lost)}")
                command("evaluate")
                approve()
                with subprocess.Popen(
                    [sys.executable, LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                ) as load:
                    assert load.stdin is not None
                    load.stdin.write(json.dumps(wanted(port)).encode())
                    load.stdin.close()
                    time.sleep(1)
                    done = subprocess.run(
                        [sys.executable, "-m", common.PACKAGE, "deploy"],
                        cwd=project,
                        env={
                            **os.environ,
                            **variables,
                            "MY_ML_PROJECT__DEPLOYMENT__WATCH__MAX_LATENCY_MS": limit,
                        },
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    time.sleep(1)
                    load.terminate()
                    assert load.stdout is not None
                    lost[name] = json.loads(load.stdout.read())
                if (done.returncode == 0) != (name == "a success"):
                    raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr}")
                steps[name] = seconds_of(done.stdout)
        finally:
            command("undeploy")
        names = dict.fromkeys(step for found in steps.values() for step in found)
        rows = [
            [step, *(f"{found[step]:.1f}" if step in found else "" for found in steps.values())]
            for step in names
        ]
        rows.append(["in all", *(f"{sum(found.values()):.1f}" for found in steps.values())])
        common.print_table("Seconds of a deployment", ["step", *steps], rows)
        answers = [
            [name, f"{found['answered']:,}", str(sum(found["failed"].values()))]
            for name, found in lost.items()
        ]
        common.print_table("Requests meanwhile", ["", "answered", "lost"], answers)


def wanted(port: int) -> dict[str, object]:
    """Return the request that the load sends."""
    body = json.dumps({"dataframe_records": [ROW]})
    return {
        "address": ["127.0.0.1", port],
        "connections": CONNECTIONS,
        "seconds": LIMIT,
        "path": "/invocations",
        "requests": [{"body": body}],
    }


def seconds_of(console: str) -> dict[str, float]:
    """Return the seconds of each step that a deployment printed."""
    return {name: float(seconds) for name, seconds in STEP.findall(console)}


if __name__ == "__main__":
    main()
