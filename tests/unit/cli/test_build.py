"""From a configuration to objects."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, MemoryShortage, PatternError
from gossamer.runs.build import build_engine, build_model, build_optimizer, build_rule, learning_rate
from gossamer.runs.config import OptimizerConfig, RunConfig, ScheduleConfig


def test_a_model_depends_on_its_configuration_alone():
    config = RunConfig(widths=(16,), density=0.5)
    torch.manual_seed(1)
    first = build_model(config, (64,), 10).state_dict()
    torch.manual_seed(2)
    second = build_model(config, (64,), 10).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dense_networks_start_as_torch_draws_them():
    """The same bits as nn.Linear after torch.manual_seed, so that a dense baseline stays what it was."""
    model = build_model(RunConfig(widths=(16, 8), pattern="dense", seed=7), (64,), 10)
    torch.manual_seed(7)
    expected = [torch.nn.Linear(*sizes) for sizes in ((64, 16), (16, 8), (8, 10))]
    for layer, plain in zip((model.fc1, model.fc2, model.fc3), expected, strict=True):
        assert type(layer) is torch.nn.Linear
        assert torch.equal(layer.weight, plain.weight)
        assert torch.equal(layer.bias, plain.bias)


def test_sparse_layers_start_as_sparsify_draws_them():
    """Topology and values are those of a dense model made sparse with a generator of the seed, whatever stays dense."""
    for home in ("packed", "masked"):
        config = RunConfig(widths=(16, 24), density=0.3, seed=7, dense_last=True, home=home)
        model = build_model(config, (64,), 10)
        plain = torch.nn.Sequential(*(torch.nn.Linear(*sizes) for sizes in ((64, 16), (16, 24), (24, 10))))
        drawn = torch.Generator().manual_seed(7)
        gs.sparsify(plain, 0.3, home=home, generator=drawn, dense_last=True)
        for layer, other in ((model.fc1, plain[0]), (model.fc2, plain[1])):
            assert torch.equal(layer.topology.positions, other.topology.positions)
            assert torch.equal(layer.weights, other.weights)
        assert not torch.equal(model.fc3.weight, torch.zeros(10, 24))
        assert float(model.fc3.weight.detach().abs().max()) <= 24**-0.5
        assert float(model.fc3.bias.detach().abs().max()) <= 24**-0.5


def test_a_network_too_wide_to_be_dense_takes_memory_of_its_connections(monkeypatch):
    """Dense it would be four terabytes; what stays dense or masked has to fit, and is refused by name."""
    monkeypatch.setattr("gossamer.measure.room.available_memory", lambda: 1 << 30)
    wide = {"widths": (1 << 20, 1 << 20), "pattern": "unstructured"}
    model = build_model(RunConfig(**wide, density=2**-23, allocation="uniform"), (64,), 10)
    assert model.fc2.connections == 2**17
    masked, dense = {"home": "masked", "density": 2**-23}, {"pattern": "dense"}
    for settings, what in ((masked, "home='packed'"), (dense, "dense layers")):
        with pytest.raises(MemoryShortage, match=what):
            build_model(RunConfig(**(wide | settings)), (64,), 10)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_model(RunConfig(widths=(16,), density=0.5), (64,), 10)
    assert torch.equal(torch.rand(1), expected)


def test_density_by_layer():
    model = build_model(RunConfig(widths=(16,), density={"fc1": 0.25, "fc2": 1.0}), (64,), 10)
    assert model.fc1.connections == 256
    assert isinstance(model.fc2, torch.nn.Linear)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"density": 7.0}, DensityError),
        ({"density": 0.0}, DensityError),
        ({}, DensityError),
        ({"density": 0.5, "pattern": "tartan"}, ConfigError),
        ({"density": 0.5, "pattern": "nm:9:8"}, ConfigError),
        ({"density": 0.3, "pattern": "nm:1:8"}, DensityError),
        ({"pattern": "nm:1:7"}, PatternError),
        ({"pattern": "dense", "density": 0.5}, ConfigError),
        ({"pattern": "dense", "epsilon": 5}, ConfigError),
        ({"pattern": "dense", "rule": {"name": "set"}}, ConfigError),
    ],
)
def test_what_cannot_be_built_is_refused(settings, error):
    with pytest.raises(error):
        build_model(RunConfig(widths=(16,), **settings), (64,), 10)


@pytest.mark.parametrize("name", ["sgd", "sgdw", "adam", "adamw", "rmsprop"])
def test_every_optimizer_trains_a_sparse_layer(name):
    config = RunConfig(
        widths=(8,), density=0.5, rule={"name": "rigl", "every": 1}, optimizer={"name": name, "lr": 0.01}
    )
    model = build_model(config, (16,), 4)
    optimizer = build_optimizer(config.optimizer, model)
    engine = build_engine(config, model, optimizer, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 16)).square().mean().backward()
        optimizer.step()
    assert engine is not None
    assert engine.history


def test_an_unknown_rule_or_setting_is_refused():
    config = RunConfig(widths=(8,), density=0.5)
    model = build_model(config, (16,), 4)
    optimizer = build_optimizer(config.optimizer, model)
    for rule in ({"name": "magic"}, {"name": "rigl", "charm": 3}):
        with pytest.raises(ConfigError):
            build_engine(config.model_copy(update={"rule": rule}), model, optimizer, 10)


def rates(schedule, lr=1.0):
    return [learning_rate(OptimizerConfig(lr=lr), schedule, step, 8, 2) for step in range(9)]


def test_constant_cosine_step_and_warmup():
    assert rates(ScheduleConfig(name="constant")) == [1.0] * 9
    cosine = rates(ScheduleConfig(name="cosine"))
    assert (cosine[0], cosine[4], cosine[8]) == pytest.approx((1.0, 0.5, 0.0))
    step = rates(ScheduleConfig(name="step", milestones=(1, 3), factor=0.1))
    assert step == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    assert rates(ScheduleConfig(name="constant", warmup=3))[:4] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("dense_last", [False, True])
def test_the_published_network_of_set(dense_last):
    config = RunConfig(
        widths=(100, 80),
        pattern="unstructured",
        epsilon=3,
        init="dense",
        law="he_uniform",
        all_relu=0.6,
        dropout=0.3,
        dense_last=dense_last,
    )
    model = build_model(config, (64,), 4)
    assert (model.fc1.connections, model.fc2.connections) == (3 * 164, 3 * 180)
    assert type(model.fc3).__name__ == ("Linear" if dense_last else "SparseLinear")
    assert [model.act1.negative_slope, model.act2.negative_slope, model.drop2.p] == [-0.6, 0.6, 0.3]
    assert float(model.fc1.values.detach().abs().max()) <= (6 / 64) ** 0.5


def test_epsilon_takes_the_place_of_a_density():
    for other in ({"density": 0.5}, {"allocation": "er"}):
        with pytest.raises(ValueError, match="epsilon takes the place"):
            RunConfig(epsilon=3, **other)


def test_a_rule_beside_another_is_read_from_plain_settings():
    rule = build_rule(RunConfig(rule={"name": "importance", "then": {"name": "set", "every": 7}}))
    assert (rule.name, rule.then.name, rule.then.every) == ("importance", "set", 7)
