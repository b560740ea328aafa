"""``gossamer compare``: how far the topologies of runs are apart, and how one travels over its training."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import percent

if TYPE_CHECKING:
    from gossamer.runs.moments import Comparison, Moment
    from gossamer.topology import Topology

WIDEST = 10  # moments whose distances fit side by side into a terminal


@command()
def compare(
    out: Output,
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints", help="Every topology that was kept on the way, not the last alone."),
    ] = False,
    matching: Annotated[str, typer.Option(help="hungarian, greedy or identity.")] = "hungarian",
    published: Annotated[
        bool, typer.Option("--published", help="Count neurons and layers as the authors of NNSTD do.")
    ] = False,
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also draw the distances; a file that ends in .svg.")
    ] = None,
) -> None:
    """Measure how far the topologies of runs are apart; of one run, those that it kept over its training.

    Examples:
        gossamer compare runs/a runs/b --out distances.svg
        gossamer compare runs/a --json
    """
    from gossamer.cli.target import check_target
    from gossamer.registry import check_choice
    from gossamer.report.picture import is_picture, write_picture
    from gossamer.runs import moments
    from gossamer.topology.matching import MATCHINGS

    check_choice("--matching", matching, MATCHINGS)
    if target is not None:
        if target.suffix.lower() != ".svg":
            raise ConfigError("compare --out", expected="a file that ends in .svg", got=target.name)
        check_target(target, "picture", is_picture)
    travels = [moments.moments(run) for run in runs]
    every = checkpoints or len(runs) == 1
    found = [moment for travel in travels for moment in (travel if every else travel[-1:])]
    if len(found) < 2:
        raise ConfigError(
            f"compare {runs[0]}",
            expected="a run that kept topologies on its way, or two runs",
            got="the last one alone",
            hint="name another run; train keeps topologies unless it is told --topologies 0",
        )
    out.remark(f"{len(found)} topologies, {len(found) * (len(found) - 1) // 2} pairs to match")
    with out.progress() as progress:
        bar = progress.add_task("comparing", note=f"{len(found)} topologies")
        compared = moments.compare(
            found,
            lambda done, total: progress.update(bar, completed=done, total=total),
            matching=matching,
            published=published,
        )
    if target is not None:
        write_picture(target, compared)
    document = {
        "matching": matching,
        "published": published,
        "topologies": _facts(compared.moments, _explored(travels)),
        **_distances_of(compared),
        "picture": target and str(target),
    }
    out.result(document, lambda: _view(document))


def _distances_of(compared: Comparison) -> dict[str, Any]:
    """What was measured between topologies, as JSON holds it."""
    layers = [
        {
            "layer": layer.name,
            "distance": layer.distance,
            "unmatched": layer.unmatched,
            "by_chance": chance.distance,
            "counted": layer.counted,
        }
        for layer, chance in zip(compared.last.layers, compared.chance.layers, strict=True)
    ]
    return {
        "followed": compared.followed,
        "distances": compared.distances.tolist(),
        "unmatched": compared.unmatched.tolist(),
        "by_chance": compared.chance.value,
        "first_and_last": layers,
    }


def _explored(travels: list[list[Moment]]) -> dict[tuple[Path, int], float]:
    """The share of connections that a run has had at each moment."""
    from gossamer.topology import exploration

    return {
        (moment.folder, moment.step): rate
        for travel in travels
        for moment, rate in zip(travel, exploration([each.layers for each in travel]), strict=True)
    }


def _facts(moments: list[Moment], explored: dict[tuple[Path, int], float]) -> list[dict[str, Any]]:
    """Each topology by itself; what needs layers in a row is None for other networks."""
    from gossamer.topology import components, effective, overlap, paths

    facts = []
    for moment in moments:
        layers = moment.layers
        whole = effective(layers) if moment.row else None
        shared = overlap(moments[0].layers, layers)
        facts.append(
            {
                "run": str(moment.folder),
                "name": moment.run,
                "step": moment.step,
                "accuracy": moment.accuracy,
                "connections": sum(layer.connections for layer in layers.values()),
                "effective_density": whole and whole.density,
                "density": sum(layer.connections for layer in layers.values())
                / sum(layer.shape[0] * layer.shape[1] for layer in layers.values()),
                "paths": paths(layers) if moment.row else None,
                "components": asdict(components(layers)) if moment.row else None,
                "explored": explored[moment.folder, moment.step],
                "overlap_with_first": shared.jaccard,
                "degrees": {name: _degrees(layer) for name, layer in layers.items()},
            }
        )
    return facts


def _degrees(layer: Topology) -> dict[str, Any]:
    from gossamer.topology import degrees

    return dict(zip(("neurons", "inputs"), map(asdict, degrees(layer)), strict=True))


def _view(document: dict[str, Any]) -> Group:
    rows = [
        [
            f"{fact['name']} @ {fact['step']}",
            "-" if fact["accuracy"] is None else percent(fact["accuracy"]),
            f"{fact['connections']:,}",
            percent(fact["density"]),
            *_of_row(fact),
            percent(fact["explored"]),
            percent(fact["overlap_with_first"]),
        ]
        for fact in document["topologies"]
    ]
    columns = ["run @ step", "accuracy", "connections", "density", "effective", "paths", "parts", "explored"]
    said = "effective: on a way from an input to an output; explored: of all, connections of a kept topology so far"
    whole = table("topologies", [*columns, "overlap with the first"], rows, said)
    return Group(whole, _distances(document), _layers(document))


def _of_row(fact: dict[str, Any]) -> list[str]:
    """What is known of layers in a row alone."""
    if fact["paths"] is None:
        return ["-", "-", "-"]
    ways = f"10^{math.log10(fact['paths']):.1f}" if fact["paths"] else "0"
    return [percent(fact["effective_density"]), ways, str(len(fact["components"]["sizes"]))]


def _distances(document: dict[str, Any]) -> Group:
    names = [f"{fact['name']} @ {fact['step']}" for fact in document["topologies"]]
    at = range(0, len(names), math.ceil(len(names) / WIDEST))
    rows = [
        [name, *(f"{row[col]:.3f}" for col in at)]
        for name, row in zip(names, document["distances"], strict=True)
    ]
    chance = (
        f"by chance: {document['by_chance']:.3f}; the same network in another order of hidden neurons is at 0"
    )
    left = "" if len(at) == len(names) else "; some columns are left out, --json and --out have all"
    return table("distances (NNSTD)", ["", *(names[number] for number in at)], rows, chance + left)


def _layers(document: dict[str, Any]) -> Group:
    rows = [
        [
            layer["layer"],
            f"{layer['distance']:.3f}",
            f"{layer['unmatched']:.3f}",
            f"{layer['by_chance']:.3f}",
            "" if layer["counted"] else "dense, not counted",
        ]
        for layer in document["first_and_last"]
    ]
    said = (
        ""
        if document["followed"]
        else "layers are not in a row: inputs are taken as they are numbered in every layer"
    )
    title = "the first and the last of them, layer by layer"
    return table(title, ["layer", "distance", "neurons as numbered", "by chance", ""], rows, said)
