"""A model version, loaded to answer requests."""

from __future__ import annotations

import time
import warnings
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

TIMED = 20  # predictions of one row
BATCH = 100  # rows, of the second point that `ServedModel.seconds` is drawn through


class ServedModel:
    """A version's schema, and its optimised copy where it has one, which knows when the original is better."""

    def __init__(self, session: Session, version: Version, files: Path) -> None:
        """Load and warm it.

        Args:
            session: of the project.
            version: that it is.
            files: its local copy.

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
        self._one, self._many = (self._time(rows) for rows in (1, BATCH))
        self.loaded_at = utc(datetime.now(UTC))

    @property
    def key(self) -> str:
        """What tells its predictions from those of every other model."""
        return f"{self.version} {self.version.model_id}"

    @property
    def format(self) -> str:
        """What answers single rows."""
        return self._optimized.format if self._optimized else "scikit-learn"

    def predict(self, columns: Columns) -> np.ndarray:
        """Return predictions, shape (rows,), as the original's.

        Raises:
            RefusalError: the model fails on these rows.
        """
        try:
            predicted: np.ndarray
            if self._optimized is not None:
                predicted = self._optimized.predict(columns)
                return predicted
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of categories that training did not see
                predicted = self._original.predict(self.input_schema.frame(columns))
            return predicted
        except (ValueError, ArithmeticError) as error:
            del error  # it may hold values
            raise RefusalError("model", "the model cannot answer these rows", 422) from None

    def seconds(self, count: int) -> float:
        """Return about how long a batch of ``count`` rows takes, as measured when it was loaded."""
        return self._one + max(0.0, self._many - self._one) * (count - 1) / (BATCH - 1)

    def records(self) -> list[dict[str, Any]]:
        """Return the example as rows for JSON."""
        table = self.input_schema.frame(self.example)
        for name in table.select_dtypes("datetime"):
            table[name] = table[name].dt.strftime("%Y-%m-%dT%H:%M:%S").astype(object)
        table = table.astype(object).where(table.notna(), None)
        return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]

    def _example(self, saved: Model, files: Path) -> Columns:
        try:
            rows = saved.load_input_example(str(files))
            if isinstance(rows, pd.DataFrame) and len(rows):
                return self.input_schema.read(rows)
        except (RefusalError, OSError, ValueError) as error:
            del error  # redaction may have changed a category
        return self.input_schema.example_row()

    def _time(self, count: int) -> float:
        """Return the median of the seconds that predicting ``count`` rows of the example takes."""
        rows = np.arange(count) % count_rows(self.example)
        batch = {name: values[rows] for name, values in self.example.items()}
        times = []
        for _ in range(TIMED if count == 1 else 3):
            start = time.perf_counter()
            self.predict(batch)
            times.append(time.perf_counter() - start)
        return median(times)
