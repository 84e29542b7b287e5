"""The documentation is what a live rendering gives, and promises nothing that is not there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from renderings import RENDERED, TEMPLATE, render_into

sys.path.insert(0, str(TEMPLATE / "docs"))

import make
import prose

FOLDERS = r"src|configs|tests|docs|deploy|notebooks|hooks|benchmarks|\.github"
SECTION = "data|privacy|training|evaluation|approval|serving|deployment|tracking"
OWN_SETTINGS = {"training.trusted_types"}  # which base.yaml leaves to their defaults
TEXTS = (TEMPLATE / "CONTRIBUTING.md", TEMPLATE / "AGENTS.md", TEMPLATE / "CHANGELOG.md")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_into(tmp_path_factory.mktemp("documented"))


@pytest.fixture(scope="module")
def pages(project: Path) -> list[Path]:
    """Return the pages of the template, and those of a project as its users see them."""
    ours = [page for page in make.documents() if not page.is_relative_to(RENDERED)]
    theirs = [project / "README.md", project / "AGENTS.md", *project.glob("docs/*.md")]
    assert len(theirs) > 10
    return [*ours, *TEXTS, *theirs]


def tokens(page: Path) -> list[Token]:
    markdown = MarkdownIt("commonmark").enable("table")
    found = markdown.parse(page.read_text(encoding="utf-8"))
    return [token for each in found for token in (each, *(each.children or []))]


def code_spans(page: Path) -> Iterator[str]:
    yield from (token.content for token in tokens(page) if token.type == "code_inline")


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links, as GitHub does."""
    found = tokens(page)
    headings = [
        found[number + 1].content for number, t in enumerate(found) if t.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_generated_blocks_are_up_to_date(project: Path) -> None:
    found = make.stale(project)
    assert not found, f"run `make docs`, or `python docs/make.py --cheap`: {found}"


def test_the_practices_have_a_page_each() -> None:
    written = {page.stem for page in (TEMPLATE / "docs/practices").glob("*.md")}
    assert written == set(make.PRACTICES)


@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_the_output_is_that_of_a_pipeline(pipeline_project: Path, problem_type: str) -> None:
    """Seconds and run ids differ; the figures do not."""
    console = (pipeline_project / "console.txt").read_text(encoding="utf-8")
    tour = (TEMPLATE / "docs/tour.md").read_text(encoding="utf-8")
    shown = tour.split("<!-- output: pipeline -->")[1].split("<!-- end -->")[0].splitlines()
    table = [line for line in shown if line.startswith(tuple("┏┡└│┃"))]
    assert len(table) > 8
    heading = "my-ml-project version 1, on the test split (52 rows):"
    for line in (*table, heading, "verdict: no-champion, 4 of 4 gates passed"):
        assert line in console.splitlines(), f"run `make docs`:\n{console}"


def test_both_readmes_are_short(project: Path) -> None:
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    assert len((TEMPLATE / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_link_resolves(pages: list[Path]) -> None:
    wrong = []
    for page in pages:
        links = [t.attrGet("href") or t.attrGet("src") for t in tokens(page)]
        for link in (unquote(str(link)) for link in links if link):
            place, _, anchor = link.partition("#")
            if re.match(r"https?:", place):
                continue
            target = (page.parent / place).resolve() if place else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append(f"{page.name}: {link}")
    assert not wrong


def test_every_code_block_parses(pages: list[Path]) -> None:
    wrong = []
    for page in pages:
        for token in tokens(page):
            if token.type != "fence":
                continue
            text = token.content
            try:
                if token.info == "python":
                    first, _, rest = text.partition("\n")
                    ast.parse(textwrap.dedent(rest if first.startswith("# ") else text))
                elif token.info == "yaml":
                    yaml.safe_load(text)
                elif token.info == "json":
                    json.loads(text)
                elif token.info == "bash":
                    done = subprocess.run(
                        ["bash", "-n"], input=text, text=True, capture_output=True, check=False
                    )
                    assert done.returncode == 0, done.stderr
                else:
                    assert token.info == ""
            except (SyntaxError, ValueError, AssertionError, yaml.YAMLError) as error:
                wrong.append(f"{page.name}: {error}\n{text}")
    assert not wrong, "\n".join(wrong)


def test_every_command_exists(project: Path, pages: list[Path]) -> None:
    listed = make.commands(project, "")
    commands = set(re.findall(r"^\| `([a-z ]+)`", listed, re.MULTILINE)) | {"latest"}
    groups = {name.split()[0] for name in commands}
    theirs, ours = (
        set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
        for root in (project, TEMPLATE)
    )
    wrong = []
    for page in pages:
        targets = theirs if page.is_relative_to(project) else theirs | ours
        blocks = [t.content for t in tokens(page) if t.type in ("fence", "code_inline")]
        for block in blocks:
            for target in re.findall(r"(?:^|\n|&& )\$? ?make ([a-z-]+)", block):
                if target not in targets:
                    wrong.append(f"{page.name}: make {target}")
            for words in re.findall(r"(?:^|bin/|\$ )my-ml-project ([a-z]+(?: [a-z]+)?)", block):
                name = words.split()[0]
                if words not in commands and name not in commands - groups | groups:
                    wrong.append(f"{page.name}: my-ml-project {words}")
    assert not wrong


def test_every_file_exists(project: Path, pages: list[Path]) -> None:
    wrong = []
    for page in pages:
        for span in code_spans(page):
            name = span.replace("<package>", "my_ml_project")
            name = name.replace("{{cookiecutter.package_name}}", "my_ml_project")
            if not re.fullmatch(rf"({FOLDERS})/[\w./-]*", name):
                continue
            roots = [project] if page.is_relative_to(project) else [project, TEMPLATE]
            if not any((root / name).exists() for root in roots):
                wrong.append(f"{page.name}: {span}")
    assert not wrong


def test_every_setting_exists(project: Path, pages: list[Path]) -> None:
    base = yaml.safe_load((project / "configs/base.yaml").read_text(encoding="utf-8"))
    wrong = []
    for page in pages:
        for span in code_spans(page):
            if not re.fullmatch(rf"({SECTION})(\.[a-z_]+)+", span) or span.endswith(".py"):
                continue
            if span in OWN_SETTINGS:
                continue
            value = base
            for key in span.split("."):
                value = value.get(key, KeyError) if isinstance(value, dict) else KeyError
            if value is KeyError:
                wrong.append(f"{page.name}: {span}")
    assert not wrong


def test_the_english_is_plain() -> None:
    paths = [path for path in prose.files() if path.is_file() and path.name != "prose.py"]
    assert len(paths) > 200
    found = prose.lint(paths)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Return whom `tags` tell of.", "turn the sentence around"),
        ("So that it is they who close.", "name the subject first"),
        ("Said again, nothing is written.", "repeating a call"),
        ("What only people know; the rest writes itself.", "say what writes it"),
        ("There goes what no feature stands for.", "name the subject first"),
        (" ".join(["word"] * 41) + ".", "a sentence of 41 words"),
    ],
)
def test_riddles_are_found(tmp_path: Path, text: str, advice: str) -> None:
    for name, content in (("a.md", text), ("a.py", f'"""{text}"""\n'), ("a.yaml", f"# {text}\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = prose.lint([tmp_path / "a.md", tmp_path / "a.py", tmp_path / "a.yaml"])
    assert {finding.path.suffix for finding in found if advice in finding.advice} == {
        *(".md", ".py", ".yaml")
    }


def test_code_is_no_prose(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'STYLE = "margin: 0;\\nwhom stands but for it"\n'
        "def stands(whom: str) -> str:\n    return whom\n",
        encoding="utf-8",
    )
    (tmp_path / "a.md").write_text("Call `stands`.\n\n```\nwhom\n```\n", encoding="utf-8")
    assert not prose.lint([tmp_path / "a.py", tmp_path / "a.md"])
