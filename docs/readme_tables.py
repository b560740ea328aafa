"""The views of ``render_results.py`` that the README shows: one layer beside dense engines, and whole networks."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from layer_tables import exact, fastest, layer_name, rounded
from result_tables import size, table, times, view

FLOAT32 = ("torch dense", "torch compile", "ONNX Runtime", "OpenVINO")
INT8 = ("torch int8", "ONNX Runtime int8", "OpenVINO int8")
DENSE = (*FLOAT32, "torch bfloat16", *INT8)
SHOWN = {(3072, 768, sparsity, batch) for sparsity in (75, 90) for batch in (1, 16, 256)}
Case = dict[str, Any]


def rival(row: Case, names: tuple[str, ...] = DENSE) -> tuple[str, float]:
    """The fastest of some dense engines."""
    return fastest({name: row["rivals"][name] for name in names if name in row["rivals"]})


def default(row: Case) -> dict[str, Any]:
    """The exact layouts of the pattern that ``sparsify`` takes if none is named."""
    return {name: got for name, got in exact(row).items() if name.split()[0] == "fanin"}


def lead(row: Case, ours: Callable[[Case], dict[str, Any]]) -> float:
    """How many times as long as ours the fastest dense engine takes; below 1 we lose."""
    return rival(row)[1] / fastest(ours(row))[1]


def losses(rows: list[Case], ours: Callable[[Case], dict[str, Any]]) -> str:
    """How often we lose, where, to whom, and by how much."""
    lost = [row for row in rows if lead(row, ours) < 1]
    if not lost:
        return f"none of {len(rows)} cases"
    sparsest, largest = (max(row[key] for row in lost) for key in ("sparsity", "batch"))
    to = ", ".join(sorted({rival(row)[0] for row in lost}))
    most = max(1 / lead(row, ours) for row in lost)
    return (
        f"{len(lost)} of {len(rows)} cases, by up to {times(most)} ({to}; at most {sparsest:g} % sparse, "
        f"batch at most {largest})"
    )


def line(row: Case) -> list[str]:
    """One case; its fastest time is bold."""
    took = [
        fastest(default(row))[1],
        fastest(exact(row))[1],
        fastest(rounded(row))[1],
        rival(row, FLOAT32)[1],
        rival(row, ("torch bfloat16",))[1],
        rival(row, INT8)[1],
    ]
    cells = [f"**{us:,.0f}**" if us == min(took) else f"{us:,.0f}" for us in took]
    return [f"{layer_name(row)}, {row['sparsity']:g} %, batch {row['batch']}", *cells]


@view("readme-layer", "layer_inference", "python benchmarks/layer_inference.py")
def readme_layer(result: dict[str, Any]) -> str:
    """Ours beside the best dense engine of each number type; the last row is the worst one of the default pattern."""
    rows = result["rows"]
    worst = min(rows, key=lambda row: lead(row, default))
    shown = [row for row in rows if (row["inputs"], row["outputs"], row["sparsity"], row["batch"]) in SHOWN]
    head = [
        "layer, zeros, batch",
        "ours: default pattern",
        "ours: fastest pattern",
        "ours: fastest, int8 weights",
        "dense float32",
        "dense bfloat16",
        "dense int8",
    ]
    return (
        f"Microseconds for one linear layer, {result['threads']} thread, weights in cache. The default pattern is "
        "`fanin`. Dense float32 and int8: the fastest of PyTorch, ONNX Runtime and OpenVINO. "
        "Dense bfloat16: PyTorch.\n\n"
        f"{table(head, [line(row) for row in [*shown, worst]])}\n\n"
        "Where we lose to the best dense engine of any number type:\n\n"
        f"* default pattern, float32 weights: {losses(rows, default)};\n"
        f"* fastest pattern, float32 weights: {losses(rows, exact)};\n"
        f"* fastest pattern, int8 weights: {losses(rows, rounded)}."
    )


@view("layer-int8-losses", "layer_inference", "python benchmarks/layer_inference.py")
def layer_int8_losses(result: dict[str, Any]) -> str:
    """How often int8 weights of ours lose to any other engine, alone and with exact weights to choose from."""

    def lost(ours: Callable[[Case], dict[str, Any]]) -> str:
        ratios = [fastest(ours(row))[1] / fastest(row["rivals"])[1] for row in result["rows"]]
        behind = [ratio for ratio in ratios if ratio > 1]
        return f"{len(behind)} cases" + (f", by up to {max(behind):.2f}x" if behind else "")

    return (
        f"With int8 values we lose {lost(rounded)}. Where the fastest of int8 and exact values may be taken, "
        f"we lose {lost(lambda row: row['ours'])}."
    )


@view("readme-training", "mlp_speed", "python benchmarks/mlp_speed.py")
def readme_training(result: dict[str, Any]) -> str:
    """What a whole network gains, in a sentence."""
    got = result["patterns"]["fanin"]
    peak = got["training_peak_bytes"]
    return (
        f"**Training and size.** MLP {'-'.join(map(str, result['widths']))}, "
        f"{100 * (1 - result['density']):g} % sparse, "
        f"constant fan-in, {result['threads']} thread, against dense float32 PyTorch: a training step is "
        f"{times(got['training_step']['times_faster'])} faster, "
        f"its peak memory {times(peak['dense'] / peak['sparse'])} "
        f"smaller, and the file {times(got['dense_over_file'])} smaller ({size(got['file_bytes'])})."
    )


@view("readme-accuracy", "mnist_methods", "python benchmarks/mnist_methods.py")
def readme_accuracy(result: dict[str, Any]) -> str:
    """What sparsity costs in accuracy, in a sentence."""
    error = {name: got["test_error_mean"] for name, got in result["methods"].items()}
    return (
        f"**Accuracy.** MNIST, MLP {'-'.join(map(str, result['widths']))}, {result['epochs']} epochs, test error: "
        f"dense {error['dense']:.2f} %, RigL at 87.5 % sparsity {error['RigL 87.5 %']:.2f} %, RigL at 98 % "
        f"{error['RigL 98 %']:.2f} %. Sparse training is not free."
    )
