"""Other engines for whole dense networks: each a call without arguments, or None where it is not installed."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layer_rivals import deepsparse_worker
from openvino_rivals import openvino_of
from torch import Tensor, nn

Call = Callable[[], Any]
SPARSE = "DeepSparse"
IMAGES = 4  # that int8 engines see before they choose their ranges


def eager(model: nn.Module, x: Tensor) -> Call:
    """Torch, as the model stands."""
    return partial(model, x)


def channels_last(model: nn.Module, x: Tensor) -> Call:
    """Torch, channels innermost, batch norms left as they are."""
    layout: Any = torch.channels_last
    return partial(model.to(memory_format=layout), x.contiguous(memory_format=layout))


def compiled(model: nn.Module, x: Tensor) -> Call | None:
    """``torch.compile`` with weights packed and batch norms folded."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return None
    torch.compiler.reset()
    call = partial(torch.compile(model, dynamic=False, options={"freezing": True}), x)
    call()
    return call


def bfloat16(model: nn.Module, x: Tensor) -> Call:
    """Torch, everything in bfloat16, input and output included."""
    return partial(model.bfloat16(), x.bfloat16())


def compiled_bfloat16(model: nn.Module, x: Tensor) -> Call | None:
    """``torch.compile`` of the same."""
    return compiled(model.bfloat16(), x.bfloat16())


def onnx_of(model: nn.Module, x: Tensor) -> bytes | None:
    """The network as torch exports it."""
    try:
        import onnx  # noqa: F401 (torch's exporter wants it)
    except ImportError:
        return None
    held = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # its newer exporter needs one more package
        torch.onnx.export(model, (x,), held, dynamo=False, opset_version=17, input_names=["x"])
    return held.getvalue()


def onnxruntime_of(model: bytes, x: Tensor) -> Call | None:
    """ONNX Runtime on a model's bytes."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x": x.numpy()})


def dynamic_int8_of(model: bytes, _x: Tensor) -> bytes | None:
    """The model with weights of int8, what flows quantized in every call."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return None
    logging.getLogger().setLevel(logging.ERROR)  # it advises pre-processing
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        given.write_bytes(model)
        quantize_dynamic(given, made, weight_type=QuantType.QInt8)
        return made.read_bytes()


def int8_of(model: bytes, x: Tensor) -> bytes | None:
    """The model with weights and activations of int8, ranges from noise: fit for timing alone."""
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError:
        return None
    rng = np.random.default_rng(0)

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Any] = (
                rng.standard_normal(x.shape).astype(np.float32) for _ in range(IMAGES)
            )

        def get_next(self) -> Any:
            return next(({"x": image} for image in self.left), None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises pre-processing
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        given.write_bytes(model)
        quantize_static(
            given,
            made,
            Noise(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
        return made.read_bytes()


def deepsparse(model: nn.Module, x: Tensor) -> Call | None:
    """DeepSparse, in a process of its own, on a dense model that has the zeros of ours."""
    worker = deepsparse_worker()
    exported = onnx_of(model, x) if worker is not None else None
    if worker is None or exported is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file, given = Path(folder, "network.onnx"), Path(folder, "x.npy")
        file.write_bytes(exported)
        np.save(given, x.numpy())
        worker.ask(f"load {file} {given} {torch.get_num_threads()}")
    return partial(worker.ask, "once")


def rivals(make: Callable[[], nn.Module], x: Tensor, wanted: set[str]) -> dict[str, Call]:
    """Name -> call, of those that are wanted and installed, with torch's number of threads.

    Args:
        make: () -> nn.Module - a fresh dense model in evaluation.
        x: Tensor [batch, ...], images where ``channels_last`` is wanted.
        wanted: of NAMES and DYNAMIC.
    """
    ways = {name: way(make(), x) for name, way in TORCH.items() if name in wanted}
    engines = {name: way for name, way in ENGINES.items() if name in wanted}
    exported = onnx_of(make(), x) if engines else None
    made: dict[Any, bytes | None] = {}
    for name, (convert, run) in engines.items():
        if exported is not None and convert not in made:
            made[convert] = convert(exported, x)
        model = made.get(convert)
        ways[name] = run(model, x) if model is not None else None
    return {name: call for name, call in ways.items() if call is not None}


def _whole(model: bytes, _x: Tensor) -> bytes:
    return model


def openvino_int8(model: bytes, x: Tensor) -> Call | None:
    """The int8 model; between its int8 operators bfloat16, where the processor has that."""
    return openvino_of(model, x, "bf16") or openvino_of(model, x)


TORCH: dict[str, Callable[[nn.Module, Tensor], Call | None]] = {
    "torch eager": eager,
    "torch channels_last": channels_last,
    "torch compile": compiled,
    "torch bfloat16": bfloat16,
    "torch compile bfloat16": compiled_bfloat16,
}
DYNAMIC = "ONNX Runtime int8 dynamic"  # of linear layers; its convolutions are slower than in float32
ENGINES: dict[str, tuple[Callable[[bytes, Tensor], bytes | None], Callable[[bytes, Tensor], Call | None]]] = {
    "ONNX Runtime fp32": (_whole, onnxruntime_of),
    "ONNX Runtime int8": (int8_of, onnxruntime_of),
    DYNAMIC: (dynamic_int8_of, onnxruntime_of),
    "OpenVINO fp32": (_whole, openvino_of),
    "OpenVINO bfloat16": (_whole, partial(openvino_of, precision="bf16")),
    "OpenVINO int8": (int8_of, openvino_int8),
}
NAMES = (*TORCH, *(name for name in ENGINES if name != DYNAMIC), SPARSE)
LINEAR = tuple(
    name for name in (*TORCH, *ENGINES) if name != "torch channels_last"
)  # for networks without images
