"""ONNX: a whole network where we have its operators, else its weights in the shapes of torch."""

from __future__ import annotations

from pathlib import Path

import torch

from gossamer.importing.formats.base import FileFormat, file_format
from gossamer.importing.network import Network
from gossamer.importing.onnx import File, NotOurs, build
from gossamer.importing.weights import Weights


def _read(path: Path) -> Network | Weights:
    file = File(path.name, path.read_bytes())
    try:
        return build(file)
    except NotOurs as error:
        return _weights(file, f"no whole network: {error}")


def _weights(file: File, why: str) -> Weights:
    """Numbers in floats by name; a weight that a product reads as [in, out] is turned."""
    turned = {
        each.reads[1]
        for each in file.operations
        if each.op in ("MatMul", "Gemm") and len(each.reads) > 1 and not each.settings.get("transB")
    }
    made = {}
    for name, array in file.constants.items():
        if array.dtype.name in ("float16", "float32", "float64"):
            made[name] = torch.from_numpy((array.T if name in turned and array.ndim == 2 else array).copy())
    if not made:
        raise file.wrong("weights", "none")
    kept = sum(name in turned for name in made)
    notes = (why, *((f"{kept} weights of products turned to [out, in]",) if kept else ()))
    return Weights(made, notes)


file_format(FileFormat("onnx", lambda path, _: path.suffix == ".onnx", _read))
