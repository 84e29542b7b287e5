"""From a push to the champion in production: the seconds of each step of the CI/CD workflow.

The workflow of a new project is executed as GitHub would, without any secret, each job in a clone of
its own; see tests/github_actions.py. `make test` and the watch window are shortened, which is said
in the table. What GitHub adds (a machine for each job, artifacts over the network) is not in it.
"""

import argparse
import socket
import sys
from pathlib import Path

import common

sys.path.insert(0, str(common.ROOT / "tests"))  # a folder of tests, not a package
from github_actions import GitHub

QUICK, WATCH = "tests/test_features.py tests/test_metrics.py", 5
SHORT = {
    "make test": f"make test (only {QUICK})",
    "Deploy": f"Deploy (watched for {WATCH} s)",
}
WORTH_A_ROW = 0.5  # seconds


def main() -> None:
    """Push once, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, help="one with the development lock; else a new one")
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        for words in (
            ["init", "--quiet", "--initial-branch", "main"],
            ["add", "--all"],
            ["commit", "--quiet", "--message", "Start"],
            ["clone", "--quiet", "--bare", ".", work / "origin.git"],
        ):
            common.run(["git", *words], project)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        given = options.python.absolute() if options.python else None
        github = GitHub(work / "origin.git", work / "runner", given, common.PROJECT)
        github.of_step = {"make test": {"PYTEST_ADDOPTS": QUICK}}
        github.variables = {
            "MY_ML_PROJECT__SERVING__PORT": port,
            "MY_ML_PROJECT__DEPLOYMENT__WATCH__SECONDS": str(WATCH),
            "PYTHON": sys.executable,
            **({"PYTHONPATH": str(github.workspace / "src")} if given else {}),
        }
        with github.serve():
            jobs = github.run("mlflow-ci-cd.yml", "push", actor="ann")
        for name, job in jobs.items():
            if job.result == "failure":
                raise SystemExit(f"the job {name} failed:\n{job.log[-3000:]}")
        steps = [(name, step) for name, job in jobs.items() for step in job.steps]
        rows = [
            [f"{job}: {SHORT.get(step.name, step.name)}", f"{step.seconds:.1f}"]
            for job, step in steps
            if step.seconds >= WORTH_A_ROW
        ]
        rows.append(["in all", f"{sum(step.seconds for _, step in steps):.1f}"])
        where = "the given environment" if given else "an environment made for each job"
        title = f"From push to champion, in {where}"
        common.print_table(title, ["step", "seconds"], rows)


if __name__ == "__main__":
    main()
