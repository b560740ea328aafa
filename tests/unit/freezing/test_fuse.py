"""Residual sums and activations become part of the layer before them, and change no result."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import gossamer as gs
from gossamer import kernels
from gossamer.errors import FormatError
from gossamer.freezing.core_step import CoreStep
from gossamer.kernels.cpu import Chain, library
from gossamer.layouts.values import EXACT
from gossamer.network.chain_step import Operands


class Block(nn.Module):
    """relu(x + second(relu(first(x)))), then a layer, whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(32, 24), nn.Linear(24, 32), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x + self.second(torch.relu(self.first(x))))
        y = self.third(h)
        return torch.add(y, y.tanh())


class Two(nn.Module):
    """Both summands are layers; the second residual is computed after its chain could begin."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(self.a(x))
        z = torch.tanh(self.c(x))
        return nn.functional.leaky_relu(h + z, 0.3) + self.d(z)


def sparse(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    gs.sparsify(model, 0.3, gs.FanIn(), "uniform")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("values", [EXACT, "bfloat16", "int8"])
@pytest.mark.parametrize("keep", ["csr", "dense", "fanin", "fastest"])
@pytest.mark.parametrize(("make", "width"), [(Block, 32), (Two, 16)])
def test_results_stay(check_same, tmp_path, make, width, keep, values):
    model = sparse(make())
    frozen = gs.freeze(model, torch.randn(3, width), keep=keep, values=values)
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for shape in ((1, width), (70, width), (2, 5, width), (0, width)):
        x = torch.randn(shape)
        if values == EXACT:
            check_same(frozen, model, x)
        assert torch.equal(loaded(x), frozen(x))
        feature_major = torch.randn(width, 9).t()
        assert torch.allclose(frozen(feature_major), frozen(feature_major.contiguous()), atol=1e-5)


def test_what_is_fused():
    frozen = gs.freeze(sparse(Block()), torch.randn(3, 32), keep="csr")
    assert [(node.name, node.inputs) for node in frozen.graph.nodes] == [
        ("first", ("x",)),
        ("second", ("first", "x")),
        ("third", ("second",)),
        ("tanh", ("third",)),  # what it reads is read by the sum as well
        ("add_1", ("third", "tanh")),
    ]
    assert [layer["residual"] for layer in frozen.plan["layers"]] == [False, True, False]
    assert "+ residual + relu" in frozen.explain()
    frozen = gs.freeze(sparse(Two()), torch.randn(3, 16), keep="csr")
    fused = {node.name: node.inputs for node in frozen.graph.nodes}
    assert fused == {"a": ("x",), "c": ("x",), "b": ("a", "c"), "d": ("c", "b")}


def test_a_sum_that_is_broadcast_stays_a_sum(check_same):
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.one = nn.Linear(8, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) + self.one(x)

    model = sparse(Wide())
    frozen = gs.freeze(model, torch.randn(3, 8), keep="csr")
    assert len(frozen.graph.nodes) == 3
    check_same(frozen, model, torch.randn(5, 8))


def test_a_second_input_may_be_broadcast_over_the_batch():
    class Inputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.fc(x) + y

    model = sparse(Inputs())
    x, y = torch.randn(5, 8), torch.randn(1, 8)
    frozen = gs.freeze(model, (x[:1], y), keep="csr")
    assert torch.allclose(frozen(x, y), model(x, y), atol=1e-5)


def test_a_file_with_a_residual_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    gs.save(gs.freeze(sparse(Block()), torch.randn(3, 32), keep="csr"), path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        document = json.loads(file.metadata()["gossamer"])
    document["nodes"][1]["inputs"] = ["first", "first"]
    save_file(tensors, path, {"gossamer": json.dumps(document)})
    with pytest.raises(FormatError, match="a residual"):
        gs.load(path)


class Shifted(nn.Module):
    """What is added has one row, whatever the batch."""

    def __init__(self, from_input: bool) -> None:
        super().__init__()
        self.layer, self.shift = nn.Linear(16, 16), nn.Parameter(torch.randn(1, 16))
        self.from_input = from_input

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x) + (x[:1] if self.from_input else self.shift))


@pytest.mark.parametrize("from_input", [True, False])
def test_a_row_for_all_samples_is_no_residual(check_same, from_input):
    """With an example of one sample it has the shape of the layer's output, and with others it has not."""
    model = sparse(Shifted(from_input))
    frozen = gs.freeze(model, torch.randn(1, 16), keep="csr")
    for batch in (1, 2, 5):
        check_same(frozen, model, torch.randn(batch, 16))


class OneSample(nn.Module):
    """A model that takes no other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x.view(1, 16)


def test_a_model_of_one_sample_is_frozen(check_same):
    model = sparse(OneSample())
    check_same(gs.freeze(model, torch.randn(1, 16), keep="csr"), model, torch.randn(1, 16))


def test_a_forced_instruction_set_reaches_frozen_layers():
    """The bits of that set, and of the reference kernels; after the block those of the best set again."""
    frozen, x = gs.freeze(sparse(Two()), torch.randn(3, 16), keep="csr"), torch.randn(9, 16)
    layer = frozen.graph.nodes[0].body
    form = layer.forms["csr"]
    parts = {"layout": "csr", "shape": list(form.shape), "values": form.values, "bias": layer.bias}
    alone = {"activation": layer.activation, "index": list(form.index.values()), "slope": layer.slope} | parts
    step, best = CoreStep([Operands(form, layer.bias, layer.activation, layer.slope)]), frozen(x)
    for isa in library.available_isas():
        with kernels.use(isa):
            assert torch.equal(step(x), Chain([alone], isa=isa)(x))
            assert torch.allclose(frozen(x), best, atol=1e-5)
    with kernels.use("reference"):
        assert torch.allclose(frozen(x), best, atol=1e-5)
        step.chain = None  # what would run without
        assert step(x).shape == (9, form.shape[0])
    assert torch.equal(frozen(x), best)
