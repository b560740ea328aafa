"""What can be traced is traced; what cannot runs all the same, and says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import FormatError
from gossamer.network.graph import Opaque


class Branches(nn.Module):
    """Looks at its data, so it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.conv = (
            nn.Linear(32, 24),
            nn.Linear(24, 8),
            nn.Conv2d(1, 1, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x))
        if float(h.detach().sum()) > 1e9:
            h = -h
        return self.second(self.conv(h.view(-1, 1, 4, 6)).view(-1, 24))


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("keep", ["fastest", "csr", "dense"])
def test_untraceable_model_is_frozen_layer_by_layer(check_same, ablate, home, keep, tmp_path):
    model = Branches()
    gs.sparsify(model, 0.4, allocation="uniform", home=home)
    for layer in (model.first, model.second):
        nn.init.normal_(layer.bias)
        ablate(layer, [1, 2])
    frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
    assert [row["name"] for row in frozen.plan["layers"]] == ["first", "conv", "second"]
    assert [row["shape"] for row in frozen.plan["layers"]][::2] == [[24, 32], [8, 24]]
    assert "could not be traced" in frozen.explain()
    for batch in (1, 7):
        check_same(frozen, model, torch.randn(batch, 32))
    with pytest.raises(FormatError, match=r"Branches.*could not be traced"):
        gs.save(frozen, tmp_path / "net.safetensors")


class Peeks(Branches):
    """Uses its layer's weight directly."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + float(self.second.weight.sum())


def test_model_that_looks_inside_its_layers_is_left_as_it_is(check_same):
    model = Peeks()
    frozen = gs.freeze(model, torch.randn(4, 32))
    assert frozen.plan["layers"] == []
    assert "left as they are" in frozen.explain()
    check_same(frozen, model, torch.randn(3, 32))


class Several(nn.Module):
    """Two inputs, a residual, functions and methods, a layer used twice, a dropout, something unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 16)
        self.out = nn.Sequential(nn.Dropout(0.5), nn.LeakyReLU(0.2), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.a(x))
        h = self.b(h) + h
        h = F.dropout(self.b(h).tanh(), training=self.training)
        return F.log_softmax(self.out(torch.add(h, z)), dim=-1)


def test_several_inputs_and_shared_layers(tmp_path):
    model = Several()
    gs.sparsify(model, 0.5, allocation="uniform")
    example = (torch.randn(4, 32), torch.randn(4, 16))
    frozen = gs.freeze(model, example)
    assert [row["name"] for row in frozen.plan["layers"]] == ["a", "b", "b:2", "out.2"]
    x = (torch.randn(7, 32), torch.randn(7, 16))
    torch.testing.assert_close(frozen(*x), model.eval()(*x).detach())
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(*x), frozen(*x))


def test_unknown_operator_runs_but_is_not_saved(mlp, check_same, tmp_path):
    model = nn.Sequential(*mlp("fanin"), nn.LayerNorm(8))
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    check_same(frozen, model, torch.randn(5, 32))
    assert "module '5' (LayerNorm) stays torch" in frozen.explain()
    path = tmp_path / "net.safetensors"
    with pytest.raises(FormatError, match=r"module '5' \(LayerNorm\)"):
        gs.save(frozen, path)
    assert not path.exists()


class Odd(nn.Module):
    """Attributes, default arguments, constants, sizes: legal in a trace and unknown to the list."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(12, 4), nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor, shift: float = 0.5) -> torch.Tensor:
        x = x.view(x.size(0), -1)
        return self.fc(x) * self.scale + shift


def test_what_is_not_on_the_list_still_runs(check_same):
    model = Odd()
    frozen = gs.freeze(model, torch.randn(4, 3, 4), keep="csr")
    assert [row["name"] for row in frozen.plan["layers"]] == ["fc"]
    check_same(frozen, model, torch.randn(5, 3, 4))


class InPlace(nn.Module):
    """Writes over a value that is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        return F.relu(h, inplace=True) + h


class Assigns(InPlace):
    """Writes into a part of a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        h[:, 0] = 7.0
        return h


@pytest.mark.parametrize("kind", [InPlace, Assigns])
def test_writing_in_place_is_not_traced(check_same, kind):
    model = kind()
    frozen = gs.freeze(model, torch.randn(4, 8), keep="csr")
    assert "layer by layer" in frozen.explain()
    check_same(frozen, model, torch.randn(5, 8))


def test_hooks_are_respected(check_same, mlp):
    model = mlp("fanin")
    model[2].register_forward_hook(lambda _m, _x, y: y * 2)
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    assert any(isinstance(node.body, Opaque) for node in frozen.graph.nodes)
    check_same(frozen, model, torch.randn(5, 32))


class Wider(nn.Linear):
    """A subclass may compute anything."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 3


def test_subclasses_are_not_taken_for_what_they_extend(check_same):
    model = nn.Sequential(Wider(8, 8), nn.ReLU(), nn.Linear(8, 2))
    frozen = gs.freeze(model, torch.randn(4, 8), keep="csr")
    assert [row["name"] for row in frozen.plan["layers"]] == ["2"]
    check_same(frozen, model, torch.randn(5, 8))


def convolutional(home: str = "masked") -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding="same", groups=2, bias=False),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.BatchNorm1d(16),
        nn.GELU(approximate="tanh"),
        nn.Linear(16, 4),
        nn.Softmax(dim=1),
    )
    if home != "dense":
        gs.sparsify(model, 0.5, allocation="uniform", home=home)
    model(torch.randn(16, 3, 9, 9))  # statistics of their own
    return model


@pytest.mark.parametrize("sizes", [1, (1,)])
def test_a_network_over_lines_ends_with_its_usual_pool(check_same, sizes, tmp_path):
    lines = nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, 2))
    model = nn.Sequential(*lines, nn.AdaptiveAvgPool1d(sizes), nn.Flatten(), nn.Linear(8, 3))
    gs.sparsify(model, 0.5)
    frozen = gs.freeze(model.eval(), torch.randn(2, 4, 20), keep="fanin")
    gs.save(frozen, tmp_path / "net.safetensors")
    check_same(gs.load(tmp_path / "net.safetensors"), model, torch.randn(3, 4, 20))


def test_several_means_of_a_line_stay_torch_and_are_named(tmp_path):
    model = nn.Sequential(nn.Conv1d(4, 8, 3), nn.AdaptiveAvgPool1d(2)).eval()
    x = torch.randn(2, 4, 11)
    frozen = gs.freeze(model, x)
    assert torch.allclose(frozen(x), model(x), atol=1e-5)
    with pytest.raises(FormatError, match="AdaptiveAvgPool1d"):
        gs.save(frozen, tmp_path / "net.safetensors")


@pytest.mark.parametrize("home", ["dense", "masked", "packed"])
def test_convolutional_network_runs_saves_and_loads(check_same, home, tmp_path):
    model = convolutional(home)
    frozen = gs.freeze(model, torch.randn(2, 3, 9, 9), keep="csr")
    assert frozen.plan["notes"] == []
    x = torch.randn(5, 3, 9, 9)
    check_same(frozen, model, x)
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x))
