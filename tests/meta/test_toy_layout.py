"""A layout for the reference kernels costs one file: a toy is put beside the others, and everything takes it."""

from __future__ import annotations

from pathlib import Path

from toy_files import run_beside

TOY = Path(__file__).parent / "toys" / "pairs.py"

SCRIPT = """
import numpy as np, torch
from dataclasses import dataclass, replace
import gossamer as gs
from gossamer import kernels, ops
from gossamer.errors import DtypeError, FormatError, ShapeError, TopologyError
from gossamer.kernels import table
from gossamer.kernels.reference import coordinates
from gossamer.layouts import layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.trace.tensors import tensor_of
from gossamer.patterns import Unstructured, patterns

def refused(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"not refused by {error.__name__}")

# held, and given back
assert "pairs" in layouts
c = Connections((3, 4), np.array([1, 4, 11]), np.array([2.0, 3.0, 5.0], np.float32))
kind = layout("pairs")
form = kind.encode(c, kind.fit(c))
assert np.array_equal(kind.check(form).dense(), c.dense())
refused(FormatError, lambda: kind.check(replace(form, values=form.values[1:])))
refused(TopologyError, lambda: kind.check(replace(form, index=form.index | {"col": form.index["col"] + 3})))
refused(FormatError, lambda: kind.check(replace(form, index={k: a.astype("u2") for k, a in form.index.items()})))

# coordinates, operand checks, the three products by the reference kernels
index, values = [tensor_of(a) for a in form.index.values()], tensor_of(form.values).requires_grad_()
assert [t.tolist() for t in coordinates(index, "pairs", [3, 4])] == [[0, 1, 2], [1, 0, 3]]
assert {row.op for row in kernels.rows() if row.layout == "pairs"} == {*table.OPS, *table.CONV_OPS}
x = torch.randn(5, 4, requires_grad=True)
y = ops.linear(x, values, index, None, "pairs", [3, 4])
dense = tensor_of(c.dense())
torch.testing.assert_close(y, x @ dense.t())
y.sum().backward()
torch.testing.assert_close(x.grad, torch.ones(5, 3) @ dense)
torch.testing.assert_close(values.grad, torch.stack([x[:, 1].sum(), x[:, 0].sum(), x[:, 3].sum()]))
wrong = [index[0].long(), index[1]]
refused(DtypeError, lambda: ops.linear(x, values, wrong, None, "pairs", [3, 4]))
refused(ShapeError, lambda: ops.linear(x, values, index[:1], None, "pairs", [3, 4]))
refused(ShapeError, lambda: ops.linear(x, values, [index[0], index[1][None]], None, "pairs", [3, 4]))
refused(TopologyError, lambda: ops.linear(x, values, [index[0] + 1, index[1]], None, "pairs", [3, 4]))

# a pattern that names it trains: topology updates through its own index
@patterns.register("loose")
@dataclass(frozen=True)
class Loose(Unstructured):
    layout = "pairs"

model = torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))
gs.sparsify(model, density=0.5, pattern=Loose(), allocation="uniform")
assert list(model[0].index) == ["row", "col"]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gs.attach(model, optimizer, gs.RigL(every=2), total_steps=8)
before = model[0].topology.positions
for _ in range(6):
    optimizer.zero_grad()
    model(torch.randn(4, 16)).square().mean().backward()
    optimizer.step()
assert not torch.equal(model[0].topology.positions, before)

# freezing lists it, runs it, saves it; a file is checked before it runs
sample = torch.randn(3, 16)
frozen = gs.freeze(model, sample, keep="pairs")
torch.testing.assert_close(frozen(sample), model(sample))
tried = gs.freeze(model, sample, candidates=["pairs", "csr"], batch_sizes=(1,))
assert "pairs" in {row["layout"] for row in tried.plan["layers"][0]["candidates"]}
gs.save(frozen, "net")
assert torch.equal(gs.load("net")(sample), frozen(sample))
from safetensors import safe_open
from safetensors.torch import save_file
with safe_open("net", "pt") as file:
    tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
name = next(name for name in tensors if name.endswith("/col"))
save_file(tensors | {name: tensors[name] + 100}, "net", metadata)
refused(FormatError, lambda: gs.load("net"))
print("taken")
"""


def test_a_toy_layout_is_one_file(tmp_path: Path) -> None:
    """Held, checked, computed, trained, frozen, saved and read back, without an edit elsewhere."""
    run_beside("gossamer.layouts", TOY, SCRIPT, tmp_path)
