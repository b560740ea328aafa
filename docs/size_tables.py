"""The views of ``render_results.py`` about bytes, starts, threads of clients, and files of ONNX."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from result_tables import size, table, view

NAMES = {
    "resnet18": "ResNet-18",
    "resnet20": "ResNet-20 for CIFAR",
    "resnet50": "ResNet-50",
    "resnet50_keras": "ResNet-50 of Keras",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "squeezenet1_0": "SqueezeNet 1.0",
    "squeezenet1_1": "SqueezeNet 1.1",
    "unet": "U-Net",
    "yolov8n": "YOLOv8n-shaped",
}
ENGINES = {"runtime": "Gossamer", "onnxruntime": "ONNX Runtime"}


def called(name: str) -> str:
    """A network's name for people."""
    return NAMES.get(name, name)


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f"{seconds * 1e3:.0f}" if seconds >= 0.01 else f"{seconds * 1e3:.1f}"


@view("network-sizes", "sizes", "python benchmarks/sizes.py")
def network_sizes(result: dict[str, Any]) -> str:
    """Bytes on disk."""
    says = (
        "Bytes of files in float32. At 90 % zeros every layer keeps a tenth of its connections, depth-wise ones all. "
        "The state of torch is that of the dense network."
    )
    rows = [
        [
            f"{called(row['network'])}, {form(row)}",
            size(row["bytes"]["state_dict"]),
            size(row["bytes"]["artifact"]),
            f"{row['bytes']['state_dict'] / row['bytes']['artifact']:.1f}x",
            *(size(row["bytes"][f"onnx {weights}"]) for weights in ("dense", "sparse")),
        ]
        for row in result["rows"]
    ]
    head = ["network", "state of torch", "our file", "smaller", "ONNX, dense weights", "ONNX, sparse weights"]
    return f"{says}\n\n{table(head, rows)}"


@view("network-starts", "sizes", "python benchmarks/sizes.py")
def network_starts(result: dict[str, Any]) -> str:
    """Time and memory of a process."""
    says = (
        "A new process without torch, one thread, one image, files in the page cache. Milliseconds of processor time; "
        "the first answer includes the plan. Memory: the whole process, the interpreter and NumPy in it; a plan is "
        "what is kept beside the weights: space between layers, and what the core made of the weights. Dense "
        "convolutions that freezing leaves to torch are NumPy's here; the last column counts such parts."
    )
    rows = []
    for row in result["rows"]:
        for kind, start in row["starts"].items():
            seconds, held = start["seconds"], start["memory"]
            rows.append(
                [
                    f"{called(row['network'])}, {form(row)}",
                    ENGINES[kind],
                    *(ms(seconds[part]) for part in ("import", "load", "first_answer", "call")),
                    size(held["plan"]) if "plan" in held else "—",
                    size(held["calls"]),
                    size(held["peak"]),
                    str(start["rounded"]) if kind == "runtime" else "—",
                ]
            )
    head = [
        "network", "engine", "import", "load", "first answer", "a call later", "plan", "memory while it runs", "peak",
        "parts by NumPy",
    ]  # fmt: skip
    return f"{says}\n\n{table(head, rows)}"


@view("runtime-installed", "sizes", "python benchmarks/sizes.py")
def runtime_installed(result: dict[str, Any]) -> str:
    """What is installed, package by package."""
    parts = sorted(result["installed"].items(), key=lambda part: -part[1])
    rows = [
        *([name, size(n_bytes)] for name, n_bytes in parts),
        ["together", size(sum(map(int, dict(parts).values())))],
    ]
    return f"What the runtime needs, compiled Python left out.\n\n{table(['package', 'installed'], rows)}"


def form(row: dict[str, Any]) -> str:
    """Dense, or how many zeros in which pattern."""
    return "dense" if row["form"] == "dense" else f"{100 - 100 * row['density']:g} % zeros, `{row['form']}`"


@view("client-threads", "client_threads", "python benchmarks/client_threads.py --write")
def client_threads(result: dict[str, Any]) -> str:
    """Many threads on one object."""
    first = result["rows"][0]
    says = (
        f"{first['threads']} Python threads on one `Runtime`, at 90 % zeros, in {len(first['seconds'])} rounds of new "
        "threads; one sample and four in turn. Every answer is compared with that of one thread, to the bit. Growth is "
        "that of the resident memory after the first quarter of the rounds; at most "
        f"{size(result['growth_allowed'])} are allowed."
    )
    rows = [
        [
            called(row["network"]),
            f"{row['calls']:,}",
            str(row["wrong"]),
            f"{row['calls_a_second']:,.0f}",
            f"{row['calls_a_second_alone']:,.0f}",
            *(f"{row[part] * 1e6:,.0f} us" for part in ("processor_a_call", "processor_a_call_alone")),
            size(row["resident"][-1]),
            size(row["grown"]) if row["grown"] > 0 else "0 B",
        ]
        for row in result["rows"]
    ]
    head = [
        "network", "calls", "other bits", "calls a second", "calls a second, one thread",
        "processor time a call", "one thread", "resident", "growth",
    ]  # fmt: skip
    return f"{says}\n\n{table(head, rows)}"


@view("onnx-networks", "onnx_networks", "python benchmarks/onnx_networks.py")
def onnx_networks(result: dict[str, Any]) -> str:
    """Files of ONNX, and what ONNX Runtime makes of them."""
    rows = [
        [
            called(row["network"]),
            *(size(row["bytes"][kind]) for kind in ("frozen", "dense", "sparse")),
            *(
                f"{max(each[kind] for each in row['error'].values()):.1e}"
                for kind in ("onnx", "frozen", "torch")
            ),
            f"{row['outputs_empty'][0]:,}",
            f"{row['outputs_empty'][1]:,}",
            f"{row['outputs'] - row['outputs_left']:,}",
        ]
        for row in sorted(result["rows"], key=lambda row: row["bytes"]["dense"])
    ]
    head = [
        "network, 10 % of the connections", "our file", "dense", "sparse", "error of ONNX Runtime",
        "of the frozen network",
        "of torch", "dead outputs before", "that stay", "outputs gone",
    ]  # fmt: skip
    return table(head, rows)
