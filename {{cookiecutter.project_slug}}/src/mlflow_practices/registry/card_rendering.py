"""A model card as text: from a Jinja2 template to Markdown, a page, and a description."""

from __future__ import annotations

import html
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import PracticeError
from .evidence import PAGE
from .markdown import Markdown, escape, inline, page, prose

NOT_APPROVED = "none yet"
DESCRIPTION_LIMIT = 5_000  # characters; a registry in PostgreSQL refuses more
APPROVAL_LIMIT = 600
FIRST_SECTIONS = ("## Gates\n", "## Metrics\n")  # what a decision needs

_APPROVAL = re.compile(r"(?<=^\*\*Approval:\*\* ).*$", re.MULTILINE)
_APPROVAL_PARAGRAPH = re.compile(r"\n\n\*\*Approval:\*\* .*\n\n")
_APPROVAL_HTML = re.compile(
    r'(?<=<p id="approval"><strong>Approval:</strong> ).*?(?=</p>)', re.DOTALL
)


class CardError(PracticeError):
    """A card's template or statements are wrong; the message says where, and what to do."""


@dataclass(frozen=True)
class Card:
    """A card as Markdown with plots beside it, as a page, and as a version's description."""

    markdown: str
    html: str
    description: str


def render_card(template: Path, values: Mapping[str, Any], plots: Mapping[str, bytes]) -> Card:
    """Render a card; ``plots`` are PNG images by name, logged as ``plots/<name>.png``.

    Raises:
        CardError: the template cannot be used.
    """
    images = {f"plots/{name}.png": image for name, image in plots.items()}
    markdown = _render(template, {**values, "plots": list(images)})
    whole = page(str(values["version"]), markdown, images)
    whole = whole.replace("<p><strong>Approval:", '<p id="approval"><strong>Approval:', 1)
    without_plots = _render(template, {**values, "plots": []})
    description = _shorten(template, without_plots, values["evaluation_run_id"])
    return Card(markdown, whole, description)


def with_approval(text: str, state: str) -> str:
    """Return a card, in any of its three forms, with another state of approval."""
    if '<p id="approval">' in text:  # only `render_card` writes that: in a value it is escaped
        shown, pattern = html.escape(" ".join(state.split())), _APPROVAL_HTML
    else:
        shown, pattern = escape(state, APPROVAL_LIMIT), _APPROVAL
    return pattern.sub(lambda _: shown, text, count=1)


def _render(template: Path, values: Mapping[str, Any]) -> str:
    """Render a template, in which every printed value is escaped.

    Values are data for Jinja2 and are never compiled. Only `Markdown`, which no value of a card and
    no filter of Jinja2 is, is printed as it is.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # which is for HTML
        finalize=lambda value: value if isinstance(value, Markdown) else inline(str(value)),
    )
    environment.filters |= {"prose": prose, "figure": _figure}
    try:
        source = template.read_text(encoding="utf-8")
        text = environment.from_string(source).render(values, approval=NOT_APPROVED)
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{template}: cannot be read: {error}") from None
    except (
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        raise CardError(f"{template}: line {_line(e)}: {e}") from None
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    if text.count("**Approval:** ") != 1 or not _APPROVAL_PARAGRAPH.search(text):
        raise CardError(
            f"{template}: must have one paragraph `**Approval:** {{{{ approval }}}}`, below the title"
        )
    return text


def _shorten(template: Path, markdown: str, run_id: str) -> str:
    """Return the sections that fit into a description."""
    header, *sections = re.split(r"\n\n(?=## )", markdown.strip())
    end = f"The whole card, also what is too long for here, is `{PAGE}` of the run `{run_id}`."
    room = DESCRIPTION_LIMIT - APPROVAL_LIMIT - len(f"{header}\n\n{end}")
    if room < 0:
        raise CardError(f"{template}: {-room} characters too many above the first section")
    kept = set()
    for section in sorted(sections, key=lambda text: not text.startswith(FIRST_SECTIONS)):
        if len(section) + 2 <= room:
            kept.add(section)
            room -= len(section) + 2
    return "\n\n".join([header, *(section for section in sections if section in kept), end])


def _figure(value: float | None, missing: str = "-") -> str:
    return missing if value is None else f"{value:.4g}"


def _line(error: Exception) -> int:
    """Return the line of the template at which rendering failed."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line = 0
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == "<template>":
            line = frame.lineno or line
    return line
