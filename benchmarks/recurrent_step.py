"""One step of a GRU with 90 % zeros in blocks, for one stream and for several, beside dense engines.

Each call gets the next input of every stream and gives the next states. Both matrices are sparse; the dense rivals get
the same weights, zeros included. Rivals that are not installed are left out.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, pin, record
from torch import nn

import gossamer as gs
from gossamer.measure import alternate
from gossamer.runtime import Runtime

Call = Callable[[], Any]


class Net(nn.Module):
    """A GRU alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(size, size, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[streams, times, size] to the same."""
        y: torch.Tensor = self.rnn(x)[0]
        return y


def onnx_step(dense: nn.GRU) -> bytes:
    """x [streams, inputs] and h [streams, hidden] to the next h, as products and gates of ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    size, hidden = dense.input_size, dense.hidden_size
    held = {
        name: getattr(dense, f"{name}_l0").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(a.T) if a.ndim == 2 else a, name)
        for name, a in held.items()
    ]
    constants += [numpy_helper.from_array(np.array([hidden] * 3, np.int64), "parts")]
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "weight_ih"], ["xw"]), node("Add", ["xw", "bias_ih"], ["xs"]),
        node("MatMul", ["h", "weight_hh"], ["hw"]), node("Add", ["hw", "bias_hh"], ["hs"]),
        node("Split", ["xs", "parts"], ["xr", "xz", "xn"], axis=1),
        node("Split", ["hs", "parts"], ["hr", "hz", "hn"], axis=1),
        node("Add", ["xr", "hr"], ["ra"]), node("Sigmoid", ["ra"], ["r"]),
        node("Add", ["xz", "hz"], ["za"]), node("Sigmoid", ["za"], ["z"]),
        node("Mul", ["r", "hn"], ["rh"]), node("Add", ["xn", "rh"], ["na"]), node("Tanh", ["na"], ["n"]),
        node("Sub", ["h", "n"], ["d"]), node("Mul", ["d", "z"], ["dz"]), node("Add", ["dz", "n"], ["y"]),
    ]  # fmt: skip
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    inputs = [value("x", shape=["n", size]), value("h", shape=["n", hidden])]
    graph = helper.make_graph(nodes, "step", inputs, [value("y", shape=["n", hidden])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made: bytes = model.SerializeToString()
    return made


def of_onnxruntime(model: bytes, x: np.ndarray) -> Call:
    """A session with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": x, "h": np.zeros_like(x)}

    def call() -> None:
        feed["h"] = session.run(None, feed)[0]

    return call


def of_openvino(model: bytes, x: np.ndarray) -> Call:
    """One stream, float32."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model, b""), "CPU", settings)
    request, feed = compiled.create_infer_request(), {"x": x, "h": np.zeros_like(x)}

    def call() -> None:
        request.infer(feed, share_inputs=True)
        feed["h"] = request.get_output_tensor(0).data.copy()

    return call


def of_torch(layer: nn.Module, x: torch.Tensor) -> Call:
    """A recurrent layer of torch or ours, called with one time."""
    state: list[Any] = [None]

    def call() -> None:
        _, state[0] = layer(x, state[0])

    return call


def rivals(dense: nn.GRU, x: torch.Tensor) -> dict[str, Call]:
    """Dense engines by name."""
    calls = {
        "torch float32": of_torch(dense, x),
        "torch bfloat16": of_torch(
            nn.GRU(dense.input_size, dense.hidden_size, batch_first=True).bfloat16(), x.bfloat16()
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        int8 = torch.ao.quantization.quantize_dynamic(nn.Sequential(dense), {nn.GRU}, dtype=torch.qint8)[0]
    calls["torch dynamic int8"] = of_torch(int8, x)
    flat = x[:, 0].contiguous().numpy()
    try:
        model = onnx_step(dense)
        calls["ONNX Runtime float32"] = of_onnxruntime(model, flat)
        calls["ONNX Runtime dynamic int8"] = of_onnxruntime(_quantized(model), flat)
        calls["OpenVINO float32"] = of_openvino(model, flat)
    except ImportError as error:
        print(f"left out: {error}")
    return calls


def _quantized(model: bytes) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        quantize_dynamic(onnx.load_model_from_string(model), file.name, weight_type=QuantType.QInt8)
        return Path(file.name).read_bytes()


def ours(model: Net, x: torch.Tensor) -> tuple[dict[str, Call], dict[str, int]]:
    """Streams of frozen networks, with and without torch, and the layer itself; bytes of the files."""
    calls: dict[str, Call] = {"gossamer layer": of_torch(model.rnn, x)}
    sizes = dict[str, int]()
    for values in ("exact", "int8"):
        frozen = gs.freeze(model, x, values=values, keep="block")
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            gs.save(frozen, file.name)
            sizes[values] = Path(file.name).stat().st_size
            calls[f"gossamer runtime, {values}"] = partial(Runtime(file.name).stream(), x.numpy())
        calls[f"gossamer frozen, {values}"] = partial(frozen.stream(), x)
    return calls, sizes


def measured(size: int, block: int, density: float, streams: int, seconds: float) -> Row:
    """All of them in turns."""
    torch.manual_seed(0)
    model = Net(size).eval()
    gs.sparsify(model, density, f"block:{block}", "uniform", law="xavier_uniform")
    dense, x = model.rnn.to_torch(), torch.randn(streams, 1, size)
    mine, sizes = ours(model, x)
    calls = mine | rivals(dense, x)
    times = {name: each.median for name, each in alternate(calls, seconds=seconds).items()}
    best = min(times[name] for name in mine)
    for name, taken in sorted(times.items(), key=lambda pair: pair[1]):
        print(f"{streams:3d} streams  {name:28s} {taken * 1e6:9.1f} us  {taken / best:6.1f}x")
    dense_bytes = sum(parameter.nbytes for parameter in dense.parameters())
    return {"streams": streams, "seconds": times, "bytes": sizes | {"dense": dense_bytes}}


def main() -> None:
    """Measure and record."""
    options = arguments(
        __doc__ or "",
        size=1024,
        block=16,
        density=0.1,
        streams="1,16",
        seconds=10.0,
        cores="0",
        name="recurrent_step",
    )
    torch.set_num_threads(pin(options.cores))
    with torch.no_grad():
        rows = [
            measured(options.size, options.block, options.density, int(streams), options.seconds)
            for streams in options.streams.split(",")
        ]
    about = {"size": options.size, "block": options.block, "density": options.density}
    record(options.name, {**about, "rows": rows})


if __name__ == "__main__":
    main()
