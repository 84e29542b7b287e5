"""What happens when the guide's snippets run today: one line for each claim of docs/practices.

Nothing is timed here. Each check runs a shortened snippet on an SQLite store of its own.
"""

import hashlib
import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import common
import mlflow
import numpy as np
import pandas as pd


def create_experiment_twice() -> str:
    """Experiment organization: the same script runs a second time."""
    mlflow.create_experiment("project/training")
    mlflow.create_experiment("project/training")
    return "no error"


def create_a_deleted_experiment() -> str:
    """Experiment organization: somebody deleted the experiment."""
    number = mlflow.create_experiment("project/deleted")
    mlflow.delete_experiment(number)
    mlflow.create_experiment("project/deleted")
    return "no error"


def redact_nested_fields() -> str:
    """Data privacy: fields below the top level, in upper case, and in text."""
    data = {"user": {"email": "ann@example.com"}, "EMAIL": "ann@example.com", "note": "555-0100"}
    for field in ("ssn", "credit_card", "email", "phone"):
        if field in data:
            data[field] = "[REDACTED]"
    return f"{str(data).count('ann@example.com')} of 2 addresses are still there"


def hash_small_changes() -> str:
    """Data versioning: tables that differ, and have the same hash."""

    def digest(*values: object) -> str:
        return hashlib.md5(pd.DataFrame({"a": values}).to_string().encode()).hexdigest()

    cases = {
        "0.1234567891 and 0.1234567892": digest(0.1234567891) == digest(0.1234567892),
        "1 and '1'": digest(1) == digest("1"),
        "NaN and 'NaN'": digest(1.5, np.nan) == digest("1.5", "NaN"),
    }
    return f"the same hash for {', '.join(name for name, same in cases.items() if same)}"


def log_many_columns() -> str:
    """Data versioning: the list of 3,000 columns as a parameter."""
    columns = [f"column_{number}" for number in range(3000)]
    with mlflow.start_run() as run:
        mlflow.log_param("columns", columns)
    kept = mlflow.get_run(run.info.run_id).data.params["columns"]
    return f"{len(kept):,} of {len(str(columns)):,} characters are kept"


def import_expectations_dataset() -> str:
    """Data quality checks: the import."""
    importlib.import_module("great_expectations.dataset")
    return "no error"


def shrink_a_fitted_forest() -> str:
    """Model optimization: fewer trees in a fitted forest."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(150).fit(np.random.rand(50, 2), np.arange(50) % 2)
    forest.n_estimators = min(forest.n_estimators, 100)
    return f"{len(forest.estimators_)} trees"


def log_a_forest() -> str:
    """Integration tests: log_model as it is written there."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(10).fit(np.random.rand(50, 2), np.arange(50) % 2)
    with mlflow.start_run():
        mlflow.sklearn.log_model(forest, "model")
    return "no error"


def make_a_key_in_two_processes() -> str:
    """Caching strategy: the key of the same data in another process."""
    code = "print(hash(str({'a': 1})))"
    keys = {common.run([sys.executable, "-c", code], Path.cwd()) for _ in range(2)}
    return "the same key" if len(keys) == 1 else "two keys"


def make_a_key_of_other_data() -> str:
    """Caching strategy: the key of tables that differ in a row in the middle."""
    one = pd.DataFrame({"a": range(1000)})
    other = one.replace({"a": {500: -1}})
    return "the same key" if str(one) == str(other) else "two keys"


def parse_a_flag() -> str:
    """Parameter management: a flag that was logged as text."""
    return f"bool(str(False)) is {bool(str(False))}"


CHECKS: tuple[Callable[[], str], ...] = (
    create_experiment_twice,
    create_a_deleted_experiment,
    redact_nested_fields,
    hash_small_changes,
    log_many_columns,
    import_expectations_dataset,
    shrink_a_fitted_forest,
    log_a_forest,
    make_a_key_in_two_processes,
    make_a_key_of_other_data,
    parse_a_flag,
)


def outcome(check: Callable[[], str]) -> str:
    """Return what a snippet gives, or which error it raises."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever a snippet raises is the result
        message = " ".join(str(error).split()).split(". ")[0].split(" Error:")[0]
        return f"{type(error).__name__}: {message[:100]}".rstrip(".")


def main() -> None:
    """Run every check; print a table."""
    warnings.simplefilter("ignore")
    with common.workspace() as work:
        mlflow.set_tracking_uri(f"sqlite:///{work}/store.db")
        mlflow.create_experiment("checks", artifact_location=(work / "artifacts").as_uri())
        mlflow.set_experiment("checks")
        print("| practice | what was tried | what happens |\n|---|---|---|")
        for check in CHECKS:
            practice, _, tried = (check.__doc__ or "").partition(": ")
            print(f"| {practice} | {tried.rstrip('.')} | {outcome(check)} |")


if __name__ == "__main__":
    main()
