"""Freezing and frozen networks under autocast, under another default device, and beside a model's own ways."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError

LOW = (torch.bfloat16, torch.float16)


def model() -> nn.Module:
    """A normalisation between the layers keeps a network from being one call."""
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 8))
    gs.sparsify(net, density=0.5)
    return net.eval()


@pytest.mark.parametrize("keep", ["csr", "dense", {"0": "csr", "3": "dense"}])
@pytest.mark.parametrize("narrow", LOW)
def test_autocast_changes_no_number_of_a_frozen_network(keep, narrow):
    frozen, x = gs.freeze(model(), torch.randn(2, 16), keep=keep), torch.randn(3, 16)
    expected = frozen(x)
    with torch.autocast("cpu", dtype=narrow):
        assert torch.equal(frozen(x), expected)
        assert torch.equal(frozen(x.to(narrow)), frozen(x.to(narrow).float()))
        assert torch.equal(nn.Sequential(nn.Identity(), frozen)(x), expected)
    with pytest.raises(DtypeError):  # outside of autocast nothing is cast in silence
        frozen(x.to(narrow))


def test_autocast_leaves_integers_and_layers_that_could_not_be_traced():
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = nn.Embedding(5, 16), nn.Linear(16, 4)

        def forward(self, number: torch.Tensor) -> torch.Tensor:
            return self.last(self.table(number) if int(number.sum()) < 99 else self.table(number * 0))

    net, numbers = Branches().eval(), torch.tensor([1, 4])
    frozen = gs.freeze(net, numbers, keep="csr")
    assert "layer by layer" in frozen.explain()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(frozen(numbers), frozen(numbers.clone()))
        assert frozen(numbers).dtype is torch.float32
    assert torch.allclose(frozen(numbers), net(numbers), atol=1e-5)


@pytest.mark.parametrize("keep", ["fastest", "csr"])
def test_freezing_inside_autocast_is_freezing_outside(keep):
    net, x = model(), torch.randn(2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frozen = gs.freeze(net, x, keep=keep)
    assert frozen.plan["notes"] == [
        "module '2' (LayerNorm) stays torch: it runs, but the network cannot be saved"
    ]
    assert torch.allclose(frozen(x), net(x), atol=1e-5)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A default device that the kernels cannot read, as "cuda" is one."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("values", ["exact", "int8"])
def test_the_default_device_is_not_asked(elsewhere, tmp_path, values):
    with torch.device("cpu"):
        net = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8))
        gs.sparsify(net, density=0.5)
        x = torch.randn(3, 32)
        before = gs.freeze(net, x, keep="csr", values=values)
        expected = before(x)
    assert torch.equal(before(x), expected)
    assert torch.equal(before.float().cpu()(x), expected)
    for keep in ("csr", "fanin", "csr_bands", "dense", "fastest"):
        frozen = gs.freeze(net, x, keep=keep, values=values)
        assert torch.allclose(frozen(x), expected, atol=1e-5), keep
        gs.save(frozen, tmp_path / "net.safetensors")
        assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x)), keep
        assert torch.equal(copy.deepcopy(frozen)(x), frozen(x)), keep
        assert torch.equal(gs.freeze(net, x, plan=frozen)(x), frozen(x)), keep
        assert repr(frozen)


def sparse(home: str) -> nn.Module:
    net = nn.Sequential(nn.Linear(32, 8))
    gs.sparsify(net, density=0.5, home=home)
    return net[0]


@pytest.mark.parametrize("home", ["plain", "packed", "masked"])
@pytest.mark.parametrize("named", [False, True])
def test_a_layer_by_itself_is_frozen_as_in_a_sequence(home, named, tmp_path):
    layer = nn.Linear(32, 8) if home == "plain" else sparse(home)
    x, name = torch.randn(3, 32), "input" if home == "plain" else "x"
    frozen = gs.freeze(layer, {name: x} if named else x, keep={"0": "csr"})
    assert frozen.plan["notes"] == []
    assert [(row["name"], row["chosen"]) for row in frozen.plan["layers"]] == [("0", "csr")]
    assert torch.allclose(frozen(x), layer(x), atol=1e-5)
    assert torch.allclose(frozen(**{name: x}), layer(x), atol=1e-5)
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x))


def test_the_example_is_left_as_it_is():
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 4)

        def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor]) -> torch.Tensor:
            more["scale"].mul_(2)
            return self.last(x.add_(1)) * more["scale"]

    net, x, scale = Writes(), torch.randn(2, 16), torch.ones(1)
    kept = x.clone()
    frozen = gs.freeze(net, (x, {"scale": scale}), keep="csr")
    assert torch.equal(x, kept)
    assert scale.item() == 1
    assert [row["chosen"] for row in frozen.plan["layers"]] == ["csr"]
    expected = net(x.clone(), {"scale": torch.ones(1)})
    assert torch.allclose(frozen(x, {"scale": torch.ones(1)}), expected, atol=1e-5)


def test_a_model_that_asks_its_layers_for_shape_and_dtype_is_traced(check_same):
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.first(x).to(self.last.weight.dtype)
            return self.last(h * (self.first.weight.shape[0] / 8))

    net = Asks()
    gs.sparsify(net, density=0.5)
    frozen = gs.freeze(net, torch.randn(2, 16), keep="csr")
    assert len(frozen.plan["layers"]) == 2
    assert "layer by layer" not in frozen.explain()
    check_same(frozen, net, torch.randn(3, 16))


def test_a_part_in_torchscript_is_copied(check_same):
    net = nn.Sequential(torch.jit.script(nn.Linear(16, 16)), nn.Linear(16, 4))
    frozen = gs.freeze(net, torch.randn(2, 16), keep="csr")
    assert [row["name"] for row in frozen.plan["layers"]] == ["1"]
    check_same(frozen, net, torch.randn(3, 16))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"keep": 5}, "a mapping layer -> layout, got 5"),
        ({"keep": None}, "a mapping layer -> layout, got None"),
        ({"keep": {"1": "csr"}}, "linear layers among 0, 3, got '1'"),
        ({"keep": {0: "csr"}}, "linear layers among 0, 3, got 0"),
        ({"keep": {"0": None}}, "layouts among .*, got None"),
        ({"keep": {"0": ["csr"]}}, r"layouts among .*, got \['csr'\]"),
        ({"candidates": "csr"}, "a list of layouts, got 'csr'"),
        ({"candidates": 5}, "a list of layouts, got 5"),
        ({"candidates": [5, "csr"]}, "layouts among .*, got 5"),
        ({"batch_sizes": 0}, "a list of sizes, got 0"),
        ({"batch_sizes": None}, "a list of sizes, got None"),
        ({"batch_sizes": [1.5]}, "got 1.5"),
        ({"batch_sizes": ["4"]}, "got '4'"),
        ({"batch_sizes": [True]}, "got True"),
        ({"batch_sizes": [2**40]}, "sizes from 1 to"),
        ({"batch_sizes": range(1, 40)}, "got 39 sizes"),
    ],
)
def test_wishes_of_another_kind_get_a_sentence(wish, said):
    with pytest.raises(ConfigError, match=said):
        gs.freeze(model(), torch.randn(2, 16), **wish)


@pytest.mark.parametrize("thing", [None, 5, nn.Linear, len])
def test_what_is_no_model_gets_a_sentence(thing):
    with pytest.raises(ConfigError, match=r"a torch\.nn\.Module"):
        gs.freeze(thing, torch.randn(2, 16))


@pytest.mark.parametrize("widths", [(8, 4, 0), (0, 4, 2), (8, 0, 3)])
@pytest.mark.parametrize("wish", [{}, {"keep": "csr"}, {"values": "int8"}, {"prefer": "size"}])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_inputs_or_neurons_stay_torch(widths, wish):
    first, second, third = widths
    net = nn.Sequential(nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third))
    x = torch.randn(2, first)
    frozen = gs.freeze(net, x, **wish)
    assert frozen(x).shape == (2, third)
    assert torch.allclose(frozen(x), net(x), atol=0.05)
    assert "stays torch" in frozen.explain()
