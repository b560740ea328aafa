"""The views of ``render_results.py`` that show one layer: its products, its rivals, its threads."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from statistics import median
from typing import Any

from result_tables import table, view


@view("layer-products", "layer_products", "python benchmarks/layer_products.py")
def layer_products(result: dict[str, Any]) -> str:
    """The three products of a layer against dense torch."""
    rows = [
        [
            f"`{name.replace(' ', '` ')}",
            *(
                f"{row[product]['us']:.0f} us ({row[product]['times_faster']:.1f}x)"
                for product in ("forward", "dX", "dX scattered", "dW")
            ),
            f"{row['step_times_faster']:.1f}x",
            f"{row['transposed_bytes_a_connection']:.1f}",
        ]
        for name, row in result["table"].items()
    ]
    says = (
        f"Layer {result['inputs']} to {result['outputs']}, batch {result['batch']}, float32: processor time of one "
        "thread; in brackets: against dense torch in the same run."
    )
    products = ["forward", "input gradient", "input gradient, scattered", "weight gradient"]
    return f"{says}\n\n{table(['pattern, density', *products, 'a step', 'bytes kept a connection'], rows)}"


def fastest(contenders: dict[str, Any]) -> tuple[str, float]:
    """Name and microseconds of the fastest."""
    name = min(contenders, key=lambda key: contenders[key]["us"])
    return name, float(contenders[name]["us"])


def exact(row: dict[str, Any]) -> dict[str, Any]:
    """Those of ours that round no weight."""
    return {name: got for name, got in row["ours"].items() if not name.endswith(" int8")}


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Those of ours with int8 values."""
    return {name: got for name, got in row["ours"].items() if name.endswith(" int8")}


def layer_name(row: dict[str, Any]) -> str:
    """Inputs and outputs."""
    return f"{row['inputs']} to {row['outputs']}"


@view("layer-choice", "layer_inference", "python benchmarks/layer_inference.py")
def layer_choice(result: dict[str, Any]) -> str:
    """The fastest pattern of every case."""
    batches = sorted({row["batch"] for row in result["rows"]})
    cells: dict[tuple[str, float], dict[int, str]] = {}
    for row in result["rows"]:
        name, took = fastest(exact(row))
        cell = f"`{name}` {row['rivals']['torch dense']['us'] / took:.1f}x"
        cells.setdefault((layer_name(row), row["sparsity"]), {})[row["batch"]] = cell
    rows = [
        [shape, f"{sparsity:g} %", *(cell.get(batch, "—") for batch in batches)]
        for (shape, sparsity), cell in cells.items()
    ]
    return table(["layer", "sparsity", *(f"batch {batch}" for batch in batches)], rows)


@view("layer-int8", "layer_inference", "python benchmarks/layer_inference.py")
def layer_int8(result: dict[str, Any]) -> str:
    """Int8 values at batch 1, beside the rivals that matter there."""
    rivals = ("torch dense", "torch CSR", "ONNX Runtime int8")
    rows = []
    for row in result["rows"]:
        if row["batch"] == 1:
            name, took = fastest(rounded(row))
            times = (f"{row['rivals'][rival]['us'] / took:.1f}x" for rival in rivals)
            whole = fastest(exact(row))[1]
            rows.append(
                [
                    layer_name(row),
                    f"{row['sparsity']:g} %",
                    f"`{name}`",
                    f"{took:,.0f}",
                    f"{whole:,.0f}",
                    *times,
                ]
            )
    head = [
        "layer",
        "sparsity",
        "fastest with int8 values",
        "us",
        "fastest exact, us",
        *(f"against {name}" for name in rivals),
    ]
    return table(head, rows)


@view("layer-patterns", "layer_inference", "python benchmarks/layer_inference.py")
def layer_patterns(result: dict[str, Any]) -> str:
    """Every pattern and every rival on one layer."""
    chosen = [row for row in result["rows"] if (row["inputs"], row["outputs"]) == (3072, 768)]
    chosen = [row for row in chosen if row["sparsity"] in (87.5, 90.0) and row["batch"] in (1, 16, 256)]
    head = ["contender", *(f"{row['sparsity']:g} %, batch {row['batch']}" for row in chosen)]
    names = dict.fromkeys((kind, name) for row in chosen for kind in ("ours", "rivals") for name in row[kind])
    rows = [
        [
            f"`{name}`" if kind == "ours" else name,
            *(time_and_error(row[kind].get(name)) for row in chosen),
        ]
        for kind, name in sorted(names, key=lambda pair: pair[0])
    ]
    says = "Microseconds, layer 3072 to 768, one thread"
    says += (
        "; in brackets the error against float64."
        if any("error" in got for row in chosen for got in row["ours"].values())
        else "."
    )
    return f"{says}\n\n{table(head, rows)}"


def time_and_error(got: dict[str, Any] | None) -> str:
    """Microseconds, and the error where it was measured."""
    if got is None:
        return "—"
    return f"{got['us']:,.0f}" + (f" ({got['error']:.0e})" if "error" in got else "")


@view("layers-picture", "layer_inference", "python benchmarks/layer_inference.py")
def layers_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Times faster than dense PyTorch by sparsity and batch](ASSETS/layers.svg)"


@view("layer-threads", "layer_threads", "python benchmarks/layer_threads.py")
def layer_threads(result: dict[str, Any]) -> str:
    """Two threads against one."""
    head = ["pattern", "layer", "batch", *result["rows"][0]["speed_up"]]
    rows = [
        [
            f"`{row['pattern']}`",
            layer_name(row),
            row["batch"],
            *(f"{got:.2f}x" for got in row["speed_up"].values()),
        ]
        for row in result["rows"]
    ]
    return f"Density {result['density']:g}: time of one thread over time of two.\n\n{table(head, rows)}"


@view("layer-pattern-losses", "layer_inference", "python benchmarks/layer_inference.py")
def layer_pattern_losses(result: dict[str, Any]) -> str:
    """Every pattern that loses to dense or to CSR in some case, and how often."""
    names = dict.fromkeys(name for row in result["rows"] for name in row["ours"])
    rows = []
    for name in names:
        cases = [row for row in result["rows"] if name in row["ours"]]
        line = [f"`{name}`", len(cases)]
        for rival in ("torch dense", "torch CSR"):
            lost = [row for row in cases if row["rivals"][rival]["us"] < row["ours"][name]["us"]]
            worst = [row["ours"][name]["us"] / row["rivals"][rival]["us"] for row in lost]
            batches = sorted({row["batch"] for row in lost})
            said = (
                f"{len(lost)}: batch {', '.join(map(str, batches))}; up to {max(worst):.1f}x" if lost else "0"
            )
            line.append(said)
        rows.append(line)
    return table(["pattern", "cases", "slower than torch dense", "slower than torch CSR"], rows)


def kernel_name(product: str) -> str:
    """What kind of kernel a row of ``benchmarks/isa.py`` belongs to: layers of a kind and their product."""
    pattern, _, rest = product.partition(" ")
    named = {"dX": "input gradient", "dX scattered": "input gradient, scattered", "dW": "weight gradient"}
    if rest.split(" ")[0] in ("lanes", "bytes", "bands"):
        return f"frozen, {rest.replace(' int8', ', int8')}"
    kind = (
        "groups"
        if pattern.startswith("fanin:")
        else "blocks"
        if pattern.startswith("block")
        else "single connections"
    )
    return f"{kind}, {named.get(rest, rest.replace('int8', 'forward, int8'))}"


@view("instruction-sets", "isa", "python benchmarks/isa.py")
def instruction_sets(result: dict[str, Any]) -> str:
    """How many times faster the wider set is, and how near the peaks it comes."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in result["rows"]:
        for product, got in row["products"].items():
            found.setdefault(kernel_name(product), {}).setdefault(row["batch"], []).append(got)
    batches = sorted({row["batch"] for row in result["rows"]})

    def cell(measured: list[dict[str, Any]]) -> str:
        ratios = sorted(got["times_faster"] for got in measured)
        return f"{median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"

    def share(measured: list[dict[str, Any]], of: str) -> str:
        return f"{max(got[of] for got in measured):.0%}"

    rows = [
        [
            name,
            *(cell(by_batch[batch]) for batch in batches),
            share(by_batch[batches[0]], "share_of_bandwidth"),
            share(by_batch[batches[-1]], "share_of_gflops"),
        ]
        for name, by_batch in found.items()
    ]
    peaks, (narrow, wide) = result["peaks"], (result["sets"][0], result["sets"][-1])
    says = (
        f"Times of the {narrow} kernels over those of the {wide} kernels: median, least and most over layers. Then "
        f"the most that the latter reach of {peaks['gigabytes_per_second']:.0f} GB/s read from memory (more where "
        f"weights stay in cache) and of {peaks['gflops']:.0f} GFLOP/s, both measured on this machine."
    )
    head = ["kernels", *(f"batch {batch}" for batch in batches)]
    more = [f"bandwidth, batch {batches[0]}", f"GFLOP/s, batch {batches[-1]}"]
    return f"{says}\n\n{table([*head, *more], rows)}"
