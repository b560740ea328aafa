"""What convolutional networks weigh: bytes of files, time until the first answer, and memory, without torch.

Each network is frozen dense and with a tenth of the connections of every layer but depth-wise and tiny ones. Beside
the artifact stand the weights as torch saves them and files of ONNX. Processes are started in turns, one thread, with
files in the page cache: our runtime on each artifact, and ONNX Runtime on the dense network, where it is installed
(extras [onnx] and [bench]). Times are medians, of the processor; memory is that of the last start. A killed run goes on
where it was.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness import Row, arguments, gather, pin, record
from network_rivals import onnx_of
from networks import NETWORKS, example
from runtime_start import BASE, installed, needed, package
from whole_networks import FORMS, dense, listed, sparse

import gossamer as gs

WORKER = Path(__file__).with_name("start_worker.py")


def started(kind: str, path: Path, shape: str) -> Row:
    """One new process."""
    command = [sys.executable, str(WORKER), kind, str(path), shape]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (our own script)
    found: Row = json.loads(done.stdout)
    if found["torch"]:
        raise SystemExit("sizes: a process that should run without torch has imported it")
    return found


def starts(files: dict[str, Path], shape: str, number: int) -> Row:
    """Every file in turns; the first turn fills the page cache."""
    turns = [{kind: started(kind, path, shape) for kind, path in files.items()} for _ in range(number + 1)]
    return {
        kind: {
            "seconds": {
                part: median(turn[kind]["seconds"][part] for turn in turns[1:])
                for part in turns[0][kind]["seconds"]
            },
            "memory": turns[-1][kind]["memory"],
            "rounded": turns[-1][kind]["rounded"],
        }
        for kind in files
    }


def state_bytes(name: str) -> int:
    """Of the dense weights, as ``torch.save`` writes them."""
    held = io.BytesIO()
    torch.save(dense(name).state_dict(), held)
    return len(held.getvalue())


def measured(case: Row, number: int) -> Row:
    """One network in one form."""
    name, form = case["network"], case["form"]
    model, x = sparse(name, form, case["density"], ""), example(name)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        frozen, root = gs.freeze(model, x), Path(folder)
        files = {"runtime": root / "net.safetensors"}
        gs.save(frozen, files["runtime"])
        sizes = {"state_dict": state_bytes(name), "artifact": files["runtime"].stat().st_size}
        if find_spec("onnx"):
            for weights in ("dense", "sparse"):
                gs.export_onnx(frozen, root / weights, weights=weights)
                sizes[f"onnx {weights}"] = (root / weights).stat().st_size
        if form == "dense" and find_spec("onnxruntime") and (model_bytes := onnx_of(dense(name), x)):
            files["onnxruntime"] = root / "net.onnx"
            files["onnxruntime"].write_bytes(model_bytes)
        return {"bytes": sizes, "starts": starts(files, ",".join(map(str, x.shape[1:])), number)}


def main() -> None:
    """Measure what is not known yet, and write everything that is."""
    options = arguments(
        __doc__ or "",
        networks="resnet50,resnet18,mobilenet_v2",
        forms="dense,unstructured,fanin,fanin:4",
        starts=5,
        cores="0",
        name="sizes",
        fresh=False,
    )
    torch.set_num_threads(pin(options.cores))
    cases = [
        {"network": name, "form": form, "density": 1.0 if form == "dense" else 0.1}
        for name in listed(options.networks, tuple(NETWORKS))
        for form in listed(options.forms, FORMS)
    ]
    rows = gather(options.name, cases, lambda case: measured(case, options.starts), fresh=options.fresh)
    parts: dict[str, Any] = {each: installed({each}) for each in sorted(needed(BASE))}
    record(options.name, {"installed": {"gossamer": package(), **parts}, "rows": rows})


if __name__ == "__main__":
    main()
