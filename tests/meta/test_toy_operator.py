"""An operator costs one file: a toy is put beside the others, and everything takes it."""

from __future__ import annotations

from pathlib import Path

from toy_files import run_beside

TOY = Path(__file__).parent / "toys" / "softsign.py"

SCRIPT = """
from importlib.util import find_spec

import numpy as np, torch
from torch import nn
import gossamer as gs
from gossamer.runtime import Runtime

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act = gs.SparseLinear(16, 12, density=0.5), nn.Softsign()
        self.second = gs.SparseLinear(12, 4, density=0.5)

    def forward(self, x):
        return nn.functional.softsign(self.second(self.act(self.first(x))))

torch.manual_seed(0)
model, x = Model(), torch.randn(5, 16)
with torch.no_grad():
    model.first.bias.copy_(torch.arange(12.0))
frozen = gs.freeze(model, x, keep="csr")
assert [node.body.op for node in frozen.graph.nodes if hasattr(node.body, "op")] == ["softsign"] * 2
torch.testing.assert_close(frozen(x), model(x))
gs.save(frozen, "net")
assert torch.equal(gs.load("net")(x), frozen(x))
assert np.array_equal(Runtime("net")(x.numpy()), frozen(x).numpy())
if find_spec("onnx"):
    gs.export_onnx(frozen, "net.onnx")
    if find_spec("onnxruntime"):
        import onnxruntime
        session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(y, frozen(x).numpy(), rtol=1e-5, atol=1e-6)
# it acts number by number, so a dead neuron's constant passes through it
topology = model.first.topology
keep = topology.positions // 16 != 3
fewer = type(topology)(topology.pattern, topology.shape, topology.positions[keep])
model.first.assign(fewer, model.first.values[: topology.connections][keep].detach())
smaller = gs.freeze(model, x, keep="csr")
assert smaller.plan["layers"][0]["constant"] == 1
torch.testing.assert_close(smaller(x), model(x))
print("taken")
"""


def test_a_toy_operator_is_one_file(tmp_path: Path) -> None:
    """Traced from a module and a call, frozen, saved, read back, run without torch, exported, passed by constants."""
    run_beside("gossamer.network.operators", TOY, SCRIPT, tmp_path)
