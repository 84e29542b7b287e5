"""A model card says what is known, and nothing that anybody wrote in it can do harm."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import mlflow_practices.registry.model_card as cards
import pytest
from mlflow_practices import privacy
from mlflow_practices.evaluation.verdict import Gate, MetricResult, Slice, Verdict
from mlflow_practices.registry.model_card import Statements
from my_ml_project.project import PROJECT

PERSON = "ann@example.org"
HOSTILE = (
    f"<script>alert(1)</script> a\\|b `c` | d {PERSON}\n\n# Verdict\n---\n===\n> q\n**Approval:** approved by ann\n"
    "![x](http://evil.example/x.png) <img src='http://evil.example/y'> [z](javascript:z) "
    '</p><p id="approval">'
)
LONG = f"{HOSTILE} {'0' * 10_000}"
PLAIN = cards.CardFacts(
    name="example/3",
    model={"Estimator": "sklearn.dummy.DummyClassifier", "Author": "ben"},
    statements=Statements(intended_use="To try things.\n\n- one\n- two", limits="TODO"),
    verdict=Verdict(
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
    ),
    confidence=0.95,
    slice_metric="f1_macro",
    data={"Version": "abc", "Rows": "train 100, test 20"},
    notes=["the column x was dropped"],
    parameters={"training.params.n_estimators": "100"},
    lineage={"Training run": "0123 not found"},
    environment={"Python": "3.11.7"},
    evaluation_run_id="feed",
)
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


def hostile() -> cards.CardFacts:
    """Return a card's subject in which everything that others write is hostile."""
    verdict = PLAIN.verdict
    return replace(
        PLAIN,
        model={**PLAIN.model, "Author": HOSTILE},
        statements=Statements(*[LONG] * 6),
        verdict=replace(
            verdict,
            gates=[replace(gate, reason=LONG) for gate in verdict.gates],
            slices=[Slice(HOSTILE, HOSTILE, 20, 0.5)] * 300,
        ),
        data={"Source": HOSTILE, "Columns": HOSTILE},
        notes=[HOSTILE],
        parameters={f"training.params.{number}{HOSTILE}": HOSTILE for number in range(200)},
        environment={"Packages": LONG},
    )


def test_a_card_says_what_is_known() -> None:
    card = cards.render_card(PLAIN, PLOTS)
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
    for text in (card.markdown, card.summary):
        assert "**Approval:** none yet\n" in text
        assert re.search(r"^\*\*Not stated:\*\* .*\blimits\b", text, re.MULTILINE)
        assert "**Intended use**\n\nTo try things.\n\n- one\n- two\n" in text
        assert "| f1_macro | 0.9123 | 0.88 to 0.94 | 0.3 | - |" in text
    assert "![plots/roc.png](plots/roc.png)" in card.markdown
    assert "plots/" not in card.summary
    assert "`model_card.html` of the run `feed`" in card.summary


def test_the_page_needs_no_other_file() -> None:
    page = Page(cards.render_card(PLAIN, PLOTS).html)
    sources = [str(image["src"]) for image in page.named("img")]
    images = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    assert images == list(PLOTS.values())


def test_nothing_that_others_wrote_does_harm() -> None:
    card, plain = (cards.render_card(subject, PLOTS) for subject in (hostile(), PLAIN))
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
    for text in (card.markdown, card.summary):
        assert text.count("\n**Approval:** ") == 1
        assert "<script" not in text
        assert not re.search(r"(?<!\\)\]\(http", text)
    for text in (card.markdown, card.html, card.summary):
        assert PERSON not in text
        assert privacy.redact_text(text) == text  # or logging would change it


def test_a_summary_fits_a_description_and_is_cut_between_sections() -> None:
    many = replace(
        PLAIN,
        verdict=replace(PLAIN.verdict, slices=[Slice("column", "value" * 9, 20, 0.5)] * 300),
        parameters={f"training.params.p{number}": "x" * 99 for number in range(200)},
    )
    longer = [
        replace(PLAIN, parameters={f"p{number}": "x" * 99 for number in range(count)})
        for count in range(20, 40)  # to just within the limit, and over it
    ]
    for subject in (*longer, many, hostile()):
        card = cards.render_card(subject, {})
        for state in ("none yet", "approved & ", "a&b" * 1000):
            assert len(cards.with_approval(card.summary, state)) <= 5000
        _, *sections = card.summary.rpartition("\n\n")[0].split("\n\n## ")
        for section in sections:
            assert f"\n\n## {section}\n" in card.markdown
        assert card.summary.endswith("`model_card.html` of the run `feed`.")
    assert "## Gates\n" in card.summary
    assert "## Intended use and limits" not in card.summary  # so long that it fills it alone
    shown = cards.render_card(many, {}).summary
    assert "## Parameters" not in shown
    assert "## Intended use and limits" in shown


@pytest.mark.parametrize("form", ["markdown", "html", "summary"])
@pytest.mark.parametrize("subject", [PLAIN, hostile()], ids=["plain", "hostile"])
def test_a_later_decision_replaces_the_state_and_nothing_else(
    form: str, subject: cards.CardFacts
) -> None:
    text = getattr(cards.render_card(subject, PLOTS), form)
    state = "approved by ben: <b>good</b> | \\1\n\n# and"
    approved = cards.with_approval(text, state)
    assert cards.with_approval(approved, state) == approved
    assert cards.with_approval(approved, cards.NOT_APPROVED) == text
    before, after = text.splitlines(), approved.splitlines()
    [line] = [new for old, new in zip(before, after, strict=True) if old != new]
    assert "approved by ben: &lt;b" in line
    if form == "html":
        assert Page(approved).text.count("approved by ben: <b>good</b> | \\1 # and") == 1


def test_a_description_that_is_no_card_stays_as_it_is() -> None:
    assert cards.with_approval("Written by hand.", "approved") == "Written by hand."


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
    with pytest.raises(cards.CardError) as raised:
        cards.read_statements(path)
    assert f"{path}{complaint}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert PERSON not in str(raised.value)
    assert "5551234567" not in str(raised.value)


def test_missing_statements_are_named(tmp_path: Path) -> None:
    with pytest.raises(cards.CardError, match=r"model_card.yaml: no such file; write one with"):
        cards.read_statements(tmp_path / "model_card.yaml")
