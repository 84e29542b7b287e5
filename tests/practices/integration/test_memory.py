"""A file that the memory cannot hold is refused before or while it is read, never half prepared."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import projects

# In a process of its own, since it limits its own memory. Each case is what it may take beyond
# what it holds already, in MiB, and the size above which the file is looked at first.
CHILD = """
import json, resource, sys
from pathlib import Path
from typer.testing import CliRunner
from mlflow_practices.data import tables
from PACKAGE.__main__ import command_line

def prepare(allowed, small_file):
    tables.SMALL_FILE = small_file
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + allowed * 2**20, resource.RLIM_INFINITY))
    done = CliRunner().invoke(command_line.app, ["prepare"])
    manifest = Path("data/processed/manifest.json").read_text()
    print(json.dumps([done.exit_code, done.stderr, json.loads(manifest)["version"]]))

prepare(4096, 0)  # imports everything
Path("large.csv").rename("data/raw/table.csv")
for allowed, small_file in [(16, 2**60), (64, 0), (4096, 0)]:
    prepare(allowed, small_file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_preparation_within_a_limit(project: Path) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(20_000, 8)).round(6)).add_prefix("x")
    rows = rows.assign(label=random.choice(["a", "b"], len(rows)), customer=1, price=1.5)
    header, _, body = rows.to_csv(index=False).partition("\n")
    (project / "large.csv").write_text(f"{header}\n{body * 40}")
    command = [sys.executable, "-c", CHILD.replace("PACKAGE", projects.PACKAGE)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    small, met_while_reading, foreseen, enough = map(json.loads, done.stdout.splitlines())
    assert (small[0], enough[0]) == (0, 0), enough
    for (code, message, version), words in (
        (met_while_reading, "preparing it takes more memory than there is"),
        (foreseen, "GiB are left: leave out rows or columns"),
    ):
        assert code == 1
        assert message.startswith("error: ")
        assert words in message
        assert len(message.splitlines()) == 1
        assert version == small[2]
    assert enough[2] != small[2]
    folder = project / "data/processed"
    assert len(list(folder.glob("*/manifest.json"))) == 2
    assert not list(folder.glob(".partial-*"))
