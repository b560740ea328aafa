"""OpenVINO's ways to compute a dense layer or network: in float32, bfloat16, and int8, on whatever units it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from layer_calls import Call
from torch import Tensor

STEPS = 127  # of an int8 weight, of either sign


def request_of(make: Callable[[Any], Any], x: Tensor, precision: str) -> Call | None:
    """A model in one stream with torch's number of threads, or None where it is not installed or rounds otherwise.

    Args:
        make: openvino.Core -> openvino.Model.
        x: Tensor - its input.
        precision: "f32", or "bf16", which a processor without such arithmetic does not have.
    """
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # this process is pinned already
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(make(core), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x.numpy(), shared_memory=True))
    return request.infer


def _layer(
    weight: Callable[[Any], Any], x: Tensor, precision: str, reads: Callable[[Any, Any], Any] | None = None
) -> Call | None:
    """One product; ``weight`` makes [out, in] of OpenVINO's operators, ``reads`` what becomes of the input."""

    def make(_core: Any) -> Any:
        import openvino
        from openvino import opset13

        entry = opset13.parameter(list(x.shape), openvino.Type.f32)
        given = entry if reads is None else reads(opset13, entry)
        return openvino.Model([opset13.matmul(given, weight(opset13), False, True)], [entry])

    return request_of(make, x, precision)


def _small(w: Tensor) -> Callable[[Any], Any]:
    """The weight in int8 with a scale a neuron."""
    scales = w.abs().amax(1, keepdim=True).clamp_(min=1e-8) / STEPS
    small = (w / scales).round_().to(torch.int8)
    return lambda op: op.multiply(op.convert(op.constant(small.numpy()), "f32"), op.constant(scales.numpy()))


def openvino_dense(w: Tensor, x: Tensor) -> Call | None:
    """Float32."""
    return _layer(lambda op: op.constant(w.numpy()), x, "f32")


def openvino_bfloat16(w: Tensor, x: Tensor) -> Call | None:
    """Float32 in and out, bfloat16 inside."""
    return _layer(lambda op: op.constant(w.numpy()), x, "bf16")


def openvino_int8(w: Tensor, x: Tensor) -> Call | None:
    """Weights int8 with a scale a neuron, products in float32."""
    return _layer(_small(w), x, "f32")


def openvino_int8_both(w: Tensor, x: Tensor) -> Call | None:
    """Weights and inputs int8, inputs within a fixed range, as after calibration; the best there is: that of x."""
    import numpy as np

    top = float(x.abs().max())
    ends = [np.array(end, np.float32) for end in (-top, top * STEPS / (STEPS + 1))]

    def reads(op: Any, entry: Any) -> Any:
        low, high = map(op.constant, ends)
        return op.fake_quantize(entry, low, high, low, high, 2 * STEPS + 2)

    return _layer(_small(w), x, "bf16", reads) or _layer(_small(w), x, "f32", reads)


def openvino_of(model: bytes, x: Tensor, precision: str = "f32") -> Call | None:
    """A network as ONNX; operators that it quantizes itself run in int8."""
    return request_of(lambda core: core.read_model(model), x, precision)
