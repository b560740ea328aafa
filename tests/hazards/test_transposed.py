"""The transposed index: right by its definition, never stale, counted, never made in vain, and the same bits always."""

from __future__ import annotations

import copy
import gc
import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError, TopologyError
from gossamer.kernels import pick, transposed_of, transposing
from gossamer.kernels.cpu import transposed
from gossamer.measure import threads
from gossamer.nn import count
from kernel_cases import Case, cases

BATCH = 64  # from here on it pays in float32
SINGLE = [c for c in cases() if c.layout in {"csr", "nm"} or (c.layout == "fanin" and c.shape[2] == 1)]
PATTERNS = [gs.Unstructured(), gs.FanIn(), gs.NM(1, 8)]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def layer_of(pattern: gs.FanIn, inputs: int = 48, outputs: int = 300) -> gs.SparseLinear:
    generator = torch.Generator().manual_seed(3)
    return gs.SparseLinear(inputs, outputs, density=0.125, pattern=pattern, generator=generator)


def input_gradient(layer: nn.Module, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """Gradient of the input, and of the output."""
    x = torch.randn(batch, layer.in_features, requires_grad=True)
    y = layer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    assert x.grad is not None
    return x.grad, upstream


def is_right(layer: gs.SparseLinear) -> bool:
    """Whether the input gradient is that of the connections that the layer has now."""
    got, upstream = input_gradient(layer)
    out, inputs = layer.shape
    dense = torch.zeros(out * inputs)
    dense[layer.topology.positions] = layer.values.detach()[: layer.connections]
    return torch.allclose(got, upstream @ dense.view(out, inputs), rtol=1e-4, atol=1e-5)


def make(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """starts, rows, order of a case."""
    row = pick("linear_grad_input", case.layout, torch.float32, "cpu")
    with transposing("always"):
        row.call(torch.zeros(1, case.shape[0]), torch.zeros(case.used), case.index, case.shape)
    starts, rows, order = transposed_of(case.index)
    return starts.long(), rows.long(), order.long()


@pytest.mark.parametrize("case", SINGLE, ids=lambda c: c.name)
def test_it_lists_every_connection_by_block_column_and_row(case: Case) -> None:
    """The definition, from the coordinates: one stable sort."""
    starts, rows, order = make(case)
    n_out, n_in = case.shape[:2]
    blocks = (starts.numel() - 1) // n_in
    size = -(-n_out // blocks)
    key = case.row // size * n_in + case.column
    assert torch.equal(order, torch.argsort(key, stable=True))
    assert torch.equal(rows, case.row[order] % size)
    counts = torch.bincount(key, minlength=blocks * n_in)
    assert torch.equal(starts, torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]))


@each_pattern
def test_a_new_topology_gets_a_new_one(pattern: gs.FanIn) -> None:
    layer = layer_of(pattern)
    for _ in range(3):
        assert is_right(layer)
        assert layer.transposed
        before = [tensor.clone() for tensor in layer.operands()]
        layer.reset_parameters(torch.Generator().manual_seed(int(layer.values.detach().sum() * 1e6)))
        assert any(not torch.equal(a, b) for a, b in zip(before, layer.operands(), strict=True))
        assert layer.transposed == ()


@pytest.mark.parametrize("rule", [gs.SET(every=1), gs.RigL(every=1), gs.SRigL(every=1)], ids=lambda r: r.name)
def test_training_with_updates_never_uses_a_stale_one(rule: gs.RigL) -> None:
    pattern = gs.FanIn() if rule.name == "srigl" else gs.Unstructured()
    layer = layer_of(pattern)
    optim = torch.optim.SGD(layer.parameters(), lr=0.01)
    engine = gs.attach(layer, optim, rule, total_steps=10)
    for _ in range(4):
        optim.zero_grad()
        assert is_right(layer)
        optim.step()
    assert sum(row.grown for row in engine.history) > 0


def test_an_index_that_is_written_to_gets_a_new_one() -> None:
    """In place, behind the layer's back, and by load_state_dict, which copies into its buffers."""
    layer, other = layer_of(gs.FanIn()), layer_of(gs.FanIn())
    other.reset_parameters(torch.Generator().manual_seed(4))
    assert is_right(layer)
    layer.col.copy_(other.col)
    assert layer.transposed == ()
    assert is_right(layer)
    layer.load_state_dict(layer_of(gs.FanIn()).state_dict())
    assert is_right(layer)


def pickled(layer: nn.Module) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return file


def test_copies_and_pickles_make_their_own() -> None:
    layer = layer_of(gs.FanIn())
    before = list(layer.state_dict()), len(pickled(layer).getvalue())
    input_gradient(layer)
    layer.zero_grad()
    assert (list(layer.state_dict()), len(pickled(layer).getvalue())) == before
    for twin in (copy.deepcopy(layer), torch.load(pickled(layer), weights_only=False)):
        assert twin.transposed == ()
        assert is_right(twin)


def test_it_goes_with_its_index() -> None:
    gc.collect()
    before = len(transposed._kept)
    layer = layer_of(gs.FanIn())
    input_gradient(layer)
    assert len(transposed._kept) == before + 1
    del layer
    gc.collect()
    assert len(transposed._kept) == before


def test_it_is_made_once() -> None:
    layer = layer_of(gs.Unstructured())
    input_gradient(layer)
    first = layer.transposed
    input_gradient(layer, 100)
    assert all(a is b for a, b in zip(first, layer.transposed, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_model_makes_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = [], transposed._make
    monkeypatch.setattr(transposed, "_make", lambda matrix, **how: made.append(matrix) or real(matrix, **how))
    torch.compiler.reset()
    layer = layer_of(gs.FanIn())
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        x = torch.randn(BATCH, 48, requires_grad=True)
        compiled(x).sum().backward()
    assert len(made) == 1
    assert layer.transposed


def test_it_is_made_only_where_it_pays() -> None:
    """Not for data, which needs no gradient; not for a small batch, for groups, or where it is switched off."""
    model = nn.Sequential(layer_of(gs.FanIn()), nn.ReLU(), layer_of(gs.FanIn(), 300, 20))
    model(torch.randn(BATCH, 48)).sum().backward()
    assert model[0].transposed == ()
    assert model[2].transposed
    small, grouped, off = layer_of(gs.FanIn()), layer_of(gs.FanIn(4)), layer_of(gs.FanIn())
    input_gradient(small, BATCH - 1)
    input_gradient(grouped)
    with transposing("never"):
        input_gradient(off)
    assert small.transposed == grouped.transposed == off.transposed == ()


@each_pattern
def test_its_bytes_are_counted(pattern: gs.FanIn) -> None:
    layer = layer_of(pattern)
    (before,) = count(layer)
    input_gradient(layer)
    (after,) = count(layer)
    held = sum(t.numel() * t.element_size() for t in layer.transposed)
    assert held == 6 * layer.connections + 4 * layer.transposed[0].numel()
    assert (before.transposed_bytes, after.transposed_bytes) == (0, held)
    assert after.bytes == before.bytes + held
    assert after.index_bytes == before.index_bytes


@pytest.mark.parametrize("shape", [(3072, 768, 0.1), (100_000, 1000, 0.0003), (400, 70_000, 0.0025)])
def test_beside_rows_and_order_it_takes_little(shape: tuple[int, int, float]) -> None:
    """Starts: at most a third of a byte a connection, and 8 an input, in whatever shape."""
    inputs, outputs, density = shape
    layer = gs.SparseLinear(inputs, outputs, density=density)
    with transposing("always"):
        input_gradient(layer, 1)
    assert 4 * layer.transposed[0].numel() <= layer.connections / 3 + 8 * inputs + 4


def test_it_is_not_made_where_columns_start_in_vain() -> None:
    """Four blocks of rows, and a connection for every fourth input: the starts would be sixteen times the rest."""
    layer = gs.SparseLinear(200_000, 200_000, density=50_000 / 200_000**2, pattern=gs.Unstructured())
    input_gradient(layer, BATCH)
    assert layer.transposed == ()


@each_pattern
def test_two_threads_give_the_bits_of_one(pattern: gs.FanIn) -> None:
    layer = layer_of(pattern, 512, 1024)
    x, upstream = torch.randn(130, 512, requires_grad=True), torch.randn(130, 1024)
    bits = []
    for number in (1, 2, 3):
        with threads(number):
            bits.append(torch.autograd.grad(layer(x), x, upstream)[0])
    assert layer.transposed
    assert torch.equal(bits[0], bits[1])
    assert torch.equal(bits[0], bits[2])


def test_a_broken_index_is_refused_before_it_is_turned() -> None:
    layer = layer_of(gs.Unstructured())
    layer.col[0], layer.col[1] = int(layer.col[1]), int(layer.col[0])
    with pytest.raises(TopologyError, match=r"SparseLinear 48 -> 300.*unsorted"):
        input_gradient(layer)


def test_inference_tensors_are_scattered_from() -> None:
    """They do not count how often they are written to, so nothing may be kept for them."""
    case = next(c for c in SINGLE if c.name == "fanin-all")
    with torch.inference_mode():
        index = [tensor.clone() for tensor in case.index]
        row = pick("linear_grad_input", case.layout, torch.float32, "cpu")
        with transposing("always"):
            row.call(torch.zeros(1, case.shape[0]), torch.zeros(case.used), index, case.shape)
    assert transposed_of(index) == ()


@pytest.fixture
def word_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    token = transposed._mode.set("sometimes")  # as the environment variable sets it
    yield
    transposed._mode.reset(token)


@pytest.mark.usefixtures("word_of_the_environment")
def test_an_unknown_word_of_the_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, always, never"):
        input_gradient(layer_of(gs.FanIn()))


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, always, never"), transposing("sometimes"):
        pass
