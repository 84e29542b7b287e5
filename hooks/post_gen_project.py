"""Pin the versions, create the experiments, start the git repository, say what comes next.

Cookiecutter deletes the project when this fails, so it never does: a step that cannot be done is
one line that says why, and the command that does it later.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# What only the experiments need is imported where they do: it costs half of a hook without them.

# Data, not code: JSON holds no three quotes in a row, and a raw string keeps its backslashes.
ANSWERS = r"""
{{ cookiecutter | tojson }}
"""
# Every wait has a limit, in seconds; uv may have to fetch MLflow first.
LOCK, IN_PYTHON, THROUGH_UV, THROUGH_REST, GIT, REQUEST, CONNECT = 120, 60, 120, 20, 60, 5, 3
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST)}
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
# Where an outer repository (a git hook that renders this template) would misdirect git.
GIT_PLACES = """
    GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
    GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX
"""
WHO = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
COMMIT = 'git add -A && git commit -m "First commit"'
IDENTIFY = 'git config --global user.name "You" && git config --global user.email you@example.com'
RESTORE = (
    "`mlflow experiments search --view deleted_only` shows their ids, `mlflow experiments restore"
    " --experiment-id ID` brings one back, `mlflow gc` removes them for good (or choose another"
    " project_slug); then `make experiments`"
)


class Left(Exception):
    """A step is left undone: why, and the remedy where that is not the step's own command."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class Unusable(Left):
    """This way to MLflow does not work here; another may."""


def pin(root: Path, answers: Mapping[str, Any]) -> str:
    """Write the exact versions into the environment files, after a fresh resolution if asked."""
    pins = practice(root, "environment.py")
    if answers["pins"] != "latest":
        pins["write_environments"](root)
        return "the tested versions"
    say("Pins: uv looks for the newest versions")
    try:
        pins["lock"](root, timeout=LOCK, upgrade=True)
    except (RuntimeError, OSError) as error:
        pins["write_environments"](root)
        raise Left(f"{error}; the tested versions are kept") from None
    return "the newest versions that resolve today"


def create_experiments(root: Path, answers: Mapping[str, Any]) -> str:
    """Create the experiments through the first way to MLflow that works here."""
    if not yes(answers["create_experiments"]):
        return ""
    check_listening(address(answers))
    reasons = []
    for command, seconds in ways(root, answers):
        try:
            states = ask(command, seconds, root)
        except Unusable as error:
            reasons.append(str(error))
            continue
        if deleted := [name for name, state in states.items() if state == "deleted"]:
            raise Left(f"deleted earlier, and left so: {', '.join(deleted)}", RESTORE)
        created = list(states.values()).count("created")
        return f"{created} created, {len(states) - created} were there already"
    raise Left("; ".join(reasons) or "this Python has no MLflow as locked, and uv is not installed")


def check_listening(uri: str) -> None:
    """Notice within seconds that a server is down: MLflow, or fetching it, takes longer."""
    import socket
    from urllib.request import getproxies

    ports = {"http": 80, "https": 443, "postgresql": 5432}
    try:
        parts = urlsplit(uri)
        scheme, host = parts.scheme.partition("+")[0], parts.hostname
        if host and scheme in ports and not (is_server(uri) and getproxies()):
            socket.create_connection((host, parts.port or ports[scheme]), CONNECT).close()
    except OSError as error:
        raise Left(f"nothing answers at {host} ({error})") from None
    except ValueError:
        raise Left("the tracking address is not valid") from None


def ways(root: Path, answers: Mapping[str, Any]) -> Iterator[tuple[list[str], int]]:
    """Yield commands that run this file where MLflow can be reached, with their time limits."""
    uri, program = address(answers), ["-B", "-P", __file__]
    pins = practice(root, "environment.py")["read_pins"](root / "requirements.txt")
    locked = next(pin for pin in pins if pin.startswith("mlflow==")).removeprefix("mlflow==")
    if has_mlflow(locked.split(";")[0].strip(), uri):
        yield [sys.executable, *program, "mlflow"], IN_PYTHON
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if uv := shutil.which("uv", path=os.pathsep.join(places)):
        say("Experiments: uv fetches MLflow for them, unless its cache has it")
        # On the Python at hand, though the project's own may be newer: uv would download that.
        command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
        command += ["--with-requirements", "requirements.txt", "python"]
        yield [*command, *program, "mlflow"], THROUGH_UV
    if is_server(uri):
        yield [sys.executable, *program, "rest"], THROUGH_REST


def has_mlflow(locked: str, uri: str) -> bool:
    """Tell whether this interpreter may write to the store.

    Another minor version would make SQLite tables that the project's MLflow cannot open; behind
    a server any of the same major version will do.
    """
    from importlib import metadata, util

    try:
        version = metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        return False
    depth = 1 if is_server(uri) else 2
    fits = version.split(".")[:depth] == locked.split(".")[:depth]
    return fits and (not uri.startswith("postgresql") or util.find_spec("psycopg") is not None)


def ask(command: list[str], seconds: int, root: Path) -> dict[str, str]:
    """Return the state of each experiment, which stands in the last line of the output."""
    fixed = {"PYTHONPATH": str(root / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    _, output, complaint = run(command, seconds, root, {**PATIENCE, **os.environ, **fixed})
    try:
        answer = json.loads(last_line(output))
    except ValueError:
        raise Unusable(f"{Path(command[0]).name} said: {last_line(complaint)}") from None
    if "refused" in answer:
        raise Left(answer["refused"])
    return dict(answer["states"])


def through_mlflow(root: Path, answers: Mapping[str, Any]) -> dict[str, str]:
    """Let the project's own code create the experiments."""
    experiments, store = (
        import_module(f"mlflow_practices.tracking.{name}") for name in ("experiments", "store")
    )
    uri = store.resolve_uri(answers["tracking_uri"], root)
    try:
        return dict(experiments.create_experiments(answers["project_slug"], uri, version(answers)))
    except store.StoreError as error:
        raise Left(str(error)) from None
    except Exception as error:  # noqa: BLE001 - MLflow lets through what its store raises
        raise Left(f"{type(error).__name__}: {error}") from None


def through_rest(root: Path, answers: Mapping[str, Any]) -> dict[str, str]:
    """Create the experiments with the standard library alone."""
    tracking = practice(root, "tracking/__init__.py")
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
            raise Left(f"the server answered {code}")
    return states


def call(uri: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the server's answer, also when it is one of MLflow's error codes."""
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
            # Unredirected: another host, to which the server may point, must not see them.
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
        raise Left(f"the server answered HTTP {error.code} ({text[:60]}){advice}") from None
    except (OSError, ValueError, TypeError, HTTPException) as error:
        raise Left(f"the server gave no usable answer ({error})") from None


def authorization(userinfo: str) -> str:
    """Return the header for the credentials that MLflow itself would take."""
    from base64 import b64encode

    name, password, token = (
        os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD", "TOKEN")
    )
    if token and not (name and password):
        return f"Bearer {token}"
    pair = f"{name}:{password}" if name and password else userinfo
    return f"Basic {b64encode(pair.encode()).decode()}" if pair else ""


def start_repository(root: Path, answers: Mapping[str, Any]) -> str:
    """Start a repository on the branch main and commit all, where nothing stands in the way."""
    if not yes(answers["init_git"]):
        return ""
    remedy = f"git init -b main && {COMMIT}"
    if shutil.which("git") is None:
        raise Left("git is not installed", remedy)
    environment = {k: v for k, v in os.environ.items() if k not in GIT_PLACES.split()}

    def git(*arguments: str, **more: str) -> tuple[int, str, str]:
        # Otherwise git would make an address up from the names of user and machine.
        command = ["git", "-c", "user.useConfigOnly=true", *arguments]
        return run(command, GIT, root, {**environment, **more})

    code, top, complaint = git("rev-parse", "--show-toplevel", LC_ALL="C")
    if code == 0:
        return f"nothing done, this folder is already in the repository {top.strip()}"
    if "not a git repository" not in complaint:
        raise Left(last_line(complaint), remedy)
    # Not `init -b main`, which git before 2.28 does not know. The user's own signing and hooks
    # are respected: they may refuse the commit, but not wait for ever.
    for step in (
        ["init", "--quiet"],
        ["symbolic-ref", "HEAD", "refs/heads/main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", f"Start from cookiecutter-mlflow {version(answers)}"],
    ):
        code, output, complaint = git(*step)
        if code != 0 and step[0] == "commit" and any(git("var", who)[0] for who in WHO):
            raise Left("no commit, git does not know who you are", f"{IDENTIFY} && {COMMIT}")
        if code != 0:
            raise Left(f"git {step[0]} said: {last_line(complaint or output)}", remedy)
        remedy = COMMIT
    return "a new repository with a first commit"


def run(
    command: list[str], seconds: int, root: Path, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Return exit code, output and errors; when time is over, end all that the command started.

    The output goes to files: a daemon that the command leaves behind would keep a pipe open.
    """
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
        # Not wait(seconds), which polls, and so doubles the time that git takes.
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
            raise Unusable(f"{Path(command[0]).name} did not finish within {seconds} s")
        for file in (output, errors):
            file.seek(0)
        texts = [file.read().decode(errors="replace") for file in (output, errors)]
        return process.returncode, texts[0], texts[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children (uv's Python is not uv), letting git remove its locks."""
    if sys.platform == "win32":
        kill = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(kill, capture_output=True, check=False)
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(OSError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)


def practice(root: Path, name: str) -> dict[str, Any]:
    """Return what one file of the practices defines; it needs the standard library only."""
    return run_path(str(root / "src" / "mlflow_practices" / name))


def address(answers: Mapping[str, Any]) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or str(answers["tracking_uri"])


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def version(answers: Mapping[str, Any]) -> str:
    return str(answers["_template_version"])


def yes(answer: object) -> bool:
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
    """Print what every console can print, and everybody may read."""
    try:
        print(masked(text).encode("ascii", "backslashreplace").decode(), flush=True)
    except (OSError, ValueError):
        # The reader is gone. Python would exit with 120 for it, and the project be deleted.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def next_commands(root: Path) -> str:
    """Say what to type now; the shell's folder is in PWD, Cookiecutter has changed its own."""
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
        return be_asked(sys.argv[1], root, answers)
    # The practices are copied as they are; what their own tests left beside them is not theirs.
    for cache in list((root / "src").rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)
    for title, step, command in STEPS:
        try:
            line = step(root, answers)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - see the top
            reason = str(error) if isinstance(error, Left) else f"{type(error).__name__} {error}"
            remedy = getattr(error, "remedy", "") or command
            # Masked before it is cut: half a password is one too.
            line = f"left undone: {' '.join(masked(reason).split())[:400]}. Later: {remedy}"
        if line:
            say(f"{title}: {line}")
    say(next_commands(root))
    return 0


def be_asked(way: str, root: Path, answers: Mapping[str, Any]) -> int:
    """Be the process that create_experiments asks."""
    work = through_rest if way == "rest" else through_mlflow
    try:
        print(f"\n{json.dumps({'states': work(root, answers)})}")
    except Left as error:
        print(f"\n{json.dumps({'refused': str(error)})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
