"""A model card says what is known, and nothing that anybody wrote in it can do harm."""

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mlflow_practices.registry.model_card as cards
import pytest
from mlflow_practices import privacy
from mlflow_practices.data.versioning import Manifest, Source, SplitFile
from mlflow_practices.evaluation.verdict import Gate, MetricResult, Slice, Verdict
from mlflow_practices.registry import card_rendering
from mlflow_practices.registry.card_rendering import Card, CardError
from mlflow_practices.registry.model_card import Statements
from mlflow_practices.registry.versions import Version
from my_ml_project.project import PROJECT

PERSON = "ann@example.org"
HOSTILE = (
    f"<script>alert(1)</script> a\\|b `c` | d {PERSON}\n\n# Verdict\n---\n===\n> q\n**Approval:** approved by ann\n"
    "![x](http://evil.example/x.png) <img src='http://evil.example/y'> [z](javascript:z) "
    '</p><p id="approval">'
)
LONG = f"{HOSTILE} {'0' * 10_000}"
TEMPLATE = PROJECT.root / "configs/model_card.md.j2"
VERDICT = Verdict(
    "failed",
    [
        Gate("f1_macro at least", True, 0.91234, 0.85, "f1_macro 0.9123, at least 0.85 wanted"),
        Gate("latency", False, 7.5, 5, "7.5 ms for one row, at most 5 wanted"),
    ],
    {"f1_macro": MetricResult(0.91234, 0.88, 0.94, 0.3, None)},
    [Slice("island", "Biscoe", 21, 0.75), Slice("island", "Dream", 1234, 0.99)],
    rows=52_000,
    latency_ms=7.5,
    size_mb=1.25,
)
MANIFEST = Manifest(
    version="abc",
    source=Source(path="data/raw/a.csv", sha256="5" * 64, bytes=9, rows=120),
    target="label",
    columns={"size": "float64", "label": "str"},
    splits={"train": SplitFile(file="f", rows=100, hash="h", sha256="s")},
    notes=["the column x was dropped"],
    run_id="another",
    pipeline_id="p1",
)
PLAIN: dict[str, Any] = {
    "version": Version("example", 3, "m-1", "0123", "abc", "p1"),
    "manifest": MANIFEST,
    "verdict": VERDICT,
    "problem_type": "classification",
    "evaluated": "2026-11-29 12:00 UTC",
    "author": "ben",
    "statements": {"Intended use": "To try things.\n\n- one\n- two"},
    "not_stated": ["limits"],
    "confidence": 0.95,
    "slice_metric": "f1_macro",
    "quality": {"raw": 0.875, "prepared": None},
    "tags": {"python_version": "3.11.7"},
    "params": {"training.estimator": "sklearn.dummy.DummyClassifier"},
    "parameters": {"training.params.n_estimators": "100"},
    "preparation_run": "another",
    "training_run": "0123 not found",
    "evaluation_run_id": "feed",
    "requirements": "scikit-learn>=1",
}
ANSWERED = Statements(*["said"] * 6)
PLOTS = {"roc": bytes(range(256)) * 40, "confusion_matrix": b"png"}


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[list[str]]] = []  # of each table, its cells
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.rows.append([])
        elif tag == "tr":
            self.rows[-1].append([])
        elif tag in ("th", "td"):
            self.rows[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        tag = self.elements[-1][0] if self.elements else ""
        self.texts.append(data)
        if tag in ("th", "td"):
            self.rows[-1][-1][-1] += data.rstrip("\n")

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def hostile() -> dict[str, Any]:
    """Return a card's values in which everything that others write is hostile."""
    source = MANIFEST.source.model_copy(update={"path": HOSTILE})
    return {
        **PLAIN,
        "author": HOSTILE,
        "statements": {f"Use {number}": LONG for number in range(6)},
        "verdict": replace(
            VERDICT,
            gates=[replace(gate, reason=LONG) for gate in VERDICT.gates],
            slices=[Slice(HOSTILE, HOSTILE, 20, 0.5)] * 300,
        ),
        "manifest": MANIFEST.model_copy(
            update={"source": source, "target": HOSTILE, "notes": [HOSTILE]}
        ),
        "parameters": {f"training.params.{number}{HOSTILE}": HOSTILE for number in range(200)},
        "tags": {"packages": LONG, "git_commit": HOSTILE, "python_version": HOSTILE},
    }


def render(values: dict[str, Any], plots: Mapping[str, bytes], template: Path = TEMPLATE) -> Card:
    return card_rendering.render_card(template, values, plots)


def test_a_card_says_what_is_known() -> None:
    card = render(PLAIN, PLOTS)
    page = Page(card.html)
    gates, metrics, slices, parameters = page.rows
    assert [row[:2] for row in gates[1:]] == [
        ["latency", "FAILED"],
        ["f1_macro at least", "passed"],
    ]
    assert gates[1][-1] == "7.5 ms for one row, at most 5 wanted"
    assert metrics == [
        ["Metric", "Value", "95 % interval", "Baseline", "Champion"],
        ["f1_macro", "0.9123", "0.88 to 0.94", "0.3", "-"],
    ]
    assert slices[1] == ["island", "Biscoe", "21", "0.75"]
    assert parameters[1] == ["training.params.n_estimators", "100"]
    for words in (
        "Approval: none yet",
        "Verdict: failed, 1 of 2 gates failed",
        "52,000 test rows; a row takes 7.5 ms, the files 1.25 MB.",
        "Estimator: sklearn.dummy.DummyClassifier",
        "the column x was dropped",
        "Training run: 0123 not found",
    ):
        assert words in page.text
    for text in (card.markdown, card.description):
        assert "**Approval:** none yet\n" in text
        assert re.search(r"^\*\*Not stated:\*\* .*\blimits\b", text, re.MULTILINE)
        assert "**Intended use**\n\nTo try things.\n\n- one\n- two\n" in text
        assert "| f1_macro | 0.9123 | 0.88 to 0.94 | 0.3 | - |" in text
    assert "![plots/roc.png](plots/roc.png)" in card.markdown
    assert "plots/" not in card.description
    assert "`model_card.html` of the run `feed`" in card.description


def test_the_page_needs_no_other_file() -> None:
    page = Page(render(PLAIN, PLOTS).html)
    sources = [str(image["src"]) for image in page.named("img")]
    images = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    assert images == list(PLOTS.values())


def test_nothing_that_others_wrote_does_harm() -> None:
    card, plain = (render(subject, PLOTS) for subject in (hostile(), PLAIN))
    page, expected = Page(card.html), Page(plain.html)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in expected.elements}
    for tag, attributes in page.elements:
        assert attributes.keys() <= {"charset", "content", "http-equiv", "id", "lang", "name"} | (
            {"src", "alt"} if tag == "img" else set()
        )
    assert page.named("img") == expected.named("img")
    assert [a for _, a in page.elements if "id" in a] == [{"id": "approval"}]
    for heading in ("h1", "h2"):
        assert len(page.named(heading)) == len(expected.named(heading))
    assert [len(rows) for rows in page.rows] == [3, 2, 21, 201]
    for rows in page.rows:
        assert {len(row) for row in rows} == {len(rows[0])}
    assert "The worst 20 of 300." in page.text
    for _, value in page.rows[-1][1:]:
        assert value.startswith("<script>alert(1)</script> a\\|b `c` | d [REDACTED] # Verdict")
    for text in (card.markdown, card.description):
        assert text.count("\n**Approval:** ") == 1
        assert "<script" not in text
        assert not re.search(r"(?<!\\)\]\(http", text)
    for text in (card.markdown, card.html, card.description):
        assert PERSON not in text
        assert privacy.redact_text(text) == text  # or logging would change it


def test_a_summary_fits_a_description_and_is_cut_between_sections() -> None:
    many = dict(
        PLAIN,
        verdict=replace(VERDICT, slices=[Slice("column", "value" * 9, 20, 0.5)] * 300),
        parameters={f"training.params.p{number}": "x" * 99 for number in range(200)},
    )
    longer = [
        dict(PLAIN, parameters={f"p{number}": "x" * 99 for number in range(count)})
        for count in range(20, 40)  # to just within the limit, and over it
    ]
    for subject in (*longer, many, hostile()):
        card = render(subject, {})
        for state in ("none yet", "approved & ", "a&b" * 1000):
            assert len(card_rendering.with_approval(card.description, state)) <= 5000
        _, *sections = card.description.rpartition("\n\n")[0].split("\n\n## ")
        for section in sections:
            assert f"\n\n## {section}\n" in card.markdown
        assert card.description.endswith("`model_card.html` of the run `feed`.")
    assert "## Gates\n" in card.description
    assert "## Intended use and limits" not in card.description  # so long that it fills it alone
    shown = render(many, {}).description
    assert "## Parameters" not in shown
    assert "## Intended use and limits" in shown


@pytest.mark.parametrize("form", ["markdown", "html", "description"])
@pytest.mark.parametrize("subject", [PLAIN, hostile()], ids=["plain", "hostile"])
def test_a_later_decision_replaces_the_state_and_nothing_else(
    form: str, subject: dict[str, Any]
) -> None:
    text = getattr(render(subject, PLOTS), form)
    state = "approved by ben: <b>good</b> | \\1\n\n# and"
    approved = card_rendering.with_approval(text, state)
    assert card_rendering.with_approval(approved, state) == approved
    assert card_rendering.with_approval(approved, card_rendering.NOT_APPROVED) == text
    before, after = text.splitlines(), approved.splitlines()
    [line] = [new for old, new in zip(before, after, strict=True) if old != new]
    assert "approved by ben: &lt;b" in line
    if form == "html":
        assert Page(approved).text.count("approved by ben: <b>good</b> | \\1 # and") == 1


HEAD = "# {{ version }}\n\n**Approval:** {{ approval }}\n\n"


def write_template(folder: Path, text: str) -> Path:
    path = folder / "model_card.md.j2"
    path.write_text(text)
    return path


def test_a_team_edits_the_template(tmp_path: Path) -> None:
    text = (
        HEAD
        + "## Ours\n\nFor *us*: {{ author }}\n{# not shown #}\n## Metrics\n\n{{ 0.5 | figure }}\n"
    )
    card = render(PLAIN, {}, write_template(tmp_path, text))
    assert card.markdown == (
        "# example/3\n\n**Approval:** none yet\n\n## Ours\n\nFor *us*: ben\n## Metrics\n\n0.5\n"
    )
    assert "<em>us</em>" in card.html
    assert card.description.startswith("# example/3\n\n**Approval:** none yet\n\n## Ours\n")


@pytest.mark.parametrize(
    "printed",
    [
        "author",
        "author | safe",
        "author | escape",
        "author | forceescape",
        "author | urlize",
        "author | replace('a', 'a')",
        "'' | prose ~ author",
        "[author | prose, author] | join",
        "author | tojson",
        "{'a': author} | xmlattr",
    ],
)
def test_no_edit_turns_a_value_into_markup_or_code(tmp_path: Path, printed: str) -> None:
    values = {**PLAIN, "author": "{{ 7 * 7 }} {% raw %} [z](http://evil.example) <b>x</b> **y**"}
    card = render(values, {}, write_template(tmp_path, f"{HEAD}{{{{ {printed} }}}}\n"))
    page = Page(card.html)
    assert "49" not in page.text
    assert not page.named("a")
    assert not page.named("b")
    assert [tag for tag, _ in page.elements].count("strong") == 1  # the approval


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + "{% if %}", r"model_card\.md\.j2: line 5: "),
        (HEAD + "\n{{ colour }}", r"model_card\.md\.j2: line 6: 'colour' is undefined"),
        (HEAD + "{{ verdict.rows + author }}", r"model_card\.md\.j2: line 5: "),
        (HEAD + "{{ version.__class__.__mro__ }}", "is unsafe"),
        (HEAD + "{% include '/etc/passwd' %}", r"model_card\.md\.j2: line "),
        ("# {{ version }}\n", "must have one paragraph `\\*\\*Approval:\\*\\* {{ approval }}`"),
        (HEAD + HEAD, "must have one paragraph"),
        (HEAD + "x" * 5000, "characters too many above the first section"),
    ],
)
def test_a_mistake_in_the_template_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(CardError, match=complaint) as raised:
        render(PLAIN, {}, write_template(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"model_card\.md\.j2: cannot be read"):
        render(PLAIN, {}, tmp_path / "model_card.md.j2")


def test_a_description_that_is_no_card_stays_as_it_is() -> None:
    assert card_rendering.with_approval("Written by hand.", "approved") == "Written by hand."


@pytest.mark.parametrize(
    "text",
    ["", " ", "...", "-", "?", "todo", "TODO", "Tbd.", "[fixme]", "xxx", "<who?>", "TODO: ask Ben"],
)
def test_a_placeholder_is_a_gap(text: str) -> None:
    assert replace(ANSWERED, contact=text).gaps() == ["contact"]


@pytest.mark.parametrize(
    "text", ["n/a", "N/A", "none", "Todos of nurses", "<5 rows a day", "#ml", "人", "<a> and <b>"]
)
def test_an_answer_is_no_gap(text: str) -> None:
    assert replace(ANSWERED, contact=text).gaps() == []


def test_this_projects_own_statements_can_be_read() -> None:
    assert isinstance(cards.read_statements(PROJECT.root / "configs/model_card.yaml"), Statements)


def test_statements_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "model_card.yaml"
    path.write_text("users:\nlimits: |\n  None.\n  At all.\n")
    assert cards.read_statements(path) == Statements(limits="None.\nAt all.\n")
    path.write_text("")
    assert cards.read_statements(path).gaps() == list(Statements.__dataclass_fields__)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"limit: x", ": limit: unknown key; did you mean limits?"),
        (b"colour: x", ": colour: unknown key; there are intended_use, users, out_of_scope"),
        (f"{PERSON}: x".encode(), ": [REDACTED]: unknown key; there are"),
        (b"contact: 5551234567", ": contact: is no text but int; put it in quotes"),
        (b"limits: [a, b]", ": limits: is no text but list; put it in quotes"),
        (b"- a", ": must be a mapping of intended_use, users"),
        (f"users: x\nlimits: {PERSON}: x".encode(), ": line 2: not valid YAML; put the text in"),
        (b"users: \x01", ": not valid YAML; put the text in quotes"),
        (b"users: \xff", ": cannot be read: "),
    ],
)
def test_a_mistake_in_the_statements_is_one_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "model_card.yaml"
    path.write_bytes(content)
    with pytest.raises(CardError) as raised:
        cards.read_statements(path)
    assert f"{path}{complaint}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert PERSON not in str(raised.value)
    assert "5551234567" not in str(raised.value)


def test_missing_statements_are_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"model_card.yaml: no such file; write one with"):
        cards.read_statements(tmp_path / "model_card.yaml")
