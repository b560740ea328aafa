"""Which layer reads which: training and freezing give one answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.network.neighbours import Link
from gossamer.topology import Topology
from gossamer.trace.links import SHIFTING, fold, links

BETWEEN = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    gs.AllReLU(0.6, 2),
    gs.AllReLU(0.6, 3, dropout=0.5),
    nn.ELU(0.7),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Identity(),
    nn.Dropout(0.3),
    gs.Dropout(0.3),
]
NOT_BETWEEN = [nn.Softmax(1), nn.BatchNorm1d(8), nn.LayerNorm(8), nn.Flatten(), nn.PReLU(), nn.Linear(8, 8)]


def layer(pattern: gs.patterns.Pattern | None = None) -> gs.SparseLinear:
    """Eight to eight, half of the connections."""
    return gs.SparseLinear(8, 8, density=0.5, pattern=pattern or gs.Unstructured())


def without_first_neuron(source: gs.SparseLinear) -> None:
    """Drop the connections of neuron 0, and leave it a bias."""
    topology, values = source.topology, source.unit_values().reshape(-1)
    stays = topology.positions >= 8
    source.assign(Topology(source.pattern, source.shape, topology.positions[stays]), values[stays])
    with torch.no_grad():
        source.bias[0] = -1.5


@pytest.mark.parametrize("between", BETWEEN, ids=repr)
def test_what_acts_number_by_number_is_the_same_in_training_and_in_freezing(between: nn.Module) -> None:
    """A link passes it, its constants are the module's in evaluation, and freezing removes a neuron behind it."""
    source, reader = layer(), layer()
    without_first_neuron(source)
    model = nn.Sequential(source, between, reader)
    (link,) = links(model)
    assert (link.source, link.reader) == ("0", "2")
    x = torch.linspace(-3, 7, 11)
    assert torch.equal(link.constants(x), between.eval()(x))
    (first, _) = gs.freeze(model, torch.ones(1, 8), keep="csr").plan["layers"]
    assert first["constant"] + first["unread"] >= 1


@pytest.mark.parametrize("between", NOT_BETWEEN, ids=repr)
def test_what_mixes_numbers_is_passed_by_neither(between: nn.Module) -> None:
    """No link, and freezing keeps the neuron."""
    source, reader = layer(), layer()
    without_first_neuron(source)
    model = nn.Sequential(source, between, reader)
    assert links(model) == []


@pytest.mark.parametrize("kind", SHIFTING)
def test_dropout_that_shifts_constants_is_passed_by_freezing_alone(kind: type[nn.Module]) -> None:
    """In training it does not keep the mean of a constant: the neuron stays until the network is frozen."""
    source, reader = layer(), layer()
    without_first_neuron(source)
    model = nn.Sequential(source, kind(0.5), reader)
    assert links(model) == []
    (first, _) = gs.freeze(model, torch.ones(1, 8), keep="csr").plan["layers"]
    assert first["constant"] + first["unread"] >= 1


def test_hooks_that_look_on_break_no_link() -> None:
    """People record activations while they train."""
    model = nn.Sequential(layer(), nn.ReLU(), layer())
    model[1].register_forward_hook(lambda *_: None)
    assert len(links(model)) == 1


def test_constants_are_folded_by_hand() -> None:
    """Neuron 0 gives 0.5 * 2 through a connection of 3, neuron 1 is alive, neuron 2 gives nothing behind a ReLU."""
    source = gs.SparseLinear(1, 3, density=1.0, pattern=gs.Unstructured())
    reader = gs.SparseLinear(3, 2, density=1.0, pattern=gs.Unstructured())
    with torch.no_grad():
        source.bias.copy_(torch.tensor([2.0, 9.0, -7.0]))
        reader.values.copy_(torch.tensor([3.0, 1.0, 1.0, -1.0, 1.0, 1.0]))
        reader.bias.copy_(torch.tensor([10.0, 20.0]))
    (link,) = links(nn.Sequential(source, nn.ReLU(), nn.Dropout(0.9), reader))
    fold(link, source, reader, torch.tensor([True, False, True]))
    assert reader.bias.tolist() == [16.0, 18.0]


@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn(4), gs.Block(4)], ids=str)
def test_folding_leaves_what_the_network_computes(pattern: gs.patterns.Pattern) -> None:
    """In both homes and for units of several connections: a dead neuron's constant is in the bias, to rounding."""
    for home in (gs.SparseLinear, gs.MaskedLinear):
        torch.manual_seed(0)
        source = home(8, 8, density=0.5)
        reader = home(8, 8, density=0.5, pattern=pattern)
        with torch.no_grad():
            source.bias.normal_()
        link = Link("0", (), "1")
        dead = torch.arange(8) < 4
        expected = reader.to_dense() @ torch.where(dead, source.bias, 0.0) + reader.bias
        fold(link, source, reader, dead)
        torch.testing.assert_close(reader.bias.detach(), expected.detach())
