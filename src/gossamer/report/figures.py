"""The figures of a report on trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gossamer.report.canvas import (
    COLOURS,
    FOREGROUND,
    MANY,
    SIZE,
    axes_of,
    depths,
    figure_of,
    legend,
    looks,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gossamer.runs.record import Layer, LayerUpdate, Run

MOST_NAMES = 24  # beside the squares of distances


def accuracy(runs: Sequence[Run]) -> str:
    """Test accuracy over epochs, one line a run.

    Args:
        runs: sequence of Run.

    Returns:
        str - an ``<svg>`` element.

    Cost: about 0.1 s, as for every figure here.
    """
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "epoch", "test accuracy")
        for run, (colour, dash) in zip(runs, looks(len(runs)), strict=True):
            shown = [row.test_accuracy for row in run.metrics]
            axes.plot([row.epoch for row in run.metrics], shown, dash, color=colour, label=short(run.name))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(axes)
    return svg[0]


def updates(run: Run) -> str:
    """Connections gained (up) and lost (down) at every topology update, one colour a layer."""
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "step", "lost | gained")
        layers = _by_layer(run)
        for (name, rows), (colour, _) in zip(layers.items(), depths(len(layers)), strict=True):
            steps = [row.step for row in rows]
            axes.plot(steps, [row.grown for row in rows], color=colour, label=short(name))
            axes.plot(steps, [-row.dropped for row in rows], color=colour)
        axes.axhline(0, color=FOREGROUND, linewidth=0.6)
        legend(axes, some=True)
    return svg[0]


def active_neurons(run: Run) -> str:
    """Share of neurons that have a connection, over the topology updates."""
    shapes = {layer.name: layer.shape[0] for layer in run.summary.layers} if run.summary else {}

    def shares(name: str, rows: list[LayerUpdate]) -> list[float]:
        whole = shapes.get(name) or max(row.active for row in rows) or 1
        return [row.active / whole for row in rows]

    return _course(run, "active neurons", shares)


def connections_left(run: Run) -> str:
    """Connections over the topology updates, as a share of those at the start."""

    def shares(_: str, rows: list[LayerUpdate]) -> list[float]:
        whole = rows[0].connections + rows[0].dropped - rows[0].grown
        return [row.connections / max(whole, 1) for row in rows]

    return _course(run, "connections left", shares)


def _course(run: Run, what: str, shares: Callable[[str, list[LayerUpdate]], list[float]]) -> str:
    """A share over the topology updates, one line a layer."""
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "step", what)
        layers = _by_layer(run)
        for (name, rows), (colour, dash) in zip(layers.items(), depths(len(layers)), strict=True):
            steps = [row.step for row in rows]
            axes.plot(steps, shares(name, rows), dash, color=colour, label=short(name))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0, 1.05)
        legend(axes, some=True)
    return svg[0]


def densities(runs: Sequence[Run]) -> str:
    """Density of every layer at the end, runs side by side."""
    finished = [run for run in runs if run.summary]
    names = list(dict.fromkeys(layer.name for run in finished for layer in run.summary.layers))  # type: ignore[union-attr]
    many = len(names) > MANY
    with figure_of(SIZE[1] + 0.9 * many) as (figure, svg):
        axes = axes_of(figure, "", "density")
        width = 0.8 / max(1, len(finished))
        for number, (run, (colour, _)) in enumerate(zip(finished, looks(len(finished)), strict=True)):
            found = {layer.name: layer.density for layer in run.summary.layers}  # type: ignore[union-attr]
            places = np.arange(len(names)) - 0.4 + width * (number + 0.5)
            axes.bar(
                places, [found.get(name, 0.0) for name in names], width, color=colour, label=short(run.name)
            )
        axes.set_xticks(range(len(names)), [short(name) for name in names])
        if many:  # side by side they would lie on each other
            axes.tick_params(axis="x", rotation=90, labelsize=min(8, 270 / len(names)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=False, axis="x")
        legend(axes)
    return svg[0]


def fan_in(run: Run) -> str:
    """How many inputs neurons have at the end: a histogram a layer, or where there are many layers one line each."""
    layers = run.summary.layers if run.summary else []
    if len(layers) > MANY:
        return _ranges(layers)
    rows = (len(layers) + 2) // 3
    with figure_of(height=0.6 + 1.6 * max(1, rows)) as (figure, svg):
        for number, (layer, (colour, _)) in enumerate(zip(layers, looks(len(layers)), strict=True)):
            axes = figure.add_subplot(rows, min(3, len(layers)), number + 1)
            inputs, neurons = list(layer.fan_in), list(layer.fan_in.values())
            span = max(inputs, default=1) - min(inputs, default=0)
            axes.bar(inputs, neurons, width=max(0.8, span / 60), color=colour)
            axes.set_xlim(
                min(0, *inputs, 0) - 0.05 * max(inputs, default=1), 1.1 * max(inputs, default=1) + 1
            )
            axes.set_title(short(layer.name), fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.set_xlabel("inputs of a neuron")
            axes.set_ylabel("" if number % 3 else "neurons")
    return svg[0]


def _ranges(layers: Sequence[Layer]) -> str:
    """From the fewest inputs of a neuron to the most, with a dot at the mean, the first layer on top."""
    with figure_of(height=0.8 + 0.16 * len(layers)) as (figure, svg):
        axes = axes_of(figure, "inputs of a neuron: fewest, mean, most", "")
        for row, layer in enumerate(layers):
            inputs, neurons = list(layer.fan_in) or [0], list(layer.fan_in.values()) or [1]
            axes.plot([min(inputs), max(inputs)], [row, row], "-|", color=COLOURS[0])
            axes.plot(np.average(inputs, weights=neurons), row, "o", markersize=3, color=COLOURS[1])
        axes.set_yticks(range(len(layers)), [short(layer.name) for layer in layers], fontsize=7)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlim(left=0)
    return svg[0]


def pixels(run: Run) -> str:
    """Connections that leave each pixel, at the start and at the end of training, on one scale."""
    start, end = (_image(run, run.pixels[place].fan_out) for place in (0, -1))
    top = max(1, int(np.max([start, end])))
    with figure_of(height=2.5) as (figure, svg):
        for number, (image, row) in enumerate(((start, run.pixels[0]), (end, run.pixels[-1]))):
            axes = figure.add_subplot(1, 2, number + 1)
            shown = axes.imshow(image, vmin=0, vmax=top, cmap="viridis", interpolation="nearest")
            axes.set_title(f"step {row.step}", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
        bar = figure.colorbar(shown, ax=figure.axes, shrink=0.85)
        bar.outline.set_visible(False)
    return svg[0]


def distances(names: Sequence[str], found: Sequence[Sequence[float]]) -> str:
    """The distances of topologies from each other, dark where they are near."""
    with figure_of(height=SIZE[0] * 0.85) as (figure, svg):
        axes = figure.add_subplot()
        shown = axes.imshow(found, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        every = range(0, len(names), -(-len(names) // MOST_NAMES))
        said = [short(names[number]) for number in every]
        axes.set_yticks(every, said, fontsize=7)
        axes.set_xticks(every, said, fontsize=7, rotation=90)
        axes.grid(visible=False)
        bar = figure.colorbar(shown, ax=axes, shrink=0.85)
        bar.outline.set_visible(False)
    return svg[0]


def travel(steps: Sequence[int], lines: Mapping[str, Sequence[float]]) -> str:
    """Shares and distances over the steps of a training, one line each."""
    with figure_of() as (figure, svg):
        axes = axes_of(figure, "step", "distance, share")
        for (name, line), (colour, dash) in zip(lines.items(), looks(len(lines)), strict=True):
            axes.plot(steps, line, dash, color=colour, marker=".", label=name)
        axes.set_ylim(0, 1.05)
        legend(axes)
    return svg[0]


def is_image(run: Run) -> bool:
    """Whether the run has pixel maps: snapshots whose size is that of its images."""
    return (
        len(run.document.data.shape) in (2, 3)
        and bool(run.pixels)
        and all(
            len(row.fan_out) == int(np.prod(run.document.data.shape))
            for row in (run.pixels[0], run.pixels[-1])
        )
    )


def _image(run: Run, fan_out: list[int]) -> Any:
    """[h, w]; channels are added up (they come first in a sample, last in its stored shape)."""
    height, width, *channels = run.document.data.shape
    return np.asarray(fan_out).reshape(*channels, height, width).reshape(-1, height, width).sum(0)


def _by_layer(run: Run) -> dict[str, list[LayerUpdate]]:
    layers: dict[str, list[LayerUpdate]] = {}
    for row in run.updates:
        layers.setdefault(row.layer, []).append(row)
    return layers
