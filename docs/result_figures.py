"""Draw measured results as SVG; ``render_results.py`` writes them where the result files are present."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

import math
from typing import Any

from drawing import DROPPED, GROWN, INK, KEPT, LINE, SOFT, Drawing
from layer_tables import exact, fastest


def speed(result: dict[str, Any]) -> Drawing:
    """Bars: how many times faster than dense, for every pattern and job."""
    bars = []
    for pattern, got in result["patterns"].items():
        bars += [
            (f"{pattern}, frozen, batch 1", got["batch_1"]["times_faster"]),
            (f"{pattern}, frozen, batch 256", got["batch_256"]["times_faster"]),
            (f"{pattern}, training step", got["training_step"]["times_faster"]),
        ]
    picture = Drawing(860, 72 + 26 * len(bars), "Times faster than dense PyTorch")
    scale = 480 / max(1.0, *(ratio for _, ratio in bars))
    for number, (name, ratio) in enumerate(bars):
        y = 62 + 26 * number
        picture.text(250, y + 14, name, INK, "end", 12)
        picture.bar(262, y, scale * ratio, 18, KEPT if ratio >= 1 else SOFT)
        picture.text(268 + scale * ratio, y + 14, f"{ratio:.1f}x", INK, "start", 12)
    picture.heading(30, 28, f"Times faster than dense, {100 * (1 - result['density']):g} % sparse")
    picture.rule(262 + scale, 56, 62 + 26 * len(bars))
    picture.text(262 + scale, 50, "dense", SOFT, "middle", 11)
    return picture


def layers(result: dict[str, Any]) -> Drawing:
    """Lines: the fastest pattern against dense, by sparsity, one line a batch size."""
    rows = [
        row
        for row in result["rows"]
        if (row["inputs"], row["outputs"]) == (3072, 768) and row["batch"] in (1, 16, 64, 256)
    ]
    ratio = {
        (row["batch"], row["sparsity"]): row["rivals"]["torch dense"]["us"] / fastest(exact(row))[1]
        for row in rows
    }
    batches, sparsities = (sorted({key[part] for key in ratio}) for part in (0, 1))
    left, top, height, step = 90, 50, 230, 90
    picture = Drawing(860, 340, "Times faster than dense PyTorch by sparsity and batch, layer 3072 to 768")
    picture.heading(30, 28, "Times faster than dense: fastest pattern, layer 3072 to 768, one thread")
    peak = math.log2(max(ratio.values()))
    for power in range(math.floor(peak) + 1):
        y = top + height * (1 - power / peak)
        picture.text(left - 14, y + 4, f"{2**power}x", SOFT, "end", 11)
        picture.bar(left, y, step * (len(sparsities) - 1), 0.5, LINE)
    labels = []
    for colour, batch in zip((KEPT, GROWN, DROPPED, INK), batches, strict=True):
        points = [
            (left + step * i, top + height * (1 - math.log2(ratio[batch, sparsity]) / peak))
            for i, sparsity in enumerate(sparsities)
        ]
        picture.line(points, colour)
        labels.append((points[-1][1] + 4, f"batch {batch}", colour))
    lowest = 0.0
    for y, name, colour in sorted(labels):
        lowest = max(y, lowest + 13)  # lines that end close together have their names one below the other
        picture.text(left + step * (len(sparsities) - 1) + 8, lowest, name, colour, size=11)
    for i, sparsity in enumerate(sparsities):
        picture.text(left + step * i, top + height + 26, f"{sparsity:g} %", SOFT, "middle", 11)
    return picture


def pixels(result: dict[str, Any]) -> Drawing:
    """Connections that leave each input pixel, before and after training."""
    picture = Drawing(860, 330, "Connections that leave each MNIST pixel, before and after RigL")
    run = result["runs"]["rigl"]["seeds"][0]
    panels = (("pixels_start", "random start", 90), ("pixels_end", "after RigL", 480))
    top = max(max(map(max, run[key])) for key, _, _ in panels) or 1
    for key, name, x in panels:
        share = run["central_share_start" if key == "pixels_start" else "central_share_end"]
        picture.heading(x, 30, f"{name}: {100 * share:.0f} % in the central 20 x 20")
        picture.heat(x, 44, 9, run[key], top)
        picture.box(x + 36, 80, 180, 180)
    picture.text(90, 318, f"connections of a pixel: 0 (light) to {top} (dark)", SOFT, size=12)
    return picture
