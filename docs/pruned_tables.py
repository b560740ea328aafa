"""The views of ``render_results.py`` that show networks pruned while they train."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import Any

from result_tables import size, table, times, view

NAMES = {"dense": "dense", "unstructured": "single weights"}


def blocks(pattern: str) -> str:
    """What a pattern removes."""
    return NAMES.get(pattern, f"blocks of {pattern.removeprefix('block:')}")


@view("char-recurrent", "char_recurrent", "python benchmarks/char_recurrent.py")
def char_recurrent(result: dict[str, Any]) -> str:
    """Bits per character beside the bytes of the file."""
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        runs.setdefault((row["kind"], row["pattern"], row["drop"], row["method"]), []).append(row)
    dense = {kind: mean(got["bytes"] for got in runs[kind, "dense", 0.0, "dense"]) for kind in kinds(runs)}
    rows = [
        [
            f"{kind.upper()} {result['hidden'][kind]}",
            blocks(pattern),
            method,
            f"{100 * mean(got['density'] for got in found):.1f} %",
            ", ".join(f"{got['bits']:.3f}" for got in found),
            size(bytes_ := mean(got["bytes"] for got in found)),
            f"{dense[kind] / bytes_:.1f}x" if kind in dense else "",
        ]
        for (kind, pattern, _, method), found in runs.items()
    ]
    head = ["network", "what goes", "how", "left", "bits per character of each seed", "file", "smaller"]
    return (
        f"Test text of Shakespeare after training on {result['characters']:,} characters; files in float32.\n\n"
        + table(head, rows)
    )


def kinds(runs: Iterable[tuple[Any, ...]]) -> set[str]:
    """Kinds of networks that were trained dense, too."""
    return {kind for kind, pattern, *_ in runs if pattern == "dense"}


@view("nsnet2", "nsnet2", "python benchmarks/nsnet2.py")
def nsnet2(result: dict[str, Any]) -> str:
    """Error of the gains against the dense network's."""
    ways = ("one shot", "one shot, fine-tuned", "ramp")
    rows = [
        [
            blocks(row["pattern"]),
            f"{100 * row['one shot']['density']:.0f} %",
            *(f"{100 * row[way]['unexplained']:.2f} %" for way in ways),
            size(row["ramp"]["bytes"]),
        ]
        for row in result["rows"]
    ]
    head = ["what goes", "left", *ways, "file"]
    return (
        "Share of the variance of the dense network's gains that the pruned one misses, on noise that was not trained "
        f"on. Fine-tuning is {result['steps']:,} steps on the dense outputs. The dense file has "
        f"{size(result['dense_bytes'])}; built in torch its gains are those of ONNX Runtime to "
        f"{result['difference_to_onnxruntime']:.0e}.\n\n{table(head, rows)}"
    )


@view("nsnet2-time", "nsnet2_time", "python benchmarks/nsnet2_time.py")
def nsnet2_time(result: dict[str, Any]) -> str:
    """A frame of the stream."""
    return (
        "NSNet2, a frame of 10 ms of one stream, one thread; dense engines run all weights.\n\n"
        + "\n\n".join(
            f"{blocks(row['pattern'])}, {100 * row['drop']:g} % gone:\n\n{_calls(row)}"
            for row in result["rows"]
        )
    )


@view("recurrent-step", "recurrent_step", "python benchmarks/recurrent_step.py")
def recurrent_step(result: dict[str, Any]) -> str:
    """A step beside dense engines."""
    zeros, block = 100 - 100 * result["density"], result["block"]
    says = f"A step of a GRU of {result['size']} inputs and units, {zeros:g} % zeros in blocks of {block}, one thread."
    return f"{says}\n\n" + "\n\n".join(
        f"{row['streams']} stream{'s' if row['streams'] > 1 else ''}:\n\n{_calls(row)}"
        for row in result["rows"]
    )


def _calls(row: dict[str, Any]) -> str:
    """Engines, the fastest first, beside the slowest."""
    order = sorted(row["seconds"].items(), key=lambda pair: pair[1])
    slowest = order[-1][1]
    lines = [[name, f"{1e6 * taken:.0f}", times(slowest / taken)] for name, taken in order]
    return table(["engine", "us", "as fast as the slowest"], lines)


@view("smollm2", "smollm2", "python benchmarks/smollm2.py")
def smollm2(result: dict[str, Any]) -> str:
    """Perplexity by score and pattern; the dense model first."""
    found = {(row["pattern"], row["density"], row["score"]): row["perplexity"] for row in result["rows"]}
    scores = ("magnitude", "wanda", "sparsegpt")
    forms = sorted({key[:2] for key in found if key[2] != "none"}, key=lambda form: (-form[1], form[0]))
    rows = [
        [
            f"`{pattern}`",
            f"{100 * density:g} %",
            *(f"{found[key]:.1f}" if (key := (pattern, density, score)) in found else "" for score in scores),
        ]
        for pattern, density in forms
    ]
    return (
        "SmolLM2-135M, 210 matrices pruned in one shot, no training; calibration on 4,096 tokens. Perplexity on State-"
        f"of-the-Union text, {found['dense', 1.0, 'none']:.1f} for the dense model; an empty cell was not run.\n\n"
        + table(["pattern", "left", *scores], rows)
    )


@view("prune-mnist", "prune_mnist", "python benchmarks/prune_mnist.py")
def prune_mnist(result: dict[str, Any]) -> str:
    """Accuracy as pruned, and fine-tuned."""
    head = ["weights", "accuracy at once", "two epochs later"]
    rows = [
        [
            row["form"],
            *(f"{row[what]:.2f} %" if what in row else "" for what in ("at once", "two epochs later")),
        ]
        for row in result["rows"]
    ]
    return (
        f"{result['network']}, {result['density']:.0%} of the weights, means of {result['seeds']} seeds:\n\n"
        + table(head, rows)
    )
