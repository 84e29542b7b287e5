"""Batch scoring: the rows of a file of any size, written again with their predictions.

Each batch of rows becomes a part file beside the output, so that a run that was killed can be
resumed. At the end the parts become the output in one step.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from .. import machine
from ..config.sections import Data
from ..data import batches
from ..data.tables import PARQUET
from ..errors import PracticeError
from ..model.input_schema import Columns, RefusalError, count_rows
from ..registry import local_models, versions
from ..registry.versions import ModelReference, Version, parse_reference
from ..tracking.session import Session
from .served_model import ServedModel

SHOWN_REASONS = 5
NO_ANSWER = "the model cannot answer this row"


class ScoringError(PracticeError):
    """A file cannot be scored; the message names it, the place, and the remedy."""


@dataclass
class Scored:
    """What a run did: ``rows`` are all of the input, ``new_rows`` those that this run predicted."""

    version: Version
    output: Path
    rejects: Path
    rows: int = 0
    new_rows: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the summary."""
        rejected = self.reasons.total()
        predicted = f"{self.rows - rejected:,} rows predicted by {self.version}"
        speed = f"{self.new_rows / self.seconds:,.0f} rows/s"
        time_taken = f"{self.new_rows:,} rows in {self.seconds:.1f} s, {speed}"
        lines = [f"{self.output}: {predicted}; {time_taken}"]
        if rejected:
            lines.append(f"{self.rejects}: {rejected:,} rows rejected, most of them because")
        for reason, count in self.reasons.most_common(SHOWN_REASONS):
            lines.append(f"{count:>9,}  {reason}")
        return lines + self.notes


def score(session: Session, source: Path, output: Path, model: str = "") -> Scored:
    """Write the rows of ``source``, in their order, with the columns prediction and model_version.

    Rows that do not fit the model are written to ``<stem>.rejects<ending>`` beside ``output``, with
    their number (counted from 0) and the reason. All other columns stay as they are, those of a CSV
    file as text. CSV is written as UTF-8. The same call resumes a run that was ended, with the
    model version that it began with.

    Args:
        session: its settings say how CSV files are read, its store holds the model.
        source: .parquet, .pq, .csv or .csv.gz.
        output: .parquet, .pq or .csv; replaced in one step at the end.
        model: as `parse_reference` takes it; the champion in production by default.

    Raises:
        DataError: the input is corrupt.
        RegistryError: there is no such model.
        ScoringError: a path cannot be used, or the output is being written or cannot be written.
    """
    source, output = source.absolute(), output.absolute()
    rejects = output.with_name(f"{output.stem}.rejects{output.suffix}")
    _check_paths(source, output, rejects)
    reference = parse_reference(model, session.settings.project.name)
    console = Console(stderr=True)
    try:
        with _lock_folder(output) as folder:
            start = time.perf_counter()
            job = _Job(source, session.settings.data, folder)
            version, message = job.start_or_resume(session, reference)
            console.print(message, markup=False, highlight=False, soft_wrap=True)
            files = local_models.download(session, version, folder / "model")
            scored = Scored(version, output, rejects)
            with Progress(console=console, disable=not console.is_terminal) as progress:
                job.predict(ServedModel(session, version, files), scored, progress)
                job.write_output(scored, progress)
            scored.seconds = time.perf_counter() - start
            return scored
    except OSError as error:
        raise ScoringError(
            f"{output}: cannot be written: {error.strerror or error}; the finished part is kept, "
            "and the same command resumes from there"
        ) from None


class _Job:
    """An output in progress: its journal and its parts, in a folder beside it."""

    def __init__(self, source: Path, settings: Data, folder: Path) -> None:
        self._source, self._settings, self._folder = source, settings, folder
        self._typed = source.suffix in PARQUET
        self._journal = folder / "journal.json"
        self._fingerprint = batches.fingerprint(source)

    def start_or_resume(self, session: Session, reference: ModelReference) -> tuple[Version, str]:
        """Return the model version to use, and a message that says where the run begins."""
        format_ = [] if self._typed else [self._settings.encoding, self._settings.separator]
        inputs = {
            "the input": self._fingerprint,
            "the model": str(reference),
            "the configuration": [batches.ROWS, *format_],
        }
        former = json.loads(self._journal.read_bytes()) if self._journal.exists() else {}
        changed = [key for key in inputs if former.get(key) != inputs[key]]
        if not changed:
            version = Version(**former["version"])
            done = len(self._parts("part")) * batches.ROWS
            return version, f"resuming after {done:,} rows, with {version}"
        self._clear()
        version = versions.find(session.client, reference.name, reference.alias_or_number)
        with machine.replacing(self._journal) as temporary:
            temporary.write_bytes(json.dumps({**inputs, "version": asdict(version)}).encode())
        message = f"starting with {version}"
        if former:
            message += f", from the first row: since the last run {' and '.join(changed)} changed"
        return version, message

    def predict(self, model: ServedModel, scored: Scored, progress: Progress) -> None:
        """Write a part for each batch of the input that has none yet."""
        answer_type = pa.array(model.predict(model.example)).type
        task = progress.add_task("predicting", total=1.0)
        for number, (batch, share) in enumerate(batches.read(self._source, self._settings)):
            if not self._path("part", number).exists():
                self._predict_batch(model, batch, number, answer_type)
                scored.new_rows += len(batch)
            scored.rows += len(batch)
            description = f"predicting, {scored.rows:,} rows"
            progress.update(task, completed=share, description=description)
        if scored.rows == 0:
            raise ScoringError(f"{self._source}: has no rows")
        if batches.fingerprint(self._source) != self._fingerprint:
            raise ScoringError(f"{self._source}: changed while it was read; run the command again")

    def _predict_batch(
        self, model: ServedModel, batch: pa.Table, number: int, answer_type: pa.DataType
    ) -> None:
        known = [name for name in batch.column_names if name in model.input_schema.names]
        table = batch.select(known).to_pandas(ignore_metadata=True)
        if not self._typed:
            table = table.mask(table.isin(batches.MISSING_TEXTS))
        try:
            columns, reasons = model.input_schema.select_valid(table, self._typed)
        except RefusalError as refusal:
            raise ScoringError(f"{self._source}: {refusal}") from None
        predicted = _predict(model, columns, answer_type)
        has_no_answer = predicted.is_null().to_numpy(zero_copy_only=False)
        reasons[np.flatnonzero(reasons == "")[has_no_answer]] = NO_ANSWER
        names = _new_names(batch.column_names)
        rows = np.flatnonzero(reasons != "")
        if len(rows):
            rejected = batch.take(rows).add_column(0, names["reason"], [reasons[rows]])
            row_numbers = number * batches.ROWS + rows
            rejected = rejected.add_column(0, names["row"], [row_numbers])
            batches.write_part(rejected, self._path("rejects", number))
            batch = batch.filter(pa.array(reasons == ""))
        batch = batch.append_column(names["prediction"], predicted.drop_null())
        batches.write_part(batch, self._path("part", number))

    def write_output(self, scored: Scored, progress: Progress) -> None:
        """Write the output and the rejects from the parts, and remove those."""
        parts, rejected = self._parts("part"), self._parts("rejects")

        def read_rejects() -> Iterator[pa.Table]:
            for table in map(batches.read_part, rejected):
                scored.reasons.update(table.column(1).to_pylist())
                yield table

        def read_predicted() -> Iterator[pa.Table]:
            version = str(scored.version)
            for part in progress.track(parts, description="writing"):
                table = batches.read_part(part)
                names = _new_names(table.column_names[:-1])
                scored.notes = [
                    f"note: the input has a column {name!r}; the new one is called {names[name]!r}"
                    for name in ("prediction", "model_version")
                    if names[name] != name
                ]
                yield table.append_column(names["model_version"], pa.repeat(version, len(table)))

        scored.rejects.unlink(missing_ok=True)  # of an earlier run
        separator = self._settings.separator
        if rejected:
            batches.write(scored.rejects, self._folder, read_rejects(), separator)
        batches.write(scored.output, self._folder, read_predicted(), separator)
        self._clear()

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:08}.arrow"

    def _parts(self, kind: str) -> list[Path]:
        return sorted(self._folder.glob(f"{kind}-*.arrow"))

    def _clear(self) -> None:
        for path in (self._journal, *self._parts("part"), *self._parts("rejects")):
            path.unlink(missing_ok=True)


def _predict(model: ServedModel, columns: Columns, answer_type: pa.DataType) -> pa.Array:
    """Return predictions, shape (rows,), null where the model has no answer."""
    rows = count_rows(columns)
    if rows == 0:
        return pa.nulls(0, answer_type)
    with suppress(RefusalError):
        return pa.array(model.predict(columns), answer_type)
    if rows == 1:
        return pa.nulls(1, answer_type)
    first = {name: values[: rows // 2] for name, values in columns.items()}
    second = {name: values[rows // 2 :] for name, values in columns.items()}
    halves = [_predict(model, half, answer_type) for half in (first, second)]
    return pa.concat_arrays(halves)


def _new_names(columns: list[str]) -> dict[str, str]:
    """Return the names of the new columns; one that the input has gets underscores at its end."""
    names = {}
    for name in ("row", "reason", "prediction", "model_version"):
        names[name] = name
        while names[name] in columns:
            names[name] += "_"
    return names


def _check_paths(source: Path, output: Path, rejects: Path) -> None:
    if not source.name.endswith((*PARQUET, ".csv", ".csv.gz")):
        raise ScoringError(f"{source}: unknown kind of file; .parquet, .csv and .csv.gz are read")
    if not output.name.endswith((*PARQUET, ".csv")):
        raise ScoringError(f"{output}: unknown kind of file; .parquet and .csv are written")
    if not source.is_file():
        raise ScoringError(f"{source}: no such file")
    if source.stat().st_size == 0:
        raise ScoringError(f"{source}: the file is empty")
    if not output.parent.is_dir() or output.is_dir():
        raise ScoringError(f"{output}: is a folder, or in one that does not exist; name a file")
    if any(path.exists() and path.samefile(source) for path in (output, rejects)):
        raise ScoringError(f"{source}: would be overwritten; name another OUTPUT")


@contextmanager
def _lock_folder(output: Path) -> Iterator[Path]:
    """Yield the folder of an output's parts, for this run alone; at the end an empty one is removed."""
    folder = output.with_name(f".{output.name}.partial")
    folder.mkdir(exist_ok=True)
    # SQLite's lock works on every system, and ends with the process that holds it.
    lock = sqlite3.connect(folder / "lock", timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        lock.close()
        raise ScoringError(
            f"{output}: is being written by another run; wait for it, or name another OUTPUT"
        ) from None
    try:
        yield folder
    finally:
        lock.close()
        if not any(folder.glob("part-*")):
            shutil.rmtree(folder, ignore_errors=True)
