"""NSNet2: the time of one frame of 10 ms, dense and with blocks pruned in one shot, streamed by the runtime.

One stream, one thread. ONNX Runtime and torch run the dense network, a frame with no state before it.
The file is that of ``nsnet2.py``, which measures what pruning costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import Row, arguments, pin, record, shared_file
from nsnet2 import BANDS, NSNet2, from_onnx, one_shot, sparse
from torch import nn

import gossamer as gs
from gossamer.measure import alternate
from gossamer.runtime import Runtime

FILE = "nsnet2-20ms-baseline.onnx"


def frozen(net: nn.Module, values: str) -> tuple[Callable[[], Any], int]:
    """A call for the next frame of a stream, and the bytes of the file that the runtime reads."""
    x = torch.randn(1, 1, BANDS, generator=torch.Generator().manual_seed(0))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        gs.save(gs.freeze(net, x, values=values), file.name)
        return partial(Runtime(file.name).stream(), x.numpy()), Path(file.name).stat().st_size


def dense(path: Path, teacher: NSNet2) -> dict[str, Callable[[], Any]]:
    """The network as others run it."""
    import onnxruntime

    x = torch.randn(1, 1, BANDS, generator=torch.Generator().manual_seed(0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {"torch": partial(teacher, x), "ONNX Runtime": partial(session.run, None, {"input": x.numpy()})}


def measured(path: Path, block: int, drop: float, seconds: float) -> Row:
    """Median seconds of a frame, and bytes of files."""
    teacher = from_onnx(path).eval()
    pruned = sparse(teacher, f"block:{block}")
    one_shot(pruned, drop)
    calls, sizes = dense(path, teacher), {}
    for name, net, values in (
        ("gossamer, dense", teacher, "exact"),
        ("gossamer", pruned.eval(), "exact"),
        ("gossamer, int8", pruned.eval(), "int8"),
    ):
        calls[name], sizes[name] = frozen(net, values)
    with torch.no_grad():
        times = alternate(calls, seconds=seconds)
    taken = {name: time.median for name, time in times.items()}
    return {"pattern": f"block:{block}", "drop": drop, "seconds": taken, "bytes": sizes}


def main() -> None:
    """Every share of zeros."""
    options = arguments(__doc__, block=8, drops="0.8,0.9", seconds=5.0, cores="0")
    torch.set_num_threads(pin(options.cores))
    path = shared_file(FILE)
    rows = [measured(path, options.block, float(drop), options.seconds) for drop in options.drops.split(",")]
    for row in rows:
        print(row["drop"], {name: f"{taken * 1e6:.0f} us" for name, taken in row["seconds"].items()})
    record("nsnet2_time", {"rows": rows})


if __name__ == "__main__":
    main()
