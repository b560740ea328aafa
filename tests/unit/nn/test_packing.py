"""Masked layers become packed ones, and 2:4 layers what torch's tensor units take."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.sparse import SparseSemiStructuredTensorCUTLASS
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError, PatternError, ShapeError, StateError
from gossamer.nn.kinds import kinds
from gossamer.nn.packed import Packed
from gossamer.nn.semi_structured import MULTIPLES, semi_structured_weight
from strategies import TRAINED_ON, make_model

if TYPE_CHECKING:
    from gossamer.patterns import Pattern


class Recurrent(nn.Module):
    """A GRU and a read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[times, batch, 8] to the same."""
        y: torch.Tensor = self.out(self.rnn(x)[0])
        return y


@pytest.mark.parametrize("pattern", TRAINED_ON, ids=str)
def test_packed_layers_have_the_same_connections_and_values(pattern: Pattern) -> None:
    """They compute the same, and a state of theirs loads into layers that were built packed."""
    masked = make_model("masked", pattern)
    before = copy.deepcopy(masked)
    assert gs.pack(masked) == ["0", "3"]
    fresh = make_model("packed", pattern, seed=3)
    fresh.load_state_dict(masked.state_dict())
    x = torch.randn(5, 32)
    for one, other, third in zip(masked, before, fresh, strict=True):
        if isinstance(one, Packed):
            assert torch.equal(one.to_dense(), other.to_dense())
            assert torch.equal(one.topology.positions, other.topology.positions)
            assert torch.equal(third.to_dense(), one.to_dense())
            assert one.values.numel() == one.connections
    torch.testing.assert_close(masked(x), before(x))


def test_convolutions_and_recurrent_layers_are_packed() -> None:
    """Each kind that has a packed form."""
    models: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.Flatten()), torch.randn(2, 4, 6, 6)),
        (
            nn.Sequential(nn.Conv1d(4, 8, 3, groups=2, padding_mode="circular", padding="same")),
            torch.randn(2, 4, 6),
        ),
        (Recurrent(), torch.randn(3, 2, 8)),
    ]
    assert {row.name for row in kinds.values() if row.packed} >= {"linear", "conv2d", "conv1d", "gates"}
    for model, x in models:
        gs.sparsify(model, 0.5, gs.Unstructured(), home="masked")
        before = model(x)
        gs.pack(model)
        torch.testing.assert_close(model(x), before)
        assert not [m for m in model.modules() if getattr(m, "home", "packed") != "packed"]


def test_ablated_neurons_and_layers_of_few_connections_are_packed() -> None:
    """Fewer than one a neuron; a neuron without any."""
    for pattern in (gs.Unstructured(), gs.FanIn()):
        model = make_model("masked", pattern)
        layer: Any = model[0]
        positions = layer.topology.positions
        kept = positions[positions // layer.grid.cols == 3]
        topology = gs.topology.Topology(pattern, layer.shape, kept)
        layer.assign(topology, torch.ones(kept.numel()))
        gs.pack(model)
        assert model[0].connections == kept.numel()
        assert model[0].topology.fan_in().count_nonzero() == 1


def test_hooks_mode_marks_and_places_move_along() -> None:
    """A hook, a frozen bias, an attribute, and a list that holds the layer."""
    model: Any = make_model("masked", gs.FanIn()).eval()
    calls: list[int] = []
    handle = model[0].register_forward_hook(lambda *_: calls.append(1))
    model[0].note, model.mine = "kept", [model[0]]
    model[0].bias.requires_grad_(False)
    gs.pack(model)
    model(torch.randn(2, 32))
    assert calls == [1]
    handle.remove()
    model(torch.randn(2, 32))
    assert calls == [1]
    assert model.mine[0] is model[0]
    assert (model[0].note, model[0].training, model[0].bias.requires_grad) == ("kept", False, False)
    assert model[0].values.requires_grad


def test_what_cannot_be_packed_is_refused_and_nothing_is_changed() -> None:
    """A layer that an engine follows; a model without masked layers; a layer by itself; tied weights."""
    model = make_model("masked", gs.FanIn())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, gs.Static(), total_steps=3)
    with pytest.raises(StateError, match="detach"):
        gs.pack(model)
    engine.detach()
    with pytest.raises(ConfigError, match="by itself"):
        gs.pack(model[0])
    model[0].register_state_dict_pre_hook(lambda *_: None)
    with pytest.raises(ConfigError, match="pack 0"):
        gs.pack(model)
    assert [type(model[n]).__name__ for n in (0, 3)] == ["MaskedLinear"] * 2
    with pytest.raises(ConfigError, match="none"):
        gs.pack(make_model("packed", gs.FanIn()))


@pytest.mark.parametrize(
    "rule",
    [gs.MovementPruning(every=2, until=1.0), gs.SRSTE(fresh=True), gs.SSTE(fresh=True)],
    ids=lambda r: r.name,
)
def test_what_was_trained_through_a_mask_is_packed_and_trains_on(rule: Any) -> None:
    """The packed network computes what the masked one did; Static keeps its topology from then on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16))
    if rule.trained:
        gs.sparsify(model, pattern="nm:2:4", home="masked")
    else:
        gs.sparsify(model, 1.0, gs.Unstructured(), home="masked", full="sparse")
    x = torch.randn(64, 32)

    def train(rule: Any) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        engine = gs.attach(model, optimizer, rule, total_steps=6)
        for _ in range(6):
            optimizer.zero_grad()
            (model(x) - x[:, :16]).square().mean().backward()
            optimizer.step()
        engine.detach()

    train(rule)
    y, connections = model(x), [model[n].topology.positions for n in (0, 2)]
    assert gs.pack(model) == ["0", "2"]
    torch.testing.assert_close(model(x), y)
    train(gs.Static())
    assert all(torch.equal(model[n].topology.positions, c) for n, c in zip((0, 2), connections, strict=True))
    assert not torch.allclose(model(x), y)


# --- torch's semi-structured tensors ------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_two_four_weight_survives_torchs_own_conversion(home: str, dtype: torch.dtype) -> None:
    """Compressed and expanded by torch, on the CPU, it is bit for bit what our layer holds in that dtype."""
    model = nn.Sequential(nn.Linear(128, 64))
    gs.prune(model, pattern="nm:2:4", home=home)
    weight = semi_structured_weight(model[0], dtype)
    packed, meta = sparse_semi_structured_from_dense_cutlass(weight)
    assert packed.shape == (64, 64)
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(packed, meta), weight)
    assert torch.equal(weight, model[0].to_dense().detach().to(dtype))


def test_the_sides_that_are_asked_for_suit_torch() -> None:
    """Multiples of its rows and columns, by dtype."""
    theirs = SparseSemiStructuredTensorCUTLASS._DTYPE_SHAPE_CONSTRAINTS
    for dtype, sides in MULTIPLES.items():
        known = theirs[dtype]
        assert sides[0] % known.sparse_min_rows == sides[1] % known.sparse_min_cols == 0


def test_what_torch_would_take_without_a_word_is_refused() -> None:
    """Three of four; odd sides; another dtype; numbers beyond it."""
    wide = gs.SparseLinear(64, 32, density=0.5, pattern="unstructured")
    with pytest.raises(PatternError, match="of 4, under pattern unstructured"):
        semi_structured_weight(wide)
    with pytest.raises(ShapeError, match="multiples of 32"):
        semi_structured_weight(gs.SparseLinear(64, 24, density=0.5, pattern="nm:2:4"))
    fine = gs.SparseLinear(64, 32, density=0.5, pattern="nm:2:4")
    with pytest.raises(DtypeError):
        semi_structured_weight(fine, torch.float32)
    with torch.no_grad():
        fine.values[0] = 1e6
    with pytest.raises(DtypeError, match="does not"):
        semi_structured_weight(fine)
    with pytest.raises(PatternError, match="Linear"):
        semi_structured_weight(nn.Linear(64, 32))
