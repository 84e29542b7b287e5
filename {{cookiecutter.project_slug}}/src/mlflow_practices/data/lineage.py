"""Lineage of a run: what it read, what was done to it, what came out; as JSON and as a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .. import privacy
from ..tracking import recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTER, LINE = 0.0673, 0.14  # inches of the drawing's font
FONT: dict[str, Any] = {"family": "monospace", "size": 8}
GAP = 8  # characters between the boxes
DATA_BOX = {"boxstyle": "square,pad=0.6", "facecolor": "#e8f1fa", "edgecolor": "#555555"}
ARROW = {"arrowstyle": "->", "color": "#555555"}
STEP_BOX = {"boxstyle": "round,pad=0.6", "facecolor": "#fdf3e1", "edgecolor": "#555555"}
LONGEST = 36  # characters of a line; a longer one loses its middle
DETAILS = 6  # of a step; the JSON has all

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Transformation:
    """A step: its name, how many rows went in and came out, and what it did."""

    name: str
    rows_in: int
    rows_out: int
    details: Sequence[str] = ()


def track_data_lineage(
    inputs: Mapping[str, Facts],
    transformations: Sequence[Transformation],
    outputs: Mapping[str, Facts],
) -> None:
    """Log ``lineage/data_lineage.json`` and the same as a drawing, ``lineage/data_lineage.png``.

    The tables among the inputs are dataset inputs of the run already: `log_data_version` makes
    them so.

    Args:
        inputs: name and facts (hash, rows, source, ...) of each thing that was read.
        transformations: the steps in their order; each works on what the one before left.
        outputs: name and facts of each thing that was made.
    """
    steps = [asdict(step) for step in transformations]
    lineage = privacy.redact({"inputs": inputs, "transformations": steps, "outputs": outputs})
    recording.log_dict(lineage, "lineage/data_lineage.json")
    recording.log_figure(draw(lineage), "lineage/data_lineage.png")


def draw(lineage: Mapping[str, Any]) -> Figure:
    """Return a drawing, from inputs on the left through the steps to outputs on the right."""
    from matplotlib.figure import Figure

    inputs = [_label(name, facts) for name, facts in lineage["inputs"].items()]
    steps = [_step_label(**step) for step in lineage["transformations"]]
    outputs = [_label(name, facts) for name, facts in lineage["outputs"].items()]
    columns = [inputs, *([step] for step in steps), outputs]
    # In characters and lines, with room for the boxes around the labels and the arrows between.
    widths = [
        max(len(line) for label in column for line in label.split("\n")) for column in columns
    ]
    total, tallest = sum(widths) + GAP * len(widths), max(map(_height, columns))
    figure = Figure(figsize=(total * CHARACTER, tallest * LINE))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, total), ylim=(0, tallest))
    axes.axis("off")
    left, ends = GAP / 2, list[tuple[float, float]]()  # of the boxes in the column before
    for column, width in zip(columns, widths, strict=True):
        box = DATA_BOX if column in (inputs, outputs) else STEP_BOX
        top, starts = (tallest + _height(column)) / 2, ends
        ends = []
        for label in column:
            middle = top - _height([label]) / 2
            top -= _height([label])
            axes.text(left, middle, label, va="center", bbox=box, parse_math=False, **FONT)
            for start in starts:
                axes.annotate("", (left - 1, middle), start, arrowprops=ARROW, zorder=1)
            ends.append((left + width + 1, middle))
        left += width + GAP
    return figure


def _label(name: str, facts: Facts) -> str:
    return "\n".join([_short(name), *(_short(f"{key} {value}") for key, value in facts.items())])


def _step_label(name: str, rows_in: int, rows_out: int, details: Sequence[str]) -> str:
    lines = [name, f"{rows_in} rows -> {rows_out} rows", *details[:DETAILS]]
    if len(details) > DETAILS:
        lines.append(f"and {len(details) - DETAILS} more")
    return "\n".join(map(_short, lines))


def _short(text: str) -> str:
    half = LONGEST // 2 - 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def _height(column: Sequence[str]) -> int:
    return sum(label.count("\n") + 4 for label in column)
