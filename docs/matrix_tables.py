"""The views of ``render_results.py`` that show what matrix units do: layers, a network, a training step, goals."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from layer_tables import layer_name, time_and_error
from result_tables import table, view

COMMAND = "python benchmarks/matrix_units.py --cores 0,1"
SOURCE = "matrix_units"
PIXELS = {"fashion-mnist": "FashionMNIST", "cifar10": "CIFAR-10"}


@view("shared-inputs", "shared_inputs", "python benchmarks/shared_inputs.py")
def shared_inputs(result: dict[str, Any]) -> str:
    """Accuracy by pattern, and the density of single connections that reaches the same."""
    tables = [
        f"{PIXELS[name]}\n\n{_accuracies(found['rows'])}"
        for name, found in result["sets"].items()
        if "rows" in found
    ]
    left = [
        f"\n* {name}: {found['left_out']}" for name, found in result["sets"].items() if "left_out" in found
    ]
    hidden = "-".join(map(str, result["hidden"]))
    says = (
        "Test accuracy, per cent, mean and standard deviation of the seeds; in brackets the share of zeros at which "
        f"single connections reach the same. Hidden layers {hidden}, {result['rule']}, {result['epochs']} epochs."
    )
    return "\n\n".join([says, *tables]) + (f"\n\nNot measured:\n{''.join(left)}" if left else "")


def _accuracies(rows: list[dict[str, Any]]) -> str:
    """A row for a share of zeros, a column for a pattern."""
    patterns = [name for name in dict.fromkeys(row["pattern"] for row in rows) if name != "dense"]
    found = {(row["pattern"], row["sparsity"]): _accuracy(row) for row in rows}
    shares = sorted({row["sparsity"] for row in rows if row["pattern"] != "dense"})
    lines = [
        [f"{share:g} %", *(found.get((pattern, share), "—") for pattern in patterns)] for share in shares
    ]
    dense = [["none", found.get(("dense", 0.0), "—"), *("" for _ in patterns[1:])]]
    return table(["zeros", *(f"`{pattern}`" for pattern in patterns)], [*dense, *lines])


def _accuracy(row: dict[str, Any]) -> str:
    """With what equals it."""
    spread = f" ± {row['spread']:.1f}" if row["spread"] is not None else ""
    equal = row.get("equal_to_unstructured_of_density")
    return f"{row['accuracy']:.1f}{spread}" + (f" (= {100 * (1 - equal):.1f} %)" if equal else "")


def missing(result: dict[str, Any], part: str) -> str:
    """What was not there to be measured, and why, in a line each."""
    found = {name: why for row in result[part] for name, why in row["missing"].items()}
    lines = "".join(f"\n* {name}: {why}" for name, why in found.items())
    return f"\n\nNot measured:\n{lines}" if lines else ""


@view("matrix-rivals", SOURCE, COMMAND)
def rivals_of_layers(result: dict[str, Any]) -> str:
    """Every dense rival."""
    names = dict.fromkeys(name for row in result["layers"] for name in row["rivals"])
    head = ["rival", *(f"{layer_name(row)}, batch {row['batch']}" for row in result["layers"])]
    rows = [[name, *(time_and_error(row["rivals"].get(name)) for row in result["layers"])] for name in names]
    return f"Microseconds, one thread; in brackets the error against float64.\n\n{table(head, rows)}"


@view("matrix-layers", SOURCE, COMMAND)
def layers(result: dict[str, Any]) -> str:
    """Ours in every arithmetic, the fastest layout of each, against the best dense bfloat16 and int8."""
    rows = []
    for row in result["layers"]:
        best = {
            kind: min((got["us"] for name, got in row["rivals"].items() if kind in name), default=0.0)
            for kind in ("bfloat16", "int8")
        }
        kinds = dict.fromkeys(
            (form["pattern"], form["density"], form["compute"], form["input"]) for form in row["ours"]
        )
        for kind in kinds:
            mine = [form for form in row["ours"] if _kind(form) == kind]
            form = min(mine, key=lambda form: form["us"])
            against = [f"{taken / form['us']:.1f}x" if taken else "—" for taken in best.values()]
            pattern, density, compute, lies = kind
            says = f"{row['batch']}{', feature-major' if lies == 'feature-major' else ''}"
            rows.append(
                [
                    layer_name(row),
                    says,
                    f"`{pattern}`",
                    f"{1 - density:.3g}",
                    compute,
                    f"`{form['layout']}`",
                    time_and_error(form),
                    *against,
                ]
            )
    head = [
        "layer",
        "batch",
        "pattern",
        "sparsity",
        "computes in",
        "layout",
        "us (error)",
        "faster than dense bfloat16",
        "faster than dense int8",
    ]
    return f"{table(head, rows)}{missing(result, 'layers')}"


def _kind(form: dict[str, Any]) -> tuple[Any, ...]:
    return form["pattern"], form["density"], form["compute"], form["input"]


@view("matrix-network", SOURCE, COMMAND)
def network(result: dict[str, Any]) -> str:
    """A whole network."""
    names = dict.fromkeys(
        (kind, name) for row in result["network"] for kind in ("ours", "rivals") for name in row[kind]
    )
    rows = [
        [
            f"`{name.replace(' ', '` ')}" if kind == "ours" else name,
            *(time_and_error(row[kind].get(name)) for row in result["network"]),
        ]
        for kind, name in sorted(names, key=lambda pair: pair[0])
    ]
    head = ["contender", *(f"batch {row['batch']}" for row in result["network"])]
    says = "768-3072-768-3072-768 with ReLU, ours with a tenth of the connections and frozen; microseconds (error)."
    return f"{says}\n\n{table(head, rows)}{missing(result, 'network')}"


@view("matrix-training", SOURCE, COMMAND)
def training(result: dict[str, Any]) -> str:
    """One step of one layer."""
    rows = [[name, f"{taken:,.0f}"] for row in result["training"] for name, taken in row["us"].items()]
    says = "Forward and both gradients of a layer 3072 to 768 at batch 256, ours at 90 %."
    return f"{says}\n\n{table(['step', 'us'], rows)}{missing(result, 'training')}"


@view("matrix-threads", SOURCE, COMMAND)
def threads(result: dict[str, Any]) -> str:
    """Two threads against one."""
    rows = [
        [
            layer_name(row),
            f"`{form['pattern']}`",
            form["compute"],
            f"`{form['layout']}`",
            f"{form['times_faster']:.2f}x",
        ]
        for row in result["threads"]
        for form in row["ours"]
    ]
    return table(["layer", "pattern", "computes in", "layout", "two threads"], rows)


@view("matrix-goals", SOURCE, COMMAND)
def goals(result: dict[str, Any]) -> str:
    """What was wanted and what was reached."""
    rows = [
        [
            goal["goal"],
            ", ".join(goal["against"]),
            f"{goal['wanted']:g}x",
            "not measured" if goal["got"] is None else f"{goal['got']:.2f}x",
            "" if goal["got"] is None else "yes" if goal["got"] >= goal["wanted"] else "no",
        ]
        for goal in result["goals"]
    ]
    return table(["goal", "against the best of", "wanted", "measured", "reached"], rows)
