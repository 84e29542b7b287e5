"""What runs the image of deploy/Dockerfile, as YAML: a Compose file, or objects of Kubernetes.

Inside, the server listens on `PORT` and writes to `STATE` and /tmp alone; ``serving.port`` is the
port outside. Credentials are named, never written. Another model changes neither file: the server
follows its alias.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any, Literal

import yaml

from ..config import layers
from ..config.settings import Settings
from ..errors import PracticeError
from ..privacy import protection

PORT = 8000
USER = 10001
STATE = "/state"  # copies of the model, and the inference log
# A proxy that the environment names is not asked for this machine.
HEALTHY = (
    "from urllib.request import ProxyHandler, build_opener; "
    f"build_opener(ProxyHandler(dict())).open('http://127.0.0.1:{PORT}/health', timeout=4)"
)
PAUSE_SECONDS = 5  # until no node sends requests to a pod that ends
CLOSING_SECONDS = 10  # after the last answer, to write the inference log
REDIS_URL = "REDIS_URL"  # of `cache`, which takes seconds to import
CACHE = "valkey/valkey:9-alpine"
CACHE_MEMORY = "256mb"
READ = ("project.", "tracking.", "privacy.", "training.trusted_types", "serving.")
OF_THE_IMAGE = ("serving.host", "serving.port", "serving.local_copy", "serving.log.folder")


class ManifestError(PracticeError):
    """The settings cannot be deployed so; the message says what to change."""


def manifest(settings: Settings, target: Literal["docker", "kubernetes"]) -> str:
    """Return the YAML that runs the server with these settings.

    Raises:
        ManifestError: ``serving.port`` or ``serving.host`` cannot be published.
    """
    if not settings.serving.port:
        raise ManifestError("serving.port: 0 is any free port; name the one to publish")
    documents = [_compose(settings)] if target == "docker" else _kubernetes(settings)
    command = f"python -m {layers.__package__} manifests {target} --env {settings.environment}"
    return f"# Made by `{command}`: change the settings, not this.\n" + yaml.dump_all(
        documents, Dumper=_Plain, sort_keys=False, width=200
    )


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands twice twice."""
        return True


def _settings(settings: Settings) -> dict[str, str]:
    """Return what the image's configs/ do not say: the environment, and what replaces values."""
    return {layers.ENVIRONMENT: settings.environment} | {
        layers.PREFIX + key.upper().replace(".", "__"): json.dumps(value)
        for key, value in settings.flat().items()
        if key.startswith(READ) and key not in OF_THE_IMAGE
        if not settings.origin(key).startswith(("default", "configs/"))
    }


def _credentials(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Yield the variables that only the environment has, and whether the server needs each."""
    yield "MLFLOW_TRACKING_URI", not settings.tracking.uri.startswith("http")
    yield "MLFLOW_TRACKING_USERNAME", False
    yield "MLFLOW_TRACKING_PASSWORD", False
    if settings.privacy.pseudonymise:
        yield protection.KEY, True
    if settings.serving.cache.mode != "never":
        yield REDIS_URL, False


def _compose(settings: Settings) -> dict[str, Any]:
    serving, deployment = settings.serving, settings.deployment
    hardened = {
        "restart": "unless-stopped",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    # Without a value, Compose passes a variable on if it is set.
    environment: dict[str, str | None] = {
        name: value.replace("$", "$$") for name, value in _settings(settings).items()
    }
    for name, needed in _credentials(settings):
        environment[name] = "${" + name + ":?is not set; see .env.example}" if needed else None
    services: dict[str, Any] = {
        "serving": {
            "image": deployment.image,
            "build": {"context": ".", "dockerfile": "deploy/Dockerfile"},
            "environment": environment,
            "ports": [
                {"host_ip": _published_at(serving.host), "published": str(serving.port)}
                | {"target": PORT}
            ],
            "healthcheck": {
                "test": ["CMD", "python", "-c", HEALTHY],
                "interval": "10s",
                "timeout": "5s",
                "start_period": f"{deployment.ready_seconds}s",
            },
            "stop_grace_period": f"{serving.drain_seconds + CLOSING_SECONDS}s",
            "deploy": {
                "resources": {
                    "limits": {
                        "cpus": f"{deployment.cpu:g}",
                        "memory": deployment.memory.lower().removesuffix("i"),
                    }
                }
            },
            "volumes": [f"state:{STATE}"],
            **hardened,
        }
    }
    if "@" in deployment.image:  # that one exists already
        del services["serving"]["build"]
    if REDIS_URL in environment:
        environment[REDIS_URL] = "${REDIS_URL:-redis://cache:6379/0}"
        forgets = f"--maxmemory {CACHE_MEMORY} --maxmemory-policy allkeys-lru"
        services["cache"] = {
            "image": CACHE,
            "command": ["valkey-server", "--save", "", *forgets.split()],
            "user": f"{USER}:{USER}",
            **hardened,
        }
    return {"name": settings.project.name, "services": services, "volumes": {"state": None}}


def _published_at(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ManifestError(
            "serving.host: no IP address, at which alone a port can be published; write 127.0.0.1 "
            "for localhost"
        ) from None


def _kubernetes(settings: Settings) -> list[dict[str, Any]]:
    name = settings.project.name.strip("-")
    name = name if name[0].isalpha() else f"ml-{name}"  # as a Service's has to begin
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "serving"}

    def thing(version: str, kind: str, **content: Any) -> dict[str, Any]:
        named = {"name": name, "labels": labels}
        return {"apiVersion": version, "kind": kind, "metadata": named, **content}

    selector = {"matchLabels": labels}
    rolling = {"maxUnavailable": 0, "maxSurge": 1}
    port = {"name": "http", "port": settings.serving.port, "targetPort": "http"}
    return [
        thing("v1", "ServiceAccount", automountServiceAccountToken=False),
        thing(
            "apps/v1",
            "Deployment",
            spec={
                "replicas": settings.deployment.replicas,
                "selector": selector,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {"metadata": {"labels": labels}, "spec": _pod(settings, name)},
            },
        ),
        thing("v1", "Service", spec={"selector": labels, "ports": [port]}),
        # Of maxUnavailable, unlike minAvailable, a single replica does not stop a node's drain.
        thing(
            "policy/v1",
            "PodDisruptionBudget",
            spec={"maxUnavailable": 1, "selector": selector},
        ),
    ]


def _pod(settings: Settings, name: str) -> dict[str, Any]:
    deployment = settings.deployment
    environment: list[dict[str, Any]] = [
        {"name": variable, "value": value} for variable, value in _settings(settings).items()
    ]
    for variable, needed in _credentials(settings):
        key = {"name": name, "key": variable} | ({} if needed else {"optional": True})
        environment.append({"name": variable, "valueFrom": {"secretKeyRef": key}})
    resources = {"cpu": f"{deployment.cpu:g}", "memory": deployment.memory}
    container = {
        "name": "serving",
        "image": deployment.image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": environment,
        "resources": {"requests": resources, "limits": resources},
        # Without a model /health is 503, and a pod gets no requests; /ping says that the process
        # answers. It is not killed for want of a model, which the registry may have a minute later.
        "startupProbe": _probe("/ping", every=2, failures=-(-deployment.ready_seconds // 2)),
        "readinessProbe": _probe("/health", every=5, failures=2),
        "livenessProbe": _probe("/ping", every=10, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PAUSE_SECONDS)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service named mlflow would set MLFLOW_PORT
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": (
            PAUSE_SECONDS + settings.serving.drain_seconds + CLOSING_SECONDS
        ),
        "containers": [container],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }


def _probe(path: str, every: int, failures: int) -> dict[str, Any]:
    get = {"path": path, "port": "http"}
    timing = {"periodSeconds": every, "timeoutSeconds": 5, "failureThreshold": failures}
    return {"httpGet": get, **timing}
