"""A frozen network computes what its model computes, whatever made the model and whatever form was chosen."""

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import (
    ConfigError,
    DtypeError,
    KernelUnavailable,
    MemoryShortage,
    PatternError,
    ShapeError,
    StateError,
)
from gossamer.layouts import layouts
from gossamer.patterns import parse
from gossamer.rules import rules

PATTERNS = ("unstructured", "fanin", "fanin:2", "fanin:4", "nm:1:4", "nm:2:8", "block:4", "block:8:1")


def trained(mlp, pattern: str, rule: str, home: str) -> nn.Sequential:
    """A model after a few updates of a rule, the last of which has just grown zeros."""
    model = mlp(pattern, home=home)
    made = rules[rule](every=2, until=1.0)
    if reason := made.undefined_on(parse(pattern)) or made.undefined_in(home):
        pytest.skip(reason)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    gs.attach(model, optimizer, made, total_steps=7)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(16, 32)).square().mean().backward()
        optimizer.step()
    return model


@pytest.mark.filterwarnings("ignore:.*would lose all:gossamer.errors.TrainingWarning")  # a few blocks a layer
@pytest.mark.parametrize("home", ["packed", "masked"])
@pytest.mark.parametrize("rule", sorted(rules))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_equal_after_training_with_every_rule(mlp, check_same, pattern, rule, home):
    model = trained(mlp, pattern, rule, home)
    frozen = gs.freeze(model, torch.randn(4, 32), candidates=["csr"])
    check_same(frozen, model, torch.randn(9, 32))


@pytest.mark.parametrize("layout", sorted(layouts))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_forced_layout_that_fits(mlp, check_same, pattern, layout):
    model = mlp(pattern)
    try:
        frozen = gs.freeze(model, torch.randn(4, 32), keep=layout)
    except PatternError:
        assert (
            layout in {"bitmask", "block", "fanin", "nm", "nm_lanes", "nm_nibbles", "slice"}
            or layouts[layout].compute != "float32"
        )
        return
    assert [row["chosen"] for row in frozen.plan["layers"]] == [layout] * 3
    for batch in (0, 1, 7, 64):
        check_same(frozen, model, torch.randn(batch, 32))


def test_forced_layouts_are_there_at_all(mlp):
    for pattern, layout in (
        ("fanin", "fanin"),
        ("fanin:4", "fanin"),
        ("nm:1:4", "nm"),
        ("nm:1:4", "nm_lanes"),
        ("block:4", "block"),
        ("block:1:4", "block"),
    ):
        frozen = gs.freeze(mlp(pattern), torch.randn(4, 32), keep=layout)
        assert {row["chosen"] for row in frozen.plan["layers"]} == {layout}
    assert gs.freeze(mlp("fanin:4"), torch.randn(4, 32), keep="fanin").graph.layers()[0][
        1
    ].stored.parameters == {"group": 4}


def test_measured_choice_is_equal_and_the_model_is_left_alone(mlp, check_same):
    model = mlp("nm:1:4").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = gs.freeze(model, torch.randn(4, 32), batch_sizes=(1, 64))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for batch in (0, 1, 7, 8, 9, 64, 300):
        check_same(frozen, model, torch.randn(batch, 32))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 32), (2, 3, 32), (2, 0, 32), (1, 1, 2, 32), (32,)])
def test_leading_dimensions(mlp, check_same, shape, bias):
    model = mlp("fanin", bias=bias)
    for keep in ("fanin", "dense"):
        check_same(gs.freeze(model, torch.randn(4, 32), keep=keep), model, torch.randn(shape))
    slim = copy.deepcopy(model)
    slim[0] = nn.Linear(32, 24, bias=bias)
    with torch.no_grad():
        slim[0].weight[:, 3] = 0
        slim[0].weight[5] = 0
    frozen = gs.freeze(slim, torch.randn(4, 32), keep={"0": "slice"}, candidates=["dense"])
    assert frozen.plan["layers"][0]["chosen"] == "slice"
    check_same(frozen, slim, torch.randn(shape))


def test_strided_inputs(mlp, check_same):
    model = mlp("fanin")
    frozen = gs.freeze(model, torch.randn(4, 32), keep="fanin")
    wide = torch.randn(64, 64)
    for x in (wide[:, ::2], wide.t()[:32].t(), wide[:1, :32].expand(6, 32), wide[::3, :32]):
        check_same(frozen, model, x)


@pytest.mark.parametrize(
    "activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.ReLU6, nn.LeakyReLU]
)
def test_activations(mlp, check_same, ablate, activation):
    model = mlp("fanin", activation=activation)
    ablate(model[0], [1, 5])
    frozen = gs.freeze(model, torch.randn(4, 32), keep="csr")
    assert frozen.plan["layers"][0]["constant"] == 2
    check_same(frozen, model, torch.randn(6, 32))


def test_weight_kept_at_zero_is_a_connection(mlp):
    model = mlp("fanin", widths=(32, 24))
    with torch.no_grad():
        model[0].values.zero_()
    frozen = gs.freeze(model, torch.randn(4, 32), keep="fanin")
    assert frozen.plan["layers"][0]["connections"] == model[0].connections
    assert frozen.plan["layers"][0]["constant"] == 0


def test_float64_runs_and_refuses_float32(mlp):
    model = mlp("fanin").double()
    frozen = gs.freeze(model, torch.randn(4, 32).double())
    x = torch.randn(3, 32).double()
    assert float((frozen(x) - model(x).detach()).abs().max()) < 1e-12
    with pytest.raises(DtypeError, match="float64"):
        frozen(x.float())


def test_bfloat16_runs(mlp):
    model = mlp(None).bfloat16()
    x = torch.randn(3, 32).bfloat16()
    frozen = gs.freeze(model, x, keep="dense")
    assert frozen(x).dtype == torch.bfloat16
    assert torch.equal(frozen(x), model(x))


def test_gradient_is_cut(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(4, 32), keep="csr")
    assert not frozen(torch.randn(2, 32, requires_grad=True)).requires_grad
    assert list(frozen.parameters()) == []
    assert frozen.train().training is False


def test_copies_and_pickles_are_independent(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(4, 32), keep="fanin")
    twin, x = copy.deepcopy(frozen), torch.randn(3, 32)
    expected = frozen(x)
    del frozen
    assert torch.equal(twin(x), expected)


class Branches(nn.Module):
    """Frozen layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Linear(32, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.a(x)) if float(x.detach().sum()) < 1e9 else x


def networks(mlp):
    """One of each kind, and what it reads."""
    x = torch.randn(4, 32)
    yield gs.freeze(mlp("fanin"), x, keep="csr"), x
    yield gs.freeze(mlp("fanin"), x, keep="csr", values="int8"), x
    yield gs.freeze(mlp("fanin"), x, keep="csr", values="bfloat16"), x
    yield gs.freeze(mlp("fanin"), x, keep="dense"), x
    yield gs.freeze(mlp("fanin").double(), x.double(), keep="csr"), x.double()
    yield gs.freeze(nn.Sequential(nn.BatchNorm1d(32)), x), x
    yield gs.freeze(nn.Sequential(nn.LayerNorm(32)), x), x
    yield gs.freeze(Branches(), x, keep="csr"), x


MOVES = {
    "double": lambda f: f.double(),
    "half": lambda f: f.half(),
    "bfloat16": lambda f: f.to(torch.bfloat16),
    "meta": lambda f: f.to("meta"),
    "empty": lambda f: f.to_empty(device="meta"),
}


@pytest.mark.parametrize("move", sorted(MOVES))
def test_a_real_move_or_cast_is_refused(mlp, move):
    for frozen, x in networks(mlp):
        if move == "double" and x.dtype == torch.float64:
            continue
        expected = frozen(x)
        for module in (frozen, nn.Sequential(frozen, nn.ReLU())):
            with pytest.raises(StateError, match="freeze it again"):
                MOVES[move](module)
        assert torch.equal(frozen(x), expected)


def test_a_move_that_moves_nothing_does_nothing(mlp):
    for frozen, x in networks(mlp):
        expected = frozen(x)
        for module in (frozen, nn.Sequential(frozen), nn.ModuleDict({"net": nn.Sequential(frozen)})):
            module.to("cpu").to(torch.device("cpu")).to(x.dtype).to(x).cpu().eval()
            module.train().share_memory().to(memory_format=torch.channels_last).requires_grad_(False)
            assert torch.equal(frozen(x), expected)
        assert not frozen.training


def test_hooks_on_a_frozen_network_run(mlp):
    frozen, x, seen = gs.freeze(mlp("fanin"), torch.randn(4, 32), keep="csr"), torch.randn(2, 32), []
    expected = frozen(x)
    hooks = [
        frozen.register_forward_hook(lambda _m, _x, y: y + 1),
        frozen.register_forward_pre_hook(lambda _m, _x: seen.append("before")),
        nn.modules.module.register_module_forward_hook(lambda _m, _x, _y: seen.append("every")),
    ]
    assert torch.equal(frozen(x), expected + 1)
    assert seen == ["before", "every"]
    for hook in hooks:
        hook.remove()
    assert torch.equal(frozen(x), expected)


def test_inputs_of_every_kind_are_read_as_the_model_reads_them(mlp, check_same):
    model = mlp("fanin")
    wide = torch.randn(64, 64)
    complex_ = torch.randn(4, 32, dtype=torch.complex64)
    with torch.inference_mode():
        inference = torch.randn(4, 32)
    inputs = {
        "negative bit": complex_.conj().imag,
        "negative view": torch._neg_view(torch.randn(4, 32)),
        "real part": complex_.conj().real,
        "transposed": wide[:32].t()[:4],
        "expanded": wide[:1, :32].expand(6, 32),
        "one number": torch.randn(1, 1).expand(3, 32),
        "reversed": wide[:, :32].flip(0),
        "strided": wide[::3, ::2],
        "wants a gradient": torch.randn(4, 32, requires_grad=True),
        "parameter": nn.Parameter(torch.randn(4, 32)),
        "inference": inference,
        "offset": torch.randn(4 * 32 + 1)[1:].view(4, 32),
        "three dimensions": torch.randn(2, 3, 32).transpose(0, 1),
    }
    for keep in ("fanin", "dense"):
        frozen = gs.freeze(model, torch.randn(4, 32), keep=keep)
        for name, x in inputs.items():
            with torch.no_grad():
                expected = model(x.detach())
            torch.testing.assert_close(frozen(x), expected, msg=lambda m, n=name: f"{n}: {m}")
            assert type(frozen(x)) is torch.Tensor


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(4, 32).to_sparse(),
        torch.randn(4, 32).to_sparse_csr(),
        torch.randn(4, 32).to_mkldnn(),
        torch.randn(4, 32, dtype=torch.complex64),
    ],
)
def test_inputs_of_another_layout_or_type_are_refused(mlp, x):
    for keep in ("fanin", "dense"):
        with pytest.raises(DtypeError, match="expected"):
            gs.freeze(mlp("fanin"), torch.randn(4, 32), keep=keep)(x)


def test_wrong_inputs_are_refused(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(4, 32), keep="csr")
    for bad, error in (
        (torch.randn(3, 31), ShapeError),
        (torch.randn(()), ShapeError),
        (torch.ones(3, 32).int(), DtypeError),
    ):
        with pytest.raises(error, match="expected"):
            frozen(bad)
    with pytest.raises(DtypeError, match="CPU"):
        frozen(torch.empty(3, 32, device="meta"))
    with pytest.raises(DtypeError, match="list"):
        frozen([1.0] * 32)


def test_bad_arguments_are_refused(mlp):
    model, x = mlp("fanin"), torch.randn(4, 32)
    with pytest.raises(ConfigError, match=r"one of fastest.*did you mean .fastest"):
        gs.freeze(model, x, keep="fastst")
    with pytest.raises(ConfigError, match="layers among"):
        gs.freeze(model, x, keep={"7": "csr"})
    with pytest.raises(ConfigError, match="sizes from 1"):
        gs.freeze(model, x, batch_sizes=[0])
    for bad in (torch.randn(32), torch.randn(0, 32), "x", ()):
        with pytest.raises(ShapeError, match="example"):
            gs.freeze(model, bad)
    with pytest.raises(DtypeError, match="on the CPU"):
        gs.freeze(nn.Linear(2, 2, device="meta"), x)


def test_candidates_that_fit_nothing_leave_dense(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(4, 32), candidates=["nm"])
    assert {row["chosen"] for row in frozen.plan["layers"]} == {"dense"}


def test_called_from_many_threads(mlp):
    frozen = gs.freeze(mlp("fanin"), torch.randn(4, 32), keep="fanin")
    inputs = [torch.randn(batch, 32) for batch in (1, 300, 7, 64)]
    expected = [frozen(x) for x in inputs]

    def client(number: int) -> bool:
        pick = number % len(inputs)
        return all(torch.equal(frozen(inputs[pick]), expected[pick]) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(client, range(16)))


def test_a_missing_core_is_replaced_by_the_operators(mlp, check_same, monkeypatch):
    def missing(_layers, **_how):
        raise KernelUnavailable("Chain", expected="the compiled core", got="none")

    monkeypatch.setattr("gossamer.network.chain_step.Chain", missing)
    model = mlp("nm:1:4")
    for keep in ("csr", "nm", "nm_lanes"):
        check_same(gs.freeze(model, torch.randn(4, 32), keep=keep), model, torch.randn(2, 3, 32))


def test_small_networks_freeze_in_seconds(mlp):
    start = time.perf_counter()
    gs.freeze(mlp("fanin", 0.05, widths=(256, 300, 300, 300, 10)), torch.randn(16, 256))
    assert time.perf_counter() - start < 6  # about 1.5 s; twice as much is allowed to a busy machine


def test_a_layer_whose_dense_form_does_not_fit_is_refused_before_it_is_made():
    """A packed layer of 2^19 connections, whose dense form would take 64 terabytes."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 22, 1 << 22, bias=False), nn.ReLU())
    gs.sparsify(model, 2.0**-22, gs.Unstructured(), "uniform", device="cpu")
    with pytest.raises(MemoryShortage, match="dense form of a layer 4194304 -> 4194304"):
        gs.freeze(model, torch.zeros(1, 1 << 22), keep="csr")


def test_a_model_that_does_not_fit_twice_is_refused_before_it_is_copied(monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 3, bias=False))
    monkeypatch.setattr("gossamer.measure.room.available_memory", lambda: 4 * (76 + 72) - 1)
    with pytest.raises(MemoryShortage, match=r"freeze: .*a copy of the model"):
        gs.freeze(model, torch.zeros(1, 2, 8, 8))
