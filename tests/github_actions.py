"""GitHub Actions on this machine: runs a workflow's steps as GitHub's runner would.

What it does not know (an action, an input, a key, a function) raises `Unsupported`: no step is
skipped that GitHub would have run. Of the actions there are stand-ins that really copy the files.
GitHub's API is a local server. POSIX with /proc only, like the runner that the workflow asks for.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from http_servers import Answer, Request, http_server

OWNER, REPOSITORY = "acme", "my-ml-project"
LONGEST = 600  # seconds of a step, whatever it may take on GitHub
# Of this machine's environment; the rest of a runner's is made below.
KEPT = re.compile(r"(?i)(PATH|LANG|LC_.*|TZ|TMPDIR|NETRC|(UV|PIP|SSL|REQUESTS)_.*|(\w+_)?PROXY)")
WORKFLOW_KEYS = {"name", "on", True, "permissions", "concurrency", "defaults", "env", "jobs"}
JOB_KEYS = {"concurrency", "defaults", "env", "environment", "if", "name", "needs", "outputs"}
JOB_KEYS |= {"permissions", "runs-on", "steps", "timeout-minutes"}
STEP_KEYS = {"continue-on-error", "env", "id", "if", "name", "run", "shell", "timeout-minutes"}
STEP_KEYS |= {"uses", "with", "working-directory"}
SHELLS = {None: "bash -e {0}", "bash": "bash --noprofile --norc -eo pipefail {0}"}


class Unsupported(Exception):
    """The workflow uses what this runner does not know."""


# Expressions: https://docs.github.com/en/actions/reference/workflows-and-actions/expressions

TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>(?:[^']|'')*)'|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>().,\[\]]))"
)
CONSTANTS = {"true": True, "false": False, "null": None}
STATUS = re.compile(r"\b(success|failure|always|cancelled)\s*\(")


class Expression:
    """One expression, evaluated while it is read; a value is what JSON can hold."""

    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Mapping[str, Any]):
        self.text, self.contexts, self.functions = text, contexts, functions
        self.tokens = list(self._split(text))

    def value(self) -> Any:
        found = self._either()
        if self.tokens:
            raise Unsupported(f"{self.text!r}: what is {self.tokens[0][1]!r}?")
        return found

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str]]:
        place, text = 0, text.rstrip()
        while place < len(text):
            found = TOKEN.match(text, place)
            if found is None:
                raise Unsupported(f"{text!r}: cannot be read from {text[place:]!r} on")
            assert found.lastgroup is not None
            yield found.lastgroup, found[found.lastgroup]
            place = found.end()

    def _take(self, *signs: str) -> str:
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return ""

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise Unsupported(f"{self.text!r}: {sign!r} is missing")

    def _either(self) -> Any:
        left = self._both()
        while self._take("||"):
            right = self._both()
            left = left if truth(left) else right
        return left

    def _both(self) -> Any:
        left = self._equal()
        while self._take("&&"):
            right = self._equal()
            left = right if truth(left) else left
        return left

    def _equal(self) -> Any:
        left = self._order()
        while sign := self._take("==", "!="):
            left = equal(left, self._order()) == (sign == "==")
        return left

    def _order(self) -> Any:
        left = self._not()
        while sign := self._take("<", "<=", ">", ">="):
            one, other = number(left), number(self._not())
            left = {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[
                sign
            ]
        return left

    def _not(self) -> Any:
        return not truth(self._not()) if self._take("!") else self._access()

    def _access(self) -> Any:
        found, path = self._atom()
        while sign := self._take(".", "["):
            if sign == ".":
                kind, key = self.tokens.pop(0) if self.tokens else ("", "")
                if kind != "name":
                    raise Unsupported(f"{self.text!r}: a name is missing after the point")
            else:
                key = self._either()
                self._need("]")
            found, path = self._property(found, key, path), f"{path}.{key}"
        return found

    def _property(self, found: Any, key: Any, path: str) -> Any:
        if isinstance(found, dict):
            # GitHub returns null for whatever is not there. Where only a typing mistake can be
            # the reason, that is no answer here.
            if key not in found and path in ("github", "runner", "job", "needs", "steps"):
                raise Unsupported(f"{self.text!r}: {path} has no {key}")
            return found.get(key)
        if isinstance(found, list) and isinstance(key, float):
            return found[int(key)] if 0 <= key < len(found) else None
        return None

    def _atom(self) -> tuple[Any, str]:
        if self._take("("):
            found = self._either()
            self._need(")")
            return found, ""
        if not self.tokens:
            raise Unsupported(f"{self.text!r}: something is missing")
        kind, text = self.tokens.pop(0)
        if kind == "number":
            return float(text), ""
        if kind == "text":
            return text.replace("''", "'"), ""
        if kind != "name":
            raise Unsupported(f"{self.text!r}: what is {text!r}?")
        if self._take("("):
            return self._call(text), ""
        if text in CONSTANTS:
            return CONSTANTS[text], ""
        if text not in self.contexts:
            raise Unsupported(f"{self.text!r}: there is no context {text} here")
        return self.contexts[text], text

    def _call(self, name: str) -> Any:
        if name not in self.functions:
            raise Unsupported(f"{self.text!r}: there is no function {name} here")
        arguments: list[Any] = []
        while not self._take(")"):
            if arguments:
                self._need(",")
            arguments.append(self._either())
        return self.functions[name](*arguments)


def truth(value: Any) -> bool:
    return value not in (None, False, 0, "")


def number(value: Any) -> float:
    if value is None or isinstance(value, bool | int | float):
        return float(value or 0)
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value or 0)
    return float("nan")


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    if type(one) is type(other):
        return bool(one == other)
    return number(one) == number(other)


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    if isinstance(value, dict | list):
        return "Object" if isinstance(value, dict) else "Array"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def contains(within: Any, item: Any) -> bool:
    if isinstance(within, list):
        return any(equal(each, item) for each in within)
    return shown(item).casefold() in shown(within).casefold()


def fill(pattern: Any, *values: Any) -> str:
    return re.sub(r"\{(\d+)\}", lambda found: shown(values[int(found[1])]), shown(pattern))


PURE: dict[str, Callable[..., Any]] = {
    "contains": contains,
    "startsWith": lambda text, start: shown(text).casefold().startswith(shown(start).casefold()),
    "endsWith": lambda text, end: shown(text).casefold().endswith(shown(end).casefold()),
    "format": fill,
    "join": lambda items, sign=",": shown(sign).join(map(shown, items)),
    "toJSON": lambda value: json.dumps(value, indent=2),
    "fromJSON": lambda text: json.loads(shown(text)),
}


def evaluate(text: str, contexts: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    """Return the value of an expression, which stands alone: without its ``${{ }}``."""
    return Expression(text, contexts, {**PURE, **functions}).value()


def interpolate(value: Any, contexts: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    """Return a text with the values of the expressions in it, or what else YAML gave."""
    if not isinstance(value, str):
        return value
    if alone := re.fullmatch(r"\$\{\{((?:(?!\}\}).)*)\}\}", value.strip(), re.DOTALL):
        return evaluate(alone[1], contexts, functions)
    return re.sub(
        r"\$\{\{(.*?)\}\}",
        lambda found: shown(evaluate(found[1], contexts, functions)),
        value,
        flags=re.DOTALL,
    )


# What there is to see afterwards


@dataclass
class Step:
    """What became of a step. ``variables`` is its whole environment, ``log`` has nothing masked."""

    name: str
    outcome: str
    seconds: float = 0.0
    log: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    forgiven: bool = False

    @property
    def conclusion(self) -> str:
        return "success" if self.forgiven and self.outcome == "failure" else self.outcome


@dataclass
class Job:
    """What became of a job: success, failure, skipped, or waiting for its reviewers."""

    result: str
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def log(self) -> str:
        return "\n".join(f"## {step.name}: {step.outcome}\n{step.log}" for step in self.steps)


# The world


@dataclass
class GitHub:
    """A repository on GitHub, with the secrets and reviewers of its environments.

    Args:
        bare: the repository.
        work: a folder for all that runs, and for artifacts and caches.
        python: an interpreter with the project's development lock. Each checkout finds its
            environment as .venv, up to date for make; None: `make setup` makes one, as on GitHub.
        command: the project's command in .venv/bin.
        variables: what the runner's environment has more.
        of_step: what a step's environment has more, by the step's name.
        secrets: by environment.
        reviewers: who reviews, of each protected environment; nobody yet: the job waits.
    """

    bare: Path
    work: Path
    python: Path | None
    command: str
    variables: dict[str, str] = field(default_factory=dict)
    of_step: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    reviewers: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        self.api = ""
        self.tokens: dict[str, Mapping[str, str]] = {}  # and the permissions of each
        self.approvals: dict[str, list[dict[str, Any]]] = {}  # by run
        self.workspace = self.work / REPOSITORY / REPOSITORY  # the same for every job
        (self.work / "home").mkdir(parents=True, exist_ok=True)

    @contextmanager
    def serve(self) -> Iterator[GitHub]:
        """Answer at an address of its own meanwhile, as https://api.github.com would."""

        def respond(request: Request) -> Answer:
            status, body = self.answer(request.path, request.headers.get("Authorization", ""))
            kind = {"content-type": "application/json; charset=utf-8"}
            return Answer(status, json.dumps(body).encode(), kind)

        with http_server(respond) as address:
            self.api = address
            yield self

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        """Return what the API answers to a GET: the review history of a run, and nothing else."""
        permissions = self.tokens.get(authorization.removeprefix("Bearer "))
        found = re.fullmatch(rf"/repos/{OWNER}/{REPOSITORY}/actions/runs/(\d+)/approvals", path)
        if permissions is None:
            return 401, {"message": "Bad credentials"}
        if found is None:
            return 404, {"message": "Not Found"}
        if permissions.get("actions") not in ("read", "write"):
            return 403, {"message": "Resource not accessible by integration"}
        return 200, self.approvals.get(found[1], [])

    def run(
        self,
        file: str,
        event: str,
        *,
        actor: str,
        ref: str = "refs/heads/main",
        fork: bool = False,
        passed: Iterable[str] = (),
    ) -> dict[str, Job]:
        """Run a workflow for an event, and return its jobs.

        Of a pull request, ``ref`` is the branch that it wants to be merged. The jobs that are
        ``passed`` are not run, but count as done.
        """
        self.runs += 1
        sha, base = self._commit(ref), self._commit("refs/heads/main")
        text = self._git("show", f"{sha}:.github/workflows/{file}")
        self.last = Run(self, yaml.safe_load(text), event, actor, ref, sha, base, fork)
        self.last.done = {name: Job("success") for name in passed}
        return self.last.jobs()

    def run_failed_again(self, actor: str) -> dict[str, Job]:
        """Do what the button "Re-run failed jobs" does to the last run."""
        self.last.github |= {"run_attempt": "2", "triggering_actor": actor}
        return self.last.jobs()

    def review(self, run: str, environment: str) -> None:
        """Let the reviewer of a protected environment approve, as people do on the web page."""
        login = self.reviewers[environment]
        self.approvals.setdefault(run, []).append(
            {
                "state": "approved",
                "comment": "Ship it!",
                "environments": [{"id": 161088068, "name": environment}],
                "user": {"login": login, "id": 1, "type": "User", "site_admin": False},
            }
        )

    def _commit(self, ref: str) -> str:
        return self._git("rev-parse", ref).strip()

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(self.bare), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Run:
    """One run of a workflow."""

    def __init__(
        self,
        world: GitHub,
        workflow: dict[Any, Any],
        event: str,
        actor: str,
        ref: str,
        sha: str,
        base: str,
        fork: bool,
    ) -> None:
        known(workflow, WORKFLOW_KEYS, "the workflow")
        triggers = workflow["on"] if "on" in workflow else workflow[True]  # so YAML 1.1 reads `on`
        if event not in triggers:
            raise Unsupported(f"the workflow does not run on {event}")
        self.world, self.workflow, self.fork = world, workflow, fork
        self.id = str(15_000_000_000 + world.runs)
        self.folder = world.work / self.id
        (self.folder / "artifacts").mkdir(parents=True)
        self.done: dict[str, Job] = {}
        pull = event == "pull_request"
        payload: dict[str, Any] = {}
        if pull:
            head = {"sha": sha, "ref": ref.removeprefix("refs/heads/"), "repo": {"fork": fork}}
            payload["pull_request"] = {"base": {"sha": base, "ref": "main"}, "head": head}
        elif event == "push":
            assert ref.removeprefix("refs/heads/") in triggers["push"]["branches"]
            payload |= {"ref": ref, "after": sha, "pusher": {"name": actor}}
        self.github: dict[str, Any] = {
            "actor": actor,
            "api_url": world.api,
            "base_ref": "main" if pull else "",
            "event": payload,
            "event_name": event,
            "head_ref": ref.removeprefix("refs/heads/") if pull else "",
            "ref": "refs/pull/1/merge" if pull else ref,
            "ref_name": "1/merge" if pull else ref.removeprefix("refs/heads/"),
            "ref_type": "branch",
            "repository": f"{OWNER}/{REPOSITORY}",
            "repository_owner": OWNER,
            "run_attempt": "1",
            "run_id": self.id,
            "run_number": str(world.runs),
            "server_url": "https://github.com",
            "sha": sha,
            "triggering_actor": actor,
            "workflow": workflow.get("name", ""),
            "workspace": str(world.workspace),
        }

    def jobs(self) -> dict[str, Job]:
        """Run every job, in the order of `needs`, that has not succeeded yet."""
        contexts = {"github": self.github, "inputs": {}, "vars": {}}
        interpolate(self.workflow.get("concurrency", {}).get("group"), contexts, {})
        done = {name: job for name, job in self.done.items() if job.result == "success"}
        waiting = {name: job for name, job in self.workflow["jobs"].items() if name not in done}
        while waiting:
            name = next(n for n, job in waiting.items() if set(listed(job.get("needs"))) <= {*done})
            done[name] = self._job(name, waiting.pop(name), done)
        self.done = done
        return done

    def _job(self, name: str, job: dict[str, Any], done: Mapping[str, Job]) -> Job:
        known(job, JOB_KEYS, f"the job {name}")
        needs = listed(job.get("needs"))
        results = {done[need].result for need in needs}
        contexts: dict[str, Any] = {
            "github": self.github,
            "inputs": {},
            "vars": {},
            "needs": {n: {"result": done[n].result, "outputs": done[n].outputs} for n in needs},
        }
        status = {
            "success": lambda: results <= {"success"},
            "failure": lambda: "failure" in results,
            "always": lambda: True,
            "cancelled": lambda: False,
        }
        if not condition(job.get("if"), contexts, status):
            return Job("skipped")
        environment = job.get("environment", "")
        if not isinstance(environment, str):
            environment = environment["name"]
        if environment in self.world.reviewers:
            if not self.world.reviewers[environment]:
                return Job("waiting")
            self.world.review(self.id, environment)
        return Worker(self, name, job, contexts, environment).work()


class Worker:
    """A virtual machine of its own for one job: nothing of another's is there."""

    def __init__(
        self,
        run: Run,
        name: str,
        job: dict[str, Any],
        contexts: dict[str, Any],
        environment: str,
    ) -> None:
        self.run, self.world, self.job = run, run.world, job
        self.folder = run.folder / name
        self.workspace = self.world.workspace
        self.temp = self.world.work / "_temp"
        for place in (self.workspace, self.temp):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        self.folder.mkdir(exist_ok=True)
        self.tracking = f"github_{secrets.token_hex(8)}"
        token = f"ghs_{secrets.token_hex(16)}"
        # What is not named there is not given; permissions of the job replace the workflow's.
        self.world.tokens[token] = job.get("permissions", run.workflow.get("permissions", {}))
        given = {} if run.fork else self.world.secrets.get(environment, {})
        self.contexts: dict[str, Any] = {
            **contexts,
            "github": {**run.github, "job": name, "token": token},
            "secrets": {**given, "GITHUB_TOKEN": token},
            "runner": {"os": "Linux", "arch": "X64", "temp": str(self.temp), "name": "runner"},
            "job": {"status": "success"},
            "steps": {},
        }
        self.path: list[str] = []
        self.own: dict[str, str] = {}  # what steps added through GITHUB_ENV
        self.result = Job("success")
        self.later: list[Callable[[], None]] = []
        for holder in (run.workflow, job):
            self._add_env(self.own, holder.get("env"))
        concurrency = job.get("concurrency", {})
        self._fill(concurrency if isinstance(concurrency, str) else concurrency.get("group"))

    def work(self) -> Job:
        """Run the steps; whatever they left running is ended, as GitHub does."""
        try:
            for number_, step in enumerate(self.job["steps"]):
                done = self._step(number_, step)
                self.result.steps.append(done)
                if done.conclusion == "failure":
                    self.result.result = self.contexts["job"]["status"] = "failure"
            for action in self.later:
                action()
            for name, value in self.job.get("outputs", {}).items():
                self.result.outputs[name] = shown(self._fill(value))
        finally:
            self._end_orphans()
        return self.result

    def _step(self, number_: int, step: dict[str, Any]) -> Step:
        known(step, STEP_KEYS, "a step")
        name = str(step.get("name") or step.get("uses", "").partition("@")[0] or step["run"])
        variables = dict(self.own)
        self._add_env(variables, step.get("env"))
        self.contexts["env"] = variables
        if not condition(step.get("if"), self.contexts, self._functions()):
            done = Step(name, "skipped")
        else:
            start = time.monotonic()
            done = Step(name, "success", forgiven=bool(self._fill(step.get("continue-on-error"))))
            try:
                if "uses" in step:
                    self._use(step, done)
                else:
                    more = self.world.of_step.get(name, {})
                    self._run(number_, step, done, variables | more)
            except (subprocess.SubprocessError, OSError, ActionFailed) as error:
                done.outcome, done.log = "failure", f"{done.log}{error}\n"
            done.seconds = time.monotonic() - start
        if "id" in step:
            self.contexts["steps"][step["id"]] = {
                "outputs": done.outputs,
                "outcome": done.outcome,
                "conclusion": done.conclusion,
            }
        return done

    def _run(self, number_: int, step: dict[str, Any], done: Step, own: dict[str, str]) -> None:
        defaults = {
            **self.run.workflow.get("defaults", {}).get("run", {}),
            **self.job.get("defaults", {}).get("run", {}),
        }
        shell = step.get("shell", defaults.get("shell"))
        if shell not in SHELLS:
            raise Unsupported(f"the shell {shell}")
        files = {
            name: self.temp / f"{name}_{number_}"
            for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        }
        for file in files.values():
            file.touch()
        script = self.temp / f"{number_}.sh"
        script.write_text(str(self._fill(step["run"])), encoding="utf-8")
        done.variables = self._variables() | own | {k: str(path) for k, path in files.items()}
        folder = step.get("working-directory", defaults.get("working-directory", "."))
        log = self.folder / f"{number_}.log"
        limit = 60 * float(step.get("timeout-minutes", self.job.get("timeout-minutes", 360)))
        with log.open("wb") as output:
            process = subprocess.Popen(
                SHELLS[shell].replace("{0}", str(script)).split(),
                cwd=self.workspace / str(self._fill(folder)),
                env=done.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(min(limit, LONGEST))
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        done.log = log.read_text(encoding="utf-8", errors="replace")
        done.outcome = "success" if code == 0 else "failure"
        done.outputs |= pairs(files["GITHUB_OUTPUT"])
        self.own |= pairs(files["GITHUB_ENV"])
        self.path = files["GITHUB_PATH"].read_text().split() + self.path
        self.result.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")

    def _use(self, step: dict[str, Any], done: Step) -> None:
        action = step["uses"].partition("@")[0]
        if action not in ACTIONS:
            raise Unsupported(f"the action {action}")
        stand_in, inputs = ACTIONS[action]
        known(step.get("with", {}), inputs, action)
        given = {key: shown(self._fill(value)) for key, value in step.get("with", {}).items()}
        done.outputs |= stand_in(self, given) or {}

    def _variables(self) -> dict[str, str]:
        context = self.contexts["github"]
        upper = {
            f"GITHUB_{key.upper()}": value for key, value in context.items() if type(value) is str
        }
        del upper["GITHUB_TOKEN"]  # a step gets it only where it asks for it
        event = self.temp / "event.json"
        event.write_text(json.dumps(context["event"]), encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if KEPT.fullmatch(key)}
        return {
            **kept,
            "HOME": str(self.world.work / "home"),
            "PATH": os.pathsep.join([*self.path, kept["PATH"]]),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(event),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_TRACKING_ID": self.tracking,
            **upper,
            **self.world.variables,
        }

    def _functions(self) -> dict[str, Callable[..., Any]]:
        def failed() -> bool:
            return bool(self.contexts["job"]["status"] == "failure")

        return {
            "success": lambda: not failed(),
            "failure": failed,
            "always": lambda: True,
            "cancelled": lambda: False,
            "hashFiles": self._hash_files,
        }

    def _hash_files(self, *patterns: Any) -> str:
        files = {p for text in patterns for p in self.workspace.glob(shown(text)) if p.is_file()}
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in sorted(files)]
        return hashlib.sha256(b"".join(digests)).hexdigest() if digests else ""

    def _fill(self, value: Any) -> Any:
        return interpolate(value, self.contexts, self._functions())

    def _add_env(self, variables: dict[str, str], more: dict[str, Any] | None) -> None:
        filled = {key: shown(self._fill(value)) for key, value in (more or {}).items()}
        variables.update(filled)

    def _end_orphans(self) -> None:
        mark = f"RUNNER_TRACKING_ID={self.tracking}".encode()
        for how in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 20
            while (left := marked(mark)) and time.monotonic() < end:
                for process in left:
                    with suppress(ProcessLookupError):
                        os.kill(process, how)
                time.sleep(0.1)
        assert not marked(mark), "a process of the job cannot be ended"


class ActionFailed(Exception):
    """An action ended with an error, as the real one would."""


def checkout(worker: Worker, given: dict[str, str]) -> None:
    commit = given.get("ref") or worker.run.github["sha"]
    world, workspace = worker.world, worker.workspace
    for words in (
        ["init", "--quiet"],
        ["fetch", "--quiet", "--depth", "1", world.bare.as_uri(), commit],
        ["checkout", "--quiet", commit],
    ):
        subprocess.run(["git", "-C", str(workspace), *words], check=True)
    if world.python:
        link_environment(world.python, workspace / ".venv", world.command)


def link_environment(python: Path, venv: Path, command: str) -> None:
    """Make ``venv`` one that has the packages of another, and counts as set up for make."""
    shared = python.parents[1]
    (venv / "bin").mkdir(parents=True)
    shutil.copy(shared / "pyvenv.cfg", venv)
    for name in ("lib", "lib64"):
        if (shared / name).exists():
            (venv / name).symlink_to(shared / name)
    for file in (shared / "bin").iterdir():
        if file.name != command:
            (venv / "bin" / file.name).symlink_to(file)
    # The code of this checkout, whatever the shared environment has installed.
    script = f'#!/bin/sh\nexec "{venv}/bin/python" -m {command.replace("-", "_")} "$@"\n'
    (venv / "bin" / command).write_text(script)
    (venv / "bin" / command).chmod(0o755)
    for stamp in ("uv", "installed"):  # in the order in which make looks at their age
        (venv / stamp).touch()


def setup_python(worker: Worker, given: dict[str, str]) -> None:
    python = worker.world.python or Path(sys.executable)
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [str(python), "-c", code]
    here = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if here != given["python-version"]:
        raise Unsupported(f"the workflow asks for Python {given['python-version']}, here is {here}")


def cache(worker: Worker, given: dict[str, str]) -> dict[str, str]:
    """Bring back what stands under the key, or keep it once the job has succeeded."""
    path = worker.workspace / given["path"]
    if any(sign in given["path"] for sign in "~*\n"):
        raise Unsupported(f"a cache of {given['path']!r}")
    kept = worker.world.work / "caches" / hashlib.sha256(given["key"].encode()).hexdigest()
    hit = kept.exists()
    shutil.rmtree(path, ignore_errors=True)
    if hit:
        shutil.copytree(kept, path)

    def keep() -> None:
        if path.exists() and worker.result.result == "success":
            shutil.copytree(path, kept)

    if not hit:
        worker.later.append(keep)
    return {"cache-hit": str(hit).lower()}


def upload_artifact(worker: Worker, given: dict[str, str]) -> None:
    """Keep the files below the lowest folder that holds all paths; hidden ones are left out."""
    target = worker.run.folder / "artifacts" / given["name"]
    if target.exists():
        raise ActionFailed(f"an artifact {given['name']} exists")
    paths = [worker.workspace / line for line in given["path"].split()]
    if any(sign in given["path"] for sign in "*?[!~"):
        raise Unsupported(f"a pattern in {given['path']!r}")
    root = Path(os.path.commonpath(paths))
    root = root if len(paths) > 1 or root.is_dir() else root.parent
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    seen = [file for file in files if not any(p[0] == "." for p in file.relative_to(root).parts)]
    if not seen and given.get("if-no-files-found") == "error":
        raise ActionFailed(f"no files found at {given['path']}")
    for file in seen:
        place = target / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def download_artifact(worker: Worker, given: dict[str, str]) -> None:
    there = {path.name: path for path in (worker.run.folder / "artifacts").iterdir()}
    if "pattern" in given:
        if given.get("merge-multiple") != "true":
            raise Unsupported("a pattern without merge-multiple")
        names = fnmatch.filter(there, given["pattern"])  # none is no error
    elif (name := given["name"]) in there:
        names = [name]
    else:
        raise ActionFailed(f"there is no artifact {given['name']}")
    for name in names:
        shutil.copytree(there[name], worker.workspace, dirs_exist_ok=True)


StandIn = Callable[[Worker, dict[str, str]], dict[str, str] | None]
# Each with the inputs that it heeds.
ACTIONS: dict[str, tuple[StandIn, set[str]]] = {
    "actions/checkout": (checkout, {"persist-credentials", "ref"}),
    "actions/setup-python": (setup_python, {"python-version"}),
    "actions/cache": (cache, {"key", "path"}),
    "actions/upload-artifact": (
        upload_artifact,
        {"if-no-files-found", "name", "path", "retention-days"},
    ),
    "actions/download-artifact": (download_artifact, {"merge-multiple", "name", "pattern"}),
}


def condition(text: Any, contexts: Mapping[str, Any], functions: Mapping[str, Any]) -> bool:
    """Tell whether something runs; without a function of the status, only after success."""
    plain = re.sub(r"^\s*\$\{\{(.*)\}\}\s*$", r"\1", str(text), flags=re.DOTALL) if text else "true"
    wanted = truth(evaluate(plain, contexts, functions))
    return wanted and (bool(STATUS.search(plain)) or truth(functions["success"]()))


def known(mapping: Mapping[Any, Any], keys: set[Any], what: str) -> None:
    if unknown := set(mapping) - keys:
        raise Unsupported(f"{what} has {', '.join(sorted(map(str, unknown)))}")


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def pairs(file: Path) -> dict[str, str]:
    """Return what a step wrote into one of its files: ``name=value``, or a text between marks."""
    found, lines = {}, iter(file.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if several := re.fullmatch(r"([^=]+?)<<(.+)", line):
            found[several[1]] = "\n".join(iter(lambda: next(lines), several[2]))
        elif line:
            name, sign, found_value = line.partition("=")
            if not sign:
                raise ActionFailed(f"Unable to process file command: invalid format {line!r}")
            found[name] = found_value
    return found


def marked(mark: bytes) -> list[int]:
    """Return the processes that have a variable."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it ended, or is no process
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
