"""Check the English of what people read: `python docs/prose.py [FILE ...]`, and `make lint`.

It reads Markdown, docstrings, comments, messages and the comments of configuration files. proselint
does the matching, with most of its own checks and with the rules below.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from proselint.checks import __register__ as PROSELINT
from proselint.registry.checks import Check, CheckResult
from proselint.registry.checks.types import ExistenceSimple

ROOT = Path(__file__).resolve().parents[1]
MAX_WORDS = 40
# Taste, typography, and lists of the thousand words that children know.
LEFT_OUT = (
    *("restricted", "typography", "lexical_illusions", "annotations", "misc.but", "hedging"),
    *("needless_variants", "social_awareness", "weasel_words"),
)
# A pattern, and what to write in its place. RE2 matches them, without regard to case.
RULES = {
    r"\b(stand|stands|stood)\b": "say what it is or means: 'is in', 'means', 'differs'",
    r"\b(tell|tells|told|telling) (of|from)\b": "write 'describe', 'report' or 'distinguish'",
    r"\b(is|are|was|were|be|been) told\b": "write who gets which message",
    r"\b(come|comes|came) of\b": "write 'the result of'",
    r"\b(said|asked|done) (again|anew|twice)\b": "write 'repeating a call ...'",
    r"\bit is (they|he|those|people|we) (who|that)\b": "name the subject first",
    r"\bthere (goes|go|comes|stands|stood)\b": "name the subject first",
    r"\bwhom\b": "turn the sentence around, with 'who' or a name as its subject",
    r"\b(be it|were it|were they|had it|be they)\b": "write 'if' or 'whether'",
    r"\b(nothing|none|nobody|all|anything) but\b": "write 'only' or 'all except'",
    r"\bbut (for|what)\b": "write 'except'",
    r"\b(write|writes|says?|explains?) itself\b": "say what writes it",
    r"\bknown to be (two|three|four)\b": "say what is checked",
    r"\basks? nobody\b": "say what is not checked",
    r"\b(goes|go|went|going) before\b": "write 'overrides' or 'has precedence over'",
    r"\b(to|can|cannot|could) be had\b": "write 'available'",
    r"\btells? \w+( \w+)? from\b": "write 'distinguishes'",
    r"\b(become|becomes|became) of\b": "write 'happens to'",
    r"\b(say|says|said|saying|know|knows|known|ask|asked|asks) of\b": "write 'about'",
    r"\bin words\b": "write 'as text'",
    r"\bof then\b": "write 'of that time'",
    r"\bat work\b": "say what it does, such as 'running'",
    r"\b(read|reads) off\b": "write 'read from'",
    r"\b((above|than) the usual|no good|dawdle|with why)\b": "use a precise word",
    r"\b(go|goes|went|going) on\b": "write 'continue'",
    r"\bfor good\b": "write 'permanently'",
    r"\bin silence\b": "write 'silently'",
    r"\bat hand\b": "write 'available' or 'here'",
    r"\bin vain\b": "write 'without effect'",
    r"\b(torn|tear|tears|took|take|takes|taken) apart\b": "write 'split'",
    r"\bmend(s|ed|ing)?\b": "write 'fix' or 'correct'",
    r"\bspare[sd]?\b": "write 'save' or 'avoid'",
    r"\bparted\b": "write 'split' or 'separated'",
    r"\bshall\b": "write 'must' or 'will'",
    r"\b(anew|afresh)\b": "write 'again'",
    r"\b(till|upon)\b": "write 'until' or 'on'",
    r"\b(lest|whence|hence|thence|wherein|whereby|therein|thereof|thereby)\b": "use a common word",
    r"\b(aught|naught|amiss|heed|hither|yonder|withal|ere)\b": "use a common word",
    r"\bmisfits?\b": "write 'rows that do not fit'",
    r"\bwhoever\b": "write 'who' or 'anybody who'",
    r"\b(otherwise than|other than by)\b": "write 'differently from'",
    r"\bhas its say\b": "say what it decides",
    r"\bas (does|do|did) (a|an|the|every|each|all|any)\b": "write 'like'",
    r"\b(only then|never|nor) (is|are|does|do|may|must|will) (a|an|the|it|they)\b": "subject first",
    r"\b(one|each) \w+( of [\w ]+?)? an? (line|person|row|day|run|file|column|phase)\b": (
        "write 'one for each ...'"
    ),
    r"\b(is|are|was) found out\b": "say where it comes from",
}
WORD = re.compile(r"[^\W_](?:[\w'.-]*\w)?")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n\s*\n")
TABLE = re.compile(r"^ *=+ +=[= ]*$.*^ *=+ +=[= ]*$", re.MULTILINE | re.DOTALL)
COMMENTED = {".yaml", ".yml", ".toml", ".example", ".sh", ".cfg", ".ini"}
NAMED = {"Makefile", "Dockerfile", "MLproject", "CODEOWNERS"}


@dataclass(frozen=True)
class Passage:
    """A piece of text, and the line of its file where it begins."""

    line: int
    text: str


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to write instead."""

    path: Path
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        """Return the finding as linters print it."""
        place = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{place}:{self.line}: {self.text!r}: {self.advice}"


def long_sentences(text: str, check: Check) -> Iterator[CheckResult]:
    """Yield the sentences of more than ``MAX_WORDS`` words."""
    start = 0
    for part in [*SENTENCE_END.finditer(text), None]:
        sentence = text[start : part.start() if part else len(text)]
        if (words := len(WORD.findall(sentence))) > MAX_WORDS:
            message = f"a sentence of {words} words; at most {MAX_WORDS}"
            begin = start + len(sentence) - len(sentence.lstrip())
            yield CheckResult(check.path, message, (begin, begin + 50), None)
        start = part.end() if part else start


def checks() -> tuple[Check, ...]:
    """Return proselint's checks that are in use, and the rules of this file."""
    ours = [
        Check(ExistenceSimple(pattern), path=f"plain.{number}", message=advice)
        for number, (pattern, advice) in enumerate(RULES.items())
    ]
    theirs = [check for check in PROSELINT if not check.path.startswith(LEFT_OUT)]
    return (*theirs, *ours, Check(long_sentences, path="plain.sentences"))


def lint(paths: Iterable[Path]) -> list[Finding]:
    """Return what is wrong with the English of files, in the order of their lines."""
    found = [(path, passage) for path in paths for passage in passages(path)]
    texts = [f"\n{plain(passage.text)}\n\n" for _, passage in found]
    starts = list(accumulate(map(len, texts), initial=0))
    everything = "".join(texts)  # at once, since each check compiles its patterns anew
    findings = set()
    for check in checks():
        for result in check.check_with_flags(everything):
            start, end = result.span
            number = bisect_right(starts, start) - 1
            path, passage = found[number]
            line = passage.line + everything.count("\n", starts[number] + 1, start)
            words = " ".join(everything[start:end].split())
            findings.add(Finding(path, line, words, result.message))
    return sorted(findings, key=lambda finding: (finding.path, finding.line))


def plain(text: str) -> str:
    """Return text with a word in place of code, links and Jinja; line breaks stay."""
    text = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}|``.*?``|`[^`\n]*`|https?://\S+", "CODE", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def passages(path: Path) -> Iterator[Passage]:
    """Yield the text of a file that people read."""
    if path.suffix == ".md":
        yield from in_markdown(path.read_text(encoding="utf-8"))
    elif path.suffix == ".py":
        yield from in_python(path.read_text(encoding="utf-8"))
    elif path.suffix in COMMENTED or path.name in NAMED:
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from blocks(
            (number, found[2], not found[1].strip())
            for number, line in enumerate(lines, 1)
            if (found := re.fullmatch(r"(|.*\s)#+\s(.*)", line))
        )


def in_markdown(source: str) -> Iterator[Passage]:
    """Yield each paragraph, heading, list item and table cell; code blocks are left out."""
    line = 1
    tokens: list[Token] = MarkdownIt("commonmark").enable("table").parse(source)
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        if token.type == "inline":
            yield Passage(line, token.content)


def in_python(source: str) -> Iterator[Passage]:
    """Yield docstrings, comments, and messages: other strings of one line and four words or more."""
    source = re.sub(r"\{\{ cookiecutter.*?\}\}", "CODE", source)
    comments = (
        (token.start[0], token.string.lstrip("# "), not token.line[: token.start[1]].strip())
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa"))
    )
    yield from blocks(comments)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    within: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node):
            docstring = node.body[0].value  # type: ignore[attr-defined]
            within.add(docstring)
            yield Passage(docstring.lineno, TABLE.sub("", docstring.value))
        elif isinstance(node, ast.JoinedStr):
            within.update(ast.walk(node))
            parts = [v.value if isinstance(v, ast.Constant) else "`x`" for v in node.values]
            yield from message(node.lineno, "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in within:
            yield from message(node.lineno, node.value)


def message(line: int, text: str) -> Iterator[Passage]:
    """Yield a string of a program, unless it is no text for people."""
    if len(re.findall(r"[A-Za-z]{2,}\s", text)) >= 3 and not re.search(r"\n.|[\\|;]\w", text):
        yield Passage(line, text)


def blocks(comments: Iterable[tuple[int, str, bool]]) -> Iterator[Passage]:
    """Join the comments that fill lines which follow each other; others are on their own."""
    first, last, lines = 0, -1, list[str]()
    for number, text, alone in comments:
        if lines and not (alone and number == last + 1):
            yield Passage(first, "\n".join(lines))
            lines = []
        if not lines:
            first = number
        lines.append(text)
        last = number if alone else -1
    if lines:
        yield Passage(first, "\n".join(lines))


def files() -> Iterator[Path]:
    """Yield the files that people read, of the template and of what it renders."""
    rendered = ROOT / "{{cookiecutter.project_slug}}"
    yield from ROOT.glob("*.md")
    for folder in (".github", "docs", "hooks", "benchmarks"):
        yield from (ROOT / folder).rglob("*")
    yield from (path for path in rendered.rglob("*") if "__pycache__" not in path.parts)
    yield from (ROOT / name for name in ("Makefile", "pyproject.toml"))


def main() -> int:
    """Print what is wrong; return 1 if anything is."""
    parser = argparse.ArgumentParser(description="Check the English of what people read.")
    parser.add_argument("files", nargs="*", type=Path, help="all that people read, if left out")
    given = parser.parse_args().files
    # The rules quote what they forbid.
    paths = [path.resolve() for path in given] or [p for p in files() if p != Path(__file__)]
    found = lint(path for path in sorted(paths) if path.is_file())
    print("\n".join(map(str, found)), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
