"""Products through a dense weight: chosen where they pay, right, never stale, counted, and gone with their tensors."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import ops
from gossamer.errors import ConfigError
from gossamer.kernels import cost, dense_of, densifying, use
from gossamer.kernels.cpu import densified
from gossamer.layouts import layout, layouts
from gossamer.measure import threads
from gossamer.nn import count
from kernel_cases import Case, cases

PATTERNS = [gs.Unstructured(), gs.FanIn(), gs.FanIn(4), gs.NM(2, 4), gs.Block(4, 4)]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=str)
TRAINED = [c for c in cases() if c.layout in {"csr", "fanin", "nm", "block"}]
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "dense_crossover.json"


def layer_of(pattern: gs.FanIn, inputs: int = 64, outputs: int = 96, density: float = 0.5) -> gs.SparseLinear:
    generator = torch.Generator().manual_seed(3)
    return gs.SparseLinear(inputs, outputs, density=density, pattern=pattern, generator=generator)


def gradients(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Output, and gradients of input, values and bias."""
    x = x.detach().requires_grad_()
    y = layer(x)
    upstream = torch.linspace(-1, 1, y.numel()).view_as(y)
    return (y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], upstream))


@pytest.mark.parametrize("case", TRAINED, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scatter_and_gather_are_inverse_by_the_definition(case: Case, dtype: torch.dtype) -> None:
    values = torch.randn(case.used + 3, dtype=dtype)
    weight = densified.scatter(
        torch.zeros(case.shape[:2], dtype=dtype), values, case.index, case.layout, case.shape
    )
    assert torch.equal(weight, case.dense(values))
    back = densified.gather(weight, values, case.index, case.layout, case.shape)
    assert torch.equal(back[: case.used], values[: case.used])
    assert not back[case.used :].any()


@each_pattern
@pytest.mark.parametrize("batch", [0, 1, 3, 16, 130])
def test_both_ways_agree(pattern: gs.FanIn, batch: int) -> None:
    """Forced on and forced off: to rounding the same, and in the same memory order."""
    layer, x = layer_of(pattern), torch.randn(batch, 64)
    for given in (x, torch.randn(64, batch).T):
        with densifying("never"):
            wanted = gradients(layer, given)
        with densifying("always"):
            got = gradients(layer, given)
        assert layer.densified
        for mine, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
            assert mine.stride() == other.stride()


@each_pattern
def test_training_agrees_with_the_masked_layer_step_by_step(pattern: gs.FanIn) -> None:
    """Optimizers write in place: every step needs the weight of its own values."""
    packed = layer_of(pattern)
    masked = gs.MaskedLinear(64, 96, density=0.5, pattern=pattern)
    masked.assign(packed.topology, packed.values.detach()[: packed.connections])
    pair = [(layer, torch.optim.Adam(layer.parameters(), lr=0.01)) for layer in (packed, masked)]
    for step in range(4):
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        losses = []
        for layer, optim in pair:
            optim.zero_grad()
            with densifying("always"):
                loss = layer(x).square().mean()
                loss.backward()
            optim.step()
            losses.append(loss.detach())
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)


@each_pattern
def test_gradients_of_first_and_second_order(pattern: gs.FanIn) -> None:
    layer = gs.SparseLinear(8, 8, density=0.5, pattern=pattern, dtype=torch.float64)
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        dims = pattern.dims(layer.shape)
        return ops.linear(x, values, layer.operands(), bias, pattern.layout, dims)

    with densifying("always"):
        assert torch.autograd.gradcheck(run, (x, layer.values, layer.bias))
        assert torch.autograd.gradgradcheck(run, (x, layer.values, layer.bias))


@each_pattern
def test_the_operators_pass_opcheck(pattern: gs.FanIn) -> None:
    layer = layer_of(pattern, 16, 16)
    values, index, bias = layer.values.detach(), layer.operands(), layer.bias.detach()
    dims, x = list(pattern.dims(layer.shape)), torch.randn(17, 16)
    with densifying("always"):
        for name, operands in (
            ("linear", (x, values, index, bias, pattern.layout, dims, True)),
            ("linear_grad_input", (x, values, index, pattern.layout, dims)),
            ("linear_grad_values", (x, x, values, index, pattern.layout, dims)),
        ):
            torch.library.opcheck(getattr(torch.ops.gossamer, name).default, operands)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_and_exported_models_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled step scatters once, as an eager one does."""
    written, real = [], densified.scatter
    monkeypatch.setattr(densified, "scatter", lambda *given: written.append(1) or real(*given))
    torch.compiler.reset()
    layer, x = layer_of(gs.FanIn()), torch.randn(32, 64)
    with densifying("always"):
        wanted = gradients(layer, x)
        assert len(written) == 1
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for mine, other in zip(gradients(compiled, x), wanted, strict=True):
            torch.testing.assert_close(mine, other)
        with torch.no_grad():
            exported = torch.export.export(layer, (x,)).module()
            torch.testing.assert_close(exported(x), wanted[0])


def test_values_that_are_written_to_are_scattered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = [], densified.scatter
    monkeypatch.setattr(densified, "scatter", lambda *given: written.append(1) or real(*given))
    layer, x = layer_of(gs.FanIn()), torch.randn(8, 64)
    optim = torch.optim.SGD(layer.parameters(), lr=0.1)
    with densifying("always"):
        for step in range(1, 4):
            layer(x).sum().backward()
            assert len(written) == step, "once for the step, not again for its backward pass"
            optim.step()
        with torch.no_grad():
            for _ in range(3):
                layer(x)
        assert len(written) == 4


def test_writes_behind_the_back_of_autograd_are_seen() -> None:
    """Through ``.data`` nothing is counted: an average of weights kept so, then evaluated, must not be an old one."""
    layer, x = layer_of(gs.FanIn()), torch.randn(8, 64)
    with densifying("always"), torch.no_grad():
        layer(x)
        for place in (0, -1):
            layer.values.data[place] += 1
            got = layer(x)
            with densifying("never"):
                torch.testing.assert_close(got, layer(x), rtol=1e-4, atol=1e-5)
        before = layer(x)
        layer.values.data.copy_(layer.values.flip(0))
        assert not torch.allclose(layer(x), before)


@pytest.mark.parametrize("rule", [gs.SET(every=1), gs.RigL(every=1)], ids=lambda r: r.name)
def test_a_new_topology_leaves_nothing_behind(rule: gs.RigL) -> None:
    """Connections that are gone must not stay in the weight."""
    layer = layer_of(gs.Unstructured())
    optim = torch.optim.SGD(layer.parameters(), lr=0.01)
    engine = gs.attach(layer, optim, rule, total_steps=10)
    for _ in range(4):
        optim.zero_grad()
        with densifying("always"):
            layer(torch.randn(16, 64)).square().sum().backward()
        (weight,) = layer.densified
        full = torch.zeros(96 * 64)
        full[layer.topology.positions] = layer.values.detach()[: layer.connections]
        assert torch.equal(weight.flatten(), full)
        optim.step()
        assert layer.densified == ()
    assert sum(row.grown for row in engine.history) > 0


def test_it_goes_with_its_tensors_and_copies_make_their_own() -> None:
    gc.collect()
    before = len(densified._kept)
    layer, x = layer_of(gs.FanIn()), torch.randn(2, 64)
    names = list(layer.state_dict())
    with densifying("always"):
        layer(x)
    assert len(densified._kept) == before + 1
    assert list(layer.state_dict()) == names
    twin = copy.deepcopy(layer)
    assert twin.densified == ()
    values = layer.values
    layer.reset_parameters(torch.Generator().manual_seed(9))
    assert len(densified._kept) == before, "the index went, and the weight with it"
    del layer, values, twin
    gc.collect()
    assert len(densified._kept) == before


def test_its_bytes_are_counted() -> None:
    layer = layer_of(gs.FanIn())
    (before,) = count(layer)
    with densifying("always"):
        layer(torch.randn(2, 64))
    (after,) = count(layer)
    assert (before.dense_bytes, after.dense_bytes) == (0, 4 * 64 * 96)
    assert after.bytes == before.bytes + after.dense_bytes


@each_pattern
def test_with_few_connections_it_never_engages(pattern: gs.FanIn) -> None:
    sparse, density = (gs.NM(1, 8), 0.125) if isinstance(pattern, gs.NM) else (pattern, 0.1)
    layer = layer_of(sparse, 256, 256, density)
    for batch in (1, 4, 256):
        gradients(layer, torch.randn(batch, 256))
        with torch.no_grad():
            layer(torch.randn(batch, 256))
        assert layer.densified == ()
    assert layer.explain().splitlines()[1] == "  dense weight: not below a density of 0.4"


def test_the_choice_at_the_extremes() -> None:
    """Nearly all connections, a large batch: dense. At 40 % grouped, or for a step on one sample: the kernel."""
    full = 3 * 768 * 3072 // 4
    many = cost.estimates("csr", (3072, 768), full, 1024, True)
    assert all(found.pays for found in many.values())
    assert cost.estimates("nm", (3072, 768, 2, 4), 768 * 1536, 1, False)["linear"].pays
    half = cost.estimates("csr", (3072, 768), 768 * 1536, 1, True)
    assert not half["linear"].pays, "writing every value for one sample"
    assert not cost.estimates("fanin", (3072, 768, 4), int(0.41 * 3072 * 768), 256, True)["linear"].pays
    below = cost.estimates("csr", (3072, 768), int(0.39 * 3072 * 768), 1, False)
    assert not any(found.pays for found in below.values())


RATES = {rates.name: rates for name in layouts for rates in layout(name).rates}


@pytest.mark.parametrize("kind", sorted(RATES))
def test_more_connections_never_speak_against_dense(kind: str) -> None:
    name, _, side = kind.partition(":")
    more = {"csr": (), "fanin": (int(side or 1),), "nm": (int(side or 1), 4), "block": (int(side or 1),) * 2}[
        name
    ]
    for op in cost.DENSE:
        for batch in (1, 3, 16, 100, 5000):
            shares = (0.3, 0.45, 0.6, 0.8, 1.0)
            pays = [
                cost.estimates(name, (1024, 1024, *more), int(share * 2**20), batch, False)[op].pays
                for share in shares
            ]
            assert pays == sorted(pays)


def test_the_constants_are_those_that_were_measured() -> None:
    measured = json.loads(RESULTS.read_text())["constants"]
    assert {op: list(row) for op, row in cost.DENSE.items()} == measured["DENSE"]
    sparse = {kind: {op: list(getattr(each, op)) for op in cost.DENSE} for kind, each in RATES.items()}
    assert sparse == measured["SPARSE"]
    assert {kind: list(each.move) for kind, each in RATES.items()} == measured["MOVE"]
    assert (cost.CHECK, list(cost.CALL)) == (measured["CHECK"], measured["CALL"])


def test_explain_gives_the_times_and_the_reason() -> None:
    layer = layer_of(gs.NM(2, 4), 1024, 1024)
    text = layer.explain(1)
    assert "dense weight: chosen: " in text
    assert "estimated" in text
    assert "fits, but a faster one comes first" in text
    with torch.no_grad():
        layer(torch.randn(1, 1024))
    assert layer.densified, "what explain says is what runs"
    assert [line for line in layer.explain(64, training=True).splitlines() if line[0] != " "] == [
        "linear",
        "linear_grad_input",
        "linear_grad_values",
    ]
    with densifying("never"):
        assert "kernels.densifying says never" in layer.explain(1)
    with densifying("always"):
        assert "forced by kernels.densifying" in layer.explain(1)
    with use("reference"):
        assert "dense weight: reference is forced" in layer.explain(1)


@each_pattern
def test_two_threads_give_the_values_of_one(pattern: gs.FanIn) -> None:
    layer, x = layer_of(pattern, 512, 1024), torch.randn(64, 512)
    found = []
    for number in (1, 2):
        with threads(number), densifying("always"):
            layer(x)
            found.append(layer.densified[0].clone())
            layer.values.data.add_(0)
    assert torch.equal(*found)


def test_inference_tensors_keep_nothing() -> None:
    layer = layer_of(gs.NM(2, 4), 1024, 1024)
    x = torch.randn(1, 1024)
    with torch.inference_mode():
        values, index = layer.values.clone(), [tensor.clone() for tensor in layer.operands()]
        for mode in ("auto", "always"):
            with densifying(mode):
                y = ops.linear(x, values, index, None, "nm", layer.pattern.dims(layer.shape))
            torch.testing.assert_close(y, layer(x) - layer.bias, rtol=1e-4, atol=1e-5)
            assert dense_of(index, values) == ()


@pytest.fixture
def word_of_the_environment() -> Iterator[None]:
    token = densified._mode.set("sometimes")  # as the environment variable sets it
    yield
    densified._mode.reset(token)


@pytest.mark.usefixtures("word_of_the_environment")
def test_an_unknown_word_of_the_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, always, never"):
        layer_of(gs.FanIn())(torch.randn(1, 64))


@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn()], ids=str)
def test_connections_that_are_gone_are_not_counted(pattern: gs.FanIn) -> None:
    """A layer that lost nine tenths goes the way of one born that small, in all three products."""
    many, few = (layer_of(pattern, 256, 256, density) for density in (0.8, 0.08))
    x = torch.randn(256, 256)
    gradients(many, x)
    assert many.densified, "with all of its connections it pays"
    many.assign(few.topology, few.values.detach()[: few.connections])
    assert many.explain(256, training=True) == few.explain(256, training=True)
    for mine, wanted in zip(gradients(many, x), gradients(few, x), strict=True):
        used = few.connections if mine.shape != wanted.shape else len(mine)  # of the values' gradient
        assert torch.equal(mine[:used], wanted[:used])
    with torch.no_grad():
        assert torch.equal(many(x), few(x))
    assert not many.densified
