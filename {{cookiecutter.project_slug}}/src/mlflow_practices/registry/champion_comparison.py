"""A version's evaluation beside the champion's, as Markdown, from the tags in the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from ..config.settings import Settings
from ..errors import PracticeError
from ..tracking.documentation import GATE, METRIC
from . import markdown, versions
from .versions import CHAMPION, Version


class ComparisonError(PracticeError):
    """The file with a champion's figures cannot be used; the message says what to do."""


def champion_figures(client: MlflowClient, settings: Settings) -> dict[str, Any] | None:
    """Return the champion's figures, ready for JSON; None without a champion."""
    production = versions.production_name(settings.project.name)
    found = versions.find_by_alias(client, production, CHAMPION)
    return _figures(client, found) if found else None


def compare_with_champion(
    client: MlflowClient, settings: Settings, version: Version, beside: Path | None = None
) -> str:
    """Return tables of a version's metrics beside the champion's, and of its gates.

    ``beside`` is a file with what `champion_figures` returned, for a champion of another store.
    """
    ours = _figures(client, version)
    theirs = _read(beside) if beside else champion_figures(client, settings)
    gates = [[name, *text.split(": ", 1)] for name, text in ours["gates"].items()]
    if theirs is None:
        rows = [[name, f"{value:.4g}"] for name, value in ours["metrics"].items()]
        metrics = markdown.table(["metric", "this version"], rows)
        note = "There is no champion to compare with."
    else:
        rows = [
            [name, f"{value:.4g}", *_champion_cells(value, theirs["metrics"].get(name))]
            for name, value in ours["metrics"].items()
        ]
        metrics = markdown.table(["metric", "this version", "champion", "change"], rows)
        data = "on other data, so small changes say little"
        if theirs.get("data_version") == ours["data_version"]:
            data = "on the same data"
        note = f"The champion is {markdown.inline(theirs['version'])}, measured {data}."
    parts = [
        f"### {markdown.inline(ours['version'])}: {markdown.inline(ours['verdict'])}",
        metrics,
        note,
        markdown.table(["gate", "outcome", "figures"], gates),
    ]
    return "\n\n".join(part for part in parts if part)


def _champion_cells(value: float, champion: float | None) -> list[str]:
    if champion is None:
        return ["", ""]
    return [f"{champion:.4g}", f"{value - champion:+.4g}"]


def _figures(client: MlflowClient, version: Version) -> dict[str, Any]:
    tags = versions.get_tags(client, version)
    metrics = {key: float(tags[key]) for key in sorted(tags) if key.startswith(METRIC)}
    gates = {key: tags[key] for key in sorted(tags) if key.startswith(GATE)}
    return {
        "version": str(version),
        "data_version": version.data_version,
        "verdict": tags.get("verdict", "not evaluated"),
        "metrics": {key.removeprefix(METRIC): value for key, value in metrics.items()},
        "gates": {key.removeprefix(GATE): text for key, text in gates.items()},
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found is None:
            return None
        figures = {str(name): float(value) for name, value in found["metrics"].items()}
        return {**found, "metrics": figures, "version": str(found["version"])}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "write it with `summary --champion`"
        raise ComparisonError(f"{path}: no champion ({type(error).__name__}); {remedy}") from None
