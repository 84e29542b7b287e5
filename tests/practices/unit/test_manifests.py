"""A container is told what the settings say, and no credential is written down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import mlflow_practices.config.settings as config
from mlflow_practices.config import layers
from mlflow_practices.serving import app, cache, alias_follower
from mlflow_practices.deployment import manifests

DOCKERFILE = Path(__file__).parents[2] / "deploy/Dockerfile"
SECRETS = {
    "MLFLOW_TRACKING_URI": "https://mlflow.example.com",
    "MLFLOW_TRACKING_USERNAME": "ann",
    "MLFLOW_TRACKING_PASSWORD": "swordfish",
    "REDIS_URL": "redis://:sesame@redis.example.com",
    "PSEUDONYM_KEY": "0123456789abcdef0123456789abcdef",
}
HOSTILE = (
    "serving.port=80 serving.host=0.0.0.0 serving.workers=5 serving.drain_seconds=90 "
    "serving.cache={mode: never, timeout_ms: 2.5} serving.log.sample=0 privacy.keep=[size, a$b] "
    "deployment.replicas=1 deployment.cpu=0.5 deployment.memory=1500Mi deployment.ready_seconds=7"
)


def compose(*overrides: str) -> dict[str, Any]:
    text = manifests.manifest(config.load_settings(overrides=overrides), "docker")
    return dict(yaml.safe_load(text))


def kubernetes(*overrides: str) -> dict[str, Any]:
    """Return the objects by their kind."""
    text = manifests.manifest(config.load_settings(overrides=overrides), "kubernetes")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def container(objects: dict[str, Any]) -> dict[str, Any]:
    [only] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def secrets(objects: dict[str, Any]) -> dict[str, bool]:
    """Return the variables that a pod takes from the Secret, and whether it starts without."""
    keys = [
        each["valueFrom"]["secretKeyRef"]
        for each in container(objects)["env"]
        if "valueFrom" in each
    ]
    return {each["key"]: each.get("optional", False) for each in keys}


@pytest.mark.usefixtures("project")
def test_a_container_gets_the_settings_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = config.load_settings(overrides=[HOSTILE])
    environment = compose(HOSTILE)["services"]["serving"]["environment"]
    told = {
        name: value.replace("$$", "$")
        for name, value in environment.items()
        if name.startswith(layers.PREFIX)
    }
    values = {each["name"]: each.get("value") for each in container(kubernetes(HOSTILE))["env"]}
    assert told.items() <= values.items()
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    there = config.load_settings()
    inside = {"host": given.serving.host, "port": given.serving.port}  # as the image has them
    assert there.serving.model_copy(update=inside) == given.serving
    assert there.privacy == given.privacy
    assert there.environment == "local"


@pytest.mark.usefixtures("project")
def test_the_settings_shape_both() -> None:
    serving = compose(HOSTILE)["services"]["serving"]
    assert serving["ports"] == [{"host_ip": "0.0.0.0", "published": "80", "target": 8000}]
    assert serving["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "1500m"}
    assert serving["stop_grace_period"] == "100s"
    objects = kubernetes(HOSTILE)
    assert objects["Deployment"]["spec"]["replicas"] == 1
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 105
    assert container(objects)["resources"]["limits"] == {"cpu": "0.5", "memory": "1500Mi"}
    startup = container(objects)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 7
    assert objects["Service"]["spec"]["ports"][0]["port"] == 80


@pytest.mark.usefixtures("project")
def test_no_credential_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = config.load_settings(overrides=["privacy.pseudonymise=[customer]"])
    for text in (
        manifests.manifest(settings, "docker"),
        manifests.manifest(settings, "kubernetes"),
    ):
        assert [name for name in SECRETS if name not in text] == []
        assert [value for value in SECRETS.values() if value in text] == []


@pytest.mark.usefixtures("project")
def test_only_what_the_server_needs_is_asked_for() -> None:
    assert secrets(kubernetes()) == {
        "MLFLOW_TRACKING_URI": False,
        "MLFLOW_TRACKING_USERNAME": True,
        "MLFLOW_TRACKING_PASSWORD": True,
        "REDIS_URL": True,
    }
    services = compose()["services"]
    assert services["serving"]["environment"]["MLFLOW_TRACKING_URI"].startswith("${")
    assert services["serving"]["environment"]["MLFLOW_TRACKING_PASSWORD"] is None
    assert "ports" not in services["cache"]

    known = "tracking.uri=https://mlflow.example.com privacy.pseudonymise=[customer]"
    asked = secrets(kubernetes(known, "serving.cache.mode=never"))
    assert asked["MLFLOW_TRACKING_URI"] is True
    assert asked["PSEUDONYM_KEY"] is False
    assert "REDIS_URL" not in asked
    services = compose(known, "serving.cache.mode=never")["services"]
    assert list(services) == ["serving"]
    assert services["serving"]["environment"]["MLFLOW_TRACKING_URI"] is None
    assert ":?" in services["serving"]["environment"]["PSEUDONYM_KEY"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["a" * 60, "9" * 60, "1-" + "-" * 58, "z" + "-" * 59])
def test_names_are_valid(name: str) -> None:
    for each in kubernetes(f"project.name={name!r}").values():
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])


@pytest.mark.usefixtures("project")
def test_an_image_that_exists_is_not_built() -> None:
    digest = f"deployment.image=registry.example.com:5000/team/it@sha256:{'0' * 64}"
    assert "build" not in compose(digest)["services"]["serving"]
    assert compose()["services"]["serving"]["build"]["dockerfile"] == "deploy/Dockerfile"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("serving.port=0", "serving.port: 0 is any free port; name the one to publish"),
        ("serving.host=localhost", "serving.host: no IP address"),
    ],
)
def test_what_cannot_be_published_is_refused(override: str, words: str) -> None:
    with pytest.raises(manifests.ManifestError, match=words):
        compose(override)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "override",
    [
        "deployment.image='a b'",
        "deployment.image=${HOME}",
        "deployment.replicas=0",
        "deployment.cpu=0",
        "deployment.memory=1G",
        "deployment.memory=0Mi",
    ],
)
def test_mistakes_are_named(override: str) -> None:
    with pytest.raises(layers.SettingsError, match=f"--set: {override.partition('=')[0]}: "):
        config.load_settings(overrides=[override])


@pytest.mark.usefixtures("project")
def test_the_image_and_the_server_are_what_the_manifests_expect() -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    said = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
    assert yaml.safe_load(said["HEALTHCHECK"].partition("CMD")[2])[2] == manifests.HEALTHY
    assert yaml.safe_load(said["CMD"])[1:] == [
        *("-m", layers.__package__, "serve"),
        *("--host", "0.0.0.0", "--port", str(manifests.PORT)),
    ]
    assert cache.VARIABLE == manifests.REDIS_URL
    assert said["USER"] == f"{manifests.USER}:{manifests.USER}"
    folders = re.findall(rf"{layers.PREFIX}SERVING__\w+=(\S+)", said["ENV"])
    assert [Path(folder).parent.as_posix() for folder in folders] == [manifests.STATE] * 2


def test_a_pod_without_a_model_gets_no_requests_and_is_not_killed(
    settings: config.Settings,
) -> None:
    server = app.Application(settings, alias_follower.Reference("example", "champion"))

    async def status(path: str) -> int:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        request = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
        }
        await server(request, receive, send)
        return int(sent[0]["status"])

    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    probes = [container(kubernetes())[kind]["httpGet"]["path"] for kind in kinds]
    assert [asyncio.run(status(path)) for path in probes] == [200, 200, 503]
