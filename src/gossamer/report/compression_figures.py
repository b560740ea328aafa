"""The figures of a report on a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator, PercentFormatter

from gossamer.report.canvas import COLOURS, MANY, axes_of, depths, figure_of, legend, short

if TYPE_CHECKING:
    from collections.abc import Sequence


def stages(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracy behind every stage.

    Args:
        rows: of ``stages.jsonl``.
    Returns:
        str - an ``<svg>`` element.
    Cost: about 0.1 s, as for every figure here.
    """
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "", "test accuracy")
        axes.plot(range(len(rows)), [row["accuracy"] for row in rows], "-o", color=COLOURS[0])
        axes.set_xticks(range(len(rows)), [f"{row['step']} {row['stage']}" for row in rows], rotation=20)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    return svg[0]


def sensitivity(points: Sequence[dict[str, Any]]) -> str:
    """Accuracy over the density of one layer, one line a layer."""
    whole = next(point["accuracy"] for point in points if not point["layer"])
    layers = list(dict.fromkeys(point["layer"] for point in points if point["layer"]))
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "density of the layer", "accuracy")
        for name, (colour, dash) in zip(layers, depths(len(layers)), strict=True):
            found = [(p["density"], p["accuracy"]) for p in points if p["layer"] == name]
            over, shown = zip(*sorted([*found, (1.0, whole)]), strict=True)
            axes.plot(over, shown, dash, color=colour, marker=".", label=short(name))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.xaxis.set_minor_locator(MaxNLocator(nbins=1))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        legend(axes, some=len(layers) > MANY)
    return svg[0]
