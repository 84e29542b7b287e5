"""Lineage of a run: what it read, what was done to it, what came out; as JSON and as a drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from ..tracking import recording

FOLDER = "lineage"
# Of the drawing, in pixels; the font is monospaced, so that a text's width is known.
CHARACTER, LINE, PADDING, GAP = 7.3, 17, 10, 46
LONGEST = 36  # characters of a line; a longer one loses its middle
DETAILS = 6  # of a step; the JSON has all

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" \
font-family="monospace" font-size="12">
<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>
<rect width="100%" height="100%" fill="white"/>
{content}
</svg>
"""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Transformation:
    """A step: its name, how many rows went in and came out, and what it did."""

    name: str
    rows_in: int
    rows_out: int
    details: Sequence[str] = ()


@dataclass(frozen=True)
class _Box:
    lines: list[str]
    kind: str
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        return max(map(len, self.lines)) * CHARACTER + 2 * PADDING

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PADDING


def track_data_lineage(
    inputs: Mapping[str, Facts],
    transformations: Sequence[Transformation],
    outputs: Mapping[str, Facts],
) -> None:
    """Log ``lineage/data_lineage.json`` and the same as a graph, ``lineage/data_lineage.svg``.

    The tables among the inputs are dataset inputs of the run already: `log_data_version` makes
    them so, and its result's ``facts()`` belong here.

    Args:
        inputs: name and facts (hash, rows, source, ...) of each thing that was read.
        transformations: the steps in their order; each works on what the one before left.
        outputs: name and facts of each thing that was made.
    """
    lineage = {
        "inputs": inputs,
        "transformations": [asdict(step) for step in transformations],
        "outputs": outputs,
    }
    recording.log_dict(lineage, f"{FOLDER}/data_lineage.json")
    drawing = draw(inputs, transformations, outputs)
    recording.log_text(drawing, f"{FOLDER}/data_lineage.svg")


def draw(
    inputs: Mapping[str, Facts],
    transformations: Sequence[Transformation],
    outputs: Mapping[str, Facts],
) -> str:
    """Return an SVG drawing, from inputs on the left through the steps to outputs on the right."""
    columns = [
        [_Box(_lines(name, facts), "data") for name, facts in inputs.items()],
        *([_Box(_step_lines(step), "step")] for step in transformations),
        [_Box(_lines(name, facts), "data") for name, facts in outputs.items()],
    ]
    tallest = max(_height(column) for column in columns)
    placed: list[list[_Box]] = []
    x = float(PADDING)
    for column in columns:
        y = PADDING + (tallest - _height(column)) / 2
        boxes = []
        for box in column:
            boxes.append(_Box(box.lines, box.kind, x, y))
            y += box.height + PADDING
        placed.append(boxes)
        x += max((box.width for box in column), default=0) + GAP
    arrows = [
        _arrow(left, right)
        for lefts, rights in pairwise(placed)
        for left in lefts
        for right in rights
    ]
    return _SVG.format(
        width=x - GAP + PADDING,
        height=tallest + 2 * PADDING,
        content="\n".join([*arrows, *(_draw(box) for boxes in placed for box in boxes)]),
    )


def _lines(name: str, facts: Facts) -> list[str]:
    return [_short(name), *(_short(f"{key} {value}") for key, value in facts.items())]


def _step_lines(step: Transformation) -> list[str]:
    rows = f"{step.rows_in} rows -> {step.rows_out} rows"
    rest = len(step.details) - DETAILS
    more = [f"and {rest} more"] if rest > 0 else []
    return [_short(step.name), rows, *map(_short, step.details[:DETAILS]), *more]


def _short(text: str) -> str:
    half = LONGEST // 2 - 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def _height(column: Sequence[_Box]) -> float:
    return sum(box.height + PADDING for box in column) - PADDING


def _arrow(left: _Box, right: _Box) -> str:
    x1, y1 = left.x + left.width, left.y + left.height / 2
    x2, y2 = right.x, right.y + right.height / 2
    middle = (x1 + x2) / 2
    return (
        f'<path d="M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} '
        f'{y2:.1f}" fill="none" stroke="#555" marker-end="url(#head)"/>'
    )


def _draw(box: _Box) -> str:
    fill, corner = ("#e8f1fa", 3) if box.kind == "data" else ("#fdf3e1", 14)
    frame = (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{corner}" fill="{fill}" stroke="#555"/>'
    )
    texts = [
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + PADDING + (row + 0.75) * LINE:.1f}" '
        f'font-weight="{"normal" if row else "bold"}">{escape(line)}</text>'
        for row, line in enumerate(box.lines)
    ]
    return "".join([frame, *texts])
