"""A batch norm behind a linear layer is part of it after freezing: exact connections, one call, nothing in silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ShapeError


def drawn(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """A norm that does something."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


def net(**settings: bool) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Linear(16, 12), drawn(nn.BatchNorm1d(12, **settings)), nn.ReLU(), nn.Linear(12, 16)]
    model = nn.Sequential(*parts).eval()
    gs.sparsify(model, 0.25, gs.FanIn(), "uniform")
    return model


def test_by_hand():
    """w (x - mean) / sqrt(var + eps) * gamma + beta, with numbers that are powers of two."""
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1, eps=0.0)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 5.0]]))
        model[0].bias.fill_(1.0)
        model[1].running_mean.fill_(2.0)
        model[1].running_var.fill_(4.0)
        model[1].weight.fill_(8.0)
        model[1].bias.fill_(0.5)
    frozen = gs.freeze(model, torch.ones(1, 2), keep="dense")
    ((_, layer),) = frozen.graph.layers()
    assert layer.stored.values.tolist() == [12.0, 20.0]
    assert layer.bias.tolist() == [-3.5]
    assert frozen(torch.tensor([[1.0, 1.0]])).tolist() == [[28.5]]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("keep", ["csr", "fanin", "dense"])
def test_one_call_of_two_layers(check_same, tmp_path, affine, keep):
    model = net(affine=affine)
    frozen = gs.freeze(model, torch.randn(3, 16), keep=keep)
    assert [(node.name, node.body.activation) for node in frozen.graph.nodes] == [
        ("0", "relu"),
        ("3", None),
    ]
    if keep != "dense":
        assert len(frozen.programs[0].steps) == 1
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (0, 1, 5, 64):
        x = torch.randn(batch, 16)
        check_same(frozen, model, x)
        assert torch.equal(loaded(x), frozen(x))


def test_no_connection_comes_or_goes():
    model = net()
    frozen = gs.freeze(model, torch.randn(3, 16), keep="csr")
    assert [row["connections"] for row in frozen.plan["layers"]] == [
        layer.topology.connections for layer in (model[0], model[3])
    ]


def test_neurons_die_through_a_norm():
    """A neuron without inputs gives a constant behind its norm and ReLU too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), drawn(nn.BatchNorm1d(6)), nn.ReLU(), nn.Linear(6, 2)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0.0
        model[3].weight[:, 4] = 0.0
    x = torch.randn(5, 8)
    frozen = gs.freeze(model, x, keep="csr")
    assert [row["shape"] for row in frozen.plan["layers"]] == [[4, 8], [2, 4]]
    assert torch.allclose(frozen(x), model(x), atol=1e-5)


def test_other_numbers_of_dimensions_are_refused(tmp_path):
    """With three of them a batch norm follows the second dimension, which a folded one no longer can."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), drawn(nn.BatchNorm1d(6)), nn.ReLU()).eval()
    for keep in ("csr", "dense"):
        frozen = gs.freeze(model, torch.randn(2, 6), keep=keep)
        gs.save(frozen, tmp_path / "net.safetensors")
        for network in (frozen, gs.load(tmp_path / "net.safetensors")):
            for shape in ((2, 6, 6), (6,)):
                with pytest.raises(ShapeError, match="a batch norm was folded"):
                    network(torch.randn(shape))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("keep", ["csr", "dense"])
def test_an_image_without_a_batch_is_refused(norm, keep):
    """The batch norm refused it; without one the layers behind would count other dimensions."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *[drawn(nn.BatchNorm2d(4))] * norm, nn.ReLU()).eval()
    frozen = gs.freeze(model, torch.randn(2, 3, 5, 5), keep=keep)
    assert frozen(torch.randn(1, 3, 5, 5)).shape == (1, 4, 3, 3)
    with pytest.raises(ShapeError, match="a batch of one image"):
        frozen(torch.randn(3, 5, 5))


def test_three_dimensions_in_the_example_leave_the_norm(check_same):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), drawn(nn.BatchNorm1d(6))).eval()
    frozen = gs.freeze(model, torch.randn(2, 6, 6), keep="csr")
    assert "is not folded into '0': its inputs have 3 dimensions" in frozen.explain()
    check_same(frozen, model, torch.randn(3, 6, 6))


class Twice(nn.Module):
    """The layer's output is read beside the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), drawn(nn.BatchNorm1d(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return self.norm(h) + h


class Scaled(nn.Module):
    """A parameter is read as a value of its own, which no other value goes into."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), drawn(nn.BatchNorm1d(6))
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.layer(x * self.scale)))


def test_a_model_with_a_parameter_of_its_own(check_same):
    torch.manual_seed(0)
    model = Scaled().eval()
    frozen = gs.freeze(model, torch.randn(2, 6), keep="csr")
    assert "norm" not in [node.name for node in frozen.graph.nodes]
    check_same(frozen, model, torch.randn(3, 6))


def test_a_layer_that_others_read_keeps_its_norm(check_same):
    torch.manual_seed(0)
    model = Twice().eval()
    frozen = gs.freeze(model, torch.randn(2, 6))
    assert "others read the layer too" in frozen.explain()
    check_same(frozen, model, torch.randn(3, 6))


def test_a_norm_behind_a_folded_one_is_folded_too(check_same):
    torch.manual_seed(0)
    norms = [drawn(nn.BatchNorm1d(6)) for _ in range(2)]
    model = nn.Sequential(nn.Linear(6, 6), *norms, nn.ReLU(), nn.Linear(6, 2)).eval()
    frozen = gs.freeze(model, torch.randn(2, 6), keep="csr")
    assert [node.name for node in frozen.graph.nodes] == ["0", "4"]
    check_same(frozen, model, torch.randn(3, 6))


@pytest.mark.parametrize("missing", [("weight",), ("bias",), ("weight", "bias")])
def test_a_norm_whose_scale_or_shift_was_taken_out(check_same, missing):
    model = net()
    for name in missing:
        setattr(model[1], name, None)
    frozen = gs.freeze(model, torch.randn(3, 16), keep="csr")
    assert [node.name for node in frozen.graph.nodes] == ["0", "3"]
    check_same(frozen, model, torch.randn(5, 16))


def test_a_norm_that_would_overflow_stays():
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1, eps=0.0)).eval()
    with torch.no_grad():
        model[0].weight.fill_(1e30)
        model[1].running_var.fill_(1e-30)
    frozen = gs.freeze(model, torch.full((1, 2), 1e-30))
    assert "would not be finite" in frozen.explain()
    assert torch.equal(frozen(torch.full((1, 2), 1e-30)), model(torch.full((1, 2), 1e-30)))


def test_the_plan_of_a_folded_network_repeats():
    model, x = net(), torch.randn(3, 16)
    first = gs.freeze(model, x)
    again = gs.freeze(model, x, plan=first)
    assert torch.equal(first(x), again(x))
    assert [node.body.flat for node in again.graph.nodes] == [True, False]
