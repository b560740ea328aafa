"""The views of ``render_results.py`` that show whole networks: images through a frozen one, beside dense engines."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from result_tables import size, table, times, view

NAMES = {
    "resnet50": "ResNet-50",
    "resnet50_keras": "ResNet-50 of Keras",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "squeezenet1_1": "SqueezeNet 1.1",
    "unet": "U-Net, 256 pixels a side",
    "yolov8n": "YOLOv8n, 640 pixels a side",
}
FLOAT32 = ("ONNX Runtime fp32", "OpenVINO fp32", "torch channels_last", "torch compile")
NARROW = ("ONNX Runtime int8", "OpenVINO int8", "OpenVINO bf16", "torch bfloat16")


def ratio(row: dict[str, Any], names: tuple[str, ...]) -> str:
    """How many times as long as ours the fastest of some engines takes, and which it is where there are several."""
    there = {name: row["seconds"][name] for name in names if name in row["seconds"]}
    if not there:
        return "—"
    name = min(there, key=lambda key: there[key])
    return times(there[name] / row["seconds"]["gossamer"]) + (f" ({name})" if len(names) > 1 else "")


def line(row: dict[str, Any]) -> list[str]:
    """One network in one form."""
    what = f"{NAMES[row['network']]}, {100 - 100 * row['density']:g} % zeros, `{row['form']}`"
    what += ", trained weights" if "weights" in row else ""
    return [
        what,
        str(row["batch"]),
        str(row["threads"]),
        f"{row['seconds']['gossamer'] * 1e3:.1f}",
        times(row["seconds"]["torch eager"] / row["seconds"]["gossamer"]),
        ratio(row, FLOAT32),
        ratio(row, NARROW),
        ratio(row, ("DeepSparse",)),
        size(row["file"]),
        size(4 * row["parameters"]),
    ]


@view("whole-networks", "whole_networks", "python benchmarks/whole_networks.py")
def whole_networks(result: dict[str, Any]) -> str:
    """Every row that was measured."""
    says = (
        "Milliseconds for the batch, images of 3 x 224 x 224 where no other size is said, connections drawn at random, "
        "the same share of every layer; `pruned` are the largest of trained weights. Depth-wise convolutions "
        "are dense. Ratios are to dense engines in the same run, "
        "and to DeepSparse with our zeros: above 1.0x Gossamer is faster. Accuracy is not measured here."
    )
    head = [
        "network", "batch", "threads", "ms", "torch eager float32", "fastest other dense float32",
        "fastest dense int8 or bfloat16", "DeepSparse, same zeros", "file", "dense weights",
    ]  # fmt: skip
    return f"{says}\n\n{table(head, map(line, result['rows']))}"


@view("network-layers", "network_layers", "python benchmarks/network_layers.py")
def network_layers(result: dict[str, Any]) -> str:
    """Every step of ResNet-50 with groups of four and of MobileNetV2 with single connections."""
    shown = [row for row in result["rows"] if (row["network"], row["form"]) in SHOWN]
    return "\n\n".join(_steps(row, result["peak"]["gflops"]) for row in shown)


SHOWN = (("resnet50", "fanin:4"), ("mobilenet_v2", "fanin"))


def _steps(row: dict[str, Any], peak: float) -> str:
    zeros = f"{100 - 100 * row['density']:g} % zeros"
    says = (
        f"{NAMES[row['network']]}, {zeros}, `{row['form']}`: {row['ms']:.1f} ms in {len(row['steps'])} steps, "
        f"one image, one thread. The peak is {peak:.0f} gigaflops, of a large dense product."
    )
    lines = [
        [
            f"`{step['name']}`",
            step["kernel"] or step["kind"],
            " x ".join(map(str, step["makes"])),
            step["form"] or "—",
            f"{step['us']:.0f}",
            f"{100 * step['share_of_time']:.1f} %",
            f"{100 * step['share_of_peak']:.0f} %" if step["form"] else "—",
        ]
        for step in row["steps"]
    ]
    head = ["step", "what", "output", "form", "us", "share of the time", "share of the peak"]
    return f"{says}\n\n{table(head, lines)}"


@view("conv-layers", "conv_layers", "python benchmarks/conv_layers.py")
def conv_layers(result: dict[str, Any]) -> str:
    """Three products of single convolutions."""
    groups = (1, 2, 4, 8)
    says = (
        f"Convolutions of ResNet-50, {100 - 100 * result['density']:g} % zeros, float32, processor time of "
        f"{result['machine']['threads']} thread: how many times as fast as torch's dense product "
        "(channels_last) in the same run."
    )
    lines = [
        [
            "{} to {}, {} x {}, {} pixels a side".format(
                *row["layer"][:2], row["layer"][3], row["layer"][3], row["layer"][2]
            ),
            row["batch"],
            {"values": "weight gradient", "input": "input gradient"}.get(row["product"], row["product"]),
            f"{row['dense_ms']:.1f}",
            *(times(row[f"group {group}"]["times"]) for group in groups),
        ]
        for row in result["rows"]
    ]
    head = [
        "layer",
        "batch",
        "product",
        "dense, ms",
        "`fanin`",
        *(f"`fanin:{group}`" for group in groups[1:]),
    ]
    return f"{says}\n\n{table(head, lines)}"


@view("conv-training-64", "conv_training_64", "python benchmarks/conv_training.py --batch 64")
@view("conv-training", "conv_training_16", "python benchmarks/conv_training.py")
def conv_training(result: dict[str, Any]) -> str:
    """Steps of ResNet-18."""
    says = (
        f"A training step of ResNet-18 on images of 3 x 32 x 32, batch {result['batch']}, {result['threads']} thread: "
        "forward, backward, SGD with momentum. The first convolution and the last layer are dense. Peak memory is that "
        "of the process."
    )
    lines = [
        [
            f"{percent} %",
            name if name.startswith("dense") else f"`{name}`",
            f"{row['seconds'] * 1e3:.0f}",
            times(row["times_faster_than_dense"]),
            times(row["times_faster_than_best_dense"]),
            size(row["peak_bytes"]) if "peak_bytes" in row else "—",
        ]
        for percent in ("80", "90", "95")
        for name, row in result[percent].items()
    ]
    head = ["zeros", "what", "ms", "against dense", "against the fastest dense", "peak memory"]
    return f"{says}\n\n{table(head, lines)}"


@view("conv-accuracy", "conv_accuracy", "python benchmarks/conv_accuracy.py")
def conv_accuracy(result: dict[str, Any]) -> str:
    """Networks from scratch, and what they cost."""
    says = (
        f"{result['network']} from scratch, the course of the learning rate squeezed into the epochs. Zeros are "
        "allocated by ERK; the first convolution and the last layer are dense. Multiplications are those of one image."
    )
    lines = [
        [
            row["case"],
            row["epochs"],
            row["seed"],
            f"{row['accuracy']:.2f} %",
            f"{row['weights']:,}",
            f"{row['multiplications'] / 1e6:.1f} M",
        ]
        for row in result["runs"]
    ]
    head = ["network", "epochs", "seed", "accuracy", "weights", "multiplications"]
    return f"{says}\n\n{table(head, lines)}"
