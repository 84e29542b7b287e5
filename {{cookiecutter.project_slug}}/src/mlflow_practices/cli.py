"""The command line: one command an operation.

Each command imports what it needs by itself, so that ``--help`` answers at once.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from .registry.versions import Version
    from .settings import Settings
else:
    Settings = object  # so that annotations can be evaluated without the import

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help=__doc__.splitlines()[0],
)
data_app, quality_app, lineage_app, registry_app, approval_app, settings_app = (
    typer.Typer(no_args_is_help=True) for _ in range(6)
)
app.add_typer(data_app, name="data", help="Look at the versions of the prepared data.")
app.add_typer(quality_app, name="quality", help="What the data must look like.")
app.add_typer(lineage_app, name="lineage", help="Where a model came from.")
app.add_typer(registry_app, name="registry", help="Look at the model's versions.")
app.add_typer(approval_app, name="approval", help="Keys that approvals are signed with.")
app.add_typer(settings_app, name="settings", help="Look at the configuration.")
console = Console()
UNFOLDED = 10_000  # characters of a line

Env = Annotated[
    str | None, typer.Option("--env", help="The layer configs/<ENV>.yaml; local by default.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a value: training.seed=7. Repeatable.", metavar="KEY=VALUE"
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Model = Annotated[
    str, typer.Argument(help="NAME, NAME@ALIAS or NAME/VERSION; the challenger by default.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Action = Callable[..., None]


def _common(env: Env = None, set_: Set = None, debug: Debug = False) -> None:
    """Stand for the options that every command takes."""


def command(group: typer.Typer = app, name: str | None = None) -> Callable[[Action], Action]:
    """Make a command of a function that takes the settings, and then its own arguments."""

    def register(action: Action) -> Action:
        def run(env: Env, set_: Set, debug: Debug, **arguments: Any) -> None:
            from .settings import load_settings

            _readable(debug, lambda: action(load_settings(env, set_ or []), **arguments))

        _, *own = inspect.signature(action, eval_str=True).parameters.values()
        parameters = [*own, *inspect.signature(_common, eval_str=True).parameters.values()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name or action.__name__, help=action.__doc__)(run)
        return action

    return register


@command()
def run(settings: Settings) -> None:
    """Run the whole pipeline: prepare, train, evaluate."""
    from . import pipeline
    from .tracking import github

    evaluated = pipeline.run(settings, console)
    github.write_output("version", str(evaluated.version))
    evaluated.require_passed()


@command()
def prepare(settings: Settings) -> None:
    """Turn the raw file into split, versioned tables."""
    from . import data_preparation

    manifest = data_preparation.run(settings).manifest
    rows = ", ".join(f"{name} {split.rows}" for name, split in manifest.splits.items())
    console.print(f"data version {manifest.version}: {rows} rows")


@command()
def train(settings: Settings) -> None:
    """Fit the configured estimator on the prepared data and register it."""
    from . import model_training
    from .data import versioning

    manifest = versioning.load_manifest(settings.path(settings.data.processed))
    version = model_training.run(settings, manifest).version
    console.print(f"registered {version.name} version {version.number} (challenger)")


@command()
def evaluate(
    settings: Settings,
    version: Annotated[str, typer.Option(help="A number or an alias.")] = "challenger",
) -> None:
    """Judge a model version on the test split, beside baseline and champion."""
    from . import model_evaluation, pipeline
    from .registry import versions
    from .tracking import store

    store.connect(settings)
    found = versions.find(settings.project.name, version)
    evaluated = model_evaluation.run(settings, found)
    pipeline.report(evaluated, console)
    evaluated.require_passed()


@command()
def approve(
    settings: Settings,
    model: Model,
    reason: Reason,
    reviewed_in: Annotated[
        str,
        typer.Option(
            help="In GitHub Actions: record who let this job into that environment.",
            metavar="ENVIRONMENT",
        ),
    ] = "",
) -> None:
    """Record that you approve a version, on the evidence there is now."""
    from .registry import approval

    version = _version(settings, model)
    record = approval.approve_model(
        version.name, version.number, reason, settings, reviewed_in=reviewed_in
    )
    _say(f"{version} {record.state()}")


@command()
def reject(settings: Settings, model: Model, reason: Reason) -> None:
    """Record that you reject a version; it stays so until a new approval."""
    from .registry import approval, promotion
    from .tracking import store

    version = _version(settings, model)
    record = approval.reject_model(version.name, version.number, reason, settings)
    _say(f"{version} {record.state()}")
    if champion := promotion.standing(store.connect(settings), settings, version):
        _say(f"note: {champion} in production is a copy of it; promote another version")


@command()
def promote(
    settings: Settings,
    model: Model = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
) -> None:
    """Make an approved version the champion; the former one stays as `previous`."""
    from .registry import promotion

    version = _version(settings, model)
    if dry_run:
        _say(promotion.explain(settings, version))
        return
    done = promotion.promote(settings, version)
    if not done.address:
        _say(f"{version} is the champion already, as {done.champion}")
        return
    _say(
        f"{version} is the champion now, as {done.champion}; it replaces {done.replaced or 'none'}"
    )
    _say(f"promotion  {done.address}")


@command()
def stage(settings: Settings, model: Model = "") -> None:
    """Run the serving tests against a version on a staging server; nothing is promoted."""
    from . import model_deployment

    version = _version(settings, model)
    _say(f"staging  {model_deployment.stage(settings, version, console)}")


@command()
def deploy(settings: Settings, model: Model = "") -> None:
    """Bring an approved version to production, through staging and its tests; or roll back."""
    from . import model_deployment

    version = _version(settings, model)
    done = model_deployment.deploy_model_pipeline(version.name, version.number, settings, console)
    _say(f"{version} is in production, as {done.champion}")
    _say(f"deployment  {done.address}")


@command()
def rollback(settings: Settings, reason: Reason) -> None:
    """Make the former champion the champion again, and see that production follows."""
    from . import model_deployment

    done = model_deployment.rollback(settings, reason, console)
    _say(f"{done} is the champion")


@command()
def deployments(settings: Settings) -> None:
    """List deployments and rollbacks, newest first."""
    from .registry import overview
    from .tracking import store

    rows = overview.deployments(store.connect(settings), settings)
    _table(["when (UTC)", "what", "version", "who", "seconds", "result"], rows)


@command()
def undeploy(settings: Settings) -> None:
    """End the production server that `deploy` started on this machine."""
    from .serving.process import LocalProduction

    ended = LocalProduction(settings).stop()
    _say("the production server has ended" if ended else "no production server runs here")


@command()
def serve(
    settings: Settings,
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; the champion.")
    ] = "",
    host: Annotated[str, typer.Option(help="serving.host otherwise.")] = "",
    port: Annotated[int | None, typer.Option(help="serving.port otherwise; 0: a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="serving.workers otherwise.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a model over HTTP as MLflow does, and follow its alias."""
    # One row wants one thread; OpenMP reads this when scikit-learn is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from .serving import server

    given = {"host": host or None, "port": port, "workers": workers, "parent": parent}
    server.serve(settings, model, {key: value for key, value in given.items() if value is not None})


@command()
def manifests(
    settings: Settings,
    target: Annotated[Literal["docker", "kubernetes"], typer.Argument(help="Who runs the image.")],
) -> None:
    """Print what runs the server in a container: a Compose file, or objects of Kubernetes."""
    from .serving import manifests

    typer.echo(manifests.manifest(settings, target), nl=False)


@command()
def score(
    settings: Settings,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Parquet or CSV.")],
    output: Annotated[Path, typer.Argument(help="Parquet or CSV; replaced at the end.")],
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; the champion.")
    ] = "",
    fail_on_rejects: Annotated[
        bool, typer.Option("--fail-on-rejects", help="End with an error if a row was rejected.")
    ] = False,
) -> None:
    """Predict every row of a file; the same command again goes on where it was ended."""
    from .serving import scoring

    done = scoring.score(settings, source, output, model)
    _say("\n".join(done.lines()))
    if fail_on_rejects:
        done.require_no_rejects()


@command()
def optimize(settings: Settings, model: Model = "") -> None:
    """Add a faster copy to a version, if its predictions agree; an approval no longer counts."""
    from . import model_training

    _say(model_training.optimize(settings, _version(settings, model)))


@command(data_app, "show")
def show_data(
    settings: Settings,
    version: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
) -> None:
    """Show a version of the prepared data: its source, splits, columns and notes."""
    from .data import versioning

    folder = settings.path(settings.data.processed)
    manifest = versioning.load_manifest(folder, version)
    lines = {
        "version": manifest.version,
        "source": f"{manifest.source.path}, {manifest.source.rows} rows",
        "sha256": manifest.source.sha256,
        "target": manifest.target,
        "run": manifest.run_id,
        **{f"{n} split": f"{s.rows} rows, {s.hash}" for n, s in manifest.splits.items()},
        **{f"column {name}": kind for name, kind in manifest.columns.items()},
        **{f"note {number}": note for number, note in enumerate(manifest.notes, 1)},
        "versions here": ", ".join(versioning.versions(folder)),
    }
    _table(["", ""], [[key, value] for key, value in lines.items()], header=False)


@command(data_app)
def verify(
    settings: Settings,
    version: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
) -> None:
    """Compare the raw and the prepared files with the hashes in the manifest."""
    from .data import versioning

    folder = settings.path(settings.data.processed)
    manifest = versioning.load_manifest(folder, version)
    raw = settings.path(Path(manifest.source.path))
    checks = versioning.verify(manifest, folder, raw)
    for check in checks:
        found = f", found {check.found}" if check.status == "changed" else ""
        line = f"{check.status:<8} {check.file}: SHA-256 {check.expected}{found}"
        console.print(line, markup=False, soft_wrap=True)
    if any(check.status != "ok" for check in checks):
        raise versioning.VersionError(
            f"data version {manifest.version} is not what was recorded; run `prepare` for the raw "
            "file as it is now, or bring back the files as they were"
        )


@command(data_app)
def diff(
    settings: Settings,
    old: Annotated[str, typer.Argument(help="A data version.")],
    new: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
    key: Annotated[str, typer.Option(help="The column that tells rows apart; data.key.")] = "",
    json: Json = False,
) -> None:
    """Compare two data versions: columns, rows added, removed and changed, values."""
    from .data import comparison, versioning

    folder = settings.path(settings.data.processed)
    manifests = [versioning.load_manifest(folder, version) for version in (old, new)]
    before, after = (versioning.read_all(manifest, folder) for manifest in manifests)
    found = comparison.compare(before, after, key or settings.data.key)
    if json:
        _json(found.as_dict())
        return
    header = "versions: {} -> {}".format(*(manifest.version for manifest in manifests))
    for line in (header, *found.lines()):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@command(quality_app)
def suggest(
    settings: Settings,
    force: Annotated[bool, typer.Option("--force", help="Replace suites that exist.")] = False,
) -> None:
    """Draft the expectation suites from the data, for a person to edit."""
    from . import data_preparation

    for path in data_preparation.suggest(settings, force):
        console.print(f"drafted {path}: read it, and edit what is not meant", soft_wrap=True)


@command(lineage_app, "show")
def show_lineage(settings: Settings, model: Model = "", json: Json = False) -> None:
    """Walk from a model version back to the raw file; say what is missing or has changed."""
    from .registry import provenance

    links = provenance.trace(settings, _version(settings, model))
    if json:
        _json(provenance.as_dict(links))
        return
    rows = [
        [link.status, link.name, "\n".join([*([link.problem] if link.problem else []), *facts])]
        for link in links
        for facts in [[f"{key}: {value}" for key, value in link.facts.items()]]
    ]
    _table(["", "link", "what is known"], rows)


@command(registry_app, "list")
def list_versions(settings: Settings) -> None:
    """List the versions, in training and in production: verdict, approval, aliases."""
    from .registry import overview
    from .tracking import store

    rows = overview.rows(store.connect(settings), settings.project.name)
    _table(["version", "aliases", "made (UTC)", "verdict", "approval", "data"], rows)


@command(registry_app, "show")
def show_version(settings: Settings, model: Model = "") -> None:
    """Show a version: its verdict, decision, and what stands against its promotion."""
    from .registry import overview
    from .tracking import store

    version = _version(settings, model)
    _table(["", ""], overview.details(store.connect(settings), settings, version), header=False)


@command(registry_app, "history")
def show_history(settings: Settings) -> None:
    """List approvals, rejections and promotions, newest first."""
    from .registry import promotion
    from .tracking import store

    events = promotion.history(store.connect(settings), settings)
    rows = [[e.when, e.action, e.version, e.who, e.result] for e in events]
    _table(["when (UTC)", "what", "version", "who", "result"], rows)


@command()
def summary(
    settings: Settings,
    model: Model = "",
    champion: Annotated[
        bool, typer.Option("--champion", help="The champion as JSON instead, for --beside.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(help="Compare with this champion, of another store.")
    ] = None,
) -> None:
    """Print a version's evaluation beside the champion's, in Markdown, such as for GitHub."""
    from .registry import summary as summaries
    from .tracking import store

    if champion:
        _json(summaries.champion(store.connect(settings), settings))
        return
    version = _version(settings, model)
    typer.echo(summaries.summarize(store.connect(settings), settings, version, beside))


@command(approval_app)
def keygen(settings: Settings) -> None:
    """Make the key that your approvals are signed with; print the line for configs/approvers.yaml."""
    from .registry import signing
    from .tracking import identity, store

    store.connect(settings)
    name = identity.current(settings.root).name
    path = signing.private_key_path(settings.project.name)
    public = signing.keygen(path)
    _say(f"wrote the private key {path}: keep it, and give it to nobody")
    _say(f"add this line to configs/approvers.yaml, and have it reviewed:\n{name}: {public}")


@command(name="experiments")
def create_experiments(settings: Settings) -> None:
    """Create the project's MLflow experiments where they do not exist."""
    from .tracking import experiments, store

    uri = store.resolve_uri(settings.tracking.uri, settings.root)
    project = settings.project
    version = project.template_version
    states = experiments.create_hierarchy(project.name, uri, version, settings.root)
    for name, state in states.items():
        console.print(f"{state:<8} {name}", markup=False)


@command()
def ui(settings: Settings) -> None:
    """Open the MLflow UI of a local store (variable MLFLOW_PORT, default 5000)."""
    from .tracking import store

    store.serve_ui(settings)


@command(settings_app, "show")
def show_settings(settings: Settings) -> None:
    """Print the effective values and the layer each came from, secrets masked."""
    rows = [[key, repr(value), settings.origin(key)] for key, value in settings.flat().items()]
    _table(["key", "value", "from"], rows)


def _version(settings: Settings, model: str) -> Version:
    from .registry import versions
    from .tracking import store

    store.connect(settings)
    return versions.parse(model, settings.project.name)


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(headings: list[str], rows: list[list[str]], header: bool = True) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(heading, overflow="fold") for heading in headings]
    table = Table(*columns, box=None, show_header=header)
    for row in rows:
        table.add_row(*map(Text, row))
    # A file or a pipe has no edge at which a line would have to be folded.
    (console if console.is_terminal else Console(width=UNFOLDED)).print(table)


def _json(value: object) -> None:
    import json

    from . import privacy

    typer.echo(json.dumps(privacy.redact(value), indent=2, ensure_ascii=False, default=str))


def _readable(debug: bool, action: Callable[[], None]) -> None:
    """Run ``action``; an error becomes a readable line (or its traceback) and exit code 1."""
    # Without this, SIGTERM would end the process with its run left RUNNING.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        action()
    except Exception as error:  # noqa: BLE001  a person reads it
        from . import privacy

        if debug:
            typer.echo(privacy.redact_text(traceback.format_exc()), err=True)
            raise typer.Exit(1) from None
        text = _in_words(error)
        for line in privacy.redact_text(text).splitlines():
            typer.echo(line if line.startswith(" ") else f"error: {line}", err=True)
        raise typer.Exit(1) from None


def _in_words(error: Exception) -> str:
    if type(error).__module__.startswith(f"{__package__}."):
        return str(error)
    if "mlflow" in sys.modules:
        import mlflow

        from .tracking import store

        if isinstance(error, mlflow.MlflowException):
            return f"{mlflow.get_tracking_uri()}: {store.complaint(error)}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
