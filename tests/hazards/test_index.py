"""The index of a packed layer: no cast, average or write reaches it in silence, and nothing made from it is stale."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import TopologyError
from gossamer.kernels import densifying
from gossamer.nn.fingerprint import code_of, number_in
from processes import context
from strategies import PATTERNS, case, differences, everything

LAYERS = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def layer_of(pattern: gs.FanIn, seed: int = 0, **settings: object) -> gs.SparseLinear:
    """A layer of a shape the pattern divides."""
    fit = case(pattern, (16, 28), 0.3)
    drawn = torch.Generator().manual_seed(seed)
    return gs.SparseLinear(
        fit.shape[1], fit.shape[0], density=fit.density, pattern=pattern, generator=drawn, **settings
    )


def inputs(layer: gs.SparseLinear, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, layer.in_features, dtype=layer.values.dtype)


# --- written to -------------------------------------------------------------------------------------------------


@LAYERS
@pytest.mark.parametrize("moved", ["as it is", "cast", "copied", "pickled", "after a pass"])
def test_an_index_out_of_range_never_reaches_a_kernel(pattern: gs.FanIn, moved: str) -> None:
    """Neither here nor in what is made of the layer; its errors name it."""
    layer = layer_of(pattern)
    if moved == "after a pass":
        layer(inputs(layer))
    for tensor in layer.index.values():
        tensor.fill_(torch.iinfo(tensor.dtype).max)
    if moved == "cast":
        layer.double()
    elif moved == "copied":
        layer = copy.deepcopy(layer)
    elif moved == "pickled":
        layer = pickle.loads(pickle.dumps(layer))  # noqa: S301
    for use in (lambda: layer(inputs(layer)), layer.state_dict, layer.unit_values):
        with pytest.raises(TopologyError, match="SparseLinear"):
            use()
    layer.load_state_dict(layer_of(pattern, 1).state_dict())
    layer(inputs(layer))


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_a_valid_index_that_is_written_in_place_is_taken_with_nothing_stale(mode: str) -> None:
    """Dense weight, transposed index and order of inputs are made anew; states say the new one."""
    layer, other = layer_of(gs.FanIn()), layer_of(gs.FanIn(), 1)
    x = torch.randn(64, layer.in_features, requires_grad=True)
    with densifying(mode):
        layer(x).sum().backward()
        layer(x.detach().to_sparse_csr())
        layer.col.copy_(other.col)
        other.load_state_dict({**other.state_dict(), "values": layer.values, "bias": layer.bias})
        assert torch.equal(layer(x), other(x))
        torch.testing.assert_close(layer(x.detach().to_sparse_csr()), layer(x))
        grads = [torch.autograd.grad(one(x).square().sum(), x)[0] for one in (layer, other)]
    torch.testing.assert_close(*grads)
    assert number_in(layer.state_dict()["fingerprint"]) == number_in(other.fingerprint)
    layer_of(gs.FanIn(), 2).load_state_dict(layer.state_dict())


def test_an_index_tensor_is_not_set_by_name() -> None:
    layer = layer_of(gs.FanIn())
    before = everything(layer)
    with pytest.raises(TopologyError, match=r"layer\.assign"):
        layer.col = layer.col.clone()
    assert differences(before, everything(layer)) == []


# --- walked over ------------------------------------------------------------------------------------------------


@LAYERS
@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float", "type", "share_memory"])
def test_no_cast_reaches_the_index(pattern: gs.FanIn, cast: str) -> None:
    layer = layer_of(pattern)
    before = {name: tensor.clone() for name, tensor in layer.index.items()}
    layer.type(torch.float64) if cast == "type" else getattr(layer, cast)()
    for name, tensor in layer.index.items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    layer(inputs(layer))
    assert number_in(layer.fingerprint) == layer.number


def test_the_state_holds_copies_of_the_index() -> None:
    """Under the names of its tensors; arithmetic over them changes nothing."""
    layer = layer_of(gs.Unstructured())
    state, before = layer.state_dict(), everything(layer)
    assert set(state) == {"values", "bias", "row_ptr", "col", "fingerprint"}
    for name in ("row_ptr", "col"):
        state[name].zero_()
    assert differences(before, everything(layer)) == []


def test_memory_that_torch_moves_is_not_looked_at() -> None:
    """Sharing with another process swaps the memory behind a tensor."""
    layer = layer_of(gs.FanIn())
    x = inputs(layer)
    y = layer(x)
    for tensor in layer.state_dict().values():
        tensor.share_memory_()
    assert torch.equal(layer(x), y)
    layer.fingerprint.data = layer.fingerprint.data.clone()
    assert torch.equal(layer(x), y)


def _product(layer: gs.SparseLinear, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return layer(x)


def test_workers_get_the_layer() -> None:
    layer = layer_of(gs.FanIn())
    x = inputs(layer)
    with context.Pool(1) as pool:
        assert torch.equal(pool.apply(_product, (layer, x)), _product(layer, x))


@pytest.mark.parametrize("home", [gs.SparseLinear, gs.MaskedLinear])
def test_layers_made_or_copied_in_inference_mode_can_be_used_outside(home: type) -> None:
    with torch.inference_mode():
        layer = home(8, 8, density=0.5)
        twin = copy.deepcopy(layer)
    with torch.no_grad():
        x = torch.randn(2, 8)
        assert torch.equal(layer(x), twin(x))


# --- without numbers --------------------------------------------------------------------------------------------


@LAYERS
def test_a_layer_from_meta_says_that_it_was_never_set(pattern: gs.FanIn) -> None:
    """to_empty gives memory and nothing in it; a state, or a new draw, fills it."""
    source = layer_of(pattern, 1)
    layer = layer_of(pattern, device="meta")
    assert layer(torch.empty(3, layer.in_features, device="meta")).shape == (3, layer.out_features)
    layer.to_empty(device="cpu")
    with pytest.raises(TopologyError, match="never set"):
        layer(inputs(layer))
    layer.load_state_dict(source.state_dict())
    x = inputs(layer)
    assert torch.equal(layer(x), source(x))
    assigned = layer_of(pattern, device="meta")
    assigned.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)
    assert torch.equal(assigned(x), source(x))
    drawn = layer_of(pattern, device="meta").to_empty(device="cpu")
    drawn.reset_parameters()
    drawn(x)


@LAYERS
def test_exports_keep_the_index(pattern: gs.FanIn) -> None:
    layer = layer_of(pattern).eval()
    x = inputs(layer)
    with torch.no_grad():
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), layer(x))


# --- states -----------------------------------------------------------------------------------------------------


def test_a_state_of_before_there_were_fingerprints_loads() -> None:
    """With strict loading, by copy and by assignment."""
    source = layer_of(gs.FanIn(), 1)
    state = {key: value for key, value in source.state_dict().items() if key != "fingerprint"}
    for assign in (False, True):
        layer = layer_of(gs.FanIn())
        layer.load_state_dict(copy.deepcopy(state), assign=assign)
        x = inputs(layer)
        assert torch.equal(layer(x), source(x))
        assert number_in(layer.fingerprint) == source.number


@pytest.mark.parametrize("damage", ["another", "mean", "shape", "integers", "alone"])
def test_a_fingerprint_of_other_connections_is_refused_with_nothing_changed(damage: str) -> None:
    layer, other = layer_of(gs.FanIn()), layer_of(gs.FanIn(), 1)
    state = other.state_dict()
    code = state["fingerprint"]
    state["fingerprint"] = {
        "another": layer.fingerprint.clone(),
        "mean": 0.999 * code + 0.001 * layer.fingerprint,
        "shape": code[:1].clone(),
        "integers": code.int(),
        "alone": code,
    }[damage]
    if damage == "alone":
        state = {"fingerprint": code}
    before = everything(layer)
    with pytest.raises(TopologyError, match="together" if damage == "alone" else "fingerprint"):
        layer.load_state_dict(state, strict=False)
    assert differences(before, everything(layer)) == []


def test_missing_and_unexpected_names_are_told() -> None:
    """As torch tells them."""
    model = nn.Sequential(layer_of(gs.FanIn()), nn.Linear(16, 4))
    state = model.state_dict()
    found = model.load_state_dict({"1.weight": state["1.weight"], "0.colour": torch.ones(1)}, strict=False)
    assert set(found.missing_keys) == {"0.bias", "0.values", "0.fingerprint", "0.rows", "0.col", "1.bias"}
    assert found.unexpected_keys == ["0.colour"]


def test_a_bias_of_another_shape_changes_nothing() -> None:
    for kind in (gs.SparseLinear, gs.MaskedLinear):
        layer, other = (kind(8, 8, density=0.5) for _ in range(2))
        state = {**other.state_dict(), "bias": torch.ones(7)}
        before = everything(layer)
        with pytest.raises(gs.GossamerError, match="bias"):
            layer.load_state_dict(state)
        assert differences(before, everything(layer)) == []


# --- the code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, 0xDEADBEEF])
def test_means_of_equal_codes_are_read_and_others_are_not(number: int) -> None:
    code, other = code_of(number), code_of(number ^ 1 << 17)
    mean = code.clone()
    for decay in (0.9, 0.9999, 0.999999):
        for _ in range(100):
            mean = decay * mean + (1 - decay) * code
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert number_in(mean.to(dtype)) == number_in(torch.lerp(code, code, 0.3).to(dtype)) == number
    for share in (1e-6, 0.5, 1 - 1e-6):
        assert number_in((1 - share) * code + share * other) is None
    assert number_in(other) == number ^ 1 << 17
    assert number_in(torch.full_like(code, float("nan"))) is None
    assert number_in(torch.zeros_like(code)) is None
