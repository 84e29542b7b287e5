"""Run the project's pipeline and write where its seconds went: `... FILE.json ARGUMENTS`.

A part's seconds are its own: what another part within it takes is counted there.
"""

import time

STARTED = time.time()

import functools
import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMPORTS = "imports"
PRACTICES, PROJECT = "mlflow_practices", "my_ml_project"
# What is timed, by part; modules with a dot in front are the practices'.
PARTS = {
    "store: open it, find the experiment": [
        ".tracking.store:open_store",
        ".tracking.experiments:get_experiment",
        ".tracking.stages:_end_abandoned_runs",
    ],
    "store: runs, parameters, metrics, tags": [
        "mlflow:start_run",
        ".tracking.recording:log_params",
        ".tracking.recording:set_tags",
        ".tracking.recording:log_metrics_efficiently",
        ".tracking.recording:log_dict",
        ".tracking.recording:log_input",
        ".tracking.recording:log_table",
        ".tracking.recording:log_text",
        ".tracking.reproducibility:load_and_log_config",
        ".tracking.reproducibility:log_environment",
        ".registry.versions:register_challenger",
        ".tracking.documentation:document_model",
    ],
    "git: the commit": [".tracking.git:code_version"],
    "prepare: read": [".data.tables:read"],
    "prepare: check, split": [
        ".data.cleaning:protect_and_clean",
        ".data.cleaning:prepare",
        ".data.splits:split_table",
    ],
    "prepare: find and take out personal data": [".privacy:policies", ".privacy:protect"],
    "prepare: expectations": [".data.quality:validate_data_quality"],
    "data versions: hash, schema, sample, lineage": [
        ".data.versioning:log_data_version",
        ".data.lineage:track_data_lineage",
    ],
    "prepare: hash, write Parquet": [
        ".data.source:read_raw",
        ".data.source:read_table",
        ".data.versioning:write",
        ".data.versioning:describe_source",
    ],
    "read the splits back, verify their hashes": [".data.versioning:read_split"],
    "fit": ["sklearn.pipeline:Pipeline.fit"],
    "check which types the model holds": [".model.safe_loading:trusted_types"],
    "log_model": [".tracking.recording:log_sklearn_model"],
    "find a faster form for serving": [".optimization.api:optimize_model_for_serving"],
    "load the model": [".model.safe_loading:load"],
    "evaluate: predict, measure": [
        ".evaluation.predictions:predict",
        ".evaluation.metrics:ScoredRows.measure",
        ".evaluation.gates:judge",
    ],
    "plots": [".evaluation.plots:log_performance", ".tracking.recording:log_figure"],
    "permutation importance": [".evaluation.plots:log_importance"],
}


class Clock:
    """Seconds for each part. A part that starts inside another one stops the clock of that one."""

    def __init__(self, name: str, since: float) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.open, self.since = [name], since

    def switch(self) -> None:
        """Book the time since the last switch on the part that is running."""
        now = time.time()
        self.seconds[self.open[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, its time booked on ``part``."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self.switch()
            self.open.append(part)
            try:
                return function(*arguments, **options)
            finally:
                self.switch()
                self.open.pop()

        return call


def replace(place: str, clock: Clock, part: str) -> None:
    """Time a function, by whatever names the practices and the project have imported it."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = sys.modules[module if module[0] != "." else PRACTICES + module]
    for step in owners:
        owner = getattr(owner, step)
    function = getattr(owner, name)
    timed = clock.timed(part, function)
    setattr(owner, name, timed)
    for each, found in list(sys.modules.items()):
        if each.partition(".")[0] in (PRACTICES, PROJECT):
            for known in [known for known, value in vars(found).items() if value is function]:
                setattr(found, known, timed)


def main() -> None:
    """Wrap the functions of each part, then run the command line."""
    report = Path(sys.argv[1])
    clock = Clock(IMPORTS, STARTED)
    importlib.import_module(f"{PROJECT}.pipeline")
    command_line = importlib.import_module(f"{PROJECT}.__main__")
    for module in {place.partition(":")[0] for places in PARTS.values() for place in places}:
        importlib.import_module(module if module[0] != "." else PRACTICES + module)
    for part, places in PARTS.items():
        for place in places:
            replace(place, clock, part)
    clock.switch()
    clock.open = ["the rest of the stages"]
    sys.argv[1:] = sys.argv[2:]
    try:
        command_line.main()
    finally:
        clock.switch()
        ended = {"started": STARTED, "ended": time.time(), "parts": clock.seconds}
        report.write_text(json.dumps(ended), encoding="utf-8")


main()
