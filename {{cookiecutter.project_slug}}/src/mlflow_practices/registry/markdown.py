"""Markdown of facts that others wrote: whatever they hold, it is shown as text."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from string import Template

from markdown_it import MarkdownIt

from .. import privacy

CELL_LIMIT = 200  # characters

_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in r"\`*_[]|~#!"} | {"<": "&lt;", "&": "&amp;"}
)
_IN_A_WORD = re.compile(r"(?<=[^\W_])\\_(?=[^\W_])")  # there it is no mark-up
_BLOCK = re.compile(r"^(?=[=>]|-(?! \S))")  # a heading of the line above, a quotation
_PAGE = Template(
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #8888;padding:.3rem .8rem .3rem 0;text-align:left}
td:last-child,li,p{overflow-wrap:anywhere}
img{max-width:100%}
</style>
</head>
<body>
$body</body>
</html>
"""
)


def inline(text: str, limit: int = CELL_LIMIT) -> str:
    """Return one line, redacted, in which nothing is mark-up, of at most ``limit`` characters."""
    return escape(privacy.redact_text(text), limit)


def escape(text: str, limit: int) -> str:
    """Return one line in which nothing is mark-up, of at most ``limit`` characters."""
    plain = " ".join(text.split())[: limit + 1]
    shown = plain.translate(_ESCAPES)
    while len(shown) > limit:
        plain = plain[: -1 - (len(shown) - limit) // 5]  # a character takes up to five
        shown = plain.translate(_ESCAPES) + "..."
    return _IN_A_WORD.sub("_", shown)


def prose(text: str) -> str:
    """Return text, redacted, with its lines, paragraphs and lists, but no other mark-up."""
    lines = [escape(line, 5 * len(line)) for line in privacy.redact_text(text).splitlines()]
    return "\n".join(_BLOCK.sub(r"\\", line) for line in lines).strip()


def facts(values: Mapping[str, str]) -> str:
    """Return a list with a line a fact."""
    return "\n".join(f"- **{inline(name)}:** {inline(text)}" for name, text in values.items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing without rows."""
    lines = [[inline(cell) for cell in row] for row in rows]
    every = [[inline(cell) for cell in head], ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in every) if lines else ""


def page(title: str, markdown: str, images: Mapping[str, bytes]) -> str:
    """Return HTML that loads nothing; ``images`` are PNG, by the address that they have in it."""
    body: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    for address, image in images.items():
        data = base64.b64encode(image).decode()
        body = body.replace(f'src="{address}"', f'src="data:image/png;base64,{data}"')
    return _PAGE.substitute(title=html.escape(privacy.redact_text(title)), body=body)
