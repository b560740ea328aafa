"""Figures of networks with more layers than a legend, a row of names or a page of histograms holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.report import figures
from gossamer.runs.record import Run, read_run


@pytest.fixture
def deep(make_run: Callable[..., Path]) -> Callable[[int], Run]:
    """A run of so many layers, each as its second one."""

    def made(count: int) -> Run:
        folder = make_run(f"of{count}")
        summary = json.loads((folder / "summary.json").read_text())
        change = json.loads((folder / "topology.jsonl").read_text().splitlines()[0])
        names = [f"layer{number}.conv" for number in range(count)]
        summary["layers"] = [{**summary["layers"][0], "name": name} for name in names]
        (folder / "summary.json").write_text(json.dumps(summary))
        rows = "".join(json.dumps({**change, "layer": name}) + "\n" for name in names)
        (folder / "topology.jsonl").write_text(rows)
        return read_run(folder)

    return made


@pytest.mark.parametrize("draw", [figures.updates, figures.active_neurons, figures.connections_left])
def test_a_legend_names_all_layers_or_first_middle_and_last(
    deep: Callable[[int], Run], draw: Callable[[Run], str]
) -> None:
    assert draw(deep(8)).count(".conv<") == 8
    shown = draw(deep(21))
    assert [number for number in range(21) if f">layer{number}.conv<" in shown] == [0, 10, 20]


def test_names_below_bars_stand_upright_where_they_are_many(deep: Callable[[int], Run]) -> None:
    assert 'rotate(-90)">layer' not in figures.densities([deep(8)]).replace(" ", "")
    many = figures.densities([deep(21)])
    assert sum("rotate(-90" in text and ".conv" in text for text in many.split("<text")) == 21


def test_fan_ins_of_many_layers_share_one_axis(deep: Callable[[int], Run]) -> None:
    few, many = figures.fan_in(deep(8)), figures.fan_in(deep(21))
    assert few.count("inputs of a neuron") == 8
    assert many.count("inputs of a neuron") == 1
    assert all(f"layer{number}.conv" in many for number in range(21))
