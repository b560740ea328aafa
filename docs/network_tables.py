"""The views of ``render_results.py`` that show whole networks: images through a frozen one, beside dense engines."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from result_tables import size, table, times, view

NAMES = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}
FLOAT32 = ("ONNX Runtime fp32", "OpenVINO fp32", "torch channels_last", "torch compile")
NARROW = ("ONNX Runtime int8", "OpenVINO int8", "OpenVINO bf16", "torch bfloat16")


def ratio(row: dict[str, Any], names: tuple[str, ...]) -> str:
    """How many times as long as ours the fastest of some engines takes, and which it is."""
    there = {name: row["seconds"][name] for name in names if name in row["seconds"]}
    name = min(there, key=lambda key: there[key])
    return f"{times(there[name] / row['seconds']['gossamer'])} ({name})"


def line(row: dict[str, Any]) -> list[str]:
    """One network in one form."""
    what = f"{NAMES.get(row['network'], row['network'])}, {100 - 100 * row['density']:g} % zeros, `{row['form']}`"
    return [
        what,
        str(row["batch"]),
        str(row["threads"]),
        f"{row['seconds']['gossamer'] * 1e3:.1f}",
        times(row["seconds"]["torch eager"] / row["seconds"]["gossamer"]),
        ratio(row, FLOAT32),
        ratio(row, NARROW),
        size(row["file"]),
        size(4 * row["parameters"]),
    ]


@view("whole-networks", "whole_networks", "python benchmarks/whole_networks.py")
def whole_networks(result: dict[str, Any]) -> str:
    """Every row that was measured."""
    says = (
        "Milliseconds for the batch, images of 3 x 224 x 224, connections drawn at random, the same share of every "
        "layer; depth-wise convolutions are dense. Ratios are to dense engines in the same run: above 1.0x "
        "Gossamer is faster. The accuracy of these networks is not measured here."
    )
    head = [
        "network", "batch", "threads", "ms", "torch eager float32", "fastest other dense float32",
        "fastest dense int8 or bfloat16", "file", "dense weights",
    ]  # fmt: skip
    return f"{says}\n\n{table(head, map(line, result['rows']))}"
