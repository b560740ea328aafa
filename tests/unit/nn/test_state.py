"""state_dict: sizes that change, hostile index tensors, and nothing half-loaded."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import GossamerError
from strategies import PATTERNS, case, differences, everything

LAYERS = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def layer(pattern: gs.FanIn, kind: type = gs.SparseLinear, seed: int = 0) -> gs.SparseLinear:
    """A layer of a shape the pattern divides."""
    fitting = case(pattern, (16, 28), 0.3)
    generator = torch.Generator().manual_seed(seed)
    return kind(
        fitting.shape[1], fitting.shape[0], density=fitting.density, pattern=pattern, generator=generator
    )


@LAYERS
@pytest.mark.parametrize("kind", [gs.SparseLinear, gs.MaskedLinear])
def test_state_goes_from_layer_to_layer(pattern: gs.FanIn, kind: type) -> None:
    """The other layer has drawn another topology; afterwards it computes the same, and trains."""
    a, b = layer(pattern, kind, 0), layer(pattern, kind, 1)
    x = torch.randn(3, a.in_features)
    assert not torch.equal(a(x), b(x))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))
    assert torch.equal(a.topology.positions, b.topology.positions)
    b(x).sum().backward()
    assert b.weights.grad is not None


@LAYERS
def test_state_may_be_assigned_instead_of_copied(pattern: gs.FanIn) -> None:
    """load_state_dict(assign=True)."""
    a, b = layer(pattern, seed=0), layer(pattern, seed=1)
    b.load_state_dict({k: v.clone() for k, v in a.state_dict().items()}, assign=True)
    assert differences(everything(a), everything(b)) == []
    assert isinstance(b.values, nn.Parameter)


@LAYERS
def test_layers_move_between_dtypes_with_their_indices_untouched(pattern: gs.FanIn) -> None:
    """`.double()` is for values; narrow integers and boolean masks stay."""
    for kind in (gs.SparseLinear, gs.MaskedLinear):
        one = layer(pattern, kind)
        places = {name: t for name, t in one.state_dict().items() if not t.is_floating_point()}
        assert places
        one.double()
        assert all(one.state_dict()[name].dtype == tensor.dtype for name, tensor in places.items())
        assert one(torch.randn(2, one.in_features, dtype=torch.float64)).dtype == torch.float64


DAMAGE = {
    "ones": torch.ones_like,
    "largest": lambda t: torch.full_like(t, torch.iinfo(t.dtype).max),
    "shorter": lambda t: t[:-1].clone(),
    "longer": lambda t: torch.cat([t.long(), t[-1:].long()]).to(t.dtype),
    "flat": lambda t: t.reshape(1, -1, 1, 1).clone(),
    "scalar": lambda t: t.reshape(-1)[0].clone(),
    "empty": lambda t: t.reshape(-1)[:0].clone(),
    "wider": torch.Tensor.long,
    "float": torch.Tensor.float,
}


@LAYERS
@pytest.mark.parametrize("damage", DAMAGE)
def test_hostile_indices_are_refused_with_nothing_changed(pattern: gs.FanIn, damage: str) -> None:
    """Each index tensor in turn; bias, values and the other index tensors keep what they had."""
    if damage == "ones" and str(pattern).startswith(("nm:1", "block:8")):
        pytest.skip("the second input of every tile is a topology, and so is the second block")
    one, donor = layer(pattern, seed=0), layer(pattern, seed=5)
    for name in one.index:
        state = donor.state_dict()
        state[name] = DAMAGE[damage](state[name])
        before = everything(one)
        with pytest.raises(GossamerError, match="SparseLinear"):
            one.load_state_dict(state)
        assert differences(before, everything(one)) == []


def make_sparse(seed: int) -> nn.Sequential:
    """A model through sparsify: two sparse layers around dense things."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 8))
    gs.sparsify(model, 0.25, skip=["0"])
    return model


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_sparsified_model_loads_all_or_nothing(wrapped: bool) -> None:
    """The last layer's indices are hostile: not one tensor of the whole model is touched."""
    model, donor = make_sparse(0), make_sparse(1)
    state = donor.state_dict()
    state["3.col"] = torch.full_like(state["3.col"], 999)
    before = everything(model)
    holder = nn.ModuleDict({"net": model}) if wrapped else model
    if wrapped:
        state = {f"net.{key}": value for key, value in state.items()}
    with pytest.raises(GossamerError, match="3"):
        holder.load_state_dict(state)
    assert differences(before, everything(model)) == []


def test_values_and_indices_come_together() -> None:
    """Values under the indices of another topology would be nonsense; strict=False does not change that."""
    one, other = layer(gs.FanIn(), seed=0), layer(gs.FanIn(), seed=1)
    state = other.state_dict()
    rest = {key: value for key, value in state.items() if key != "values"}
    for part in ({"values": state["values"]}, rest, {"col": state["col"]}):
        before = everything(one)
        with pytest.raises(GossamerError, match="together"):
            one.load_state_dict(part, strict=False)
        assert differences(before, everything(one)) == []
    one.load_state_dict({"bias": torch.ones(16)}, strict=False)
    assert bool((one.bias == 1).all())


def test_more_connections_than_the_budget_are_refused() -> None:
    """A denser layer's state does not fit, and says so."""
    small, large = gs.SparseLinear(16, 8, density=0.25), gs.SparseLinear(16, 8, density=0.5)
    before = everything(small)
    with pytest.raises(GossamerError, match="density"):
        small.load_state_dict(large.state_dict())
    assert differences(before, everything(small)) == []


@LAYERS
@pytest.mark.parametrize("damage", ["all", "one more", "integers", "shape"])
def test_hostile_masks_are_refused_with_nothing_changed(pattern: gs.FanIn, damage: str) -> None:
    """A mask has to obey the pattern and the budget, as indices do."""
    one = layer(pattern, gs.MaskedLinear)
    state = {key: value.clone() for key, value in one.state_dict().items()}
    mask = state["mask"]
    if damage == "all":
        mask.fill_(True)
    elif damage == "one more":
        mask.view(-1)[(~mask).view(-1).nonzero()[0]] = True
    elif damage == "integers":
        state["mask"] = mask.int()
    else:
        state["mask"] = mask[:, :-1].clone()
    state["bias"] += 1
    before = everything(one)
    with pytest.raises(GossamerError):
        one.load_state_dict(state)
    assert differences(before, everything(one)) == []


def test_weights_outside_a_mask_are_cleared_on_loading() -> None:
    """NaN times zero is NaN: what is outside must be zero, not multiplied by it."""
    one = layer(gs.FanIn(), gs.MaskedLinear)
    state = {key: value.clone() for key, value in one.state_dict().items()}
    state["weight"][~state["mask"]] = float("nan")
    one.load_state_dict(state)
    assert int(one.weight[~one.mask].count_nonzero()) == 0
    assert bool(torch.isfinite(one(torch.randn(2, one.in_features))).all())


def test_apply_visits_sparse_layers_like_any_module() -> None:
    """nn.Module.apply is how models are initialised; a layer may not take its name for something else."""
    model = nn.Sequential(layer(gs.FanIn()), layer(gs.FanIn(), gs.MaskedLinear))
    seen = []
    model.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["SparseLinear", "MaskedLinear", "Sequential"]


@LAYERS
@pytest.mark.parametrize("kind", [gs.SparseLinear, gs.MaskedLinear])
def test_a_pickle_is_the_same_layer(pattern: gs.FanIn, kind: type) -> None:
    """Torch cannot read its own pickles of 16-bit unsigned tensors, which is what narrow indices are."""
    one = layer(pattern, kind)
    again = pickle.loads(pickle.dumps(one))  # noqa: S301
    assert differences(everything(one), everything(again)) == []
    x = torch.randn(3, one.in_features)
    assert torch.equal(one(x), again(x))
    again.load_state_dict(layer(pattern, kind, 1).state_dict())
    assert not torch.equal(one(x), again(x))
