"""Whatever people answer is refused, or comes out in every file as they typed it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from renderings import RENDERED, TEMPLATE, Bake, Render

PARSERS: dict[str, Callable[[str], object]] = {
    ".ipynb": json.loads,
    ".json": json.loads,
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),  # of Kubernetes there are several
    ".yml": yaml.safe_load,
    "MLproject": yaml.safe_load,
}
BINARY = {".ico", ".jpg", ".parquet", ".png"}

# --- what people might answer

FINE = [
    *("'", '"', '"""', "'''", "\\", "\\\\", "\\n", "\\u0041", "\\x"),
    *("{", "}", "}}", "%}", "#}", "{}", "{a: b}", "[", "]", "[table]"),
    *("$(touch CANARY)", "`touch CANARY`", "${HOME}", "$HOME", "$$", "\\$("),
    *("%PATH%", "%s", "%(x)s", "!x", "~", "@", "`", ",", "&a", "*a", "? "),
    *("; touch CANARY;", "| touch CANARY", "&& touch CANARY", "> CANARY", "<(touch CANARY)"),
    *('"; import os; os.system("touch CANARY"); "', "'); __import__('os').abort(); ('"),
    *("# ", "## x", " #", "- ", "* ", "+ ", "= ", "1. ", "12) ", "2026"),
    *("---", "===", "***", "___", "~~~", "```", "**b**", "~~c~~", "a_b_c", "| a |"),
    *("[a](b)", "![a](b)", "[x]: y", "<b>", "</b>", "<!--", "&amp;", "&#65;", "<a@b.c>"),
    *(": ", "a: b", "- x", "!!python/object", "%YAML", "a = b"),
    *("null", "true", "no", "1e5", "0x1f", "2024-01-01", "1_000"),
    *("\u0639\u0631\u0628\u064a", "\u05e2\u05d1", "\u200f", "\u200e", "\u65e5\u672c"),
    *("\U0001f680", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301", "été", "ß"),
    *("\u0130", "\u00a0", "\ufeff", "\u00ad", "\u2003", "\ue000", "\U0010abcd"),
    *(" ", "  ", "x", "Churn", "the model"),
]
REFUSED = [
    *("\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029"),
    *("\u202e", "\u2066", "\ud800", "\udfff", "\ufffe", "\uffff", "\ufdd0"),
    *("{" + "{", "{" + "%", "{" + "#", "{" + "{ cookiecutter }" + "}", "{" + "% raw %" + "}"),
    *("\n[tool.x]\n", "\n  - x: y\n"),
]
characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn"])
fine_texts = st.lists(st.sampled_from(FINE) | st.text(characters, max_size=4), max_size=8).map(
    lambda parts: re.sub(r"\{(?=[{%#])", "{ ", "".join(parts)).strip()
)
hostile_texts = st.tuples(fine_texts, st.sampled_from(REFUSED), fine_texts).map("".join) | st.text()
fine_names = fine_texts.map(lambda text: text or "x")
fine_slugs = st.sampled_from(
    ["123", "1e5", "0x1f", "null", "true", "no", "on", "y", "2024-01-01", "inf", "1-2", "a--b"]
) | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
fine_packages = st.sampled_from(["null_", "_x", "Churn", "x" * 60]) | st.from_regex(
    r"[a-z_][a-z0-9_]{0,20}", fullmatch=True
)
fine_emails = st.sampled_from(
    ["o'neil+ml@example.com", "a.b-c_d%e@mail.example.co.uk", "x=y&z~@xn--mnchen-3ya.de"]
)
fine_uris = st.sampled_from(
    [
        *("", "", "http://h:5000", "https://mlflow.example.com/a%20b/", "http://[::1]:1"),
        *("postgresql://me@db:5432/x?sslmode=require&a=%27", "sqlite:///a.db"),
        "sqlite:////srv/日本/a,b=c.db",
    ]
)
prompts = {
    "project_name": (fine_names, hostile_texts),
    "description": (fine_texts, hostile_texts),
    "author_name": (fine_names, hostile_texts),
    "project_slug": (fine_slugs, hostile_texts),
    "package_name": (fine_packages, hostile_texts),
    "author_email": (fine_emails, hostile_texts),
    "tracking_uri": (fine_uris, hostile_texts | st.just("http://u:p@h") | st.just("file:///x")),
}
CHOICES = {
    name: value
    for name, value in json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8")).items()
    if isinstance(value, list)
}


@st.composite
def answer_sets(draw: st.DrawFn) -> dict[str, str]:
    """Draw a full set of answers; one of its texts, or none, is likely to be refused."""
    spoiled = draw(st.sampled_from([*[""] * 8, *prompts]))
    answers = {name: draw(pair[name == spoiled]) for name, pair in prompts.items()}
    return answers | {name: draw(st.sampled_from(values)) for name, values in CHOICES.items()}


# --- what must come out


def markdown_text(inline: Any) -> str:
    """Return an inline token's text; a mark that took effect shows as its type."""
    return "".join(
        child.content if child.type == "text" else f"<{child.type}>" for child in inline.children
    )


def assert_rendered_well(root: Path, answers: dict[str, Any]) -> None:
    """Every file parses, no Jinja is left, and the texts are found again exactly."""
    for path in root.rglob("*"):
        if path.is_dir() or path.suffix in BINARY or ".git" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".j2":  # a template of the project's own, which arrives as it is
            assert text == (RENDERED / path.relative_to(root)).read_text(encoding="utf-8")
            continue
        for mark in ("{" + "{ cookiecutter", "{" + "%", "__markdown_", "__quoted_"):
            assert mark not in text, path
        PARSERS.get(path.suffix or path.name, str)(text)

    def read(name: str) -> str:
        return (root / name).read_text(encoding="utf-8")

    project = tomllib.loads(read("pyproject.toml"))["project"]
    author = {"name": answers["author_name"], "email": answers["author_email"]}
    assert project["name"] == answers["project_slug"]
    assert project["description"] == answers["description"]
    assert project["authors"] == [author]
    assert project["requires-python"] == f">={answers['python_version']}"
    assert list(project["scripts"]) == [answers["project_slug"]]
    assert (root / "src" / answers["package_name"] / "__init__.py").is_file()

    base = yaml.safe_load(read("configs/base.yaml"))
    assert base["project"]["name"] == answers["project_slug"]
    assert base["tracking"]["uri"] == answers["tracking_uri"]
    assert base["problem_type"] == answers["problem_type"]
    assert yaml.safe_load(read("MLproject"))["name"] == answers["project_slug"]
    assert yaml.safe_load(read("conda.yaml"))["name"] == answers["project_slug"]
    assert yaml.safe_load(read("python_env.yaml"))["python"] == answers["python_version"]
    assert answers["author_name"] in read("LICENSE")

    readme = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(read("README.md"))
    assert [token.type for token in readme[:2]] == ["heading_open", "inline"]
    assert markdown_text(readme[1]) == answers["project_name"]
    if answers["description"]:
        assert [token.type for token in readme[3:5]] == ["paragraph_open", "inline"]
        assert markdown_text(readme[4]) == answers["description"]


def test_two_hundred_hostile_answer_sets(pre_hook: ModuleType, answers: dict[str, Any]) -> None:
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(answer_sets())
    def check(given: dict[str, str]) -> None:
        if found := pre_hook.problems({**answers, **given}):
            assert all(line.isascii() and line.isprintable() for line in found)
            outcomes["refused"] += 1
            return
        with tempfile.TemporaryDirectory() as folder:
            project = cookiecutter(
                str(TEMPLATE),
                no_input=True,
                extra_context=given,
                output_dir=folder,
                accept_hooks=False,
            )
            assert os.listdir(folder) == [given["project_slug"]]
            assert_rendered_well(Path(project), given)
        outcomes["rendered"] += 1

    check()
    # Neither way may be the only one that was tried.
    assert outcomes["refused"] > 20
    assert outcomes["rendered"] > 50


CANARIES = [
    "$(touch CANARY)",
    "`touch CANARY`",
    '"; import os; os.system("touch CANARY"); "',
    "'''; __import__('os').system('touch CANARY'); '''",
    '"""; __import__("os").system("touch CANARY"); r"""',
    "x; touch CANARY # \\",
]


@pytest.mark.parametrize("canary", CANARIES)
def test_no_answer_is_executed(
    canary: str, bake: Bake, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real hooks, and then through the shell, make and Python of the project."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, canary)
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ada@example.com")
    texts = dict.fromkeys(["project_name", "description", "author_name"], canary)
    options = {"project_slug": "churn", "package_name": "churn", "create_experiments": False}
    project = bake(**options, **texts).require()
    assert_rendered_well(project, {**DEFAULTS, **texts})
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    commands = [[sys.executable, "-B", "-c", "import churn.features, mlflow_practices.tracking"]]
    if shutil.which("make"):
        commands += [["make", "help"], ["make", "--dry-run", "lint"]]
    if shutil.which("sh"):
        commands += [["sh", "-c", ". ./.env.example"]]
    for command in commands:
        subprocess.run(command, cwd=project, env=environment, capture_output=True, check=True)
    for place in (tmp_path, home, TEMPLATE / "hooks", TEMPLATE / "tests"):
        assert not list(place.rglob("CANARY*"))


DEFAULTS = {
    "project_slug": "churn",
    "package_name": "churn",
    "author_email": "you@example.com",
    "problem_type": "classification",
    "python_version": "3.11",
    "tracking_uri": "",
}


@pytest.mark.parametrize("license", CHOICES["license"])
@pytest.mark.parametrize("python_version", CHOICES["python_version"])
@pytest.mark.parametrize("problem_type", CHOICES["problem_type"])
def test_every_choice_comes_out(
    render: Render, license: str, python_version: str, problem_type: str
) -> None:
    choices = {"python_version": python_version, "problem_type": problem_type}
    texts = {"project_name": "Ünï", "description": "12) \\ things", "author_name": 'O\'Neil "Q"'}
    given = {**DEFAULTS, **choices, **texts}
    project = render(**given, license=license)
    assert_rendered_well(project, given)
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    expected = "LicenseRef-Proprietary" if license == "Proprietary" else license
    assert declared["license"] == expected


@pytest.mark.parametrize(
    "given",
    [
        {"description": "a\nb"},
        {"author_name": '\x1b]0;x\x07"; import os; os.system("touch CANARY")'},
        {"project_slug": "$(touch CANARY)"},
        {"package_name": 'x"; import os; os.system("touch CANARY")'},
        {"author_email": "`touch CANARY`@example.com"},
        {"tracking_uri": "http://$(touch CANARY)/"},
    ],
)
def test_the_real_hook_refuses_what_the_function_refuses(
    pre_hook: ModuleType,
    answers: dict[str, Any],
    bake: Bake,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    baked = bake(**{"package_name": "churn", **given})
    assert isinstance(baked.exception, FailedHookException)
    shown = capfd.readouterr().err
    expected = pre_hook.problems({**answers, **given})
    assert expected
    assert all(f"\n  {line}\n" in shown for line in expected)
    assert list(tmp_path.rglob("*")) == [baked.folder.parent, baked.folder]


def test_a_name_of_emoji_alone_still_gets_a_folder(render: Render) -> None:
    """Such a name has no slug; an empty folder name would be the current folder."""
    given = {"project_name": "\U0001f389\U0001f389"}
    project = render(**given)
    assert project.name == "my-ml-project"
    derived = {"project_slug": "my-ml-project", "package_name": "my_ml_project"}
    texts = {"description": "", "author_name": "Your Name"}
    assert_rendered_well(
        render(**given, **texts, into=project.parent / "b"),
        {**DEFAULTS, **derived, **given, **texts},
    )
