"""A model version, loaded to answer requests."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import Model

from ..model import input_schema, safe_loading
from ..model.input_schema import Columns, RefusalError, count_rows
from ..registry import local_models
from ..registry.versions import Version
from ..tracking import utc
from ..tracking.session import Session

TIMED_BATCH = 100  # rows


class ServedModel:
    """A version's model, its optimised copy if it has one, and its input schema."""

    def __init__(self, session: Session, version: Version, files: Path) -> None:
        """Load a version from its local copy, and predict once so that the first request is quick.

        Raises:
            Exception: whatever goes wrong with files that somebody else wrote.
        """
        saved = Model.load(str(files))
        self.version = version
        self.input_schema = input_schema.of_model(saved)
        self._original = safe_loading.load(
            files, session, lambda: local_models.code_is_approved(files)
        )
        optimization = session.component("optimization")
        self._optimized = optimization.load(files, self._original) if optimization else None
        self.example = self._example(saved, files)
        self._first_row = self._time(1, repeats=20)  # seconds
        batch = self._time(TIMED_BATCH, repeats=3)
        self._further_row = max(0.0, batch - self._first_row) / (TIMED_BATCH - 1)
        self.loaded_at = utc(datetime.now(UTC))

    @property
    def key(self) -> str:
        """What its cached predictions are stored under."""
        return f"{self.version} {self.version.model_id}"

    @property
    def format(self) -> str:
        """The format of the model that answers single rows."""
        return self._optimized.format if self._optimized else "scikit-learn"

    def predict(self, columns: Columns) -> np.ndarray:
        """Return predictions, shape (rows,), equal to those of the original model.

        Raises:
            RefusalError: the model fails on these rows.
        """
        try:
            predicted: np.ndarray
            if self._optimized is not None:
                predicted = self._optimized.predict(columns)
                return predicted
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about categories that training did not see
                predicted = self._original.predict(self.input_schema.frame(columns))
            return predicted
        except (ValueError, ArithmeticError):  # the message may hold values
            raise RefusalError("model", "the model cannot answer these rows", 422) from None

    def seconds(self, count: int) -> float:
        """Return about how long ``count`` rows take, as measured when the model was loaded."""
        return self._first_row + self._further_row * (count - 1)

    def records(self) -> list[dict[str, Any]]:
        """Return the example as rows for JSON."""
        table = self.input_schema.frame(self.example)
        for name in table.select_dtypes("datetime"):
            table[name] = table[name].dt.strftime("%Y-%m-%dT%H:%M:%S").astype(object)
        table = table.astype(object).where(table.notna(), None)
        return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]

    def _example(self, saved: Model, files: Path) -> Columns:
        # Redaction may have changed a category of the example, which the schema then refuses.
        with suppress(RefusalError, OSError, ValueError):
            rows = saved.load_input_example(str(files))
            if isinstance(rows, pd.DataFrame) and len(rows):
                return self.input_schema.read(rows)
        return self.input_schema.example_row()

    def _time(self, count: int, repeats: int) -> float:
        """Return the median of the seconds that predicting ``count`` rows of the example takes."""
        rows = np.arange(count) % count_rows(self.example)
        batch = {name: values[rows] for name, values in self.example.items()}
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.predict(batch)
            times.append(time.perf_counter() - start)
        return median(times)
