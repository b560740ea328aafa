"""sparsify on the models people have: filters, tied and shared weights, attention, values, densities."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, GossamerError, MemoryShortage, PatternError
from strategies import PATTERNS, dense_weight


def mlp() -> nn.Sequential:
    """Three linear layers that every pattern divides."""
    return nn.Sequential(nn.Linear(56, 112), nn.ReLU(), nn.Linear(112, 56), nn.ReLU(), nn.Linear(56, 8))


def kinds(model: nn.Module) -> dict[str, str]:
    """Layer types by name."""
    return {name: type(m).__name__ for name, m in model.named_modules() if not list(m.children())}


def unchanged(model: nn.Module, before: dict[str, torch.Tensor], names: dict[str, str]) -> bool:
    """Same modules, same tensors."""
    now = model.state_dict()
    return (
        kinds(model) == names
        and now.keys() == before.keys()
        and all(torch.equal(now[k], before[k]) for k in now)
    )


# --- what is replaced ---------------------------------------------------------------------------------------


def test_linear_and_convolution_layers_are_replaced_in_place() -> None:
    """Same names, shapes, dtype, mode; everything else stays the object it was."""
    model = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 16)).double().eval()
    )
    norm = model[1]
    report = gs.sparsify(model, 0.5, allocation="uniform")
    assert kinds(model) == {"0": "SparseConv2d", "1": "BatchNorm2d", "2": "Flatten", "3": "SparseLinear"}
    assert model[1] is norm
    assert not model[3].training
    assert model[3].values.dtype == model[0].values.dtype == torch.float64
    assert [row.home for row in report.layers] == ["packed", "packed"]
    assert report.connections == model[0].connections + model[3].connections
    assert "SparseLinear" in str(report)
    assert model(torch.randn(2, 3, 5, 5).double()).shape == (2, 16)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_the_report_counts_exactly(pattern: gs.FanIn, home: str) -> None:
    """Connections and bytes against what the layers really hold, dense ones included."""
    model = mlp()
    report = gs.sparsify(model, None if pattern.name == "nm" else 0.3, pattern, home=home, dense_last=True)
    assert [row.name for row in report.layers] == ["0", "2", "4"]
    counted = [int(dense_weight(model[i]).count_nonzero()) for i in (0, 2)] + [56 * 8]
    assert [row.connections for row in report.layers] == counted
    assert report.density == sum(counted) / (2 * 56 * 112 + 56 * 8)
    for row, layer in zip(report.layers, (model[0], model[2], model[4]), strict=True):
        places = layer.index.values() if row.home == "packed" else layer.buffers()
        assert row.bytes == sum(t.untyped_storage().nbytes() for t in [*layer.parameters(), *places])


@pytest.mark.parametrize(
    ("settings", "sparse"),
    [
        ({}, "024"),
        ({"skip": ["2"]}, "04"),
        ({"skip": "2"}, "04"),
        ({"skip": lambda name, layer: layer.out_features == 8}, "02"),
        ({"dense_first": True}, "24"),
        ({"dense_last": True}, "02"),
        ({"dense_first": True, "dense_last": True}, "2"),
        ({"skip": ["0"], "dense_last": True}, "2"),
    ],
)
def test_filters(settings: dict, sparse: str) -> None:
    """By name, by function, by place; the rest is sparse."""
    model = mlp()
    gs.sparsify(model, 0.5, allocation="uniform", **settings)
    assert "".join(name for name, kind in kinds(model).items() if kind == "SparseLinear") == sparse


@pytest.mark.parametrize("skip", [nn.Conv2d, [nn.Conv2d], (nn.Conv2d, "2")], ids=["type", "list", "mixed"])
def test_types_can_be_skipped(skip: object) -> None:
    """Alone or in a list."""
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Flatten(), nn.Linear(32, 8), nn.Linear(8, 8))
    gs.sparsify(model, 0.5, allocation="uniform", skip=skip)  # type: ignore[arg-type]
    assert kinds(model)["0"] == "Conv2d"
    assert kinds(model)["3"] == "SparseLinear"


def test_shared_modules_stay_shared() -> None:
    """One module registered twice becomes one sparse layer registered twice."""
    shared = nn.Linear(16, 16)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, nn.Linear(16, 4))})
    report = gs.sparsify(model, 0.5)
    assert model["a"] is model["b"][0]
    assert isinstance(model["a"], gs.SparseLinear)
    assert [row.name for row in report.layers] == ["a", "b.1"]


class Head(nn.Module):
    """A language model's head tied to its embedding, in either order of registration."""

    def __init__(self, first: str) -> None:
        super().__init__()
        parts = {
            "embedding": nn.Embedding(16, 8),
            "head": nn.Linear(8, 16, bias=False),
            "body": nn.Linear(8, 8),
        }
        for name in sorted(parts, key=lambda n: n != first):
            setattr(self, name, parts[name])
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_tied_weights_are_refused_before_anything_changes(first: str) -> None:
    """Sparse weights of one layer could not be another's dense ones; the message names both."""
    model = Head(first)
    before, names = copy.deepcopy(model.state_dict()), kinds(model)
    with pytest.raises(PatternError, match="tied") as error:
        gs.sparsify(model, 0.5)
    assert "head" in str(error.value)
    assert "embedding" in str(error.value)
    assert unchanged(model, before, names)
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_tied_weights_can_be_left_out(first: str) -> None:
    """As the message suggests."""
    model = Head(first)
    gs.sparsify(model, 0.5, skip=["head"])
    assert isinstance(model.body, gs.SparseLinear)
    assert model.head.weight is model.embedding.weight


def test_two_linear_layers_with_one_weight_are_refused_too() -> None:
    """Unless both are left out."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    for skip in ((), ["0"], ["1"]):
        with pytest.raises(PatternError, match="tied"):
            gs.sparsify(model, 0.5, skip=skip)
    gs.sparsify(model, 0.5, skip=["0", "1"])
    assert isinstance(model[2], gs.SparseLinear)


def test_attention_and_subclasses_are_left_alone() -> None:
    """They use their weight without calling the layer, or not as a product."""

    class Mine(nn.Linear):
        pass

    model = nn.ModuleDict(
        {"mha": nn.MultiheadAttention(16, 2), "mine": Mine(16, 16), "plain": nn.Linear(16, 16)}
    )
    projection = model["mha"].out_proj
    gs.sparsify(model, 0.5)
    assert model["mha"].out_proj is projection
    assert type(model["mine"]) is Mine
    assert isinstance(model["plain"], gs.SparseLinear)
    x = torch.randn(3, 2, 16)
    assert model["mha"](x, x, x)[0].shape == (3, 2, 16)


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("training", [True, False])
def test_transformer_encoders_compute_the_same_in_training_and_evaluation(home: str, training: bool) -> None:
    """torch's fused path for evaluation reads the feed-forward weights; it must step aside."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True)
    gs.sparsify(model, 0.5, home=home)
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    expected = model.train()(x, src_key_padding_mask=padding).detach()
    with torch.no_grad():
        got = model.train(training)(x, src_key_padding_mask=padding)
        alone = model.layers[0].train(training)(x)
    torch.testing.assert_close(got[~padding], expected[~padding])
    assert alone.shape == x.shape


def test_frozen_layers_stay_frozen() -> None:
    """requires_grad is a property of the layer, not of its home."""
    model = mlp()
    model[2].requires_grad_(False)
    gs.sparsify(model, 0.5)
    assert [p.requires_grad for p in model[2].parameters()] == [False, False]
    assert all(p.requires_grad for p in model[0].parameters())


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn(), gs.NM(1, 8)], ids=str)
@pytest.mark.parametrize(("init", "expected"), [("sparse", (2 / 32) ** 0.5), ("dense", (2 / 256) ** 0.5)])
def test_initial_values_are_scaled_for_the_real_fan_in(pattern: gs.FanIn, init: str, expected: float) -> None:
    """std sqrt(2 / k), not 2 / k; or that of the dense width where asked for."""
    layer = nn.Sequential(nn.Linear(256, 400))
    gs.sparsify(
        layer, 0.125, pattern, init=init, allocation="uniform", generator=torch.Generator().manual_seed(0)
    )
    values = layer[0].unit_values().double()
    assert float(values.std()) == pytest.approx(expected, rel=0.03)
    assert abs(float(values.mean())) < 5 * expected / values.numel() ** 0.5
    assert int(layer[0].bias.count_nonzero()) == 0


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_keep_keeps_the_dense_values_at_the_drawn_topology(pattern: gs.FanIn, home: str) -> None:
    """For a trained network: values and biases, and nothing off the topology."""
    model = mlp()
    dense = copy.deepcopy(model)
    density = None if pattern.name == "nm" else 0.4
    with pytest.warns(gs.errors.TrainingWarning, match="drawn at random"):
        gs.sparsify(model, density, pattern, allocation="uniform", home=home, init="keep")
    for i in (0, 2, 4):
        mask = model[i].topology.mask()
        assert torch.equal(dense_weight(model[i]), torch.where(mask, dense[i].weight, 0.0))
        assert torch.equal(model[i].bias, dense[i].bias)


def test_the_same_generator_gives_the_same_network() -> None:
    """And no global randomness is used."""
    states = []
    for noise in (1, 2):
        model = mlp()
        torch.manual_seed(noise)
        gs.sparsify(model, 0.3, allocation="uniform", generator=torch.Generator().manual_seed(7))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


# --- densities ----------------------------------------------------------------------------------------------


def test_densities_by_layer() -> None:
    """A mapping is taken as it is; 1.0 leaves a layer dense."""
    model = mlp()
    report = gs.sparsify(model, {"0": 0.25, "2": 1.0, "4": 0.5})
    assert [row.kind for row in report.layers] == ["SparseLinear", "DenseLinear", "SparseLinear"]
    assert [row.density for row in report.layers] == [0.25, 1.0, 0.5]


@pytest.mark.parametrize("allocation", ["uniform", "er", "erk"])
def test_allocations_reach_the_layers(allocation: str) -> None:
    """The densities of ``allocate``, to within one connection a neuron."""
    model = mlp()
    report = gs.sparsify(model, 0.2, allocation=allocation)
    wanted = gs.topology.allocate({"0": (112, 56), "2": (56, 112), "4": (8, 56)}, 0.2, allocation)
    for row in report.layers:
        assert -1e-9 <= wanted[row.name] - row.density < 1 / row.shape[1]


REFUSED = {
    "density 0": ({"density": 0.0}, DensityError),
    "density above 1": ({"density": 1.5}, DensityError),
    "density NaN": ({"density": float("nan")}, DensityError),
    "no density": ({}, DensityError),
    "density too small for one input a neuron": ({"density": 0.001}, DensityError),
    "mapping without a layer": ({"density": {"0": 0.5, "2": 0.5}}, ConfigError),
    "mapping with an unknown layer": ({"density": {"0": 0.5, "2": 0.5, "4": 0.5, "5": 0.5}}, ConfigError),
    "mapping above 1": ({"density": {"0": 0.5, "2": 1.5, "4": 0.5}}, DensityError),
    "mapping with NaN": ({"density": {"0": 0.5, "2": float("nan"), "4": 0.5}}, DensityError),
    "mapping with 0": ({"density": {"0": 0.5, "2": 0.5, "4": 0.0}}, DensityError),
    "N:M on a layer it does not divide": ({"pattern": gs.NM(1, 16)}, PatternError),
    "N:M with another density": ({"pattern": gs.NM(1, 8), "density": 0.5}, DensityError),
    "N:M with an allocation": ({"pattern": gs.NM(1, 8), "allocation": "erk"}, PatternError),
    "groups that do not divide": (
        {"pattern": gs.FanIn(8), "density": 0.5, "allocation": "uniform"},
        PatternError,
    ),
    "unknown allocation": ({"density": 0.5, "allocation": "erq"}, ConfigError),
    "unknown home": ({"density": 0.5, "home": "cellar"}, ConfigError),
    "unknown init": ({"density": 0.5, "init": "zeros"}, ConfigError),
    "unknown layer to skip": ({"density": 0.5, "skip": ["7"]}, ConfigError),
    "nothing left": ({"density": 0.5, "skip": [nn.Linear]}, ConfigError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_changes(what: str) -> None:
    """The last layer is the impossible one where it can be; the first is not replaced either."""
    settings, error = REFUSED[what]
    last = 12 if "groups" in what else 8
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 56), nn.ReLU(), nn.Linear(56, last))
    before, names = copy.deepcopy(model.state_dict()), kinds(model)
    with pytest.raises(error) as refused:
        gs.sparsify(model, **settings)
    assert isinstance(refused.value, GossamerError)
    assert refused.value.expected
    assert refused.value.got
    assert unchanged(model, before, names)


def test_a_layer_that_cannot_be_sparse_is_named() -> None:
    """In a network of fifty layers the shape alone does not help."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ModuleDict({"deep": nn.Linear(60, 12)}))
    for settings in ({"pattern": gs.NM(1, 8)}, {"density": {"0": 0.5, "1.deep": 0.001}}):
        with pytest.raises(GossamerError, match=r"1\.deep"):
            gs.sparsify(model, **settings)


def test_everything_dense_is_fine() -> None:
    """Density 1 replaces nothing."""
    model = mlp()
    report = gs.sparsify(model, 1.0)
    assert report.density == 1.0
    assert kinds(model)["0"] == "Linear"


def test_a_model_on_the_meta_device_gets_layers_that_exist() -> None:
    """The same as those of a dense model that does; what stays dense stays where it was."""
    with torch.device("meta"):
        model = mlp()
    there = mlp()
    for one, device in ((model, "cpu"), (there, None)):
        draw = torch.Generator().manual_seed(0)
        gs.sparsify(one, 0.1, generator=draw, dense_last=True, device=device)
    with torch.device("meta"):
        inside = mlp()
        gs.sparsify(
            inside, 0.1, generator=torch.Generator("cpu").manual_seed(0), dense_last=True, device="cpu"
        )
    assert torch.equal(inside[0].values, model[0].values)
    assert model[4].weight.is_meta
    x = torch.randn(3, 56)
    assert torch.equal(model[:4](x), there[:4](x))


@pytest.mark.parametrize(("home", "bytes_of_one"), [("packed", 6 * 42), ("masked", 5 * 84)])
def test_layers_that_fit_one_by_one_and_not_together_are_refused_before_one_is_made(
    home: str, bytes_of_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 7 x 12 weights: values and indices, or all of them and a mask; three layers take three times that."""
    model = nn.Sequential(*[nn.Conv2d(3, 7, 2) for _ in range(3)])
    monkeypatch.setattr("gossamer.measure.room.available_memory", lambda: 3 * bytes_of_one - 1)
    with pytest.raises(MemoryShortage, match="sparsify: expected at most"):
        gs.sparsify(model, 0.5, allocation="uniform", home=home)
    assert kinds(model) == dict.fromkeys(("0", "1", "2"), "Conv2d")


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_layers_with_every_connection_are_sparse_on_request(home: str) -> None:
    """By default they stay dense; refused by a word nobody knows, and where the pattern has no such density."""
    model = mlp()
    report = gs.sparsify(model, 1.0, gs.Unstructured(), home=home, full="sparse")
    assert {row.home for row in report.layers} == {home}
    assert report.density == 1.0
    assert {row.home for row in gs.sparsify(mlp(), 1.0, gs.Unstructured(), home=home).layers} == {"dense"}
    with pytest.raises(gs.GossamerError, match="one of dense, sparse"):
        gs.sparsify(mlp(), 1.0, full="packed")
    with pytest.raises(gs.GossamerError, match="fixes the density"):
        gs.sparsify(mlp(), 1.0, gs.NM(1, 4), full="sparse")
