"""The preprocessing of the data."""

import subprocess
import sys

import numpy as np
import pandas as pd
from mlflow_practices.tracking.session import Session

from {{ cookiecutter.package_name }}.features import DateParts, build


def test_every_row_becomes_finite_features(table: pd.DataFrame, session: Session) -> None:
    data = session.settings.data
    X = table.drop(columns=[data.target, *data.drop])
    made = build(X, session.settings).fit_transform(X)
    assert made.shape[0] == len(X)
    assert np.isfinite(np.asarray(made, dtype=float)).all()


def test_a_date_is_split_into_parts() -> None:
    X = pd.DataFrame({"seen": pd.to_datetime(["2024-02-29T12:00", None, "1969-12-31T00:00"])})
    parts = DateParts().fit(X)
    made = parts.transform(X)
    assert made[0].tolist() == [2024, 2, 3, 19782.5]  # a Thursday; days since 1970
    assert np.isnan(made[1]).all()
    assert made[2].tolist() == [1969, 12, 2, -1]
    assert list(parts.get_feature_names_out())[-1] == "seen_days"


def test_the_features_load_where_neither_mlflow_nor_the_practices_are() -> None:
    """They travel with the model, to everybody who loads it."""
    code = (
        "import sys; import {{ cookiecutter.package_name }}.features;"
        "print([name for name in ('mlflow', 'mlflow_practices') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
