import json
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow_practices.data import DataError, quality, suite_draft
from mlflow_practices.data.suites import SUITES
from mlflow_practices.tracking.session import Session

PLANTED = "zoe.quux@example.org"


def shown(path: Path) -> str:
    """Return how messages name a suite, wherever the project stands."""
    return "/".join(path.parts[-3:])


@pytest.fixture
def run(session: Session) -> Iterator[str]:
    """Open a run in a store of its own and return its id."""
    with session.stage("data-preparation") as stage:
        yield stage.run_id


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def check(table: pd.DataFrame, folder: Path, suite: str, **options: Any) -> quality.Quality:
    return quality.validate_data_quality(table, write(folder, suite), "raw", **options)


def logged(run: str, kind: str = "json") -> Any:
    text = mlflow.artifacts.load_text(f"runs:/{run}/quality/raw.{kind}")
    return json.loads(text) if kind == "json" else text


def messages(table: pd.DataFrame, folder: Path, suite: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        check(table, folder, suite, **options)
    return str(caught.value)


def test_what_was_met_is_logged(table: pd.DataFrame, run: str, tmp_path: Path) -> None:
    found = check(
        table,
        tmp_path,
        "- expect_column_values_to_not_be_null: {column: label}\n"
        "- expect_column_values_to_be_between: {column: count, min_value: 0, max_value: 8}\n",
    )
    assert found == quality.Quality(1.0, [])
    data = mlflow.get_run(run).data
    assert data.metrics["raw_quality_score"] == 1
    assert data.tags["raw_quality"] == "passed"
    report = logged(run)
    assert report["rows"] == len(table)
    assert [each["met"] for each in report["expectations"]] == [True, True]
    assert "column 'count': expected values to be between" in logged(run, "html").replace(
        "&#x27;", "'"
    )


def test_errors_stop_with_every_failure_in_words(
    table: pd.DataFrame, run: str, tmp_path: Path
) -> None:
    table = table.assign(label=table["label"].mask(table.index < 3), count=table["count"] - 5)
    text = messages(
        table,
        tmp_path,
        """
- expect_column_values_to_not_be_null: {column: label}
- expect_column_values_to_be_between: {column: count, min_value: -1}
- expect_column_values_to_be_in_set: {column: colour, value_set: [red, green]}
  severity: warning
- expect_column_mean_to_be_between: {column: active, max_value: 0.1}
- expect_table_row_count_to_equal: {value: 7}
- expect_column_to_exist: {column: colur}
- expect_column_values_to_match_regex: {column: size, regex: "^a"}
- expect_table_columns_to_match_set: {column_set: [size, count, weight], exact_match: false}
- expect_column_values_to_be_between: {column: colour, min_value: 3}
- expect_column_values_to_not_be_null: {column: price}
""",
        place="data/raw/table.csv",
    )
    first, *lines = text.splitlines()
    suite = shown(tmp_path / "suite.yaml")
    low = sorted(set(table["count"][table["count"] < -1]))
    failed = int((table["count"] < -1).sum())
    assert first == (
        f"data/raw/table.csv does not meet {suite}: 8 errors, 1 warning in 10 expectations"
    )
    assert lines[0] == "  error: column 'label': expected values to not be null; 3 of 240 rows fail"
    assert lines[1].startswith(
        "  error: column 'count': expected values to be between (min_value -1); "
        f"{failed} of 240 rows fail, such as "
    )
    assert {int(value) for value in lines[1].split("such as ")[1].split(", ")} <= set(low)
    assert "column 'active': expected mean to be between (max_value 0.1); found 0." in lines[2]
    assert lines[3] == "  error: table: expected row count to equal (value 7); found 240"
    assert lines[4] == "  error: column 'colur': expected to exist; the table has no column 'colur'"
    assert "column 'size': expected values to match regex" in lines[5]
    assert '"missing": ["weight"]' in lines[6]
    assert "column 'colour': expected values to be between (min_value 3); cannot be" in lines[7]
    assert lines[8].startswith("  warning: column 'colour': expected values to be in set")
    assert lines[8].endswith('rows fail, such as "blue"')
    assert lines[9].startswith(f"  correct the data, or edit {suite} if the change is meant")
    data = mlflow.get_run(run).data
    assert data.metrics["raw_quality_score"] == pytest.approx(0.1)
    assert data.tags["raw_quality"] == "8 errors, 1 warning"
    assert logged(run)["expectations"][0]["result"]["unexpected_count"] == 3


def test_warnings_do_not_stop(table: pd.DataFrame, run: str, tmp_path: Path) -> None:
    found = check(
        table,
        tmp_path,
        "- expect_column_values_to_be_between: {column: size, max_value: 50}\n"
        "  severity: warning\n"
        "- expect_column_values_to_not_be_null: {column: label}\n",
    )
    assert found.score == 0.5
    assert found.warnings[0].startswith("column 'size': expected values to be between")
    assert mlflow.get_run(run).data.tags["raw_quality"] == "1 warning"


def test_the_report_shows_values_as_text(run: str, tmp_path: Path) -> None:
    suite = "- expect_column_values_to_be_in_set: {column: <b>, value_set: [<i>]}"
    assert "<script>" in messages(pd.DataFrame({"<b>": ["<script>x</script>"]}), tmp_path, suite)
    page = logged(run, "html")
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert not any(tag in page for tag in ("<script", "<b>", "<i>", "src=", "href="))


def test_mostly_lets_some_rows_differ(table: pd.DataFrame, run: str, tmp_path: Path) -> None:
    entry = "- expect_column_values_to_not_be_null: {column: size, mostly: 0.9}"
    assert check(table, tmp_path, entry).score == 1
    missing = int(table["size"].isna().sum())
    assert f"{missing} of 240 rows fail" in messages(table, tmp_path, entry.replace("0.9", "0.99"))


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("bound", ["2025-01-01", "2025-01-01 00:00:00", "'2025-01-01'"])
def test_dates_are_compared_in_every_unit(unit: str, bound: str, run: str, tmp_path: Path) -> None:
    days = pd.to_datetime(pd.Series(["2024-06-01", "2025-06-01", None])).dt.as_unit(unit)
    suite = f"- expect_column_values_to_be_between:\n    column: day\n    max_value: {bound}"
    text = messages(pd.DataFrame({"day": days}), tmp_path, suite)
    assert "1 of 3 rows fail" in text
    assert "2025-06-01" in text


PERSONAL_SUITE = """
- expect_column_values_to_be_in_set: {column: guest, value_set: ["PLANTEDx", Secretname]}
- expect_column_values_to_match_regex: {column: guest, regex: "^Secretname"}
- expect_column_values_to_be_unique: {column: guest}
  severity: warning
- expect_column_values_to_be_between: {column: guest, min_value: 3}
- expect_column_most_common_value_to_be_in_set: {column: guest, value_set: [Secretname]}
- expect_column_distinct_values_to_equal_set: {column: guest, value_set: [Secretname]}
- expect_column_max_to_be_between: {column: phone_number, max_value: 6660001234}
- expect_column_values_to_be_in_set: {column: free, value_set: [ok]}
- expect_column_pair_values_to_be_equal: {column_A: free, column_B: guest}
- expect_compound_columns_to_be_unique: {column_list: [ordinary, guest]}
- expect_column_values_to_be_between:
    column: ordinary
    max_value: 7
    row_condition: 'col("guest") == "Hidden Person"'
    condition_parser: great_expectations
- expect_column_values_to_be_between: {column: ordinary, max_value: 7}
""".replace("PLANTED", PLANTED)


def test_personal_values_are_written_nowhere(
    run: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame(
        {
            "guest": ["Hidden Person"] * 3 + ["Nora Fremd"],
            "phone_number": [4179555666, 4179555777, 4179555888, 4179555999],
            "free": ["ok", f"write to {PLANTED}", "ok", "no"],
            "ordinary": [8.5, 8.5, 1.5, 1.5],
        }
    )
    (project / "suites").mkdir()
    text = messages(table, project / "suites", PERSONAL_SUITE, personal=["guest"])
    assert "column 'guest': expected values to be in set (value_set \"[REDACTED]\")" in text
    assert "4 of 4 rows fail, such as [REDACTED]" in text
    assert "column 'ordinary': expected values to be between (max_value 7); 2 of 4" in text
    assert "such as 8.5" in text
    (project / "suites/suite.yaml").unlink()
    written = b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    console = capfd.readouterr()
    assert b"such as 8.5" in written, "the report was not looked at"
    for secret in ("Hidden", "Nora", "Secretname", "4179555", "6660001234", "quux"):
        assert secret.encode() not in written
        assert secret not in text + console.out + console.err


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("", "must be a list"),
        ("[]", "must be a list"),
        ("a: 1", "must be a list"),
        ("- [", "not valid YAML: .*line 1"),
        ("- expect_column_max_to_be_between: {column: a, max_value: 2024-13-45}", "not valid YAML"),
        ("- expect_column_to_exist", "entry 1: must be one expectation"),
        ("- severity: error", "entry 1: must be one expectation"),
        (
            "- expect_column_to_exist: {column: a}\n- {expect_a: {}, expect_b: {}}",
            "entry 2: must be one expectation",
        ),
        (
            "- expect_column_values_to_not_be_nul: {column: a}",
            r"no expectation '\w+_nul'; did you mean expect_column_values_to_not_be_null\?",
        ),
        (
            "- expect_column_to_exist: {column: a}\n  severity: fatal",
            "entry 1: expect_column_to_exist: severity must be error or warning, not 'fatal'",
        ),
        ("- expect_column_to_exist: {column: a}\n  severity: [error]", "severity must be"),
        ("- expect_column_to_exist: [a]", "must be a mapping; it takes column, column_index"),
        (
            "- expect_column_to_exist: {colum: a}",
            r"no argument 'colum'; did you mean column\?; it takes column, column_index",
        ),
        ("- expect_column_to_exist:", "column: field required; it takes column, column_index"),
        (
            "- expect_column_values_to_be_between: {column: a, min_value: low}",
            "min_value: value is not a valid float",
        ),
        ("- expect_column_values_to_be_between: {column: a}", "cannot both be None"),
        ("- expect_column_values_to_be_unique: {column: a, mostly: 2}", "mostly: .*less than"),
        ("- expect_column_values_to_be_unique: {column: a, result_format: x}", "no argument"),
    ],
)
def test_a_broken_suite_is_refused_with_its_place(suite: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        check(pd.DataFrame({"a": [1]}), tmp_path, suite)
    assert str(caught.value).startswith(shown(tmp_path / "suite.yaml"))
    assert "\n" not in str(caught.value)


def test_a_missing_suite_is_drafted_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.yaml: no such file; draft one with `qual"):
        quality.validate_data_quality(pd.DataFrame({"a": [1]}), tmp_path / "none.yaml", "raw")


def test_nothing_is_left_or_sent_or_shown(
    table: pd.DataFrame,
    run: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    suite, places = tmp_path_factory.mktemp("suite"), tmp_path_factory.mktemp("places")
    for variable in ("HOME", "USERPROFILE", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(places))
    monkeypatch.chdir(places)
    addresses: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: addresses.append(address))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(table, suite, "- expect_column_values_to_be_unique: {column: price}")
    assert list(places.iterdir()) == []
    assert addresses == []
    assert capfd.readouterr() == ("", "")
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def odd_tables() -> Iterator[pd.DataFrame]:
    random = np.random.default_rng(0)
    words = [
        "no",
        "1e3",
        "2024-01-01",
        "",
        "a: b",
        "- x",
        "'",
        '"',
        "\u00fc\u4e2d",
        "null",
        "~",
        "#c",
    ]
    rows = 200
    yield pd.DataFrame(
        {
            "no": random.choice(words, rows),
            "2024-01-01": random.random(rows) > 0.5,
            "a: {b}, [c]": random.normal(size=rows) * 1e-9,
            'it\'s "quoted"\n': random.integers(-5, 10**15, rows),
            "\u5217 \u00e9": pd.Timestamp("1999-12-31 23:59")
            + pd.to_timedelta(np.arange(rows), "h"),
            "zone": pd.Timestamp("2024-03-31", tz="Europe/Berlin")
            + pd.to_timedelta(np.arange(rows), "h"),
            "# empty": [None] * rows,
            "gaps": np.where(random.random(rows) < 0.3, np.nan, random.normal(1e6, 1, rows)),
            "maybe": random.choice(np.array([True, False, None], dtype=object), rows),
            "constant": 7,
            "nothing but zero": 0.0,
            "id": np.arange(rows),
            "code": [f"{i:04}" for i in range(rows)],
            "kind": pd.Categorical(random.choice(["x", "y"], rows)),
            "level": pd.Categorical(random.choice([1, 2], rows)),
            "nullable": pd.array(
                random.choice(np.array([1, 5, pd.NA], dtype=object), rows), "Int64"
            ),
            "large": np.array([0, 2**64 - 1] * (rows // 2), dtype="uint64"),
            "extreme": [1e308, -1e308] * (rows // 2),
            "tiny": [5e-324, 0.0] * (rows // 2),
            "single": random.normal(size=rows).astype("float32"),
            "lists": [[1]] * rows,
            "mixed": ["a", 1] * (rows // 2),
            "far": pd.Series(
                [pd.Timestamp("9999-12-31"), pd.Timestamp("0001-01-01")] * (rows // 2)
            ),
            "span": pd.to_timedelta(np.arange(rows), "D"),
        }
    )
    yield pd.DataFrame({"a": [1], "b": ["x"], "c": [None], "d": [True]})
    yield pd.DataFrame({"a": pd.Series([], dtype=float), "b": pd.Series([], dtype=str)})
    wide = random.normal(size=(30, 100)) * 10.0 ** random.integers(-12, 12, 100)
    yield pd.DataFrame(wide, columns=[f"column {i}" for i in range(100)])


@pytest.mark.parametrize("number", range(4))
def test_a_draft_is_met_by_the_table_it_was_made_from(
    number: int, run: str, tmp_path: Path
) -> None:
    table = list(odd_tables())[number]
    text = suite_draft.draft(table)
    assert text == suite_draft.draft(table.copy())
    found = check(table, tmp_path, text)
    assert (found.score, found.warnings) == (1.0, [])


def test_what_a_draft_says(table: pd.DataFrame) -> None:
    table["order"] = range(len(table))
    table["size"] = table["size"].clip(20, 80)
    text = suite_draft.draft(table)
    assert "- expect_table_row_count_to_be_between: {min_value: 120}\n" in text
    entries = {
        (name, arguments.get("column")): (arguments, entry.get("severity", "error"))
        for entry in yaml.safe_load(text)
        for name, arguments in entry.items()
        if name != "severity"
    }
    between, in_set = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
    not_null = "expect_column_values_to_not_be_null"
    assert entries[in_set, "colour"] == (
        {"column": "colour", "value_set": ["blue", "green", "red"]},
        "error",
    )
    assert entries[in_set, "active"][0]["value_set"] == [False, True]
    assert entries[not_null, "label"][1] == "error"
    limits, severity = entries[not_null, "size"]
    assert (0.8 < limits["mostly"] < table["size"].notna().mean(), severity) == (True, "warning")
    limits, severity = entries[between, "size"]
    assert limits["min_value"] <= table["size"].min() - 4
    assert limits["max_value"] == round(limits["max_value"])
    assert severity == "warning"
    assert entries[between, "count"][0]["min_value"] == 0, "a count is not expected below zero"
    assert entries["expect_column_values_to_be_unique", "order"][1] == "error"
    assert (between, "order") not in entries, "an id grows"
    assert entries[between, "seen"][1] == "warning"


def test_a_draft_says_nothing_of_personal_values(table: pd.DataFrame) -> None:
    table = table.assign(
        guest=np.where(table["active"], "Nora", "Zoe"),
        phone=np.arange(len(table)) + 4179555000,
        contact=np.where(table["active"], PLANTED, f"b{PLANTED}"),
    )
    text = suite_draft.draft(table, personal=["guest"])
    assert "{column: guest}" in text
    for secret in ("Nora", "Zoe", "41795", "quux"):
        assert secret not in text


def test_a_draft_of_a_wide_table_is_bounded_and_says_so() -> None:
    text = suite_draft.draft(pd.DataFrame(np.zeros((30, 5000))).add_prefix("x"))
    assert "first 200 of 5000 columns" in text
    assert len(yaml.safe_load(text)) == 2 + 2 * 200
    assert "x4999" in text  # the set of columns is still whole


def test_a_draft_replaces_a_suite_in_one_step(session: Session) -> None:
    folder = session.settings.path(SUITES)
    (folder / "raw.yaml").unlink(missing_ok=True)
    (folder / "prepared.yaml").write_text("- edited\n")
    assert suite_draft.draft_suites(session) == [folder / "raw.yaml"]
    assert (folder / "prepared.yaml").read_text() == "- edited\n"
    with pytest.raises(DataError, match="somebody may have edited them; --force overwrites"):
        suite_draft.draft_suites(session)
    assert len(suite_draft.draft_suites(session, force=True)) == 2
    assert (folder / "prepared.yaml").read_text().startswith("# Drafted from 240 rows")
    assert sorted(path.name for path in folder.iterdir()) == ["prepared.yaml", "raw.yaml"]
