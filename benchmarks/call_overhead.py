"""What a call costs where the arithmetic is small: packed layers and frozen networks beside torch's dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, pin, record
from torch import Tensor, nn

import gossamer as gs
from gossamer.measure import alternate, threads

Call = Callable[[], Any]
WIDTH, DEPTH, WIDE = 64, 4, 512


def evaluated(model: nn.Module, x: Tensor) -> Call:
    """A forward pass without gradients."""

    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def stepped(model: nn.Module, x: Tensor) -> Call:
    """A forward and a backward pass."""
    held, upstream = list(model.parameters()), torch.ones_like(model(x))
    return lambda: torch.autograd.grad(model(x), held, upstream)


def deep(density: float) -> nn.Sequential:
    """Layers with a ReLU behind each; dense where the density is 1."""
    net = nn.Sequential(*(part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))
    if density < 1:
        gs.sparsify(net, density=density)
    return net


def onnx_runtime(net: nn.Sequential, x: Tensor) -> Call | None:
    """The dense net in ONNX Runtime on one thread, or None where it is not installed."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    nodes, weights, name = [], [], "x"
    for number, layer in enumerate(part for part in net if isinstance(part, nn.Linear)):
        held = {f"w{number}": layer.weight.detach().T.contiguous(), f"b{number}": layer.bias.detach()}
        weights += [numpy_helper.from_array(tensor.numpy(), key) for key, tensor in held.items()]
        nodes += [
            helper.make_node("Gemm", [name, *held], [f"h{number}"]),
            helper.make_node("Relu", [f"h{number}"], [f"y{number}"]),
        ]
        name = f"y{number}"
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", WIDTH]) for end in ("x", name)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    given = {"x": x.numpy()}
    return lambda: session.run(None, given)


def groups(density: float) -> dict[str, dict[str, Call]]:
    """Calls that are measured in turns; the first of each group is what the others are compared with."""
    x, wide = torch.randn(1, WIDTH), torch.randn(1, WIDE)
    dense, sparse = nn.Linear(WIDTH, WIDTH), gs.SparseLinear(WIDTH, WIDTH, density=density)
    net, plain = deep(density), deep(1)
    crowded = nn.Sequential(nn.Linear(WIDE, WIDE))
    before = nn.Linear(WIDE, WIDE)
    gs.sparsify(crowded, density=0.2)
    rivals = {"ONNX Runtime, dense net": onnx_runtime(plain, x)}
    return {
        "layer, evaluated": {"nn.Linear": evaluated(dense, x), "SparseLinear": evaluated(sparse, x)},
        "layer, forward and backward": {"nn.Linear": stepped(dense, x), "SparseLinear": stepped(sparse, x)},
        "net": {
            "nn.Linear": evaluated(dense, x),
            "frozen net": evaluated(gs.freeze(net, x), x),
            "sparse net": evaluated(net, x),
            "dense net": evaluated(plain, x),
            **{name: call for name, call in rivals.items() if call is not None},
        },
        "wide layer at 80 %": {
            "nn.Linear": evaluated(before, wide),
            "frozen": evaluated(gs.freeze(crowded, wide), wide),
        },
    }


def main() -> None:
    """One table; a file only with --write, on a quiet machine."""
    options = arguments(__doc__, density=0.1, seconds=2.0, cores="0", write=False)
    rows = []
    torch.manual_seed(0)
    with threads(pin(options.cores)):
        for group, calls in groups(options.density).items():
            times = alternate(calls, seconds=options.seconds)
            first = next(iter(times.values())).median
            for name, time in times.items():
                row = {"group": group, "call": name, "us": round(time.median * 1e6, 2)}
                rows.append({**row, "of the first": round(time.median / first, 2)})
                print(*rows[-1].values(), sep="\t")
    if options.write:
        record("call_overhead", {"batch": 1, "density": options.density, "rows": rows})


if __name__ == "__main__":
    main()
