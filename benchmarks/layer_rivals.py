"""The other ways to compute ``y = x W^T``: each a call without arguments, or None where it is not installed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from layer_calls import Call
from torch import Tensor
from torch.nn import functional as F

from gossamer.cli.rivals import torch_csr, torch_dense, torch_int8


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


def _onnx_model(w: Tensor) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
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


RIVALS: dict[str, Callable[[Tensor, Tensor], Call | None]] = {
    "torch dense": of_torch(torch_dense),
    "torch bfloat16": torch_bfloat16,
    "torch CSR": of_torch(torch_csr),
    "torch int8": of_torch(torch_int8),
    "ONNX Runtime": onnxruntime_dense,
    "ONNX Runtime int8": onnxruntime_int8,
    "SparseLab": sparselab,
}
