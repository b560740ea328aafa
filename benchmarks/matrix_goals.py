"""What was to be reached on a processor with matrix units, beside what was measured there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]
BFLOAT16 = ("torch bfloat16", "torch compile bfloat16", "OpenVINO bfloat16")
INT8 = ("torch int8", "ONNX Runtime int8", "OpenVINO int8", "OpenVINO int8 both")
OPENVINO, OTHER = ("OpenVINO int8 both",), ("ONNX Runtime int8",)


class Goal(NamedTuple):
    """A layer's: how many times faster than the best of some rivals one kind of ours is to be, at some batch sizes."""

    pattern: str
    density: float
    compute: tuple[str, ...]
    batches: tuple[int, ...]
    against: tuple[str, ...]
    times: float
    inputs: int = 0  # of the layer; 0: all


NARROW, EXACT = ("bfloat16",), ("float32",)
EIGHT = ("int8", "float32 of int8 values")
GOALS = (
    Goal("block:16:32", 0.1, NARROW, (256,), BFLOAT16, 6),
    Goal("block:16:32", 0.1, NARROW, (256,), OPENVINO, 4),
    Goal("fanin:16", 0.1, NARROW, (256,), BFLOAT16, 2.3),
    Goal("fanin:32", 0.1, NARROW, (256,), BFLOAT16, 4),
    Goal("block:16:32", 0.1, NARROW, (16, 64), BFLOAT16, 15),
    Goal("block:16:32", 0.1, NARROW, (16, 64), OPENVINO, 5),
    Goal("block:16:32", 0.25, NARROW, (256,), BFLOAT16, 3),
    Goal("unstructured", 0.1, EXACT, (1,), BFLOAT16, 5),
    Goal("unstructured", 0.1, EXACT, (1,), INT8, 1.8),
    Goal("unstructured", 0.5, EIGHT, (1,), INT8, 1.8),
    Goal("unstructured", 0.3, EIGHT, (1,), INT8, 1.8),
    Goal("nm:1:16", 1 / 16, EIGHT, (1,), OTHER, 40, 4096),
)
WHOLE = (("OpenVINO bfloat16", 3.0), ("OpenVINO int8", 1.5))
STEPS = (("dense bfloat16 autocast", 4.0), ("dense all bfloat16", 2.5))
TWO = 1.7


def judged(result: Row) -> list[Row]:
    """Every goal with what was measured for it; None where there is nothing of ours, or no such rival.

    Args:
        result: what ``matrix_units`` measured.
    """
    return [*_layers(result["layers"]), *_networks(result["network"]), *_others(result)]


def _layers(rows: list[Row]) -> Iterable[Row]:
    for goal in GOALS:
        for row in rows:
            if row["batch"] in goal.batches and goal.inputs in (0, row["inputs"]):
                mine = [form for form in row["ours"] if _meant(form, goal)]
                theirs = [row["rivals"][name]["us"] for name in goal.against if name in row["rivals"]]
                where = f"{row['inputs']} to {row['outputs']}, batch {row['batch']}"
                kind = f"{goal.pattern} {1 - goal.density:.3g} {goal.compute[0]}"
                yield _row(f"{kind}, {where}", goal.against, goal.times, [f["us"] for f in mine], theirs)


def _meant(form: Row, goal: Goal) -> bool:
    kind = (form["pattern"], form["density"]) == (goal.pattern, goal.density)
    return kind and form["compute"] in goal.compute and form["input"] == "batch-major"


def _networks(rows: list[Row]) -> Iterable[Row]:
    for row in rows:
        narrow = [got["us"] for name, got in row["ours"].items() if not name.endswith("float32")]
        for rival, times in WHOLE:
            theirs = [row["rivals"][rival]["us"]] if rival in row["rivals"] else []
            yield _row(f"whole network at 90 %, batch {row['batch']}", (rival,), times, narrow, theirs)


def _others(result: Row) -> Iterable[Row]:
    for row in result["training"]:
        mine = [taken for name, taken in row["us"].items() if name.endswith(" autocast") and ":" in name]
        for rival, times in STEPS:
            yield _row(
                "training step at 90 %, ours under autocast", (rival,), times, mine, [row["us"][rival]]
            )
    for row in result["threads"]:
        got = [form["times_faster"] for form in row["ours"] if form["compute"] == "bfloat16"]
        what = f"two threads, {row['inputs']} to {row['outputs']}, bfloat16"
        yield {"goal": what, "against": ["one thread"], "wanted": TWO, "got": min(got, default=None)}


def _row(what: str, against: tuple[str, ...], times: float, ours: list[float], theirs: list[float]) -> Row:
    got = round(min(theirs) / min(ours), 2) if ours and theirs else None
    return {"goal": what, "against": list(against), "wanted": times, "got": got}
