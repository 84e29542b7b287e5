"""The workflow of a rendered project, executed: from a push to the champion in production.

`github_actions.py` runs every step of every job, in a fresh clone, with what GitHub gives it. Three
things differ, so that it takes minutes and not an hour: .venv is the tests' own environment (one
test makes it with `make setup`, as GitHub would), `make test` runs a few of the project's tests
(all of them run in test_rendered_project.py), and the watch window after a deployment is short.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cookiecutter.main import cookiecutter

from github_actions import GitHub, Job, Unsupported, evaluate, interpolate, listed
from renderings import IDENTITY, TEMPLATE, Render

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="runs on ubuntu")

WORKFLOW = "mlflow-ci-cd.yml"
QUICK = "tests/test_features.py tests/test_metrics.py"
SERVER = Path(__file__).with_name("serve_accounts.py")
CHAMPION = """
import json, mlflow, sys
client = mlflow.MlflowClient(sys.argv[1])
found = client.get_model_version_by_alias("my-ml-project-production", "champion")
trained = client.get_run(found.run_id).data.tags
print(json.dumps({"version": int(found.version), "trained_by": trained["author"], **found.tags}))
"""


def git(folder: Path, *words: str) -> None:
    command = ["git", "-C", str(folder), *words]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **IDENTITY})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a clone of a rendered project; its origin is a bare repository beside it."""
    folder = str(tmp_path / "rendered")
    options = {"no_input": True, "output_dir": folder, "accept_hooks": False}
    project = Path(cookiecutter(str(TEMPLATE), **options))
    card = project / "configs/model_card.yaml"  # which production wants filled in
    fields = yaml.safe_load(card.read_text(encoding="utf-8"))
    card.write_text(yaml.safe_dump(dict.fromkeys(fields, "to tell penguins apart")))
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Start")
    git(tmp_path, "clone", "--quiet", "--bare", str(project), "origin.git")
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return project


def push(project: Path, branch: str, trees: int) -> None:
    """Push a commit that trains another forest."""
    git(project, "checkout", "-q", "-B", branch, "main")
    base = project / "configs/base.yaml"
    text = base.read_text(encoding="utf-8")
    base.write_text(re.sub(r"n_estimators: \d+", f"n_estimators: {trees}", text), encoding="utf-8")
    git(project, "commit", "--quiet", "--all", "--message", f"{trees} trees")
    git(project, "push", "--quiet", "origin", branch)


@pytest.fixture
def world(project: Path, project_python: Path, tmp_path: Path) -> Iterator[GitHub]:
    """Return GitHub with that project."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    github = GitHub(tmp_path / "origin.git", tmp_path / "work", project_python, "my-ml-project")
    github.of_step = {"make test": {"PYTEST_ADDOPTS": QUICK}}
    github.variables = {
        "PYTHONPATH": str(github.workspace / "src"),  # .venv may have another checkout installed
        "MY_ML_PROJECT__SERVING__PORT": port,
        "MY_ML_PROJECT__DEPLOYMENT__WATCH__SECONDS": "2",
    }
    with github.serve():
        yield github


@pytest.fixture
def accounts(
    project: Path, project_python: Path, tmp_path: Path
) -> Iterator[dict[str, dict[str, str]]]:
    """Return the variables of each account on an MLflow server."""
    command = [str(project_python), str(SERVER), str(tmp_path / "server")]
    with subprocess.Popen(
        command, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the server did not come up"
        yield json.loads(line)
        process.stdin.close()


@pytest.fixture
def champion(project_python: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that asks a registry for the champion."""

    def ask(uri: str, **variables: str) -> dict[str, Any]:
        command = [str(project_python), "-c", CHAMPION, uri]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        return dict(json.loads(done.stdout))

    return ask


def results(jobs: dict[str, Job]) -> dict[str, str]:
    """Return what became of each job that was not skipped, and print what each step took."""
    for name, job in jobs.items():
        for step in job.steps:
            print(f"{name:<11} {step.name:<55} {step.outcome:<8} {step.seconds:6.1f} s")
        if job.result == "failure":
            print(job.log)
    return {name: job.result for name, job in jobs.items() if job.result != "skipped"}


def test_from_push_to_champion_and_a_pull_request(
    world: GitHub,
    project: Path,
    accounts: dict[str, dict[str, str]],
    champion: Callable[..., dict[str, Any]],
) -> None:
    world.secrets = {
        "development": accounts["developer"],
        "production": accounts["deployer"],
        "pull-request": accounts["reader"],
    }
    world.reviewers = {"production": "ben"}
    ask = [accounts["reader"]["MLFLOW_TRACKING_URI"]]
    passwords = {login["MLFLOW_TRACKING_PASSWORD"] for login in accounts.values()}
    all_green = dict.fromkeys(("check", "train", "staging", "production"), "success")

    # The test without any secret runs `check`, too.
    first = world.run(WORKFLOW, "push", actor="ann", passed=["check"])
    assert results(first) == all_green
    found = champion(*ask, **accounts["reader"])
    assert found["version"] == 1
    assert found["source_version"] == first["train"].outputs["version"] == "my-ml-project/1"
    assert (found["trained_by"], found["approved_by"]) == ("ann (GitHub)", "ben (GitHub)")
    assert "reviewed in production by ben" in found["approval_record"]
    assert "There is no champion to compare with" in first["train"].summary

    # Who pushed may not approve; GitHub's own rule against it is off here.
    push(project, "main", 80)
    second = world.run(WORKFLOW, "push", actor="ben", passed=["check", "staging"])
    assert results(second) == all_green | {"production": "failure"}
    assert [step.outcome for step in second["production"].steps[-2:]] == ["failure", "skipped"]
    assert "who trained it cannot approve it: both are ben on GitHub" in second["production"].log
    assert champion(*ask, **accounts["reader"]) == found
    world.reviewers = {"production": "ann"}
    again = world.run_failed_again(actor="ben")
    assert results({"production": again["production"]}) == {"production": "success"}
    newer = champion(*ask, **accounts["reader"])
    assert (newer["version"], newer["source_version"]) == (2, "my-ml-project/2")
    assert (newer["trained_by"], newer["approved_by"]) == ("ben (GitHub)", "ann (GitHub)")

    push(project, "fewer-trees", 60)
    pull = world.run(
        WORKFLOW, "pull_request", actor="ann", ref="refs/heads/fewer-trees", passed=["check"]
    )
    assert results(pull) == dict.fromkeys(("check", "champion", "compare"), "success")
    assert "| metric | this version | champion | change |" in pull["compare"].summary
    assert "The champion is my-ml-project-production/2, measured on the" in pull["compare"].summary
    assert champion(*ask, **accounts["reader"]) == newer

    # A password is in the steps that need it, in no other, and in no log.
    steps = [
        step for run in (first, second, again, pull) for job in run.values() for step in job.steps
    ]
    holders = {step.name for step in steps if passwords & set(step.variables.values())}
    assert holders == {
        "Prepare, train, evaluate",
        "Show the results",
        "Test the version on a staging server",
        "Record who approved",
        "Deploy",
        "Ask the team's server for the champion's metrics",
    }
    trained = pull["compare"].steps
    assert not any(passwords & set(step.variables.values()) for step in trained)
    assert not any(word in step.log for step in steps for word in {*passwords, *world.tokens})


def test_nothing_is_deployed_from_elsewhere_than_main_or_before_a_review(
    world: GitHub, project: Path
) -> None:
    push(project, "experiment", 60)
    passed = ["check", "train", "staging"]
    elsewhere = world.run(
        WORKFLOW, "workflow_dispatch", actor="ann", ref="refs/heads/experiment", passed=["check"]
    )
    assert results(elsewhere) == {"check": "success"}
    world.reviewers = {"production": ""}
    for event in ("push", "schedule", "workflow_dispatch"):
        jobs = world.run(WORKFLOW, event, actor="ann", passed=passed)
        assert results(jobs)["production"] == "waiting"
    with pytest.raises(Unsupported, match="does not run on release"):
        world.run(WORKFLOW, "release", actor="ann")


def test_main_requires_the_jobs_of_a_pull_request(render: Render) -> None:
    github = render() / ".github"
    rules = json.loads((github / "rulesets/main.json").read_text(encoding="utf-8"))["rules"]
    [checks] = [rule for rule in rules if rule["type"] == "required_status_checks"]
    required = {each["context"] for each in checks["parameters"]["required_status_checks"]}
    jobs = yaml.safe_load((github / "workflows" / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    assert required == {"check", "champion", "compare"} <= set(jobs)
    assert not any("name" in jobs[job] for job in required)  # or the check would be called that
    # GitHub counts a job that is skipped as passed, so what one waits for has to be required, too.
    assert {need for job in required for need in listed(jobs[job].get("needs"))} <= required


GH = """#!/bin/sh
# Stands for GitHub's own program: keeps what it was given, and answers what is asked for.
{ printf '%s\\n' "$*"; case "$*" in *--input*-*) case "$*" in
  *"--input - "*) cat;; *) cat "$(echo "$*" | sed 's/.*--input \\([^ ]*\\).*/\\1/')";; esac;; esac
} >> "$GH_LOG"
case "$*" in
  "api users/ann"*) echo 11;; "api users/ben"*) echo 22;; "api users/"*) exit 1;;
  *rulesets*select*) echo "$GH_RULESET";; *policies*branch_policies*) echo "$GH_POLICY";;
esac
"""


@pytest.mark.parametrize("again", [False, True])
def test_make_protect_tells_github_what_the_files_say(
    render: Render, project_python: Path, tmp_path: Path, again: bool
) -> None:
    project = render()
    shutil.rmtree(project / ".venv", ignore_errors=True)
    (tmp_path / "bin").mkdir()
    gh, log = tmp_path / "bin/gh", tmp_path / "log"
    gh.write_text(GH)
    gh.chmod(0o755)
    variables = {
        "GH_LOG": str(log),
        "GH_RULESET": "7" if again else "",
        "GH_POLICY": "main" if again else "",
        "PATH": f"{gh.parent}{os.pathsep}{os.environ['PATH']}",
    }

    def protect(reviewers: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "protect", f"REVIEWERS={reviewers}"]
        environment = {**os.environ, **variables}
        return subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )

    nobody = protect("")
    assert nobody.returncode != 0
    assert 'make protect REVIEWERS="ann bob"' in nobody.stderr
    assert protect("ann eve").returncode != 0  # there is no eve
    assert "--method" not in log.read_text()
    done = protect("ann ben")
    assert done.returncode == 0, done.stderr
    given = log.read_text()
    way = "--method PUT repos/{owner}/{repo}/rulesets/7" if again else "--method POST repos/"
    assert way in given
    assert '"require_code_owner_review": true' in given
    environment = re.search(
        r"PUT repos/\{owner\}/\{repo\}/environments/production.*\n(\{[^$]*?\n\})", given
    )
    assert environment is not None
    body = json.loads(environment[1])
    assert body["reviewers"] == [{"type": "User", "id": 11}, {"type": "User", "id": 22}]
    assert body["prevent_self_review"] is True
    policy = "api --method POST repos/{owner}/{repo}/environments/{}/deployment-branch-policies"
    for name in ("development", "production"):
        assert (policy.replace("{}", name) in given) != again


CONTEXTS = {"github": {"event_name": "push", "event": {"n": 1.0}}, "env": {"A": ""}, "steps": {}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.event_name == 'PUSH'", True),
        ("github.event_name != 'push' || env.A", ""),
        ("env.A && 'server' || 'local'", "local"),
        ("!(env.A == '') && true", False),
        ("github.event.n >= 1 && github['event'].n < 2", True),
        ("github.event.pull_request.base.sha", None),
        ("null == 0 && '1' == 1", True),
        ("format('{0}-{1}', github.event_name, 2)", "push-2"),
        ("contains(fromJSON('[\"a\", \"b\"]'), 'B')", True),
        ("join(fromJSON('[1, 2]'), '; ')", "1; 2"),
        ("startsWith('it''s', 'IT') && endsWith('it''s', '''s')", True),
    ],
)
def test_expressions_mean_what_they_mean_on_github(text: str, value: Any) -> None:
    assert evaluate(text, CONTEXTS, {}) == value
    assert type(interpolate(f"${{{{ {text} }}}}", CONTEXTS, {})) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "github.evnt_name",
        "steps.none.outputs.x",
        "matrix.os",
        "sha1('x')",
        "a b",
        "(true",
        "'",
        "1 +",
    ],
)
def test_what_cannot_be_evaluated_is_no_answer(text: str) -> None:
    with pytest.raises(Unsupported):
        evaluate(text, CONTEXTS, {})


def test_without_any_secret_a_push_and_a_fork_are_green(
    world: GitHub, project: Path, champion: Callable[..., dict[str, Any]]
) -> None:
    jobs = world.run(WORKFLOW, "push", actor="ann")
    done = dict.fromkeys(("check", "train", "staging", "production"), "success")
    assert results(jobs) == done
    found = champion(f"sqlite:///{world.workspace / 'mlflow.db'}")
    assert found["source_version"] == "my-ml-project/1"
    assert found["approved_by"] == "ann (GitHub)"
    assert "nobody reviewed it" in found["approval_record"]

    world.secrets = {"pull-request": {"MLFLOW_TRACKING_URI": "http://secret.example"}}
    push(project, "fork", 60)
    pull = world.run(WORKFLOW, "pull_request", actor="eve", ref="refs/heads/fork", fork=True)
    assert results(pull) == dict.fromkeys(("check", "champion", "compare"), "success")
    assert "There is no champion to compare with" in pull["compare"].summary
    assert not any("secret.example" in str(s.variables) for s in pull["champion"].steps)
    assert [job["check"].steps[2].outputs for job in (jobs, pull)] == [
        {"cache-hit": "false"},
        {"cache-hit": "true"},
    ]


def test_make_setup_makes_the_environment_as_on_github(world: GitHub) -> None:
    """The short job `champion`, in an environment of its own from the lock."""
    world.python = None
    del world.variables["PYTHONPATH"]
    world.variables["PYTHON"] = sys.executable
    jobs = world.run(WORKFLOW, "pull_request", actor="ann", passed=["check", "compare"])
    assert results(jobs)["champion"] == "success"
    assert (world.workspace / ".venv/installed").exists()
    assert (world.workspace / "champion.json").read_text() == "null\n"
