"""Logging to SQLite and to a server: ours, the guide's call by call, and MLflow's asynchronous mode.

Each case ends when everything has arrived, which is checked. All take turns in one process.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import common

CHILD = Path(__file__).parent / "children" / "record_runs.py"
START = 60  # seconds


def main() -> None:
    """Let a process of the rendered project measure with each store, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        with server(work) as address:
            for store, uri in {"SQLite": f"sqlite:///{work}/runs.db", "HTTP": address}.items():
                found = json.loads(common.run_python(project, CHILD, options.repeats, uri))
                for title, rounds in found.items():
                    common.compare_rounds(f"{title}, {store}", rounds, next(iter(rounds[0])))


@contextmanager
def server(work: Path) -> Iterator[str]:
    """Yield the address of an MLflow server with a store of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{work}/server.db"]
    command += ["--artifacts-destination", (work / "artifacts").as_uri()]
    address = f"http://127.0.0.1:{port}"
    # The job runner and its processes serve what nothing here uses.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (work / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START
        while not answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (work / "server.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"the MLflow server did not come up:\n{tail}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def answers(address: str) -> bool:
    """Return whether a server is ready there."""
    with suppress(OSError), urlopen(f"{address}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


if __name__ == "__main__":
    main()
