"""What hangs on a layer moves to the sparse one; layers that a model holds beside its modules are followed."""

from __future__ import annotations

import copy
import functools
import pickle
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, ShapeError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

HOMES = ["packed", "masked"]


def layer_of(home: str, kind: str) -> tuple[nn.Module, torch.Tensor]:
    """A model with one linear layer or one convolution, and an input."""
    if kind == "conv":
        return nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten()), torch.randn(2, 4, 5, 5)
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU()), torch.randn(2, 16)


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("kind", ["linear", "conv", "dense"])
def test_hooks_of_every_kind_run_in_their_order_until_their_handles_remove_them(home: str, kind: str) -> None:
    """On the new layer, a layer that keeps every connection included."""
    model, x = layer_of(home, kind)
    model.append(nn.Linear(8 * 9 if kind == "conv" else 8, 4))
    seen: list[str] = []

    def note(word: str) -> Callable[..., None]:
        return lambda *_, **__: seen.append(word)

    layer = model[0]
    handles = [
        layer.register_forward_hook(note("after")),
        layer.register_forward_pre_hook(note("before"), with_kwargs=True),
        layer.register_forward_hook(note("after, first"), prepend=True, with_kwargs=True),
        layer.register_full_backward_pre_hook(note("gradient before")),
        layer.register_full_backward_hook(note("gradient after")),
        layer.register_forward_hook(note("always"), always_call=True),
    ]
    expected = ["before", "after, first", "after", "always", "gradient before", "gradient after"]
    model(x.requires_grad_()).sum().backward()
    assert seen == expected
    seen.clear()
    gs.sparsify(model, {"0": 1.0 if kind == "dense" else 0.5, "2": 0.5}, home=home)
    model(x).sum().backward()
    assert seen == expected
    with pytest.raises((RuntimeError, ShapeError)):
        model[0](torch.ones(2, 3))
    assert seen[-2:] == ["before", "always"]
    for handle in handles:
        handle.remove()
    seen.clear()
    model(x).sum().backward()
    model[0].register_forward_hook(note("new"))
    model(x)
    assert seen == ["new"]


def test_a_hook_that_changes_the_output_does_so_once() -> None:
    """And one that changes the input."""
    model = nn.Sequential(nn.Linear(8, 8))
    model[0].register_forward_hook(lambda _m, _i, y: y + 1)
    model[0].register_forward_pre_hook(lambda _m, i: (2 * i[0],))
    gs.sparsify(model, 0.5)
    x = torch.randn(3, 8)
    torch.testing.assert_close(model(x), model[0].compute(2 * x) + 1)


@pytest.mark.filterwarnings("ignore:.*drawn at random")
@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("init", ["sparse", "dense", "keep"])
def test_which_parameters_train_and_how_they_are_marked(home: str, init: str) -> None:
    """Weight and bias each for itself, with the attributes that optimizers and other libraries read."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8))
    model[0].bias.requires_grad_(False)
    model[1].weight.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    model[0].weight.rate, model[0].bias.decay = 0.1, False
    gs.sparsify(model, 0.5, home=home, init=init, allocation="uniform")
    trains = [(m.weights.requires_grad, m.bias is not None and m.bias.requires_grad) for m in model]
    assert trains == [(True, False), (False, True), (False, False), (True, True)]
    assert model[0].weights.rate == 0.1
    assert model[0].bias.decay is False


def test_additions_of_a_user_move_along() -> None:
    """Attributes, buffers, parameters, modules; the mode of the layer; and all of them are saved as before."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    layer = model[0]
    layer.note, layer._is_initialized = {"a": 1}, True
    layer.register_buffer("scale", torch.ones(2))
    layer.register_buffer("cache", torch.ones(2), persistent=False)
    layer.shift, layer.adapter = nn.Parameter(torch.ones(3)), nn.Embedding(2, 2)
    layer.eval()
    layer.adapter.train()
    gs.sparsify(model, 0.5)
    new = model[0]
    assert isinstance(new, gs.SparseLinear)
    assert (new.note, new._is_initialized) == ({"a": 1}, True)
    assert new.shift is layer.shift
    assert new.adapter is layer.adapter
    assert (new.training, new.adapter.training) == (False, True)
    assert {"scale", "shift", "adapter.weight"} <= set(new.state_dict())
    assert "cache" not in new.state_dict()
    copy.deepcopy(model).load_state_dict(model.state_dict())


def test_a_convolution_keeps_what_other_code_asks_it() -> None:
    """Its stride and channels, as feature extractors do."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1))
    gs.sparsify(model, 0.5)
    conv = model[0]
    assert (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride) == (4, 8, (3, 3), (2, 2))


# --- beside the tree of modules -----------------------------------------------------------------------------


class Holder:
    """A helper of a model that is no module."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer


class Net(nn.Module):
    """Two layers, and something that holds the first."""

    def __init__(self, hold: Callable[[nn.Linear], Any]) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        vars(self)["kept"] = hold(self.fc)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc(x))


FOLLOWED: dict[str, tuple[Callable[[nn.Linear], Any], Callable[[Any], Any]]] = {
    "attribute": (lambda fc: fc, lambda kept: kept),
    "list": (lambda fc: [torch.relu, fc], lambda kept: kept[1]),
    "dictionary": (lambda fc: {"a": fc}, lambda kept: kept["a"]),
    "ordered": (lambda fc: OrderedDict(a=fc), lambda kept: kept["a"]),
    "nested": (lambda fc: {"a": ([{"b": fc}],)}, lambda kept: kept["a"][0][0]["b"]),
    "object": (Holder, lambda kept: kept.layer),
}


@pytest.mark.parametrize("how", FOLLOWED)
def test_layers_in_lists_and_dictionaries_are_followed(how: str) -> None:
    """In place, so that the model runs and trains what it holds."""
    hold, find = FOLLOWED[how]
    model = Net(hold)
    kept = model.kept
    gs.sparsify(model, 0.5)
    assert isinstance(model.fc, gs.SparseLinear)
    assert find(model.kept) is model.fc
    assert how == "attribute" or model.kept is kept


REFUSED: dict[str, Callable[[nn.Linear], Any]] = {
    "tuple": lambda fc: (fc,),
    "set": lambda fc: {fc},
    "queue": lambda fc: deque([fc]),
    "keys": lambda fc: {fc: 1.0},
    "bound method": lambda fc: fc.forward,
    "partial": functools.partial,
    "closure": lambda fc: lambda x: 2 * fc(x),
    "default": lambda fc: lambda x, layer=fc: layer(x),
    "parameter": lambda fc: [fc.weight],
    "optimizer": lambda fc: torch.optim.SGD(fc.parameters(), 0.1),
}


@pytest.mark.parametrize("how", REFUSED)
def test_layers_in_other_places_are_refused_by_name(how: str) -> None:
    """Before anything changes; a layer that stays dense may be anywhere."""
    model = Net(REFUSED[how])
    first = model.fc
    with pytest.raises(ConfigError, match=r"Net\.kept"):
        gs.sparsify(model, 0.5)
    assert model.fc is first
    assert type(model.head) is nn.Linear
    assert first(torch.ones(1, 16)).shape == (1, 16)
    gs.sparsify(model, 0.5, skip=["fc"])


def test_a_list_in_a_circle_is_searched_once() -> None:
    """And a function that looks the layer up when it is called is right as it is."""
    model = Net(lambda fc: [fc])
    model.kept.append(model.kept)
    vars(model)["later"] = lambda x: 2 * model.fc(x)
    gs.sparsify(model, 0.5)
    x = torch.randn(2, 16)
    assert torch.equal(model.later(x), 2 * model.kept[0](x))


def test_a_replaced_layer_held_elsewhere_says_so_when_it_is_called() -> None:
    """Training it would change nothing. Its weight can be read, and it can be copied."""
    layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
    model = nn.Sequential(*layers)
    other, dense = nn.Sequential(layers[0]), copy.deepcopy(model)
    gs.sparsify(model, {"0": 0.5, "1": 1.0})
    for call in (layers[0], other, pickle.loads(pickle.dumps(layers[0]))):  # noqa: S301 (made here)
        with pytest.raises(StateError, match="'0'"):
            call(torch.ones(1, 8))
    assert torch.equal(layers[0].weight, dense[0].weight)
    assert layers[1](torch.ones(1, 8)).shape == (1, 8)  # keeps its parameters, which the model trains
    assert layers[1].weight is model[1].weight
