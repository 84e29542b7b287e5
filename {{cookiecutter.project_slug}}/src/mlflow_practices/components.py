"""The components: folders of the practices that a project may do without.

A component may hold ``commands.py`` (its part of the command line), ``settings.py`` (its sections of
the configuration) and ``api.py`` (what stages call). No component is ever imported by an import
statement of the core: it is looked up here by its name, and may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

PRACTICES = __name__.rpartition(".")[0]
COMPONENTS = ("optimization", "serving", "deployment", "monitoring", "server")
# Rooms in the order in which the command line lists their commands.
ROOMS = ("data", "registry", "scoring", *COMPONENTS, "tracking")
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
# Which component a section of the configuration belongs to, also where that is not installed.
SECTIONS = {"serving": "serving", "deployment": "deployment", "monitoring": "monitoring"}


def find(name: str) -> ModuleType | None:
    """Return what a component offers to stages, or None where it is not part of the project."""
    return _module(name, "api")


def modules(name: str) -> Iterator[ModuleType]:
    """Yield the module ``name`` of every room that has one: ``commands``, or ``settings``."""
    rooms = COMPONENTS if name == "settings" else ROOMS
    for room in rooms:
        if module := _module(room, name):
            yield module


def _module(room: str, name: str) -> ModuleType | None:
    """Return a module of a room; a folder in which only compiled files are left has none."""
    if not (Path(__file__).parent / room / f"{name}.py").is_file():
        return None
    return import_module(f"{PRACTICES}.{room}.{name}")
