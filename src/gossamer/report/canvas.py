"""What the figures of reports are drawn on: SVG text that follows the reader's light or dark theme."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

FOREGROUND = "#010203"  # stands for the reader's text colour; becomes currentColor
COLOURS = ("#3b82c4", "#d9622b", "#2a9d74", "#b8619b", "#c99512", "#7a7fd1", "#8a8a8a", "#4fb3d9")
DASHES = ("-", "--", ":", "-.")
MANY = len(COLOURS)  # layers; of more, figures show less of each
SIZE = (4.6, 2.9)  # inches: readable on a phone without zooming
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gossamer",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    **{
        f"{name}color": FOREGROUND
        for name in ("text.", "axes.edge", "axes.label", "axes.title", "xtick.", "ytick.", "grid.")
    },
}


def short(name: str) -> str:
    """A name that leaves room for the figure; a leading underscore would hide it from legends."""
    name = name.lstrip("_") or "(no name)"
    return name if len(name) <= 28 else name[:27] + "\u2026"


def looks(count: int) -> Iterator[tuple[str, str]]:
    """Colour and dash of each line; dashes change where the colours begin again."""
    dashes = (dash for dash in cycle(DASHES) for _ in COLOURS)
    return islice(zip(cycle(COLOURS), dashes, strict=False), count)


def depths(count: int) -> Iterator[tuple[str, str]]:
    """Colour and dash of each layer: one colour after the other, or from dark to light where they are many."""
    if count <= MANY:
        return looks(count)
    return ((to_hex(mpl.colormaps["viridis"](number / count)), "-") for number in range(count))


def axes_of(figure: Figure, x: str, y: str) -> Axes:
    """Axes that fill a figure, with the words beside them."""
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def legend(axes: Axes, *, some: bool = False) -> None:
    """Above the axes, where it hides nothing; of many layers the first, the middle and the last, if some do."""
    handles, labels = axes.get_legend_handles_labels()
    if some and (last := len(labels) - 1) >= MANY:
        handles, labels = ([each[at] for at in (0, last // 2, last)] for each in (handles, labels))
    if handles:
        axes.figure.legend(
            handles, labels, loc="outside upper left", ncols=3 if max(map(len, labels)) <= 12 else 2
        )


@contextmanager
def figure_of(height: float = SIZE[1]) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; its SVG is in the list afterwards."""
    svg: list[str] = []
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(SIZE[0], height))
        yield figure, svg
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg.append(_inline(buffer.getvalue()))


def _inline(document: str) -> str:
    """What may stand inside HTML: the element alone, without fixed size, style sheet or metadata."""
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
    element = re.sub(r"<style[^>]*>.*?</style>", "", element, count=1, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace(FOREGROUND, "currentColor")
