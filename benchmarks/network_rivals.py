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


def openvino_of(model: bytes, x: Tensor) -> Call | None:
    """OpenVINO on a model's bytes, one stream, in float32 where the model is."""
    try:
        import openvino
    except ImportError:
        return None
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # this process is pinned already
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x.numpy(), shared_memory=True))
    return request.infer


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
        x: Tensor [batch, 3, height, width].
        wanted: of NAMES.
    """
    ways: dict[str, Call | None] = {}
    for name, way in (
        ("torch eager", eager),
        ("torch channels_last", channels_last),
        ("torch compile", compiled),
    ):
        ways[name] = way(make(), x) if name in wanted else None
    exported = onnx_of(make(), x) if any(name.split()[0] in ("ONNX", "OpenVINO") for name in wanted) else None
    narrow = int8_of(exported, x) if exported and any(name.endswith("int8") for name in wanted) else None
    for engine, run in (("ONNX Runtime", onnxruntime_of), ("OpenVINO", openvino_of)):
        for kind, model in (("fp32", exported), ("int8", narrow)):
            name = f"{engine} {kind}"
            ways[name] = run(model, x) if model is not None and name in wanted else None
    return {name: call for name, call in ways.items() if call is not None}


NAMES = (
    "torch eager",
    "torch channels_last",
    "torch compile",
    "ONNX Runtime fp32",
    "ONNX Runtime int8",
    "OpenVINO fp32",
    "OpenVINO int8",
    SPARSE,
)
