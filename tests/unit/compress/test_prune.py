"""prune: the values worth keeping stay, by hand-computed scores, and whatever cannot be done is refused first."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import gossamer as gs
from gossamer.compress import recalibrate, sensitivity
from gossamer.compress.scores import Task, scores
from gossamer.errors import (
    ConfigError,
    DensityError,
    DtypeError,
    GossamerError,
    NonFiniteError,
    PatternError,
    StateError,
    TrainingWarning,
)
from gossamer.models import resnet20

if TYPE_CHECKING:
    from collections.abc import Callable


def one_layer(*rows: list[float], bias: bool = False) -> nn.Sequential:
    """A linear layer with these weights."""
    model = nn.Sequential(nn.Linear(len(rows[0]), len(rows), bias=bias))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(rows))
    return model


def scores_of(
    name: str, model: nn.Module, batches: list[Any], loss: Any = None, **settings: Any
) -> list[Any]:
    """The scores of every linear layer, as lists."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    task = Task(model, layers, None, 0.5, gs.Unstructured(), batches, loss)
    return [each.tolist() for each in scores[name](**settings).of(task).values()]


def square(y: torch.Tensor, _: Any) -> torch.Tensor:
    """y^2 / 2."""
    return y.square().sum() / 2


TOY = [1.0, -2.0, 0.1]
INPUT = torch.tensor([[1.0, 2.0, 3.0]])


def test_snip_by_hand() -> None:
    """L = y^2 / 2, y = -2.7: |g w| = (2.7, 10.8, 0.81); by |g| alone the last would win."""
    assert scores_of("snip", one_layer(TOY), [(INPUT, None)], square)[0][0] == pytest.approx(
        [2.7, 10.8, 0.81]
    )


def test_snip_sums_signed_gradients_over_batches() -> None:
    """Opposite ones cancel; absolute values would not."""
    twice = [(INPUT, None), (INPUT, None)]
    assert scores_of("snip", one_layer(TOY), twice, square)[0][0] == pytest.approx([5.4, 21.6, 1.62])
    linear = [(INPUT, 1.0), (INPUT, -1.0)]
    assert scores_of("snip", one_layer(TOY), linear, lambda y, sign: y.sum() * sign)[0][0] == [0, 0, 0]


def test_grasp_by_hand() -> None:
    """Hg = (-37.8, -75.6, -113.4) for one sample; two halves of the same give four times that."""
    model = one_layer(TOY)
    found = scores_of("grasp", model, [(INPUT.repeat(2, 1), torch.zeros(2))], square, temperature=1.0)[0][0]
    assert found == pytest.approx([4 * -37.8, 4 * 151.2, 4 * -11.34], rel=1e-5)
    gs.prune(
        model,
        {"0": 1 / 3},
        score=scores["grasp"](temperature=1.0),
        loss=square,
        data=[(INPUT.repeat(2, 1), torch.zeros(2))],
    )
    assert model[0].topology.positions.tolist() == [1]


def test_synflow_by_hand_and_conserved() -> None:
    """R = 15, 15 in every layer, 12 and 3 through the hidden units."""
    model = nn.Sequential(*one_layer([1.0, -2.0], [0.0, 3.0]), nn.ReLU(), *one_layer([4.0, -1.0]))
    first, second = scores_of("synflow", model, [torch.zeros(1, 2)], rounds=1)
    assert first == [[4, 8], [0, 3]]
    assert second == [[12, 3]]


def test_synflow_empties_no_layer_where_one_shot_does() -> None:
    """A deep network of equal widths with one weak layer, one weight in twenty."""
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(24, 24), nn.ReLU())])
    with torch.no_grad():
        model[4].weight.mul_(1e-3)
    with pytest.raises(DensityError, match="prune 4"):
        gs.prune(copy.deepcopy(model), 0.05, allocation="global")
    report = gs.prune(model, 0.05, score="synflow", data=torch.zeros(1, 24))
    assert all(row.connections > 0 for row in report.sparse)
    assert sum(row.connections for row in report.sparse) == 6 * 24 * 24 - int(0.95 * 6 * 24 * 24)


def test_lamp_by_hand() -> None:
    """Squares 1, 4, 9: 1/14, 4/13, 1; equal weights share their sums in order; zeros score zero."""
    found = scores_of("lamp", one_layer([1.0, -2.0, 3.0], [0.0, 0.0, 0.0]), [])[0]
    assert found[0] == pytest.approx([1 / 14, 4 / 13, 1])
    assert found[1] == [0, 0, 0]


@pytest.mark.parametrize(
    ("pattern", "density", "kept"),
    [
        ("unstructured", 0.5, [[0, 1, 0, 1], [0, 1, 0, 1]]),
        ("fanin", 0.5, [[0, 1, 0, 1], [0, 1, 0, 1]]),
        ("fanin:2", 0.5, [[0, 1, 0, 1], [0, 1, 0, 1]]),
        ("nm:1:4", None, [[0, 0, 0, 1], [0, 0, 0, 1]]),
        ("block:2", 0.5, [[0, 0, 1, 1], [0, 0, 1, 1]]),
        ("unstructured", 0.25, [[0, 0, 0, 1], [0, 0, 0, 1]]),
    ],
)
def test_the_pattern_is_the_scope(pattern: str, density: float | None, kept: list[list[int]]) -> None:
    """By hand; equal ones in the order of the weight."""
    model = one_layer([1.0, -3.0, 2.0, 4.0], [0.5, 3.0, -1.0, 5.0])
    gs.prune(model, density, pattern, allocation="uniform")
    assert model[0].topology.mask().int().tolist() == kept


def test_among_equal_scores_the_first_win() -> None:
    """Within a layer and across layers."""
    model = nn.Sequential(*one_layer([1.0, 1.0, 1.0, 1.0]), *one_layer([1.0], [1.0], [1.0], [1.0]))
    gs.prune(model, 0.625, allocation="global", skip=())
    assert type(model[0]) is not gs.SparseLinear  # all of it stays, so it stays dense
    assert model[1].topology.positions.tolist() == [0]


def test_what_torch_pruned_never_comes_back() -> None:
    """Random scores, and units of several weights: zeros fill up only where nothing else is left."""
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    torch_prune.random_unstructured(model[0], "weight", 0.6)
    alive = model[0].weight_mask.bool()
    gs.prune(model, {"0": 0.3, "2": 1.0}, score="random", generator=torch.Generator().manual_seed(0))
    assert bool((model[0].topology.mask() <= alive).all())
    assert not [name for name in model.state_dict() if "orig" in name]


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_a_second_prune_carries_the_optimizer(home: str) -> None:
    """Momentum of what stays is that of before, of what goes zero; a forgotten optimizer is named first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    gs.prune(model, 0.5, home=home, allocation="uniform")
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    model(torch.randn(4, 16)).square().mean().backward()
    adam.step()
    layer = model[0]
    before = layer.topology.mask(), layer.to_dense().detach(), dense_state(layer, adam)
    with pytest.raises(StateError, match=r"Adam that was not given; pass optimizers=\[optimizer\]"):
        gs.prune(model, 0.25, allocation="uniform")
    assert torch.equal(layer.topology.mask(), before[0])
    gs.prune(model, 0.25, allocation="uniform", optimizers=[adam])
    left = layer.topology.mask()
    assert int(left.sum()) == 32
    assert torch.equal(layer.to_dense(), before[1] * left)
    assert torch.equal(dense_state(layer, adam), before[2] * left)


@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("pattern", ["fanin", "block:4"])
def test_an_optimizer_of_the_dense_layers_goes_on_with_the_sparse_ones(home: str, pattern: str) -> None:
    """As plain torch with masked weights and moments does; one that is not given is named in a warning."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Flatten(), nn.Linear(32, 8))
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(16, 4, 2, 2)
    model(x).square().mean().backward()
    adam.step()
    adam.zero_grad()
    twin = copy.deepcopy(model)
    other = torch.optim.Adam(twin.parameters(), lr=0.01)
    other.load_state_dict(copy.deepcopy(adam.state_dict()))
    left = torch.optim.SGD((third := copy.deepcopy(model)).parameters(), lr=0.1)
    with pytest.warns(TrainingWarning, match=r"a SGD holds the parameters of 0.*optimizers=\[optimizer\]"):
        gs.prune(third, 0.5, pattern, allocation="uniform", home=home)
    del left
    gs.prune(model, 0.5, pattern, allocation="uniform", optimizers=[adam, other], home=home)
    assert {id(p) for p in adam.param_groups[0]["params"]} == {id(p) for p in model.parameters()}
    masks = {name: (model.get_submodule(name).to_dense() != 0) for name in ("0", "2")}
    for name, mask in masks.items():
        weight = twin.get_submodule(name).weight
        weight.data.mul_(mask)
        weight.register_hook(lambda grad, mask=mask: grad * mask)
        for state in ("exp_avg", "exp_avg_sq"):
            other.state[weight][state].mul_(mask)
    for each, optimizer in ((model, adam), (twin, other)):
        for _ in range(3):
            optimizer.zero_grad()
            each(x).square().mean().backward()
            optimizer.step()
    for name in masks:
        torch.testing.assert_close(model.get_submodule(name).to_dense(), twin.get_submodule(name).weight)
        torch.testing.assert_close(model.get_submodule(name).bias, twin.get_submodule(name).bias)


def dense_state(layer: Any, adam: torch.optim.Optimizer) -> torch.Tensor:
    """The first moment, as a dense weight."""
    state = adam.state[layer.weights]["exp_avg"]
    return layer.unpacked(state).clone() if layer.home == "packed" else state.clone()


def test_a_recurrent_layer_is_pruned_matrix_by_matrix() -> None:
    """With the values that are largest, and the report names the matrices."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.GRU(8, 16)])
    weight = model[0].weight_hh_l0.detach().clone()
    report = gs.prune(model, 0.25, allocation="uniform")
    assert [row.name for row in report.sparse] == ["0.ih_l0", "0.hh_l0"]
    assert torch.equal(model[0].hh_l0.to_dense(), weight * model[0].hh_l0.topology.mask())


REFUSED: dict[str, tuple[Callable[[], object], type[GossamerError], str]] = {
    "a layer would lose everything": (
        lambda: gs.prune(
            nn.Sequential(*one_layer([1.0, 2.0]), *one_layer([9.0], [8.0])), 0.5, allocation="global"
        ),
        DensityError,
        "prune 0: expected at least one connection",
    ),
    "a score that is no number": (
        lambda: gs.prune(one_layer([1.0, float("nan")]), 0.5),
        NonFiniteError,
        "scores of 0",
    ),
    "an unknown score": (
        lambda: gs.prune(one_layer([1.0, 2.0]), 0.5, score="magnitud"),
        ConfigError,
        "'magnitude'",
    ),
    "no density": (lambda: gs.prune(one_layer([1.0, 2.0])), DensityError, "prune"),
    "global for N:M": (
        lambda: gs.prune(one_layer([1.0, 2.0]), None, "nm:1:2", allocation="global"),
        PatternError,
        "uniform",
    ),
    "no norm": (
        lambda: gs.prune(one_layer([1.0, 2.0]), 0.5, recalibrate=torch.ones(2, 2)),
        ConfigError,
        "batch norms",
    ),
    "a word for zeros": (lambda: gs.prune(one_layer([1.0, 2.0]), sparsity=0.9), ConfigError, "density=0.1"),
    "batches without targets": (
        lambda: gs.prune(one_layer([1.0, 2.0]), 0.5, score="snip", data=torch.ones(2, 2)),
        ConfigError,
        "pairs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_to_do(case: str) -> None:
    """With the operation, the layer, and a hint."""
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        call()


def test_a_model_that_an_engine_follows_is_refused() -> None:
    """Its counts would no longer be those of its rule."""
    model = nn.Sequential(nn.Linear(16, 8))
    gs.sparsify(model, 0.5, generator=torch.Generator().manual_seed(0))
    engine = gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.RigL(), total_steps=1000)
    with pytest.raises(StateError, match="detach"):
        gs.prune(model, 0.25)
    engine.detach()
    gs.prune(model, 0.25)


def test_another_pattern_than_that_of_a_sparse_layer_is_refused() -> None:
    """By name; without one every layer keeps its own."""
    model = nn.Sequential(nn.Linear(16, 8))
    gs.prune(model, 0.5, "fanin")
    with pytest.raises(PatternError, match="prune 0: expected pattern fanin"):
        gs.prune(model, 0.25, "unstructured")
    gs.prune(model, 0.25)
    assert set(model[0].topology.fan_in().tolist()) == {4}


def test_tied_weights_are_refused() -> None:
    """Two modules, one parameter."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    with pytest.raises(PatternError, match=r"prune: .* tied"):
        gs.prune(model, 0.5)


def test_recalibration_gives_the_statistics_of_the_batches() -> None:
    """Their mean over batches, momentum and mode as before; nothing changes where the model fails."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.3)).eval()
    batches = [torch.randn(16, 4) for _ in range(3)]
    assert recalibrate(model, [(x, None) for x in batches]) == 1
    with torch.no_grad():
        means = torch.stack([model[0](x).mean(0) for x in batches]).mean(0)
    torch.testing.assert_close(model[1].running_mean, means)
    assert model[1].momentum == 0.3
    assert not model.training
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        recalibrate(model, [batches[0], torch.randn(16, 5)])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model[1].momentum == 0.3


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """ResNet-20 with published weights, and a thousand images."""
    folders = [Path(entry) for entry in os.environ.get("GOSSAMER_DATA", "").split(os.pathsep) if entry]
    found = [folder for folder in folders if (folder / "models" / "resnet20_cifar10.th").is_file()]
    if not found:
        pytest.skip("set GOSSAMER_DATA to a folder with models/resnet20_cifar10.th")
    stored = torch.load(found[0] / "models/resnet20_cifar10.th", map_location="cpu", weights_only=True)
    model = resnet20()
    model.load_state_dict({k.removeprefix("module."): v for k, v in stored["state_dict"].items()})
    with np.load(found[0] / "cifar10_small.npz") as file:
        x, y = torch.from_numpy(file["x_test"]), torch.from_numpy(file["y_test"].astype(np.int64))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return model.eval(), ((x / 255 - mean) / std).permute(0, 3, 1, 2).contiguous(), y


@pytest.mark.parametrize(
    ("pattern", "density", "allocation", "right"),
    [("unstructured", 0.5, "global", 90.6), ("fanin", 0.5, "uniform", 86.7), ("nm:2:4", None, None, 72.6)],
)
def test_a_trained_resnet_keeps_its_accuracy(
    pattern: str, density: float | None, allocation: str | None, right: float, trained: Any
) -> None:
    """ResNet-20, one shot, on 1,000 images: 91.4 % dense; first convolution and classifier stay dense."""
    model, images, labels = trained
    model = copy.deepcopy(model)
    gs.prune(model, density, pattern, allocation=allocation, dense_first=True, dense_last=True)
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in images.split(250)])
    assert 100 * float((found == labels).float().mean()) == pytest.approx(right, abs=0.35)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_what_no_training_could_use_is_refused() -> None:
    """Inference mode; an order without an input; a layer without weights stays, and the others are pruned."""
    model = nn.Sequential(nn.Linear(16, 8))
    with torch.inference_mode(), pytest.raises(StateError, match="inference_mode"):
        gs.prune(model, 0.5)
    with pytest.raises(ConfigError, match=r"prune\(permute=\): expected an input"):
        gs.prune(model, 0.5, "fanin:4", permute=True)
    assert type(model[0]) is nn.Linear
    report = gs.prune(nn.ModuleList([nn.Linear(0, 4), nn.Linear(4, 4)]), 0.25)
    assert [row.name for row in report.sparse] == ["1"]


def test_the_model_itself_is_never_measured() -> None:
    """sensitivity hands out copies: what a measurement does to them is theirs; a loop may be left early."""
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).train()
    before, x = copy.deepcopy(model.state_dict()), torch.randn(16, 8)

    def measure(given: nn.Module) -> float:
        recalibrate(given, [x])
        return float(given(x).detach().square().mean())

    for _ in sensitivity(model, measure, [0.5]):
        assert model.training
        break
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_batches_of_keywords_recalibrate() -> None:
    """A model of two inputs takes mappings wherever data are given; those of another type are refused by the layer."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.norm(self.fc(a) + b)

    model = Two()
    batch = {"a": torch.randn(6, 8), "b": torch.randn(6, 8)}
    gs.prune(model, 0.5, score="wanda", data=[batch], recalibrate=[batch])
    with torch.no_grad():
        torch.testing.assert_close(model.norm.running_mean, (model.fc(batch["a"]) + batch["b"]).mean(0))
    wide = {name: tensor.double() for name, tensor in batch.items()}
    with pytest.raises(DtypeError, match=r"calibrate fc: .*expected torch.float32, got torch.float64"):
        gs.prune(Two(), 0.5, score="wanda", data=[wide])
