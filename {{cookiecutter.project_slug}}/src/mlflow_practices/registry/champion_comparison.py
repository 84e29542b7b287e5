"""A version's evaluation beside the champion's, in Markdown, from what the registry holds."""

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
    """Return the champion's figures, which JSON can hold; None without a champion."""
    production = versions.production_name(settings.project.name)
    found = versions.find_by_alias(client, production, CHAMPION)
    return _figures(client, found) if found else None


def compare_with_champion(
    client: MlflowClient, settings: Settings, version: Version, beside: Path | None = None
) -> str:
    """Return tables of a version's metrics beside the champion's, and of its gates.

    Args:
        client: of the store that holds the version.
        settings: which name the champion.
        version: what is summarized.
        beside: a file with what `champion_figures` returned, in place of this store's champion.

    Raises:
        ComparisonError: the file cannot be read.
    """
    ours = _figures(client, version)
    theirs = _read(beside) if beside else champion_figures(client, settings)
    heading = f"### {markdown.inline(ours['version'])}: {markdown.inline(ours['verdict'])}"
    known = theirs["metrics"] if theirs else {}
    rows = [
        [name, f"{value:.4g}", *([_text(known, name), _change(known, name, value)] * bool(theirs))]
        for name, value in ours["metrics"].items()
    ]
    columns = ["metric", "this version", *(["champion", "change"] if theirs else [])]
    gates = [[name, *text.partition(": ")[::2]] for name, text in ours["gates"].items()]
    parts = [
        heading,
        markdown.table(columns, rows),
        _compared(ours, theirs),
        markdown.table(["gate", "outcome", "figures"], gates),
    ]
    return "\n\n".join(part for part in parts if part)


def _figures(client: MlflowClient, version: Version) -> dict[str, Any]:
    tags = client.get_model_version(version.name, str(version.number)).tags
    named = {
        start: {key.removeprefix(start): tags[key] for key in sorted(tags) if key.startswith(start)}
        for start in (METRIC, GATE)
    }
    return {
        "version": str(version),
        "data_version": version.data_version,
        "verdict": tags.get("verdict", "not evaluated"),
        "metrics": {name: float(value) for name, value in named[METRIC].items()},
        "gates": named[GATE],
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found is not None:
            figures = {str(name): float(value) for name, value in found["metrics"].items()}
            return {**found, "metrics": figures, "version": str(found["version"])}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "write it with `summary --champion`"
        raise ComparisonError(f"{path}: no champion ({type(error).__name__}); {remedy}") from None
    return None


def _compared(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    if theirs is None:
        return "There is no champion to compare with."
    rows = (
        "on the same data"
        if theirs.get("data_version") == ours["data_version"]
        else "on other data, so small changes say little"
    )
    return f"The champion is {markdown.inline(theirs['version'])}, measured {rows}."


def _text(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if name in metrics else ""


def _change(metrics: dict[str, float], name: str, value: float) -> str:
    return f"{value - metrics[name]:+.4g}" if name in metrics else ""
