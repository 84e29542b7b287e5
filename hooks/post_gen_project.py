"""Pin the versions, create the experiments, start the git repository, and print the next commands.

Cookiecutter deletes the project when this hook fails, so it never fails. A step that cannot be done
is skipped with one line: the reason, and the command to run later.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

# What not every step needs is imported in the functions: these imports take half of the time.
if TYPE_CHECKING:
    import subprocess

# Data, not code: JSON holds no three quotes in a row, and a raw string keeps its backslashes.
ANSWERS = r"""
{{ cookiecutter | tojson }}
"""
# Every wait has a limit in seconds. uv may have to download MLflow first.
LOCK, IN_PYTHON, THROUGH_UV, THROUGH_REST, GIT, REQUEST, CONNECT = 120, 60, 120, 20, 60, 5, 3
MLFLOW_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST),
}
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
# Variables of an outer repository (a git hook that renders this template), which misdirect git.
GIT_VARIABLES = """
    GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
    GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX
"""
GIT_IDENTITIES = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
COMMIT = 'git add -A && git commit -m "First commit"'
IDENTIFY = 'git config --global user.name "You" && git config --global user.email you@example.com'
RESTORE = (
    "`mlflow experiments search --view deleted_only` shows their ids, `mlflow experiments restore"
    " --experiment-id ID` brings one back, `mlflow gc` removes them permanently (or choose another"
    " project_slug); then `make experiments`"
)


class StepSkipped(Exception):
    """A step cannot be done; ``remedy`` is what to do later, by default the step's own command."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class MethodUnavailable(StepSkipped):
    """This way to reach MLflow does not work here; another one may."""


def pin(root: Path, answers: Mapping[str, Any]) -> str:
    """Write the exact versions into the environment files, after a fresh resolution if asked."""
    pins = load_practice(root, "environment.py")
    if answers["pins"] != "latest":
        pins["write_environments"](root)
        return "the tested versions"
    say("Pins: uv looks for the newest versions")
    try:
        pins["lock"](root, timeout=LOCK, upgrade=True)
    except (RuntimeError, OSError) as error:
        pins["write_environments"](root)
        raise StepSkipped(f"{error}; the tested versions are kept") from None
    return "the newest versions that work together"


def create_experiments(root: Path, answers: Mapping[str, Any]) -> str:
    """Create the experiments in the first way that works here."""
    if not is_true(answers["create_experiments"]):
        return ""
    check_listening(address(answers))
    reasons = []
    for command, seconds in commands(root, answers):
        try:
            states = run_itself(command, seconds, root)
        except MethodUnavailable as error:
            reasons.append(str(error))
            continue
        if deleted := [name for name, state in states.items() if state == "deleted"]:
            raise StepSkipped(f"these were deleted earlier: {', '.join(deleted)}", RESTORE)
        created = list(states.values()).count("created")
        return f"{created} created, {len(states) - created} already existed"
    raise StepSkipped(
        "; ".join(reasons)
        or "this Python does not have the locked version of MLflow, and uv is not installed"
    )


def check_listening(uri: str) -> None:
    """Find out quickly that a server is down: MLflow itself takes much longer."""
    import socket
    from urllib.request import getproxies

    ports = {"http": 80, "https": 443, "postgresql": 5432}
    try:
        parts = urlsplit(uri)
        scheme, host = parts.scheme.partition("+")[0], parts.hostname
        if host and scheme in ports and not (is_server(uri) and getproxies()):
            socket.create_connection((host, parts.port or ports[scheme]), CONNECT).close()
    except OSError as error:
        raise StepSkipped(f"nothing answers at {host} ({error})") from None
    except ValueError:
        raise StepSkipped("the tracking address is not valid") from None


def commands(root: Path, answers: Mapping[str, Any]) -> Iterator[tuple[list[str], int]]:
    """Yield commands that run this file in an environment that reaches MLflow, with time limits."""
    uri, program = address(answers), ["-B", "-P", __file__]
    pins = load_practice(root, "environment.py")["read_pins"](root / "requirements.txt")
    locked = next(pin for pin in pins if pin.startswith("mlflow==")).removeprefix("mlflow==")
    if has_mlflow(locked.split(";")[0].strip(), uri):
        yield [sys.executable, *program, "mlflow"], IN_PYTHON
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    uv, make = (shutil.which(tool, path=os.pathsep.join(places)) for tool in ("uv", "make"))
    if uv and make and os.name == "posix":
        say(
            "Experiments: `make setup` installs MLflow into .venv, where the project needs it anyway"
        )
        script = 'make --silent setup >&2 && exec .venv/bin/python "$@"'
        yield ["sh", "-c", script, "sh", *program, "mlflow"], THROUGH_UV
    elif uv:
        say("Experiments: uv provides MLflow, from its cache or the package index")
        # With this Python, even if the project asks for a newer one: uv would download that.
        command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
        command += ["--with-requirements", "requirements.txt", "python"]
        yield [*command, *program, "mlflow"], THROUGH_UV
    if is_server(uri):
        yield [sys.executable, *program, "rest"], THROUGH_REST


def has_mlflow(locked: str, uri: str) -> bool:
    """Return whether this interpreter's MLflow may write to the store.

    Another minor version would create SQLite tables that the project's MLflow cannot open. For a
    server, the same major version is enough.
    """
    from importlib import metadata, util

    try:
        version = metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        return False
    depth = 1 if is_server(uri) else 2
    fits = version.split(".")[:depth] == locked.split(".")[:depth]
    return fits and (not uri.startswith("postgresql") or util.find_spec("psycopg") is not None)


def run_itself(command: list[str], seconds: int, root: Path) -> dict[str, str]:
    """Run this file as a child; return each experiment's state, from the last line of its output."""
    fixed = {"PYTHONPATH": str(root / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    _, output, complaint = run(command, seconds, root, {**MLFLOW_LIMITS, **os.environ, **fixed})
    try:
        answer = json.loads(last_line(output))
    except ValueError:
        program = "make setup" if command[0] == "sh" else Path(command[0]).name
        # The last line of make itself only says that it failed.
        reason = "\n".join(line for line in complaint.splitlines() if line[:4] != "make")
        raise MethodUnavailable(f"{program} printed: {last_line(reason)}") from None
    if "refused" in answer:
        raise StepSkipped(answer["refused"])
    return dict(answer["states"])


def through_mlflow(root: Path, answers: Mapping[str, Any]) -> dict[str, str]:
    """Create the experiments with the project's own code."""
    experiments, store = (
        import_module(f"mlflow_practices.tracking.{name}") for name in ("experiments", "store")
    )
    try:
        client = store.open_store(store.resolve_uri(answers["tracking_uri"], root))
        return dict(experiments.create_experiments(client, answers["project_slug"]))
    except store.StoreError as error:
        raise StepSkipped(str(error)) from None
    except Exception as error:  # noqa: BLE001 - MLflow does not wrap the errors of its store
        raise StepSkipped(f"{type(error).__name__}: {error}") from None


def through_rest(root: Path, answers: Mapping[str, Any]) -> dict[str, str]:
    """Create the experiments with the standard library alone."""
    tracking = load_practice(root, "tracking/__init__.py")
    uri, project, states = address(answers), answers["project_slug"], {}
    for phase in tracking["PHASES"]:
        name = tracking["experiment_name"](project, phase)
        tags = tracking["experiment_tags"](project, phase, version(answers))
        pairs = [{"key": key, "value": value} for key, value in tags.items()]
        code = call(uri, "create", {"name": name, "tags": pairs}).get("error_code")
        states[name] = "created"
        if code == "RESOURCE_ALREADY_EXISTS":
            known = call(uri, f"get-by-name?experiment_name={quote(name, safe='')}")
            stage = known.get("experiment", {}).get("lifecycle_stage")
            states[name] = "deleted" if stage == "deleted" else "exists"
        elif code:
            raise StepSkipped(f"the server answered {code}")
    return states


def call(uri: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the server's answer, which may be one of MLflow's error codes."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    scheme, _, rest = uri.partition("://")
    userinfo, _, place = rest.rpartition("@")
    try:
        url = f"{scheme}://{place.rstrip('/')}/api/2.0/mlflow/experiments/{path}"
        request = Request(url, json.dumps(body).encode() if body else None)
        request.add_header("Content-Type", "application/json")
        if credentials := authorization(unquote(userinfo)):
            # Not sent to another host that the server may redirect to.
            request.add_unredirected_header("Authorization", credentials)
        with urlopen(request, timeout=REQUEST) as response:
            return dict(json.load(response))
    except HTTPError as error:
        text = ""
        with suppress(OSError, HTTPException):
            text = error.read(10_000).decode(errors="replace")
        with suppress(ValueError, TypeError, LookupError):
            return {"error_code": json.loads(text)["error_code"]}
        account = ", set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        advice = account if error.code in (401, 403) else ""
        raise StepSkipped(f"the server answered HTTP {error.code} ({text[:60]}){advice}") from None
    except (OSError, ValueError, TypeError, HTTPException) as error:
        raise StepSkipped(f"the server gave no usable answer ({error})") from None


def authorization(userinfo: str) -> str:
    """Return the header with the credentials that MLflow itself would use."""
    from base64 import b64encode

    name, password, token = (
        os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD", "TOKEN")
    )
    if token and not (name and password):
        return f"Bearer {token}"
    pair = f"{name}:{password}" if name and password else userinfo
    return f"Basic {b64encode(pair.encode()).decode()}" if pair else ""


def start_repository(root: Path, answers: Mapping[str, Any]) -> str:
    """Start a repository on the branch main, and commit all files."""
    if not is_true(answers["init_git"]):
        return ""
    remedy = f"git init -b main && {COMMIT}"
    if shutil.which("git") is None:
        raise StepSkipped("git is not installed", remedy)
    environment = {k: v for k, v in os.environ.items() if k not in GIT_VARIABLES.split()}

    def git(*arguments: str, **more: str) -> tuple[int, str, str]:
        # Otherwise git invents an address from the names of the user and the machine.
        command = ["git", "-c", "user.useConfigOnly=true", *arguments]
        return run(command, GIT, root, {**environment, **more})

    code, top, complaint = git("rev-parse", "--show-toplevel", LC_ALL="C")
    if code == 0:
        return f"not needed, this folder is already in the repository {top.strip()}"
    if "not a git repository" not in complaint:
        raise StepSkipped(last_line(complaint), remedy)
    # Not `init -b main`, which git before 2.28 does not know. The user's own signing and hooks
    # are used: they may refuse the commit; if they wait, the time limit ends them.
    for step in (
        ["init", "--quiet"],
        ["symbolic-ref", "HEAD", "refs/heads/main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", f"Start from cookiecutter-mlflow {version(answers)}"],
    ):
        code, output, complaint = git(*step)
        if code != 0 and step[0] == "commit" and any(git("var", who)[0] for who in GIT_IDENTITIES):
            raise StepSkipped("no commit, git does not know who you are", f"{IDENTIFY} && {COMMIT}")
        if code != 0:
            raise StepSkipped(f"git {step[0]} printed: {last_line(complaint or output)}", remedy)
        remedy = COMMIT
    return "a new repository with a first commit"


def run(
    command: list[str], seconds: int, root: Path, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Return exit code, output and errors; after the time limit, end the command and its children.

    The output goes to files, because a daemon that the command starts would keep a pipe open.
    """
    import subprocess
    import tempfile
    import threading
    import time

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        # Not wait(seconds): it polls, which doubles the time that git takes.
        alarm, start = threading.Timer(seconds, end, [process]), time.monotonic()
        alarm.start()
        try:
            process.wait()
        finally:
            alarm.cancel()
            if process.poll() is None:
                end(process)
            alarm.join()
        if time.monotonic() - start >= seconds:
            raise MethodUnavailable(f"{Path(command[0]).name} did not finish within {seconds} s")
        for file in (output, errors):
            file.seek(0)
        texts = [file.read().decode(errors="replace") for file in (output, errors)]
        return process.returncode, texts[0], texts[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children; SIGTERM first, so that git removes its locks."""
    import signal
    import subprocess

    if sys.platform == "win32":
        kill = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(kill, capture_output=True, check=False)
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(OSError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)


def load_practice(root: Path, name: str) -> dict[str, Any]:
    """Run one file of the practices, which needs only the standard library; return its names."""
    return run_path(str(root / "src" / "mlflow_practices" / name))


def address(answers: Mapping[str, Any]) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or str(answers["tracking_uri"])


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def version(answers: Mapping[str, Any]) -> str:
    return str(answers["_template_version"])


def is_true(answer: object) -> bool:
    return str(answer).lower() == "true"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1].strip()


def masked(text: str) -> str:
    """Return ``text`` without credentials."""
    for secret in filter(None, map(os.environ.get, SECRETS)):
        text = text.replace(secret, "***")
    text = re.sub(r"//\S*@", "//***@", text)
    return re.sub(r"(?i)((passw|token|secret)[^\s=]*=)[^\s&]+", r"\1***", text)


def say(text: str) -> None:
    """Print text without credentials, in ASCII, which every console can show."""
    try:
        print(masked(text).encode("ascii", "backslashreplace").decode(), flush=True)
    except (OSError, ValueError):
        # The reader is gone. Python would exit with 120, and Cookiecutter delete the project.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def next_commands(root: Path) -> str:
    """Return the next commands. Cookiecutter has changed the folder; the shell's own is in PWD."""
    here = os.environ.get("PWD", "")
    folder = os.path.relpath(root, here) if here and root.is_relative_to(here) else str(root)
    folder = f'"{folder}"' if os.name == "nt" else shlex.quote(folder)
    return f"Next:\n  cd {folder}\n  make run\n  make test"


STEPS = (
    ("Pins", pin, "make lock"),
    ("Experiments", create_experiments, "make experiments"),
    ("Git", start_repository, COMMIT),
)


def main() -> int:
    answers, root = json.loads(ANSWERS.strip()), Path.cwd()
    if sys.argv[1:]:
        return run_as_child(sys.argv[1], root, answers)
    # The practices are copied as they are, so also the bytecode that their tests may have left.
    for cache in list((root / "src").rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)
    for title, step, command in STEPS:
        try:
            line = step(root, answers)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - see the top
            reason = (
                str(error) if isinstance(error, StepSkipped) else f"{type(error).__name__} {error}"
            )
            remedy = getattr(error, "remedy", "") or command
            # Masked before it is cut: half a password is secret, too.
            line = f"skipped: {' '.join(masked(reason).split())[:400]}. To do it later: {remedy}"
        if line:
            say(f"{title}: {line}")
    say(next_commands(root))
    return 0


def run_as_child(method: str, root: Path, answers: Mapping[str, Any]) -> int:
    """Create the experiments in the process that `run_itself` starts, and print the result."""
    work = through_rest if method == "rest" else through_mlflow
    try:
        print(f"\n{json.dumps({'states': work(root, answers)})}")
    except StepSkipped as error:
        print(f"\n{json.dumps({'refused': str(error)})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
