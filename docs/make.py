"""Regenerate the outputs, trees and tables of the documentation: `make docs`.

Text between `<!-- output: NAME -->` and `<!-- end -->` is what a live rendering gives. Most blocks
only need the rendered files. Some show the output of a pipeline and of a deployment: these run.
What differs from run to run, such as seconds and run ids, is replaced by `…`.
"""

import argparse
import ast
import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
sys.path[:0] = [str(ROOT / "benchmarks"), str(TEMPLATE / "src")]  # scripts, and the practices

import common

BLOCK = re.compile(r"(<!-- output: ([\w-]+)(?: ([\w-]+))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# What a rendering holds: the entries of its top folder, and what to say about them.
TREE = {
    "README.md docs/": "run it, use your data, add a feature; then a page for each topic",
    "Makefile": "run, test, lint, serve, deploy, rollback, ui, lock",
    "src/my_ml_project/": "YOURS: read, clean, features, metrics, and the stages as short stories",
    "src/mlflow_practices/": "THE TEMPLATE'S: what the stages call; an update replaces it",
    "configs/": "settings for each environment, data checks, model card, approvers",
    "data/ models/": "the sample table; prepared data, in versions; models on this machine",
    "tests/": "features, metrics, pipeline, and what a server must pass",
    "notebooks/": "a first look at the data",
    "deploy/": "Dockerfile, Docker Compose, Kubernetes",
    ".github/": "CI/CD from a push to production; branch and environment protection",
    "MLproject conda.yaml python_env.yaml": "the same pipeline as an MLflow Project",
    "pyproject.toml requirements*.txt": "ranges of versions, and exact pins",
}
NOT_SHOWN = {
    *(".dockerignore", ".env.example", ".gitattributes", ".gitignore", ".pre-commit-config.yaml"),
    *("AGENTS.md", "LICENSE"),
}
PORT = "MY_ML_PROJECT__SERVING__PORT"
# A machine that is busy must not be shown as a model that is too slow.
PATIENCE = {
    "MY_ML_PROJECT__EVALUATION__GATES__LATENCY_MS": "10000",
    "MY_ML_PROJECT__DEPLOYMENT__WATCH__MAX_LATENCY_MS": "10000",
}
APPROVER, TIME = "ann@example.com (machine account ann)", "2026-11-29T09:00:00Z"
# The guide's practices in its order: pages below docs/practices/.
PRACTICES = (
    "project-structure",
    "experiment-organization",
    "authentication",
    "model-approval",
    "data-privacy",
    "data-versions",
    "data-quality",
    "data-lineage",
    "ci-cd",
    "deployment",
    "performance-monitoring",
    "drift-detection",
    "serving-monitoring",
    "efficient-logging",
    "model-optimization",
    "prediction-cache",
    "environment",
    "random-seeds",
    "parameters",
    "unit-tests",
    "integration-tests",
    "experiment-documentation",
    "model-documentation",
)


def render(folder: Path) -> Path:
    """Return a project, rendered without hooks into a new folder."""
    folder.mkdir()
    return common.render(folder)


def documents() -> list[Path]:
    """Return the files that may hold blocks."""
    return [
        ROOT / "README.md",
        *sorted(DOCS.rglob("*.md")),
        TEMPLATE / "README.md",
        *sorted((TEMPLATE / "docs").glob("*.md")),
    ]


def regenerate(project: Path, live: dict[str, str] | None = None) -> dict[Path, str]:
    """Return the documents as they should be; of live blocks only those that are given."""

    def block(found: re.Match[str]) -> str:
        begin, name, argument, former, end = found.groups()
        if name in CHEAP:
            return f"{begin}{CHEAP[name](project, argument or '')}\n{end}"
        if name not in LIVE:
            raise SystemExit(f"no block is called {name}; there are {', '.join([*CHEAP, *LIVE])}")
        return f"{begin}{live[name]}\n{end}" if live else f"{begin}{former}{end}"

    return {path: BLOCK.sub(block, path.read_text(encoding="utf-8")) for path in documents()}


def stale(project: Path) -> list[str]:
    """Return the documents whose cheap blocks are not what a rendering gives."""
    return [
        str(path.relative_to(ROOT))
        for path, text in regenerate(project).items()
        if text != path.read_text(encoding="utf-8")
    ]


def tree(project: Path, _: str) -> str:
    """Return the folders and files of a rendering, annotated; none may be missing."""
    named = {name for names in TREE for name in names.split()}
    for name in named:
        if not list(project.glob(name.rstrip("/"))):
            raise SystemExit(f"TREE in docs/make.py: a rendered project has no {name}")
    tops = {path.relative_to(project).parts[0] for name in named for path in project.glob(name)}
    if more := {path.name for path in project.iterdir()} - tops - NOT_SHOWN - {".git"}:
        raise SystemExit(f"TREE in docs/make.py leaves out {', '.join(sorted(more))}")
    rows = [(names.replace(" ", "  "), text) for names, text in TREE.items()]
    width = max(len(names) for names, _ in rows)
    lines = [f"{names:<{width}}  {text}" for names, text in rows]
    return "\n".join(["```", *lines, "```"])


def questions(_: Path, __: str) -> str:
    """Return a table of the questions that Cookiecutter asks."""
    answers = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    rows = []
    for name, default in answers.items():
        if name.startswith("_"):
            continue
        prompt = answers["__prompts__"][name]
        if isinstance(prompt, dict):
            choices = "; ".join(
                f"`{choice}`" if text == choice else f"`{choice}`: {text}"
                for choice, text in ((choice, prompt.get(choice, choice)) for choice in default)
            )
            rows.append([f"`{name}`", f"{prompt['__prompt__']}. {choices}"])
        elif isinstance(default, list):
            rows.append([f"`{name}`", f"{prompt}: {', '.join(f'`{item}`' for item in default)}"])
        else:
            rows.append([f"`{name}`", prompt])
    return table(["question", "what it asks"], rows)


def commands(project: Path, _: str) -> str:
    """Return a table of the commands of a rendered project."""
    code = f"""
import json
from {common.PACKAGE}.__main__ import command_line
from typer.main import get_command
def walk(command, name):
    parts = getattr(command, "commands", None)
    for key, part in (parts or {{}}).items():
        yield from walk(part, [*name, key])
    if parts is None:
        yield " ".join(name), " ".join(command.help.split("\\n\\n")[0].split())
print(json.dumps(list(walk(get_command(command_line.app), []))))
"""
    listed = json.loads(common.run_python(project, "-c", code))
    return table(["command", "what it does"], [[f"`{name}`", text] for name, text in listed])


def benchmarks(_: Path, __: str) -> str:
    """Return a table of the benchmarks and the first line of each."""
    rows = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        if path.name != "common.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first = " ".join(text.split("\n\n")[0].split())
            rows.append([f"`{path.name}`", re.sub(r":? ?`python benchmarks/.*?`", "", first)])
    return table(["script", "what it measures"], rows)


def guide(_: Path, __: str) -> str:
    """Return a table of the guide's practices: the page, the function, and its module."""
    rows = []
    for name in PRACTICES:
        text = (DOCS / "practices" / f"{name}.md").read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        functions = re.findall(r"<!-- output: where (\w+) -->", text)
        rows.append(
            [
                f"[{title}](practices/{name}.md)",
                ", ".join(f"`{function}`" for function in functions),
                ", ".join(
                    f"`{found}`" if (found := module(function)) else "not in this version"
                    for function in functions
                ),
            ]
        )
    return table(["practice", "function", "in `src/mlflow_practices/`"], rows)


def where(project: Path, function: str) -> str:
    """Say where a function of the guide is, and which stages call it."""
    if not (found := module(function)):
        return f"`{function}` is not part of this version."
    callers = [
        f"`src/<package>/{path.name}`"
        for path in sorted((project / "src" / common.PACKAGE).glob("*.py"))
        if re.search(rf"\b{function}\b", path.read_text(encoding="utf-8"))
    ]
    called = f", called by {' and '.join(callers)}" if callers else ""
    return f"`{function}` in `src/mlflow_practices/{found}`{called}."


def module(function: str) -> str:
    """Return the file of a function of the guide below the practices; empty if there is none."""
    dotted, _ = importlib.import_module("mlflow_practices.components").GUIDE[function]
    name = f"{dotted.replace('.', '/')}.py"
    path = TEMPLATE / "src/mlflow_practices" / name
    if not path.is_file():
        return ""
    names = {getattr(node, "name", "") for node in ast.parse(path.read_text("utf-8")).body}
    if function not in names:
        raise SystemExit(f"components.GUIDE: {name} has no {function}")
    return name


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(headings), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def outputs(project: Path) -> dict[str, str]:
    """Run the pipeline, an approval and a deployment; return what they print."""
    name = common.PROJECT
    os.environ[PORT] = str(free_port())  # the usual one may be taken; `normalise` shows that
    pipeline = ask(project, "run").partition("\npreparation  ")[0]  # the addresses of runs follow
    shown = {"pipeline": f"$ make run\n{pipeline}"}
    try:
        shown["deployment"] = "\n".join(
            f"$ {' '.join([name, *map(quote, words)])}\n{ask(project, *words)}".rstrip()
            for words in (
                ["promote"],
                ["approve", f"{name}/1", "--reason", "far better than the baseline"],
                ["deploy"],
            )
        )
    finally:
        ask(project, "undeploy")
    for text in shown.values():
        if re.search(r"\bfailed\b(?! or refused)|Traceback", text):
            raise SystemExit(f"nothing is written, since this failed:\n{text}")
    blocks = {key: f"```\n{normalise(text.rstrip(), project)}\n```" for key, text in shown.items()}
    return {**blocks, "snippets": common.run([sys.executable, "benchmarks/guide.py"], ROOT).strip()}


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def quote(word: str) -> str:
    """Return a word as people type it."""
    return f'"{word}"' if " " in word else word


def ask(project: Path, *words: str) -> str:
    """Return what a command prints, also where it ends with an error."""
    done = subprocess.run(
        [sys.executable, "-m", common.PACKAGE, *words],
        cwd=project,
        env={**os.environ, **PATIENCE, "PYTHONPATH": "src", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def normalise(text: str, project: Path) -> str:
    """Replace what differs from run to run."""
    text = text.replace(str(project), ".").replace(f":{os.environ.get(PORT)} ", ":8000 ")
    text = re.sub(r"\d+\.\d(?= s\b)", lambda found: "…".rjust(len(found[0])), text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "…", text)
    text = re.sub(r"(approved by) \S+ \(.*?\) on \S+Z", rf"\1 {APPROVER} on {TIME}", text)
    text = re.sub(r"(127\.0\.0\.1):(?!5000|8000)\d+", r"\1:…", text)
    text = re.sub(r"\d+ requests, ", "… requests, ", text)
    return re.sub(r"within [\d.]+ ms", "within … ms", text)


CHEAP: dict[str, Callable[[Path, str], str]] = {
    "tree": tree,
    "questions": questions,
    "commands": commands,
    "benchmarks": benchmarks,
    "guide": guide,
    "where": where,
}
LIVE = ("pipeline", "deployment", "snippets")


def main() -> int:
    """Write the documents, or only check them."""
    parser = argparse.ArgumentParser(description="Regenerate the outputs in the documentation.")
    parser.add_argument("--check", action="store_true", help="only name what is out of date")
    parser.add_argument("--cheap", action="store_true", help="run no pipeline and no deployment")
    options = parser.parse_args()
    with common.workspace() as work:
        project = render(work / "new")
        if options.check:
            found = stale(project)
            print("\n".join(f"{name}: out of date, run `make docs`" for name in found))
            return 1 if found else 0
        live = None if options.cheap else outputs(render(work / "live"))
        for path, text in regenerate(project, live).items():
            if text != path.read_text(encoding="utf-8"):
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
