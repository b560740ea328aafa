"""The views of ``render_results.py`` that show one layer of ours beside the layers of others."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from statistics import geometric_mean, median
from typing import TYPE_CHECKING, Any

from layer_tables import exact, fastest, layer_name
from result_tables import table, view

if TYPE_CHECKING:
    from collections.abc import Iterable

WARM, COLD, REAL, OWN = "layer_inference", "layer_cold", "layer_dlmc", "layer_sparselab"
TWO = "layer_inference_2_threads"
COMMANDS = {source: f"python benchmarks/{source}.py" for source in (WARM, COLD, REAL, OWN)} | {
    TWO: f"python benchmarks/{WARM}.py --cores 0,1 --shapes 768x3072,3072x768 --sparsities 90,95"
}


def standing(result: dict[str, Any]) -> str:
    """Our fastest layout against each rival, over all cases."""
    rows = []
    for rival in dict.fromkeys(name for row in result["rows"] for name in row["rivals"]):
        cases = [row for row in result["rows"] if rival in row["rivals"]]
        ratios = [row["rivals"][rival]["us"] / fastest(exact(row))[1] for row in cases]
        lost = sum(ratio < 1 for ratio in ratios)
        line = [f"{ratio:.2f}x" for ratio in (min(ratios), median(ratios), max(ratios))]
        rows.append([rival, len(cases), *line, lost])
    return table(["rival", "cases", "least", "median", "most", "cases in which it is faster"], rows)


def span(numbers: list[float]) -> str:
    """Least to greatest, in per cent."""
    ends = dict.fromkeys(f"{end:.3g}" for end in (min(numbers), max(numbers)))
    return f"{' to '.join(ends)} %"


def losses(result: dict[str, Any]) -> str:
    """Every case in which some rival is faster than the best of ours, those of one kind in a line."""
    found: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for row in result["rows"]:
        ours = fastest(exact(row))[1]
        for rival, got in row["rivals"].items():
            if got["us"] < ours:
                key = (layer_name(row), row["batch"], rival)
                found.setdefault(key, []).append((row["sparsity"], ours / got["us"]))
    rows = [
        [*key, len(cases), span([sparsity for sparsity, _ in cases]), f"{max(by for _, by in cases):.2f}x"]
        for key, cases in found.items()
    ]
    lost = sum(fastest(row["rivals"])[1] < fastest(exact(row))[1] for row in result["rows"])
    says = f"{lost} of {len(result['rows'])} cases."
    return (
        f"{says}\n\n{table(['layer', 'batch', 'faster', 'cases', 'sparsity', 'by up to'], rows)}"
        if rows
        else says
    )


for name, source in (("layer", WARM), ("two-threads", TWO), ("cold", COLD), ("dlmc", REAL)):
    view(f"{name}-standing", source, COMMANDS[source])(standing)
    view(f"{name}-losses", source, COMMANDS[source])(losses)


@view("cold-layers", COLD, COMMANDS[COLD])
def cold_layers(result: dict[str, Any]) -> str:
    """The fastest of ours and every rival at 90 %."""
    rows = [row for row in result["rows"] if row["sparsity"] == 90]
    rivals = dict.fromkeys(name for row in rows for name in row["rivals"])
    lines = [
        [
            layer_name(row),
            row["batch"],
            f"`{fastest(row['ours'])[0]}`",
            *(
                f"{got:,.0f}"
                for got in (fastest(exact(row))[1], *(row["rivals"][name]["us"] for name in rivals))
            ),
        ]
        for row in rows
    ]
    return f"Microseconds at 90 %.\n\n{table(['layer', 'batch', 'our fastest', '', *rivals], lines)}"


def means(rows: Iterable[dict[str, Any]], rivals: Iterable[str]) -> list[str]:
    """Geometric mean of each rival's time over ours in ``csr``."""
    chosen = list(rows)
    return [
        f"{geometric_mean(row['rivals'][name]['us'] / row['ours']['csr']['us'] for row in chosen):.1f}x"
        for name in rivals
    ]


@view("dlmc-collections", REAL, COMMANDS[REAL])
def dlmc_collections(result: dict[str, Any]) -> str:
    """Every collection and batch against every rival."""
    rivals = list(dict.fromkeys(name for row in result["rows"] for name in row["rivals"]))
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["pattern"].split("/")[0], row["batch"]), []).append(row)
    rows = [
        [f"{collection.replace('_', ' ')}, batch {batch}", len(cases), *means(cases, rivals)]
        for (collection, batch), cases in sorted(groups.items())
    ]
    says = "How many times as long as our `csr` the others take; geometric mean over the matrices."
    return f"{says}\n\n{table(['weights', 'matrices', *rivals], rows)}"


RIVALS = ("torch dense", "SparseLab")
PRODUCTS = {"forward": "forward", "dX": "input gradient", "dW": "weight gradient", "step": "step"}


def part(row: dict[str, Any], name: str, product: str) -> float:
    """Microseconds of a contender's product."""
    return float(row["contenders"][name][product]["us"])


def case_name(row: dict[str, Any]) -> str:
    """Layer, sparsity and batch."""
    return f"{layer_name(row)}, {row['sparsity']:g} %, batch {row['batch']}"


def patterns(row: dict[str, Any]) -> list[str]:
    """Ours."""
    return [name for name in row["contenders"] if name not in RIVALS]


def beside(row: dict[str, Any], name: str, product: str) -> str:
    """A pattern's time, and how many times as long the rivals take."""
    took = part(row, name, product)
    return f"{took:,.0f} ({', '.join(f'{part(row, rival, product) / took:.1f}x' for rival in RIVALS)})"


def against(rows: list[dict[str, Any]], products: Iterable[str]) -> str:
    """Dense torch and SparseLab beside ``unstructured`` and the fastest pattern."""
    lines = []
    for row in rows:
        for product in products:
            best = min(patterns(row), key=lambda name: part(row, name, product))
            lines.append(
                [
                    case_name(row),
                    PRODUCTS[product],
                    *(f"{part(row, name, product):,.0f}" for name in RIVALS),
                    beside(row, "unstructured", product),
                    f"`{best}` {beside(row, best, product)}",
                ]
            )
    says = "Microseconds; in brackets how many times as long dense torch and SparseLab take."
    return f"{says}\n\n{table(['layer', '', *RIVALS, '`unstructured`', 'our fastest'], lines)}"


@view("sparselab-own", OWN, COMMANDS[OWN])
def sparselab_own(result: dict[str, Any]) -> str:
    """Its own shapes and batch."""
    return against([row for row in result["rows"] if row["batch"] == 2048], ("forward", "dX", "dW"))


@view("sparselab-step", OWN, COMMANDS[OWN])
def sparselab_step(result: dict[str, Any]) -> str:
    """The training step of one layer."""
    return against([row for row in result["rows"] if row["batch"] != 2048], ("step",))


@view("sparselab-losses", OWN, COMMANDS[OWN])
def sparselab_losses(result: dict[str, Any]) -> str:
    """Every product of a pattern, the fastest or not, that a rival computes faster."""
    rows, count = [], 0
    for row in result["rows"]:
        for product, said in PRODUCTS.items():
            for name in patterns(row):
                count += 1
                ratios = {rival: part(row, name, product) / part(row, rival, product) for rival in RIVALS}
                lost = [f"{rival}, {ratio:.2f}x" for rival, ratio in ratios.items() if ratio > 1]
                rows += [[case_name(row), said, f"`{name}`", "; ".join(lost)]] if lost else []
    says = f"{len(rows)} of {count} products, all patterns counted."
    return f"{says}\n\n{table(['layer', '', 'pattern', 'faster, by'], rows)}" if rows else says
