"""The components: folders of the practices that a project may leave out.

A component may have ``commands.py`` (its commands), ``settings.py`` (its sections of the
configuration) and ``api.py`` (what stages call). The core never imports a component: it asks here
for the component's name, which may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

PRACTICES = __name__.rpartition(".")[0]
COMPONENTS = ("optimization", "serving", "deployment", "monitoring", "server")
# Folders in the order in which the command line lists their commands.
FOLDERS = ("data", "registry", "scoring", *COMPONENTS, "tracking")
# The practices of the guide: where each is, and the smallest scope that has it.
GUIDE = {
    "log_data_version": ("data.versioning", "training"),
    "validate_data_quality": ("data.quality", "training"),
    "track_data_lineage": ("data.lineage", "training"),
    "log_sensitive_data": ("tracking.recording", "training"),
    "log_metrics_efficiently": ("tracking.recording", "training"),
    "set_seeds": ("tracking.reproducibility", "training"),
    "load_and_log_config": ("tracking.reproducibility", "training"),
    "document_experiment": ("tracking.documentation", "training"),
    "document_model": ("tracking.documentation", "training"),
    "approve_model": ("registry.approval", "training"),
    "cache_model_predictions": ("serving.cache", "serving"),
    "optimize_model_for_serving": ("optimization.api", "serving"),
    "deploy_model_pipeline": ("deployment.pipeline", "serving"),
    "monitor_model_performance": ("monitoring.performance", "full"),
    "detect_data_drift": ("monitoring.drift", "full"),
    "monitor_model_serving": ("monitoring.endpoint", "full"),
    "send_alert": ("monitoring.alerts", "full"),
}
# The components with a section of the configuration, which has the component's name.
SECTIONS = ("serving", "deployment", "monitoring")


def find(name: str) -> ModuleType | None:
    """Return what a component offers to stages, or None if it is not part of the project."""
    return _module(name, "api")


def modules(name: str) -> Iterator[ModuleType]:
    """Yield the module ``name`` of every folder that has one: ``commands``, or ``settings``."""
    for folder in FOLDERS:
        if module := _module(folder, name):
            yield module


def _module(folder: str, name: str) -> ModuleType | None:
    # Compiled files alone, which an update may leave, are no module.
    if not (Path(__file__).parent / folder / f"{name}.py").is_file():
        return None
    return import_module(f"{PRACTICES}.{folder}.{name}")
