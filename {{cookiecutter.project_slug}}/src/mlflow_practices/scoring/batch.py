"""Batch scoring: a file of any size in, the same rows with their predictions out.

Each chunk that is predicted is kept as a part beside the output, so that a run that was killed goes
on where it was; at the end the parts become the output in one step.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..data import batches
from ..data.tables import PARQUET
from ..errors import PracticeError
from ..model.input_schema import Columns, RefusalError, count_rows
from ..registry import local_models, versions
from ..registry.versions import ModelReference, Version, parse_reference
from ..tracking.session import Session
from .served_model import ServedModel

PART, REJECTS = "part", "rejects"  # what the files of a chunk are called
SHOWN = 5  # reasons in the summary
UNANSWERED = "the model cannot answer this row"


class ScoringError(PracticeError):
    """A file cannot be scored; the message names it, the place, and the remedy."""


@dataclass
class Scored:
    """What a run did: ``rows`` are all of the input, ``new`` those that this run predicted."""

    version: Version
    output: Path
    rejects: Path
    rows: int = 0
    new: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the summary."""
        rejected = self.reasons.total()
        rate = f"{self.new:,} rows in {self.seconds:.1f} s, {self.new / self.seconds:,.0f} rows/s"
        found = [
            f"{self.output}: {self.rows - rejected:,} rows predicted by {self.version}; {rate}"
        ]
        if rejected:
            found.append(f"{self.rejects}: {rejected:,} rows rejected, most of them because")
        found += [f"{count:>9,}  {reason}" for reason, count in self.reasons.most_common(SHOWN)]
        return found + self.notes

    def require_no_rejects(self) -> None:
        """Raise `ScoringError` if a row was rejected."""
        if self.reasons:
            raise ScoringError(f"{self.rejects}: rows were rejected; correct them, or the source")


def score(session: Session, source: Path, output: Path, model: str = "") -> Scored:
    """Write the rows of ``source``, in their order, with the columns prediction and model_version.

    Rows that do not fit the model go to ``<stem>.rejects<ending>`` beside ``output``, with their
    number (counted from 0) and the reason. All other columns are passed on as they are, those of a
    CSV file as text. CSV is written as UTF-8. A second run goes on where one was ended before, with
    the version of the model that it began with.

    Args:
        session: its settings say how CSV files are read, its store holds the model.
        source: .parquet, .pq, .csv or .csv.gz.
        output: .parquet, .pq or .csv; replaced in one step at the end.
        model: as `parse_reference` takes it; the champion in production by default.

    Raises:
        DataError: the input is corrupt.
        RegistryError: there is no such model.
        ScoringError: the files do not suit, or the output is being written or cannot be.
    """
    source, output = source.absolute(), output.absolute()
    rejects = output.with_name(f"{output.stem}.rejects{output.suffix}")
    _check_paths(source, output, rejects)
    reference = parse_reference(model, session.settings.project.name)
    console = Console(stderr=True)
    try:
        with _alone(output) as folder:
            start = time.perf_counter()
            job = _Job(session, source, reference, folder)
            console.print(job.begins, markup=False, highlight=False, soft_wrap=True)
            files = local_models.download(session, job.version, folder / "model")
            served = ServedModel(session, job.version, files)
            done = Scored(job.version, output, rejects)
            with _progress(console) as progress:
                job.predict(served, done, progress)
                job.finish(done, progress)
            done.seconds = time.perf_counter() - start
            return done
    except OSError as error:
        raise ScoringError(
            f"{output}: cannot be written: {error.strerror or error}; what was done is kept, and "
            "the same command goes on from there"
        ) from None


class _Job:
    """One output under way: its parts and its journal, in a folder beside it."""

    def __init__(
        self, session: Session, source: Path, reference: ModelReference, folder: Path
    ) -> None:
        self._data, self._source, self._folder = session.settings.data, source, folder
        self._typed = source.suffix in PARQUET
        self._journal = folder / "journal.json"
        csv = [] if self._typed else [self._data.encoding, self._data.separator]
        self._wanted = {
            "the input": batches.fingerprint(source),
            "the model": str(reference),
            "the configuration": [batches.ROWS, *csv],
        }
        former = json.loads(self._journal.read_bytes()) if self._journal.exists() else {}
        changed = [key for key in self._wanted if former.get(key) != self._wanted[key]]
        if not changed:
            self.version = Version(**former["version"])
            done = len(self._parts()) * batches.ROWS
            self.begins = f"going on after {done:,} rows, with {self.version}"
            return
        self._clear()
        self.version = versions.find(session.client, reference.name, reference.alias_or_number)
        with batches.atomic_file(self._journal, folder) as file:
            file.write(json.dumps({**self._wanted, "version": asdict(self.version)}).encode())
        self.begins = f"starting with {self.version}"
        if former:
            self.begins += f", anew: since the last run {' and '.join(changed)} changed"

    def predict(self, model: ServedModel, done: Scored, progress: Progress) -> None:
        """Keep a part for each chunk of the input that has none yet."""
        kind = pa.array(model.predict(model.example)).type
        task = progress.add_task("predicting", total=1.0, rows="")
        for number, (chunk, share) in enumerate(batches.read(self._source, self._data)):
            if not self._path(PART, number).exists():
                self._predict_chunk(model, chunk, number, kind)
                done.new += len(chunk)
            done.rows += len(chunk)
            progress.update(task, completed=share, rows=f"{done.rows:,} rows")
        if done.rows == 0:
            raise ScoringError(f"{self._source}: has no rows")
        if batches.fingerprint(self._source) != self._wanted["the input"]:
            raise ScoringError(f"{self._source}: changed while it was read; run the command again")

    def finish(self, done: Scored, progress: Progress) -> None:
        """Make the output and the rejects of the parts, and remove those."""
        task = progress.add_task("writing", total=len(self._parts()), rows="")
        version, rejected = str(done.version), self._parts(REJECTS)

        def rejects() -> Iterator[pa.Table]:
            for table in map(batches.read_part, rejected):
                done.reasons.update(table.column(1).to_pylist())
                yield table

        def predicted() -> Iterator[pa.Table]:
            for table in map(batches.read_part, self._parts()):
                *names, new = table.column_names
                last = _free("model_version", names)
                done.notes = _renamed({"prediction": new, "model_version": last})
                yield table.append_column(last, pa.repeat(version, len(table)))
                progress.advance(task)

        done.rejects.unlink(missing_ok=True)  # of an earlier run
        if rejected:
            batches.write(done.rejects, self._folder, rejects(), self._data.separator)
        batches.write(done.output, self._folder, predicted(), self._data.separator)
        self._clear()

    def _predict_chunk(
        self, model: ServedModel, chunk: pa.Table, number: int, kind: pa.DataType
    ) -> None:
        there = chunk.column_names
        wanted = [name for name in there if name in model.input_schema.names]
        try:
            model.input_schema.require_names(wanted)
        except RefusalError as refusal:
            raise ScoringError(f"{self._source}: {refusal}") from None
        table = chunk.select(wanted).to_pandas(ignore_metadata=True)
        if not self._typed:
            table = table.mask(table.isin(batches.MISSING_TEXTS))
        columns, reasons = model.input_schema.select_valid(table, self._typed)
        predicted = _predict(model, columns, kind)
        unanswered = predicted.is_null().to_numpy(zero_copy_only=False)
        reasons[np.flatnonzero(reasons == "")[unanswered]] = UNANSWERED
        rows = np.flatnonzero(reasons != "")
        if len(rows):
            rejected = chunk.take(rows).add_column(0, _free("reason", there), [reasons[rows]])
            rejected = rejected.add_column(0, _free("row", there), [number * batches.ROWS + rows])
            batches.write_part(rejected, self._path(REJECTS, number))
            chunk = chunk.filter(pa.array(reasons == ""))
        new = chunk.append_column(_free("prediction", there), predicted.drop_null())
        batches.write_part(new, self._path(PART, number))

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:08}.arrow"

    def _parts(self, kind: str = PART) -> list[Path]:
        return sorted(self._folder.glob(f"{kind}-*.arrow"))

    def _clear(self) -> None:
        for path in (self._journal, *self._parts(), *self._parts(REJECTS)):
            path.unlink(missing_ok=True)


def _predict(model: ServedModel, columns: Columns, kind: pa.DataType) -> pa.Array:
    """Return predictions, shape (rows,), null where the model has no answer."""
    rows = count_rows(columns)
    if rows == 0:
        return pa.nulls(0, kind)
    try:
        return pa.array(model.predict(columns), kind)
    except RefusalError as refusal:
        del refusal
        if rows == 1:
            return pa.nulls(1, kind)
    cuts = slice(None, rows // 2), slice(rows // 2, None)
    halves = [{name: values[cut] for name, values in columns.items()} for cut in cuts]
    return pa.concat_arrays([_predict(model, half, kind) for half in halves])


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
def _alone(output: Path) -> Iterator[Path]:
    """Yield the folder of an output's parts, for this run alone; without a part it goes again."""
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
        if not any(folder.glob(f"{PART}-*")):
            shutil.rmtree(folder, ignore_errors=True)


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, with as many underscores behind it as it takes to be new."""
    while name in taken:
        name += "_"
    return name


def _renamed(names: dict[str, str]) -> list[str]:
    return [
        f"note: the input has a column {usual!r}; the new one is called {name!r}"
        for usual, name in names.items()
        if name != usual
    ]
