"""The other ways to compute ``y = x W^T``: each a call without arguments, or None where it is not installed."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from layer_calls import Call
from layer_timing import Elsewhere, Worker
from openvino_rivals import openvino_bfloat16, openvino_dense, openvino_int8, openvino_int8_both
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.freezing.rivals import torch_csr, torch_dense, torch_int8

INSTALLING = """Rivals that are not installed are left out:
  torch compile   needs a C++ compiler
  ONNX Runtime    the packages onnx and onnxruntime, both in the extra [bench]
  OpenVINO        the package openvino, in the extra [bench]
  SparseLab       the package sparselab==0.2.2, installed with --no-deps
  DeepSparse      the packages deepsparse==1.8.0 and protobuf<4 in a virtual environment of their own, Python 3.11
                  or older; the environment variable DEEPSPARSE_PYTHON names its interpreter
"""


def of_torch(make: Callable[..., Any]) -> Callable[[Tensor, Tensor], Call]:
    """A rival of ``gossamer bench``, as a call."""

    def rival(w: Tensor, x: Tensor) -> Call:
        compute, _ = make(w, None)
        return partial(compute, x)

    return rival


def torch_bfloat16(w: Tensor, x: Tensor) -> Call:
    """Dense in bfloat16, input and output included."""
    small, narrow = w.bfloat16(), x.bfloat16()
    return lambda: F.linear(narrow, small)


def torch_compiled(w: Tensor, x: Tensor) -> Call | None:
    """Dense through ``torch.compile``, the weight packed into the graph."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return None
    layer = nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=w.dtype).requires_grad_(requires_grad=False)
    layer.weight.copy_(w)
    torch.compiler.reset()  # it gives up compiling after a few shapes
    call = partial(torch.compile(layer, fullgraph=True, dynamic=False, options={"freezing": True}), x)
    call()
    return call


def torch_compiled_bfloat16(w: Tensor, x: Tensor) -> Call | None:
    """The same in bfloat16, input and output included."""
    return torch_compiled(w.bfloat16(), x.bfloat16())


def _onnx_model(w: Tensor, batch: int | str = "batch") -> Any:
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
        for name, size in (("x", w.shape[1]), ("y", w.shape[0]))
    ]
    weight = numpy_helper.from_array(w.T.contiguous().numpy(), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "layer", ends[:1], ends[1:], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _session(model: bytes, x: Tensor) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)


def onnxruntime_dense(w: Tensor, x: Tensor) -> Call | None:
    """ONNX Runtime, float32."""
    try:
        return _session(_onnx_model(w).SerializeToString(), x)
    except ImportError:
        return None


def onnxruntime_int8(w: Tensor, x: Tensor) -> Call | None:
    """ONNX Runtime, weights int8, activations quantized in every call."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return None
    logging.getLogger().setLevel(logging.ERROR)  # it advises pre-processing, which one product does not need
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        quantize_dynamic(_onnx_model(w), file.name, weight_type=QuantType.QInt8)
        return _session(Path(file.name).read_bytes(), x)


def sparselab(w: Tensor, x: Tensor) -> Call | None:
    """SparseLab; its input is laid out as [features, batch] beforehand, outside of the time."""
    try:
        import sparselab as peer
    except ImportError:
        return None
    packed, columns = peer.PaddedCSR.from_dense(w), x.T.contiguous()
    return lambda: peer.spmm(packed, columns)


@cache
def deepsparse_worker() -> Worker | None:
    """DeepSparse's process, where there is one: DEEPSPARSE_PYTHON names its interpreter."""
    python = os.environ.get("DEEPSPARSE_PYTHON")
    if python is None:
        return None
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # it would report its use over the network
    worker = Worker(python)
    atexit.register(worker.close)
    return worker


def deepsparse(w: Tensor, x: Tensor) -> Call | None:
    """DeepSparse, in a process of its own that takes its turn like a call."""
    worker = deepsparse_worker()
    if worker is None:
        return None
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        model, given = Path(folder, "layer.onnx"), Path(folder, "x.npy")
        model.write_bytes(_onnx_model(w, len(x)).SerializeToString())
        np.save(given, x.numpy())
        worker.ask(f"load {model} {given} {torch.get_num_threads()}")
    return Elsewhere(worker)


@dataclass(frozen=True)
class Rival:
    """How a rival is made, and the bytes of weights a call reads: of every weight, or of every connection."""

    make: Callable[[Tensor, Tensor], Call | None]
    a_weight: int = 0
    a_connection: int = 0

    def bytes(self, w: Tensor) -> int:
        """Row pointers and scales, which are few, left out."""
        return self.a_weight * w.numel() + self.a_connection * int(w.count_nonzero())


RIVALS = {
    "torch dense": Rival(of_torch(torch_dense), a_weight=4),
    "torch compile": Rival(torch_compiled, a_weight=4),
    "torch bfloat16": Rival(torch_bfloat16, a_weight=2),
    "torch compile bfloat16": Rival(torch_compiled_bfloat16, a_weight=2),
    "torch CSR": Rival(of_torch(torch_csr), a_connection=8),
    "torch int8": Rival(of_torch(torch_int8), a_weight=1),
    "ONNX Runtime": Rival(onnxruntime_dense, a_weight=4),
    "ONNX Runtime int8": Rival(onnxruntime_int8, a_weight=1),
    "OpenVINO": Rival(openvino_dense, a_weight=4),
    "OpenVINO bfloat16": Rival(openvino_bfloat16, a_weight=2),
    "OpenVINO int8": Rival(openvino_int8, a_weight=1),
    "OpenVINO int8 both": Rival(openvino_int8_both, a_weight=1),
    "SparseLab": Rival(sparselab, a_connection=8),
    "DeepSparse": Rival(deepsparse),  # how it stores weights is not published
}


def versions() -> dict[str, str]:
    """Of the rivals that are here."""
    found = {}
    for package in ("onnxruntime", "openvino", "sparselab"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if (worker := deepsparse_worker()) is not None:
        found["deepsparse"] = worker.ask("version")
    return found
