"""Markdown of values that others wrote: whatever they hold, it is shown as text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt

from .. import privacy

CELL_LIMIT = 200  # characters

_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in r"\`*_[]|~#!"} | {"<": "&lt;", "&": "&amp;"}
)
_IN_A_WORD = re.compile(r"(?<=[^\W_])\\_(?=[^\W_])")  # where an underscore is never markup
_BLOCK = re.compile(r"^(?=[=>]|-(?! \S))")  # an underlined heading, a quotation


class Markdown(str):
    """Text that is Markdown already, and must not be escaped again."""

    __slots__ = ()


def inline(text: str, limit: int = CELL_LIMIT) -> Markdown:
    """Return one line, redacted, in which nothing is markup, of at most ``limit`` characters."""
    return Markdown(escape(privacy.redact_text(text), limit))


def escape(text: str, limit: int) -> str:
    """Return one line in which nothing is markup, of at most ``limit`` characters."""
    plain = " ".join(text.split())[: limit + 1]
    shown = plain.translate(_ESCAPES)
    while len(shown) > limit:
        plain = plain[: -1 - (len(shown) - limit) // 5]  # a character takes up to five
        shown = plain.translate(_ESCAPES) + "..."
    return _IN_A_WORD.sub("_", shown)


def prose(text: str) -> Markdown:
    """Return text, redacted, with its lines, paragraphs and lists, but no other markup."""
    lines = [escape(line, 5 * len(line)) for line in privacy.redact_text(text).splitlines()]
    return Markdown("\n".join(_BLOCK.sub(r"\\", line) for line in lines).strip())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing without rows."""
    lines = [_table_line(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([_table_line(head), f"|{' --- |' * len(head)}", *lines])


def page(title: str, markdown: str, images: Mapping[str, bytes]) -> str:
    """Return HTML that loads nothing; ``images`` are PNG, by the address that they have in it."""
    body: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    for address, image in images.items():
        data = base64.b64encode(image).decode()
        body = body.replace(f'src="{address}"', f'src="data:image/png;base64,{data}"')
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return templates.get_template("page.html.j2").render(
        title=privacy.redact_text(title),
        body=body,  # MarkdownIt has escaped it
    )


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(inline(cell) for cell in cells)} |"
