"""Whole models with rounded inputs and weights: ranges and ratios by hand, training, freezing, refusals."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.compress.quantization_report import decibels
from gossamer.compress.ranges import RANGES
from gossamer.errors import ConfigError, DataError, DtypeError, NonFiniteError, StateError
from gossamer.nn import InputRounding, Quantized
from gossamer.runtime import Runtime


def mlp(home="packed", density=0.3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 8))
    if density < 1:
        gs.sparsify(model, density=density, home=home)
    return model


def cnn():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 50),
    )  # fmt: skip
    for _ in range(3):
        model(torch.randn(8, 3, 9, 9) + 0.5)
    gs.sparsify(model.eval(), density=0.5)
    return model


# --- ranges ----------------------------------------------------------------------------------------------
def test_ranges_by_hand():
    counts = np.array([1, 998, 0, 0, 0, 0, 0, 0, 0, 1])  # of -1 .. 9
    assert RANGES["minmax"](counts, -1.0, 9.0) == (-1.0, 9.0)
    assert RANGES["percentile"](counts, -1.0, 9.0) == (0.0, 1.0)
    assert RANGES["minmax"](counts, 2.0, 9.0) == (0.0, 9.0)  # zero is always inside
    assert RANGES["minmax"](counts, -9.0, -2.0) == (-9.0, 0.0)


def test_the_range_of_least_square_error_is_no_worse_than_the_others():
    x = np.random.default_rng(0).standard_t(3, 100_000)
    low, high = float(x.min()), float(x.max())
    counts = np.histogram(x, 2048, (low, high))[0]

    def error(how):
        rounding = InputRounding(*RANGES[how](counts, low, high))
        return float((rounding(torch.from_numpy(x)) - torch.from_numpy(x)).square().sum())

    errors = {how: error(how) for how in RANGES}
    assert errors["mse"] <= 1.01 * min(errors.values()) < errors["minmax"]


@pytest.mark.parametrize(
    ("low", "high", "step", "first", "last"),
    [
        (0.0, 5.1, 0.02, 0, 255),
        (-1.0, 4.1, 0.02, -50, 205),
        (1.0, 2.55, 0.01, 0, 255),
        (0.0, 0.0, 1.0, 0, 255),
    ],
)
def test_steps_of_inputs_by_hand(low, high, step, first, last):
    rounding = InputRounding(low, high)
    assert (rounding.step, rounding.low, rounding.high) == (float(np.float32(step)), first, last)
    assert rounding(torch.zeros(1)).item() == 0
    twin = InputRounding(0, 1)
    twin.load_state_dict(rounding.state_dict())
    assert (twin.step, twin.low, twin.high) == (rounding.step, first, last)


# --- the report ------------------------------------------------------------------------------------------
def test_ratios_by_hand():
    assert decibels(3.0, 0.03) == pytest.approx(20)
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[7.0, 0.5]]))
    report = gs.quantize(model, torch.tensor([[255.0, 0.3]]), values="int4", ranges="minmax")
    (row,) = report.layers
    assert row.values == "bfloat16"  # a scale would be larger than what it saves
    assert row.inputs == pytest.approx(10 * np.log10((255**2 + 0.09) / 0.09), abs=1e-4)  # 0.3 becomes 0
    assert row.weights is None  # bfloat16 has both weights
    assert row.outputs == pytest.approx(10 * np.log10((7 * 255 + 0.15) ** 2 / 0.15**2), abs=1e-2)
    assert (row.low, row.high) == (0.0, 255.0)
    assert json.loads(json.dumps(report.as_dict()))["layers"][0]["name"] == "0"
    assert "255" in str(report)


def test_layers_that_would_be_too_far_off_stay_and_those_that_are_skipped():
    model, x = mlp(), torch.randn(64, 40)
    report = gs.quantize(copy.deepcopy(model), x)
    worst = min(report.layers, key=lambda row: row.outputs)
    others = sorted(row.outputs for row in report.layers)[1]
    report = gs.quantize(model, x, at_least=others, skip=())
    kept = {row.name: row.why for row in report.layers if row.why}
    assert list(kept) == [worst.name]
    assert "below" in kept[worst.name]
    assert [name for name, each in model.named_modules() if isinstance(each, Quantized)] == [
        row.name for row in report.layers if not row.why
    ]
    frozen = gs.freeze(model, x, values=report.values)
    assert [layer["values"] for layer in frozen.plan["layers"]] == [
        "float32" if row.why else "int8" for row in report.layers
    ]
    assert torch.allclose(frozen(x), model(x), atol=2e-5)
    again = mlp()
    assert [row.why for row in gs.quantize(again, x, skip=["0"]).layers] == ["skipped", "", ""]
    assert not isinstance(again[0], Quantized)


# --- training, then freezing -----------------------------------------------------------------------------
@pytest.mark.parametrize("values", ["int8", "ternary", "bfloat16"])
@pytest.mark.parametrize("home", ["packed", "masked", "dense"])
def test_a_network_trained_with_rounding_freezes_to_the_same_numbers(home, values, tmp_path):
    model = mlp(home) if home != "dense" else mlp(density=1)
    x = torch.randn(64, 40)
    gs.quantize(model, x, values=values)
    index = copy.deepcopy(
        {k: v for k, v in model.state_dict().items() if "row" in k or "col" in k or "mask" in k}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(model.state_dict()[key], held) for key, held in index.items())
    frozen = gs.freeze(model, x, values=values)
    assert {layer["values"] for layer in frozen.plan["layers"]} == {values}
    assert torch.allclose(frozen(x), model(x), atol=2e-5)
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x))
    assert torch.equal(torch.from_numpy(Runtime(tmp_path / "net.safetensors")(x.numpy())), frozen(x))


def test_a_convolutional_network_freezes_to_the_same_numbers_with_its_norm_folded():
    model, x = cnn(), torch.randn(32, 3, 9, 9)
    exact = model(x)
    report = gs.quantize(model, x)
    frozen = gs.freeze(model.eval(), x[:2], values="int8")
    assert not [node for node in frozen.graph.nodes if getattr(node.body, "op", "") == "batch_norm"]
    error = (frozen(x) - model(x)).abs().max()
    assert error < 0.2 * (model(x) - exact).abs().max()  # rounding at a tie may differ behind another sum
    assert min(row.outputs for row in report.layers) > 30


def test_prune_then_quantize_then_freeze_is_what_the_parts_are_by_hand():
    model, x = mlp(density=1), torch.randn(50, 40)
    gs.prune(model, 0.25)
    weights = [layer.to_dense().detach().clone() for layer in (model[0], model[2], model[4])]
    gs.quantize(model, x, ranges="minmax")
    frozen = gs.freeze(model, x, values="int8")
    y = x
    for number, weight in enumerate(weights):
        y = model[2 * number].inputs(y)
        scale = weight.abs().amax(1, keepdim=True) / 127
        rounded = torch.round(weight / scale.clamp(min=1e-30)).clamp(-127, 127) * scale
        assert bool((rounded[weight == 0] == 0).all())
        y = nn.functional.linear(y, rounded, model[2 * number].layer.bias)
        y = [torch.relu, torch.tanh, lambda y: y][number](y)
    assert torch.allclose(frozen(x), y, atol=1e-4)


def test_a_quantized_model_is_pruned_inside_its_layers():
    model, x = mlp(density=1), torch.randn(50, 40)
    gs.quantize(model, x)
    gs.prune(model, 0.25)
    assert all(isinstance(model[at].layer, gs.SparseLinear) for at in (0, 2, 4))
    frozen = gs.freeze(model, x, values="int8")
    assert torch.allclose(frozen(x), model(x), atol=2e-5)


def test_the_gradient_passes_straight_through_and_stops_outside_of_the_range():
    layer = Quantized(nn.Linear(2, 1, bias=False), InputRounding(0.0, 2.55), "ternary")
    with torch.no_grad():
        layer.layer.weight.copy_(torch.tensor([[4.0, 1.0]]))
    x = torch.tensor([[1.004, 5.0]], requires_grad=True)
    layer(x).backward()
    assert layer.layer.weight.grad.tolist() == [
        [pytest.approx(1.0), pytest.approx(2.55)]
    ]  # the rounded inputs
    assert x.grad.tolist() == [[4.0, 0.0]]


def test_states_copies_and_modes_survive():
    model, x = mlp().train(), torch.randn(9, 40)
    gs.quantize(model, x)
    assert all(module.training for module in model.modules())
    twin = copy.deepcopy(model)
    fresh = mlp(density=0.3)
    gs.quantize(fresh, 2 * x)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))
    assert torch.equal(fresh(x), model(x))


# --- refusals --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "error", "what"),
    [
        ({"values": "int3"}, ConfigError, "binary"),
        ({"activations": "int4"}, ConfigError, "exact, int8"),
        ({"ranges": "max"}, ConfigError, "minmax, percentile, mse"),
        ({"skip": ["fc"]}, ConfigError, "fc"),
        ({"skip": ["0", "2", "4"]}, ConfigError, "all of them"),
        ({"data": []}, DataError, "batch"),
        ({"data": torch.full((2, 40), np.nan)}, NonFiniteError, "finite"),
    ],
)
def test_refusals_leave_the_model_as_it_was(given, error, what):
    model = mlp()
    with pytest.raises(error, match=what):
        gs.quantize(model, **({"data": torch.randn(4, 40)} | given))
    assert not [each for each in model.modules() if isinstance(each, Quantized) or each._forward_hooks]


def test_models_that_cannot_be_quantized_are_refused():
    x = torch.randn(4, 40)
    model = mlp()
    gs.quantize(model, x)
    with pytest.raises(StateError, match="not quantized yet"):
        gs.quantize(model, x)
    with pytest.raises(ConfigError, match="a layer by itself"):
        gs.quantize(nn.Linear(40, 2), x)
    with pytest.raises(DtypeError, match="float32"):
        gs.quantize(mlp().double(), x.double())
    idle = mlp()
    idle.spare = nn.Linear(2, 2)
    idle.forward = lambda x: 2 * idle[0](x)
    with pytest.raises(StateError, match="quantize 2, 4, spare"):
        gs.quantize(idle, x)


def test_layers_in_lists_and_batches_of_keywords() -> None:
    """A layer that the model also holds in a list is replaced there too; a mapping is a batch of keyword arguments."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)
            self.held = [self.fc]

        def forward(self, *, x: torch.Tensor) -> torch.Tensor:
            return self.held[0](x)

    model = Net()
    report = gs.quantize(model, {"x": torch.randn(16, 4)})
    assert [row.name for row in report.layers] == ["fc"]
    assert model.held[0] is model.fc
    assert type(model.fc).__name__ == "Quantized"
    assert model(x=torch.randn(2, 4)).shape == (2, 3)
