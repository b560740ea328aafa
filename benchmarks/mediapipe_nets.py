"""The networks that MediaPipe ships pruned, converted, against LiteRT on the same files: one image, one thread.

    pip download --no-deps mediapipe==0.10.21     # and unzip the two .tflite files into a folder of GOSSAMER_DATA
    pip install ai-edge-litert flatbuffers
    python benchmarks/mediapipe_nets.py

Both engines run in turns in this process. Beside their times stands the bound that multiplications allow: how
many of the dense network's multiplications are left. An engine that skips all zeros and is as fast as LiteRT for
each of the others would reach it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from harness import Row, arguments, pin, record, shared_file

from gossamer.freezing.pixels import pixels
from gossamer.importing import Network, frozen_of, read
from gossamer.measure import alternate, threads

NETS = ("pose_detection.tflite", "face_detection_full_range_sparse.tflite")


def rival(path: Path, x: torch.Tensor) -> Any:
    """LiteRT with the image set, ready to be invoked."""
    net = Interpreter(str(path), num_threads=1)
    net.allocate_tensors()
    net.set_tensor(net.get_input_details()[0]["index"], x.permute(0, 2, 3, 1).contiguous().numpy())
    return net


def multiplications(found: Network, x: torch.Tensor) -> tuple[int, int]:
    """Of the network, and of its dense twin, for one image."""
    used = pixels(found.graph, (x,))
    held = [(body.connections, used.get(node.name, 1)) for node, body in found.graph.linears()]
    left = sum(each.positions.size * count for each, count in held)
    return left, sum(prod(each.shape) * count for each, count in held)


def measured(name: str, seconds: float) -> Row:
    """One network."""
    path = shared_file(name)
    found = read(path).content
    assert isinstance(found, Network)
    x = torch.rand(found.inputs[0].shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    net = rival(path, x)
    net.invoke()
    wanted = np.concatenate([net.get_tensor(each["index"]) for each in net.get_output_details()], -1)
    frozen = frozen_of(found)
    error = float(np.abs(frozen(x).numpy() - wanted).max() / np.abs(wanted).max())
    times = alternate({"gossamer": lambda: frozen(x), "litert": net.invoke}, seconds=seconds)
    left, dense = multiplications(found, x)
    faster = times["litert"].median / times["gossamer"].median
    return {
        "name": name,
        "error": error,
        "multiplications": left,
        "dense_multiplications": dense,
        "bound": dense / left,
        "faster": faster,
        "share_of_bound": faster / (dense / left),
        "seconds": {
            who: {"median": t.median, "p10": t.p10, "p90": t.p90, "runs": t.runs} for who, t in times.items()
        },
    }


def main() -> None:
    """Measure both, and write one result."""
    given = arguments(__doc__ or "", cores="0", seconds=20.0)
    pin(given.cores)
    with threads(1):
        rows = [measured(name, given.seconds) for name in NETS]
    for row in rows:
        ours, theirs = (row["seconds"][who]["median"] * 1e3 for who in ("gossamer", "litert"))
        print(
            f"{row['name']}: {ours:.2f} ms, LiteRT {theirs:.2f} ms, {row['faster']:.2f} x of {row['bound']:.2f} x"
        )
    record("mediapipe_nets", {"nets": rows})


if __name__ == "__main__":
    main()
