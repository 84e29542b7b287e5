"""A table full of personal data and secrets goes through everything; no byte of it is written."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow_practices.data.cleaning import protect_and_clean
from mlflow_practices.data.source import read_raw
from mlflow_practices.privacy import PrivacyError
from mlflow_practices.tracking.session import Session

import projects

KEY = "5d1f0c3b" * 8
NAMES = ["Wilhelmina Quackenbush", "Bartholomew Zzyzx", "Persephone Okonkwo-Vance"]
MAILS = ["wilhelmina.q@example.org", "b.zzyzx+tag@mail.example.co.uk", "P_Okonkwo@example.com"]
PHONES = ["+49 171 2345678", "(415) 555-2671", "020 7946 0958"]
CARDS = ["4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005"]
PLAIN_CARDS = [4012888888881881, 5105105105105100, 4222222222222]
NUMBERS = ["078-05-1120", "219-09-9999", "457-55-5462"]
ACCOUNTS = ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR1420041010050500013M02606"]
ADDRESSES = ["203.0.113.77", "198.51.100.23", "2001:db8:85a3::8a2e:370:7334"]
KEYS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "sk-" + "a1B2" * 12,
]
LINKS = [f"https://{user}:s3cr3t-{user}@host.example/x" for user in ("wq", "bz", "po")]
BADGES, WARDS, PATIENTS = ([f"{kind}{n}47" for n in (1, 2, 3)] for kind in ("BDG", "WRD", "PTNT"))
PASSWORD = "correct-horse-battery"
REMOTE_TOKEN = "glpat-" + "Zx9Kq2Lm7Np4Rt6VwYcB"
PLANTED = [
    *NAMES,
    *MAILS,
    *PHONES,
    *CARDS,
    *map(str, PLAIN_CARDS),
    *NUMBERS,
    *ACCOUNTS,
    *ADDRESSES,
    *KEYS,
    *(link.split("@")[0].split(":")[-1] for link in LINKS),
    *BADGES,
    *WARDS,
    *PATIENTS,
    PASSWORD,
    REMOTE_TOKEN,
    KEY,
]
SAID = [*PHONES, *MAILS, *CARDS, *NUMBERS, *ACCOUNTS, *ADDRESSES, *KEYS, *LINKS]


@pytest.fixture
def planted(project: Path, table: pd.DataFrame) -> Path:
    """Return a project whose table holds personal data in every way a column can."""
    rows = range(len(table))
    columns: dict[str, list[Any]] = {
        "full name": NAMES,
        "E-Mail": MAILS,
        "SSN": NUMBERS,
        "reference": PLAIN_CARDS,
        "badge": BADGES,
        "ward": WARDS,
        "patient": PATIENTS,
        "channel": ["letter", MAILS[0], PHONES[1]],
    }
    full = table.assign(
        **{name: [values[row % 3] for row in rows] for name, values in columns.items()},
        comment=[f"row {row}: {SAID[row % len(SAID)]}, thanks" for row in rows],
    )
    full.to_csv(project / "data/raw/table.csv", index=False)
    path = project / "configs/base.yaml"
    configuration = yaml.safe_load(path.read_text())
    configuration["privacy"] = {
        "fields": ["badge"],
        "mask": ["ward"],
        "pseudonymise": ["patient"],
        "sample_rows": 50,
    }
    path.write_text(yaml.safe_dump(configuration))
    (project / "configs/model_card.yaml").write_text(f"limits: {SAID[0]}\ncontact: {MAILS[0]}\n")
    # Expectations that fail for each of these columns, so that results and reports show examples.
    fails: list[tuple[str, dict[str, object]]] = [
        ("values_to_match_regex", {"column": name, "regex": "^never$"})
        for name in (*columns, "comment")
        if name != "reference"
    ]
    fails.append(("values_to_be_between", {"column": "reference", "max_value": 1}))
    fails.append(("values_to_be_in_set", {"column": "ward", "value_set": WARDS}))
    fails.append(("values_to_be_unique", {"column": "channel"}))
    suite = [{f"expect_column_{what}": given, "severity": "warning"} for what, given in fails]
    (project / "configs/expectations/raw.yaml").write_text(yaml.safe_dump(suite))
    git = ["git", "-C", str(project)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    remote = f"https://oauth2:{REMOTE_TOKEN}@git.example.org/x.git"
    subprocess.run([*git, "remote", "add", "origin", remote], check=True)
    return project


def contents(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what they hold packed: archives and Parquet are compressed."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        yield pd.read_parquet(io.BytesIO(content)).to_csv().encode()
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def patients(session: Session) -> pd.Series:
    """Return a column that is pseudonymised, as preparation writes it."""
    return protect_and_clean(read_raw(session), session).table["patient"]


def leaks(content: bytes) -> list[str]:
    """Return what of the planted data stands in ``content``, in any case."""
    text = content.lower()
    return [value for value in PLANTED if value.lower().encode() in text]


def test_personal_data_and_secrets_are_written_nowhere(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (planted / "home").mkdir()
    monkeypatch.setenv("HOME", str(planted / "home"))
    monkeypatch.setenv("PSEUDONYM_KEY", KEY)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "DEBUG")
    monkeypatch.chdir(planted)
    command = [sys.executable, "-m", projects.PACKAGE, "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = [done.stdout + done.stderr]

    def run(*arguments: str, code: int = 0) -> None:
        done = projects.run_command(*arguments)
        assert done.exit_code == code, done.output
        printed.append(done.output)

    run("data", "show")
    version = printed[-1].split()[1]
    run("data", "diff", version, version)
    run("lineage", "show")
    run("lineage", "show", "--json")
    run("approve", "example/1", "--reason", f"as {MAILS[1]} said: {SAID[1]}")
    run("promote")
    run("registry", "show")
    run("registry", "history")
    secret = ["--set", f"training.params.password={PASSWORD}"]
    run("settings", "show", *secret)
    run("train", *secret, code=1)
    run("prepare", "--debug", "--set", f"data.raw=https://wq:{PASSWORD}@host/x.csv", code=1)
    suite = planted / "configs/expectations/raw.yaml"
    suite.write_text(suite.read_text().replace("warning", "error"))
    run("prepare", code=1)
    run("prepare", "--debug", code=1)
    assert "column 'comment': expected" in printed[-1]  # they did fail, and were reported
    run("quality", "suggest", "--force")
    printed += capfd.readouterr()

    found = {f"console {number}": leaks(text.encode()) for number, text in enumerate(printed)}
    files = [
        path
        for path in planted.rglob("*")
        if path.is_file()
        and not path.is_relative_to(planted / "data/raw")
        and path not in (planted / ".git/config", planted / "configs/model_card.yaml")
    ]
    for path in files:
        found[str(path)] = [value for content in contents(path) for value in leaks(content)]
    assert {place: values for place, values in found.items() if values} == {}
    kinds = {path.suffix for path in files}
    assert kinds >= {".db", ".parquet", ".skops", ".html", ".json", ".png"}

    # The test itself can see: what may be written is found.
    store = (planted / "mlflow.db").read_bytes()
    assert b"patient" in store
    assert any(b"p_" in content for path in files for content in contents(path))


def test_the_same_person_keeps_the_same_pseudonym(
    planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = projects.open_project()
    monkeypatch.delenv("PSEUDONYM_KEY", raising=False)
    with pytest.raises(PrivacyError, match="PSEUDONYM_KEY"):
        patients(session)
    monkeypatch.setenv("PSEUDONYM_KEY", KEY)
    first, second = (patients(session) for _ in range(2))
    assert first.equals(second)
    assert first.nunique() == 3
    assert not set(first) & set(PATIENTS)
    monkeypatch.setenv("PSEUDONYM_KEY", KEY[::-1])
    assert not set(patients(session)) & set(first)
