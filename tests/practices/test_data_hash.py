"""A table has one content hash: whichever Python, pandas and Arrow hash it, from any file."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
PRACTICES = PROJECT / "src/mlflow_practices"
FILES = (  # all that it imports
    "__init__.py",
    "errors.py",
    "data/__init__.py",
    "data/hash_encoding.py",
    "data/hashing.py",
)
PACKAGES = ("numpy", "pandas", "pyarrow", "xxhash")  # all that it needs
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# Prints the digests of two tables, made here and read from files: `hash.py FOLDER`.
HASH = """
import json, sys
from datetime import date, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow_practices.data import hashing

folder = Path(sys.argv[1])

rows = hashing.BLOCK + 7
count = np.arange(rows)
when = pd.Series(pd.to_datetime(["2024-02-29 12:00:00.123456", None] * rows)[:rows])
plain = pd.DataFrame({
    "float": np.where(count % 5, count / 7, np.nan),
    "float32": (count / 7).astype("float32"),
    "int": count - 1000,
    "uint8": (count % 256).astype("uint8"),
    "gaps": pd.Series(count).astype("Int64").mask(count % 3 == 0),
    "bool": count % 2 == 0,
    "flags": pd.Series(count % 2 == 0).astype("boolean").mask(count % 7 == 0),
    "text": pd.Series(["NaN", None, "\\u00e4 b", "x" * 300] * rows)[:rows],
    "date": when,
    "local": when.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
    "category": pd.Series(["b", None, "a"] * rows)[:rows].astype("category"),
})
if not (folder / "plain.csv").exists():
    plain.to_csv(folder / "plain.csv", index=False)
    plain.to_parquet(folder / "plain.parquet")
typed = pd.read_csv(
    folder / "plain.csv",
    dtype={n: str(t) for n, t in plain.dtypes.items() if n not in ("text", "date", "local")},
    parse_dates=["date"],
    float_precision="round_trip",  # the usual parser of pandas 2 is off by a bit
    keep_default_na=False,
    na_values={n: [""] for n in plain},
)
typed["local"] = pd.to_datetime(typed["local"], utc=True).dt.tz_convert("Europe/Berlin")
parquet = pd.read_parquet(folder / "plain.parquet")

rich = pd.DataFrame({
    "objects": ["1", 1, 1.5, True, None, b"1", date(2024, 2, 29), time(1, 2), Decimal("1.50")],
    "lists": [[1, 2], [], None, [np.nan], ["a", ["b"]], (1,), {"a": 1}, np.array([1.5]), [None]],
    "spans": pd.to_timedelta([1, None, 3, 4, 5, 6, 7, 8, 9], unit="us"),
    "offset": pd.to_datetime(["2024-02-29T12:00:00+01:00"] * 9),
    "ordered": pd.Categorical(list("abcabcabc"), ["c", "b", "a"], ordered=True),
    "bins": pd.cut(np.arange(9.0), [0, 2.5, 9]),
    "month": pd.period_range("2024-01", periods=9, freq="M"),
    "complex": np.arange(9) * 1j,
    "half": np.arange(9).astype("float16"),
    "no values": [None] * 9,
    "no text": pd.Series([None] * 9, dtype="string"),
})
tables = {"made": plain, "CSV": typed, "Parquet": parquet, "rich": rich, "empty": rich.head(0)}
digests = {name: hashing.content_hash(table) for name, table in tables.items()}
digests["blocks"] = hashing.combine(map(hashing.block_hash, hashing.blocks(plain)), len(plain))
digests["sha256"] = hashing.content_hash(plain, "sha256")
digests["format 1"] = hashing.matches(plain, "00ec5e3e97089cc95587189483dac375")
print(json.dumps({"digests": digests, "pandas": pd.__version__, "python": sys.version[:4]}))
"""


def digests(
    uv: Path, python: str, packages: list[str], folder: Path, seed: int
) -> dict[str, object]:
    """Return the digests that an environment of these packages finds."""
    script = folder / "hash.py"
    script.write_text(HASH, encoding="utf-8")
    for name in FILES:  # a copy: the bytecode must not land in the template
        (folder / "mlflow_practices" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PRACTICES / name, folder / "mlflow_practices" / name)
    command = [str(uv), "run", "--isolated", "--no-project", "--python", python]
    command += [part for package in packages for part in ("--with", package)]
    dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [*command, "python", "-W", "ignore", str(script), str(folder)],
        cwd=folder,
        env={**environment, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found["python"], found["pandas"])
    return dict(found["digests"])


def pinned() -> list[str]:
    """Return what the project pins."""
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(tuple(f"{name}==" for name in PACKAGES))]


def oldest() -> list[str]:
    """Return the lowest versions that the project and its components declare."""
    lowest = {}
    for file in (PROJECT / "pyproject.toml", *PRACTICES.rglob("requirements.in")):
        for name in PACKAGES:
            pattern = rf"^\W*{name}>=([0-9.]+)"
            for version in re.findall(pattern, file.read_text(encoding="utf-8"), re.MULTILINE):
                lowest[name] = f"{name}=={version}"
    assert set(lowest) == set(PACKAGES)
    return list(lowest.values())


def found(uv: Path, version: str) -> str | None:
    """Return an interpreter of this version if the machine has one."""
    installed = Path(os.environ.get("PYENV_ROOT", "")) / "versions"
    # pyenv offers what is selected only.
    selected = {"PYENV_VERSION": ":".join(path.name for path in installed.glob("3.*"))}
    command = [str(uv), "python", "find", "--no-python-downloads", "--no-project", version]
    done = subprocess.run(
        command, env={**os.environ, **selected}, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files that one environment writes and all read."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def expected(uv: Path, files: Path) -> dict[str, object]:
    """Return the digests that the pinned packages find."""
    return digests(uv, sys.executable, pinned(), files, seed=0)


def test_one_table_has_one_hash_from_any_file(expected: dict[str, object]) -> None:
    assert expected["made"] == expected["CSV"] == expected["Parquet"] == expected["blocks"]
    assert len({expected[name] for name in ("made", "rich", "empty", "sha256")}) == 4


def test_a_digest_of_the_first_format_is_verified(expected: dict[str, object]) -> None:
    assert expected["format 1"] is True


def test_the_oldest_packages_find_the_same(
    uv: Path, files: Path, expected: dict[str, object]
) -> None:
    assert digests(uv, sys.executable, oldest(), files, seed=1) == expected


def test_pandas_2_finds_the_same(uv: Path, files: Path, expected: dict[str, object]) -> None:
    packages = [package for package in pinned() if not package.startswith("pandas==")]
    assert digests(uv, sys.executable, [*packages, "pandas==2.3.*"], files, seed=2) == expected


def test_every_python_on_this_machine_finds_the_same(
    uv: Path, files: Path, expected: dict[str, object]
) -> None:
    pythons = {version: python for version in PYTHONS if (python := found(uv, version))}
    assert pythons
    for version, python in pythons.items():
        assert digests(uv, python, pinned(), files, seed=3) == expected, version
