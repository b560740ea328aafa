"""Convolutions in int8: the definition, instruction sets, images that are not finite, files, what is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import GossamerError, PatternError
from gossamer.kernels import use
from gossamer.kernels.cpu import available_isas
from gossamer.kernels.reference.rounding import in_steps
from gossamer.layouts import layout
from gossamer.runtime import Runtime

INT8 = {"values": "int8", "compute": "int8"}


class Skips(nn.Module):
    """A residual, channels side by side, strides, groups, a border of other numbers, an activation that is a call."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.same = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.down = nn.Conv2d(64, 32, 3, stride=2, padding=1, padding_mode="reflect")
        self.thin = nn.Conv2d(32, 64, 1, stride=2)
        self.last = nn.Conv2d(64, 32, (5, 3), padding=(2, 1), dilation=(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        z = torch.relu(self.same(y) + y)
        z = F.silu(self.down(torch.cat([y, z], 1)))
        return self.last(torch.relu(self.thin(z)))


def net(group: int, model: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(group)
    model = (model or Skips()).eval().requires_grad_(requires_grad=False)
    gs.sparsify(model, 0.3, gs.FanIn(group=group), "uniform")
    return model


def frozen_of(model: nn.Module, x: torch.Tensor) -> gs.Frozen:
    return gs.freeze(model, x, keep="fanin_bytes", **INT8)


@pytest.mark.parametrize("group", [1, 4, 16])
def test_one_layer_is_its_definition(group):
    """Steps of each image, sums of whole numbers in float64, then step, scale, bias and activation."""
    conv = nn.Conv2d(5, 32, 3, padding=(1, 2), stride=(1, 2))
    model, x = net(group, nn.Sequential(conv, nn.ReLU())), torch.randn(3, 5, 9, 13)
    frozen = frozen_of(model, x)
    [(_, body)] = frozen.graph.layers()
    connections = layout("fanin_bytes").decode(body.forms["fanin_bytes"])
    matrix = torch.zeros(32, 45, dtype=torch.float64)
    matrix.view(-1)[torch.from_numpy(connections.positions)] = torch.from_numpy(connections.values).double()
    steps, size = in_steps(x.view(3, -1))
    weight = matrix.view(32, 3, 3, 5).permute(0, 3, 1, 2)
    sums = F.conv2d(steps.view_as(x).double(), weight, stride=(1, 2), padding=(1, 2)).float()
    y = sums * size[:, None, None, None] * torch.from_numpy(connections.scale)[:, None, None]
    assert torch.allclose(frozen(x), torch.relu(y + model[0].bias[:, None, None]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("group", [1, 2, 8, 16])
def test_plans_sets_steps_and_arrays_agree(group, tmp_path):
    model, x = net(group), torch.randn(3, 3, 11, 14)
    frozen = frozen_of(model, x)
    assert {row["chosen"] for row in frozen.plan["layers"]} == {"fanin_bytes"}
    y, exact = frozen(x), model(x)
    assert (y - exact).abs().max() <= 0.1 * exact.abs().max()
    for isa in available_isas():
        with use(isa):
            assert torch.allclose(frozen(x), y, rtol=1e-5, atol=1e-5 * float(y.abs().max()))
    assert torch.equal(frozen(x[1:2]), y[1:2])  # an image does not depend on its neighbours
    gs.save(frozen, tmp_path / "net.safetensors")
    assert np.array_equal(Runtime(tmp_path / "net.safetensors")(x.numpy()), y.numpy())
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), y)


def test_step_by_step_as_in_a_plan():
    """Where no plan runs, each convolution is rounded by itself, with the same sums."""
    model, x = net(4), torch.randn(2, 3, 10, 10)
    frozen = frozen_of(model, x)
    exported = torch.export.export(frozen, (x,)).module()
    assert torch.allclose(exported(x), frozen(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_image_that_is_not_finite_spoils_itself_whole(bad):
    model, x = net(4, nn.Sequential(nn.Conv2d(4, 8, 3, padding=1))), torch.randn(3, 4, 6, 6)
    frozen = frozen_of(model, x)
    y = frozen(x)
    x[1, 2, 3, 3] = bad
    spoiled = frozen(x)
    assert spoiled[1].isnan().all()
    assert torch.equal(spoiled[[0, 2]], y[[0, 2]])
    assert torch.equal(frozen(torch.zeros(1, 4, 6, 6)), model[0].bias[None, :, None, None].expand(1, 8, 6, 6))


def test_it_is_tried_where_it_is_allowed():
    model, x = net(4, nn.Sequential(nn.Conv2d(16, 32, 3, padding=1))), torch.randn(1, 16, 8, 8)
    frozen = gs.freeze(model, x, **INT8)
    [row] = frozen.plan["layers"]
    tried = {way["layout"]: way for way in row["candidates"]}
    assert any(tried["fanin_bytes"]["seconds"])
    assert "fanin_bytes" in frozen.explain()
    with pytest.raises(PatternError, match="compute='float32' does not allow"):
        gs.freeze(model, x, keep="fanin_bytes", values="int8")


@pytest.mark.parametrize(("name", "value"), [("col", 45), ("rows", 8)])
def test_an_index_that_leads_outside_is_refused(name, value):
    model, x = net(4, nn.Sequential(nn.Conv2d(5, 32, 3))), torch.randn(1, 5, 9, 9)
    [(_, body)] = frozen_of(model, x).graph.layers()
    form = body.forms["fanin_bytes"]
    form.index[name].reshape(-1)[-1] = value
    with pytest.raises(GossamerError, match=r"fanin_bytes|fanin"):
        layout("fanin_bytes").check(form)
