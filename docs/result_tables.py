"""How each result file becomes a table: the views of ``render_results.py``."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = Iterable[Any]


@dataclass(frozen=True)
class View:
    """One table: the result file it is made from, the command that makes that file, and how to read it."""

    source: str
    command: str
    draw: Callable[[dict[str, Any]], str]


VIEWS: dict[str, View] = {}


def view(
    name: str, source: str, command: str
) -> Callable[[Callable[[dict[str, Any]], str]], Callable[..., str]]:
    """Register a function that turns a result document into Markdown."""

    def add(draw: Callable[[dict[str, Any]], str]) -> Callable[..., str]:
        VIEWS[name] = View(source, command, draw)
        return draw

    return add


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; numbers are right-aligned."""
    head, lines = list(head), [list(row) for row in rows]
    right = [
        bool(lines) and all(re.match(r"[-+\d—]", str(line[i])) for line in lines) for i in range(len(head))
    ]
    rule = ["---:" if r else "---" for r in right]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in [head, rule, *lines])


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def times(number: float) -> str:
    """A ratio to dense."""
    return f"{number:.1f}x"


@view("mlp-speed", "mlp_speed", "python benchmarks/mlp_speed.py")
def mlp_speed(result: dict[str, Any]) -> str:
    """File, latency, training step and its memory, per pattern, against dense."""
    rows = []
    for pattern, got in result["patterns"].items():
        one, many, step = got["batch_1"], got["batch_256"], got["training_step"]
        bytes_dense, bytes_sparse = (got["training_peak_bytes"][key] for key in ("dense", "sparse"))
        rows.append(
            [
                f"`{pattern}`",
                f"{size(got['file_bytes'])} ({times(got['dense_over_file'])} smaller)",
                f"{one['frozen_us']:.0f} us ({times(one['times_faster'])})",
                f"{many['frozen_us']:.0f} us ({times(many['times_faster'])})",
                f"{step['sparse_us']:.0f} us ({times(step['times_faster'])})",
                f"{size(bytes_sparse)} ({times(bytes_dense / bytes_sparse)} less)",
            ]
        )
    first = next(iter(result["patterns"].values()))
    dense = [
        "dense torch",
        size(result["dense_file_bytes"]),
        f"{first['batch_1']['dense_us']:.0f} us",
        f"{first['batch_256']['dense_us']:.0f} us",
        f"{first['training_step']['dense_us']:.0f} us",
        size(first["training_peak_bytes"]["dense"]),
    ]
    widths = "-".join(map(str, result["widths"]))
    says = (
        f"MLP {widths}, {100 * (1 - result['density']):g} % sparse, float32, {result['threads']} thread(s); "
        "in brackets: against dense torch in the same run."
    )
    head = [
        "pattern",
        "file",
        "frozen, batch 1",
        "frozen, batch 256",
        "training step, batch 128",
        "peak memory of training",
    ]
    return f"{says}\n\n{table(head, [dense, *rows])}"


@view("mnist-methods", "mnist_methods", "python benchmarks/mnist_methods.py")
def mnist_methods(result: dict[str, Any]) -> str:
    """Test error of every method over seeds."""
    rows = []
    for method, got in result["methods"].items():
        spread = "" if got["test_error_std"] is None else f" ± {got['test_error_std']:.2f}"
        rows.append(
            [method, f"{got['connections']:,}", f"{got['test_error_mean']:.2f}{spread}", len(got["runs"])]
        )
    widths = "-".join(map(str, result["widths"]))
    says = (
        f"MNIST, MLP {widths}, {result['epochs']} epochs; test error in per cent at the last epoch, "
        "mean and standard deviation over seeds."
    )
    return f"{says}\n\n{table(['method', 'connections', 'test error', 'seeds'], rows)}"


@view("mnist-gamma", "mnist_gamma", "python benchmarks/mnist_gamma.py")
def mnist_gamma(result: dict[str, Any]) -> str:
    """SRigL's gamma against the error on held-out training samples."""
    rows = []
    for gamma, got in result["gammas"].items():
        active = ", ".join("-".join(map(str, run["active_neurons"][:-1])) for run in got["runs"])
        rows.append(
            ["without ablation" if gamma == "None" else gamma, f"{got['held_out_error_mean']:.2f}", active]
        )
    seeds = len(next(iter(result["gammas"].values()))["runs"])
    widths = "-".join(map(str, result["widths"]))
    says = (
        f"SRigL at 98 % on MLP {widths}, {result['epochs']} epochs: error in per cent on 10,000 training samples "
        f"that were held out, mean of {seeds} seed(s)."
    )
    return f"{says}\n\n{table(['gamma', 'held-out error', 'active hidden neurons'], rows)}"


@view("mnist-rigl", "mnist_rigl", "python benchmarks/mnist_rigl.py")
def mnist_rigl(result: dict[str, Any]) -> str:
    """RigL's own MNIST experiment beside the published numbers."""
    paper, rows = result["paper_rigl"], []
    for name, run in result["runs"].items():
        live = [seed.get("live_architecture", [])[:-1] for seed in run["seeds"]]
        rows.append(
            [
                name,
                f"{run['test_error_best']:.2f}",
                f"{run['test_error_end']:.2f}",
                ", ".join("-".join(map(str, units)) for units in live if units) or "—",
                _mean_of(run, "live_bytes", "{:,.0f}"),
                _mean_of(run, "central_share_end", "{:.0%}"),
            ]
        )
    live = "-".join(map(str, paper["live_architecture"]))
    rows.append(
        [
            "RigL as published",
            f"{paper['test_error_best']:.2f}",
            f"{paper['test_error_end']:.2f}",
            live,
            f"{paper['live_bytes']:,}",
            "—",
        ]
    )
    seeds = len(next(iter(result["runs"].values()))["seeds"])
    says = (
        f"LeNet-300-100 at 99 % / 89 % / dense, {result['epochs']} epochs (Evci et al. 2020, appendix B). "
        f"Test error in per cent, mean of {seeds} seed(s). Live units: those left after removing "
        "dead ones, with the bytes of a bit mask and float32 values. Centre: share of the first layer's connections "
        "in the central 20 x 20 pixels at the end (a random topology has 51 %)."
    )
    return f"{says}\n\n{table(['run', 'best', 'last', 'live units', 'bytes', 'centre'], rows)}"


def _mean_of(run: dict[str, Any], key: str, form: str) -> str:
    """Mean over the seeds of what only sparse runs have."""
    values = [seed[key] for seed in run["seeds"] if key in seed]
    return form.format(sum(values) / len(values)) if values else "—"


@view("parity", "parity", "python benchmarks/parity.py")
def parity(result: dict[str, Any]) -> str:
    """How far packed and masked training agree."""
    rows = []
    for dtype in ("float64", "float32"):
        runs = [row for row in result["rows"] if row["dtype"] == dtype]
        same = sum(row["same_topology"] for row in runs)
        share = min(row["share_of_equal_positions"] for row in runs)
        worst = max(row["largest_value_difference"] for row in runs if row["same_topology"])
        rows.append([dtype, len(runs), same, f"{100 * share:.2f} %", f"{worst:.1e}"])
    says = (
        f"Every rule on every pattern with three optimizers, {result['steps']} steps, "
        "one seed for packed and for masked layers."
    )
    head = [
        "number type",
        "runs",
        "same topology at the end",
        "least share of equal connections",
        "largest difference of a value",
    ]
    return f"{says}\n\n{table(head, rows)}"


@view("wide-layer", "wide_layer", "python benchmarks/wide_layer.py")
def wide_layer(result: dict[str, Any]) -> str:
    """A layer whose dense weight would not fit."""
    rows = [
        [
            f"`{pattern}`",
            f"{got['connections']:,}",
            f"{got['seconds_ordinary_step']:.2f} s",
            f"{got['seconds_update_step']:.1f} s",
            size(got["peak_bytes_above_import"]),
        ]
        for pattern, got in result["patterns"].items()
    ]
    says = (
        f"One layer {result['width']:,} x {result['width']:,} with {result['fan_in']} inputs a neuron, batch "
        f"{result['batch']}; the dense weight alone would take {size(result['dense_weight_bytes'])}."
    )
    return (
        f"{says}\n\n{table(['pattern', 'connections', 'step', 'step with RigL update', 'peak memory'], rows)}"
    )


@view("speed-picture", "mlp_speed", "python benchmarks/mlp_speed.py")
def speed_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Times faster than dense PyTorch](ASSETS/speed.svg)"


@view("pixels-picture", "mnist_rigl", "python benchmarks/mnist_rigl.py")
def pixels_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Connections of each MNIST pixel before and after RigL](ASSETS/pixels.svg)"


@view("growth", "growth", "python benchmarks/growth.py")
def growth(result: dict[str, Any]) -> str:
    """Scoring and choosing what grows, against the dense product that it needs."""
    rows = [
        [
            f"{got['inputs']:,} to {got['outputs']:,}",
            f"`{got['pattern']}`",
            f"{1000 * got['seconds']['product']:.0f} ms",
            *(
                f"{1000 * got['seconds'][key]:.0f} ms ({got['over_product'][key]:.2f}x)"
                for key in ("compiled", "torch")
            ),
        ]
        for got in result["rows"]
    ]
    says = (
        f"Choosing the connections of one update, batch {result['batch']}, {result['threads']} thread(s); in brackets: "
        "against the bare dense product in the same tiles and the same run."
    )
    return (
        f"{says}\n\n{table(['layer', 'pattern', 'product', 'with compiled selection', 'with torch'], rows)}"
    )
