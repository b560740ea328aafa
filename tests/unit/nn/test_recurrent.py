"""LSTM, GRU and RNN of both homes against torch's own, with every option; gradients, growth, refusals."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

import gossamer as gs
from gossamer import ops
from gossamer.errors import ConfigError, DtypeError, GossamerError, PatternError, ShapeError
from gossamer.kernels.cpu import recurrent as core
from gossamer.nn import GRU, LSTM, RNN, Recurrent, SparseGates, SparseModule

CELLS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "tanh": RNN, "relu": RNN}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep, both directions": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True, "bidirectional": True},
    "no bias": {"bias": False},
    "packed": {"num_layers": 2, "bidirectional": True, "lengths": [2, 5, 1]},
    "packed, sorted": {"lengths": [5, 5, 2], "batch_first": True},
    "one sequence": {"num_layers": 2, "width": 1},
    "no batch": {"bidirectional": True, "width": None},
    "state": {"num_layers": 2, "bidirectional": True, "state": True},
    "state, packed": {"bidirectional": True, "lengths": [1, 5, 3], "state": True},
    "state, no batch": {"width": None, "state": True},
}
cells = pytest.mark.parametrize("cell", CELLS)
homes = pytest.mark.parametrize("home", ["packed", "masked"])
TIMES, INPUTS, HIDDEN = 5, 6, 8


def make(cell: str, home: str = "packed", pattern: Any = "block:2:2", **options: Any) -> Recurrent:
    """A layer in float64 with biases that are not zero."""
    torch.manual_seed(0)
    given = {"density": 0.5, "dtype": torch.float64, "home": home, "pattern": pattern, **options}
    named = {} if CELLS[cell] is not RNN else {"nonlinearity": cell}
    layer: Recurrent = CELLS[cell](INPUTS, HIDDEN, **named, **given)
    for part in layer.children():
        if part.bias is not None:
            nn.init.normal_(part.bias)
    return layer


def call(options: dict[str, Any], lstm: bool) -> tuple[Any, Any]:
    """Inputs of a call: sequences, and a state or None."""
    width, first = options.get("width", 3), options.get("batch_first")
    size = (TIMES, INPUTS) if width is None else (width, TIMES, INPUTS) if first else (TIMES, width, INPUTS)
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    state = None
    if options.get("state"):
        count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
        shape = (count, HIDDEN) if width is None else (count, width, HIDDEN)
        state = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(1 + lstm)]
    return x, state


def run(layer: nn.Module, options: dict[str, Any], x: Tensor, state: list[Tensor] | None) -> list[Tensor]:
    """Output and last states as a list of tensors."""
    given: Any = x
    if "lengths" in options:
        sorted_ = options["lengths"] == sorted(options["lengths"], reverse=True)
        given = pack_padded_sequence(x, options["lengths"], bool(options.get("batch_first")), sorted_)
    hx = None if state is None else tuple(state) if len(state) > 1 else state[0]
    y, last = layer(given, hx)
    if isinstance(given, PackedSequence):
        assert (isinstance(y, PackedSequence) and y[1:] == given[1:]) or y.batch_sizes is given.batch_sizes
        y = y.data
    return [y, *(last if isinstance(last, tuple) else (last,))]


def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Of a loss in which every output has weights of its own."""
    generator = torch.Generator().manual_seed(1)
    loss = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in outputs)
    return list(torch.autograd.grad(loss, inputs))  # type: ignore[arg-type]


@cells
@homes
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_outputs_states_and_gradients_are_those_of_torch(
    cell: str, home: str, options: dict[str, Any]
) -> None:
    """With the dense weights of ours; the gradient of a value is that of its place in the dense weight."""
    layer = make(
        cell, home, **{name: options[name] for name in options if name not in ("lengths", "width", "state")}
    )
    dense, (x, state) = layer.to_torch(), call(options, cell == "lstm")
    ours, theirs = run(layer, options, x, state), run(dense, options, x, state)
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, right)
    parts = dict(layer.named_children())
    inputs = [x, *(state or [])]
    got = gradients(ours, [*inputs, *(part.weights for part in parts.values())])
    right = gradients(theirs, [*inputs, *(getattr(dense, f"weight_{name}") for name in parts)])
    for number, part in enumerate([None] * len(inputs) + list(parts.values())):
        mine = got[number] if part is None or home == "masked" else part.unpacked(got[number])
        mask = 1 if part is None else part.topology.mask()
        torch.testing.assert_close(mine, right[number] * mask)
    if layer.bias:
        names = [f"bias_{name}" for name in parts]
        mine = gradients(run(layer, options, x, state), [part.bias for part in parts.values()])
        other = gradients(run(dense, options, x, state), [getattr(dense, name) for name in names])
        torch.testing.assert_close(mine, other)


@cells
def test_a_layer_and_direction_is_one_call_of_the_core_each_way(cell: str) -> None:
    """Whatever the number of time steps; nothing of it runs step by step in Python."""
    layer, x = make(cell, num_layers=2, bidirectional=True), torch.randn(50, 3, INPUTS, dtype=torch.float64)
    with (
        mock.patch.object(core, "forward", wraps=core.forward) as forward,
        mock.patch.object(core, "backward", wraps=core.backward) as backward,
        mock.patch("gossamer.ops.recurrent_steps._step", side_effect=AssertionError),
    ):
        layer(x)[0].sum().backward()
    assert forward.call_count == backward.call_count == 4


@cells
def test_first_and_second_derivatives_pass_gradcheck(cell: str) -> None:
    """With respect to input, values, bias and state; the gradient of the sums adds up to that of the bias."""
    layer = make(cell, pattern="unstructured")
    part, lstm = layer.hh_l0, cell == "lstm"
    active = torch.tensor([2, 1])
    x = torch.randn(3, part.shape[0], dtype=torch.float64, requires_grad=True)
    state = [torch.randn(2, HIDDEN, dtype=torch.float64, requires_grad=True) for _ in range(1 + lstm)]
    offset = torch.zeros_like(x, requires_grad=True)
    about = (part.pattern.layout, part.pattern.dims(part.shape))

    def f(x: Tensor, values: Tensor, bias: Tensor, *state: Tensor) -> Any:
        h, c = state if lstm else (*state, None)
        y, h, c = ops.recurrent(x, values, part.operands(), bias, (h, c), active, cell, *about, True, offset)
        return (y, h) if c is None else (y, h, c)

    given = (x, part.values.detach().clone().requires_grad_(), part.bias, *state)
    assert torch.autograd.gradcheck(f, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, given, fast_mode=True)
    for again in (False, True):
        sums, bias = torch.autograd.grad(f(*given)[0].sum(), [offset, part.bias], create_graph=again)
        torch.testing.assert_close(sums.sum(0), bias)


@homes
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_growth_sees_the_dense_gradient_of_both_matrices(cell: str, home: str) -> None:
    """Also where nothing is stored: the tiles put together are torch's gradient of the dense weight."""
    layer = make(cell, home, "unstructured", bidirectional=True)
    options = {"lengths": [2, 5, 3], "bidirectional": True}
    x, _ = call(options, False)
    parts = dict(layer.named_children())
    for part in parts.values():
        part.tape.arm(part.weights, True)
    dense = layer.to_torch()
    for each in (layer, dense):
        generator = torch.Generator().manual_seed(2)
        y = run(each, options, x, None)[0]
        (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum().backward()
    for name, part in parts.items():
        whole = torch.full(part.shape, torch.nan, dtype=torch.float64)
        for rows, cols, tile in part.gradient_scores(name).tiles():
            whole[rows, cols] = tile
        torch.testing.assert_close(whole, getattr(dense, f"weight_{name}").grad)


def test_no_block_has_rows_of_two_gates() -> None:
    """A hidden size that blocks do not divide is refused, by the constructor and by sparsify, which changes nothing."""
    with pytest.raises(PatternError, match=r"a gate of a recurrent layer: .* got 6 x 8"):
        GRU(8, 6, density=0.5, pattern="block:4")  # 18 rows in three gates of 6
    with pytest.raises(PatternError):
        LSTM(8, 6, density=0.5, pattern="fanin:4")  # 24 rows, which 4 divides
    model = nn.ModuleDict({"rnn": nn.LSTM(8, 6)})
    before = model["rnn"]
    with pytest.raises(PatternError, match=r"rnn\.ih_l0"):
        gs.sparsify(model, 0.5, "block:4:2")
    assert model["rnn"] is before
    assert next(iter(model.state_dict())) == "rnn.weight_ih_l0"
    blocks = LSTM(8, 8, density=0.25, pattern="block:4:4").hh_l0.to_dense().view(4, 2, 4, 2, 4)
    whole = (blocks != 0).all(4).all(2) | (blocks == 0).all(4).all(2)
    assert whole.all()


@pytest.mark.parametrize(
    ("x", "hx", "said"),
    [
        (torch.zeros(5, 3, 7), None, "expected 6 inputs, got 7"),
        (torch.zeros(0, 3, 6), None, "at least one time"),
        (torch.zeros(6), None, r"\[times, batch, inputs\]"),
        ([[1.0]], None, "got list"),
        (torch.zeros(5, 3, 6), torch.zeros(1, 2, 8), r"\(1, 3, 8\) each, got \(1, 2, 8\)"),
        (torch.zeros(5, 3, 6), (torch.zeros(1, 3, 8),) * 2, "a state h, .* got tuple"),
        (torch.zeros(5, 6), torch.zeros(1, 1, 8), r"\(1, 8\) each"),
    ],
)
def test_calls_that_do_not_fit_are_refused(x: Any, hx: Any, said: str) -> None:
    """As by torch, in one sentence."""
    with pytest.raises(ShapeError, match=said):
        GRU(6, 8, density=0.5)(x, hx)


def test_an_lstm_wants_two_states_and_numbers_of_one_kind() -> None:
    """A single tensor, or a state in another dtype, is no state of it."""
    lstm, x, h = LSTM(6, 8, density=0.5), torch.zeros(5, 3, 6), torch.zeros(1, 3, 8)
    with pytest.raises(ShapeError, match=r"a state \(h, c\)"):
        lstm(x, h)
    with pytest.raises(GossamerError):
        lstm(x, (h.double(), h.double()))
    with pytest.raises(DtypeError):
        lstm(x.double())


def test_settings_that_torch_refuses_or_we_do_not_have_are_refused_by_name() -> None:
    """Projections, sizes, cells."""
    for wrong, said in (
        ({"proj_size": 2}, "proj_size=0"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 2.0}, "dropout"),
        ({"home": "dense"}, "home"),
        ({"hiden": 1}, "hiden="),
    ):
        with pytest.raises(ConfigError, match=said):
            LSTM(4, 4, density=0.5, **wrong)
    with pytest.raises(ConfigError, match="nonlinearity"):
        RNN(4, 4, nonlinearity="sine", density=0.5)
    with pytest.raises(ConfigError, match="hidden_size"):
        GRU(4, 0, density=0.5)


@cells
def test_empty_batches_and_nan_are_as_in_torch(cell: str) -> None:
    """No sequences give no outputs; NaN reaches what depends on it, and the other sequence not."""
    layer = make(cell)
    empty = torch.zeros(5, 0, INPUTS, dtype=torch.float64, requires_grad=True)
    y, _ = layer(empty)
    y.sum().backward()
    assert y.shape == layer.to_torch()(empty)[0].shape == (5, 0, HIDDEN)
    x = torch.zeros(3, 2, INPUTS, dtype=torch.float64)
    x[1, 0] = torch.nan
    mine, right = layer(x)[0], layer.to_torch()(x)[0]
    assert torch.equal(mine[:, 1].isnan(), right[:, 1].isnan())
    assert not mine[:, 1].isnan().any()
    assert mine[1:, 0].isnan().any(1).all()
    assert not mine[0].isnan().any()


def test_dropout_acts_between_layers_in_training_alone() -> None:
    """A dropout of 1 cuts all but the last layer off."""
    layer, x = make("gru", num_layers=2, dropout=1.0), torch.randn(4, 2, INPUTS, dtype=torch.float64)
    assert torch.equal(layer(x)[0], layer(torch.zeros_like(x))[0])
    torch.testing.assert_close(layer.eval()(x)[0], layer.to_torch()(x)[0])


@homes
def test_copies_and_states_compute_the_same(home: str) -> None:
    """deepcopy, pickle, torch.save, and a state dict in a layer with another topology."""
    layer, x = make("lstm", home, bidirectional=True), torch.randn(4, 2, INPUTS, dtype=torch.float64)
    other, file = make("lstm", home, bidirectional=True), io.BytesIO()
    other.reset_parameters(torch.Generator().manual_seed(5))
    assert not torch.equal(other(x)[0], layer(x)[0])
    other.load_state_dict(layer.state_dict())
    torch.save(layer, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), read):  # noqa: S301
        assert torch.equal(same(x)[0], layer(x)[0])
    values = "values" if home == "packed" else "weight"
    assert f"hh_l0_reverse.{values}" in layer.state_dict()
    layer.flatten_parameters()  # as code for torch's layers does


def test_what_hangs_on_a_matrix_is_not_passed_by() -> None:
    """Hooks on a recurrent matrix run, at every step; results are the same."""
    layer, x = make("gru"), torch.randn(4, 2, INPUTS, dtype=torch.float64)
    before, calls = layer(x)[0], list[Any]()
    layer.hh_l0.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(layer(x)[0], before)
    assert len(calls) == 4


def test_other_dtypes_and_the_reference_run_step_by_step() -> None:
    """bfloat16 has no kernel with gradients; a forced reference is obeyed."""
    layer, x = make("lstm", dtype=torch.bfloat16), torch.randn(3, 2, INPUTS, dtype=torch.bfloat16)
    layer(x)[0].sum().backward()
    assert layer.hh_l0.values.grad is not None
    layer, x = make("lstm"), torch.randn(3, 2, INPUTS, dtype=torch.float64)
    right = layer(x)[0]
    with gs.kernels.use("reference"), mock.patch.object(core, "forward", side_effect=AssertionError):
        torch.testing.assert_close(layer(x)[0], right)


def test_autocast_computes_in_float32() -> None:
    """As all sparse products do."""
    layer, x = GRU(6, 8, density=0.5), torch.randn(3, 2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x.bfloat16().float())[0])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_operators_pass_opcheck_and_compile_whole(cell: str) -> None:
    """Forward and backward, without a break in the graph."""
    layer = make(cell)
    part, x = layer.hh_l0, torch.randn(4, make(cell).hh_l0.shape[0], dtype=torch.float64)
    h = torch.zeros(2, HIDDEN, dtype=torch.float64)
    c, about = (
        h if cell == "lstm" else None,
        (cell, part.pattern.layout, part.pattern.dims(part.shape), False),
    )
    index, values = part.operands(), part.values.detach()
    given = (x, values, index, part.bias.detach(), h, c, None, *about, True)
    torch.library.opcheck(torch.ops.gossamer.recurrent.default, given)
    kept = torch.ops.gossamer.recurrent.default(*given)[3]
    back = (
        x[:, :HIDDEN],
        None,
        None,
        torch.zeros(4, HIDDEN, dtype=torch.float64),
        kept,
        values,
        index,
        None,
        2,
    )
    torch.library.opcheck(torch.ops.gossamer.recurrent_backward.default, (*back, *about))
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 2, INPUTS, dtype=torch.float64)
    mine = gradients([compiled(x)[0]], list(layer.parameters()))
    torch.testing.assert_close(mine, gradients([layer(x)[0]], list(layer.parameters())))


def test_operands_that_would_be_read_past_their_end_are_refused() -> None:
    """Of the operators themselves, which anybody may call."""
    part = make("gru").hh_l0
    x, h = torch.zeros(4, 3 * HIDDEN, dtype=torch.float64), torch.zeros(2, HIDDEN, dtype=torch.float64)
    index, values, about = (
        part.operands(),
        part.values.detach(),
        (part.pattern.layout, part.pattern.dims(part.shape)),
    )
    run, back = torch.ops.gossamer.recurrent.default, torch.ops.gossamer.recurrent_backward.default
    for given in (
        (x[:, 1:], h, None, None, "gru"),
        (x, h[:, 1:], None, None, "gru"),
        (x, h, h, None, "gru"),
        (x, h, None, torch.tensor([2, 3]), "gru"),
        (x, h, None, torch.tensor([2, 1]), "gru"),
        (x, h, None, torch.tensor([2, -1, 3]), "gru"),
        (x, h, None, None, "lstm"),
        (x, h, None, None, "other"),
        (x[:3], h, None, None, "gru"),
    ):
        with pytest.raises(ShapeError):
            run(given[0], values, index, None, *given[1:], *about, False, True)
    kept = run(x, values, index, None, h, None, None, "gru", *about, False, True)[3]
    before = x[:, :HIDDEN]
    for wrong in (
        (None, None, None, before, kept[1:]),
        (before[1:], None, None, before, kept),
        (None, h[1:], None, before, kept),
        (None, None, None, before[1:], kept),
    ):
        with pytest.raises(ShapeError):
            back(*wrong, values, index, None, 2, "gru", *about, False)


def test_transforms_follow_the_definition() -> None:
    """vmap over inputs, and a forward-mode derivative."""
    layer, x = make("gru"), torch.randn(3, 4, 2, INPUTS, dtype=torch.float64)
    many = torch.vmap(lambda each: layer(each)[0])(x)
    torch.testing.assert_close(many, torch.stack([layer(each)[0] for each in x]))
    _, tangent = torch.func.jvp(lambda each: layer(each)[0], (x[0],), (x[1],))
    step = (layer(x[0] + 1e-6 * x[1])[0] - layer(x[0] - 1e-6 * x[1])[0]) / 2e-6
    torch.testing.assert_close(tangent, step, rtol=1e-6, atol=1e-8)


class Caller(nn.Module):
    """A recurrent layer, called with the batch first."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        """The output alone."""
        y: Tensor = self.rnn(x.transpose(0, 1))[0]
        return y


class Reader(nn.Module):
    """A model with a recurrent layer, which it holds in a list as well."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = (
            nn.LSTM(INPUTS, HIDDEN, 2, bidirectional=True, batch_first=True),
            nn.Linear(16, 4),
        )
        self.rnn.note, self.layers = "mine", [self.rnn]

    def forward(self, x: Tensor) -> Tensor:
        """[batch, times, inputs] to [batch, times, 4]."""
        y: Tensor = self.out(self.layers[0](x)[0])
        return y


def test_sparsify_keeps_the_weights_and_what_hangs_on_a_layer() -> None:
    """A pruned LSTM gives the outputs it gave; hooks, notes, mode, frozen weights come along; the old one is shut."""
    model, x, calls = Reader().eval(), torch.randn(3, 5, INPUTS), list[Any]()
    with torch.no_grad():
        for name, weight in model.rnn.named_parameters():
            weight.mul_(torch.rand_like(weight) < (0.4 if "weight" in name else 1))
    model.rnn.weight_hh_l0.requires_grad_(False)
    handle = model.rnn.register_forward_hook(lambda *_: calls.append(1))
    old, right = model.rnn, model(x)
    report = gs.sparsify(model, 0.5, "unstructured", "uniform", init="keep", skip="out")
    torch.testing.assert_close(model(x), right)
    assert [row.name for row in report.sparse[:3]] == ["rnn.ih_l0", "rnn.hh_l0", "rnn.ih_l0_reverse"]
    assert model.rnn is model.layers[0]
    assert type(model.rnn) is LSTM
    assert model.rnn.note == "mine"
    assert not model.rnn.training
    assert len(calls) == 2
    assert not model.rnn.hh_l0.values.requires_grad
    assert model.rnn.ih_l0.values.requires_grad
    handle.remove()
    model(x)
    assert len(calls) == 2
    with pytest.raises(GossamerError, match="call of the dense layer 'rnn'"):
        old(x)


def test_sparsify_leaves_what_it_is_told_to_and_what_it_cannot_replace() -> None:
    """By name, type, module and matrix; projections and computed weights stay torch's, and the report says why."""
    for skip in ("rnn", nn.LSTM, "module"):
        model = Reader()
        old = model.rnn
        report = gs.sparsify(model, 0.5, skip=old if skip == "module" else skip)
        assert model.rnn is old
        assert report.layers[0].note == "skip="
        assert vars(old).get("stands_for") is None
    model = Reader()
    gs.sparsify(model, 0.5, skip=["rnn.ih_l0", "out"])
    assert type(model.rnn.ih_l0).__name__ == "GateLinear"
    assert type(model.rnn.hh_l0) is SparseGates
    x = torch.randn(3, 5, INPUTS)
    torch.testing.assert_close(model.rnn(x)[0], model.rnn.to_torch()(x)[0])
    projected = nn.ModuleDict({"rnn": nn.LSTM(8, 8, proj_size=4), "out": nn.Linear(8, 8)})
    assert "projections" in gs.sparsify(projected, 0.5).layers[0].note
    computed = nn.ModuleDict({"rnn": nn.GRU(8, 8), "out": nn.Linear(8, 8)})
    nn.utils.parametrizations.weight_norm(computed["rnn"], "weight_hh_l0")
    assert "parametrized" in gs.sparsify(computed, 0.5).layers[0].note
    with pytest.raises(ConfigError, match="the GRU itself"):
        gs.sparsify(nn.GRU(8, 8), 0.5)
    tied = nn.ModuleDict({"a": nn.GRU(8, 8), "b": nn.GRU(8, 8)})
    tied["b"].weight_hh_l0 = tied["a"].weight_hh_l0
    with pytest.raises(PatternError, match="tied"):
        gs.sparsify(tied, 0.5)
    assert all(type(each) is nn.GRU for each in tied.values())


def test_counts_are_those_of_the_matrices() -> None:
    """A report row, a count and a density a matrix; connections by hand."""
    model = nn.ModuleDict({"rnn": nn.GRU(16, 16)})
    gs.sparsify(model, 0.25, "block:4:4", "uniform")
    assert [(row.name, row.connections) for row in gs.nn.count(model)] == [
        ("rnn.ih_l0", 192),
        ("rnn.hh_l0", 192),
    ]
    assert sum(part.connections for part in model.modules() if isinstance(part, SparseModule)) == 384
    x = torch.randn(
        5, 3, 16, requires_grad=True
    )  # 15 columns; torch counts two operations a connection and column
    with FlopCounterMode(display=False) as counter:
        model["rnn"](x)[0].sum().backward()
    assert counter.get_total_flops() == 15 * 2 * 192 * 6
    rows = gs.nn.count(Caller(model["rnn"]), x.transpose(0, 1).detach())
    assert [row.flops for row in rows] == [2 * 192 * 5] * 2  # five times a sample


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2, "width": 1}])
@pytest.mark.parametrize(
    "write", [torch.relu_, lambda y: nn.functional.dropout(y, 1.0, inplace=True).add_(2.0)]
)
def test_the_output_may_be_written_over(options: dict[str, Any], write: Any) -> None:
    """As that of torch's layers, in place, with the same gradients."""
    width = options.get("width", 3)
    layer = make("gru", **{name: value for name, value in options.items() if name != "width"})
    dense, x, grads = layer.to_torch(), torch.randn(TIMES, width, INPUTS, dtype=torch.float64), []
    for each in (layer, dense):
        given = x.clone().requires_grad_()
        y = each(given)[0]
        (write(y).square().sum() + given.sum()).backward()
        grads.append(given.grad)
    torch.testing.assert_close(*grads)
    right, connected = dense.weight_hh_l0.grad, layer.hh_l0.to_dense() != 0
    torch.testing.assert_close(layer.hh_l0.values.grad.sum(), right[connected].sum())


@pytest.mark.parametrize(
    "options", [{}, {"lengths": [2, 5, 1]}, {"batch_first": True, "bidirectional": True}]
)
def test_dropout_between_layers_draws_what_torch_draws(options: dict[str, Any]) -> None:
    """Both homes and torch's own layer from one seed, in float32 as people train."""
    around = {name: value for name, value in options.items() if name != "lengths"}
    results = []
    layers = [
        make("lstm", home, num_layers=2, dropout=0.5, dtype=torch.float32, **around)
        for home in ("packed", "masked")
    ]
    x = torch.randn(3, TIMES, INPUTS) if options.get("batch_first") else torch.randn(TIMES, 3, INPUTS)
    given = pack_padded_sequence(x, options["lengths"], enforce_sorted=False) if "lengths" in options else x
    for layer in (*layers, layers[0].to_torch()):
        torch.manual_seed(1)
        y = layer(given)[0]
        results.append(y.data if "lengths" in options else y)
    for mine in results[:2]:
        torch.testing.assert_close(mine, results[2])


@homes
def test_to_torch_keeps_frozen_parameters_frozen(home: str) -> None:
    """Each by itself."""
    layer = make("gru", home)
    layer.ih_l0.weights.requires_grad_(False)
    layer.hh_l0.bias.requires_grad_(False)
    trained = {name for name, each in layer.to_torch().named_parameters() if each.requires_grad}
    assert trained == {"weight_hh_l0", "bias_ih_l0"}


def test_weights_by_the_names_of_torch_say_where_they_are() -> None:
    """A model that reads them learns what to read instead; other names, and hasattr, are as ever."""
    layer = make("gru")
    with pytest.raises(AttributeError, match=r"no attribute 'weight_hh_l0'; .* read hh_l0\.to_dense\(\)"):
        layer.weight_hh_l0  # noqa: B018
    with pytest.raises(AttributeError, match=r"read ih_l0\.bias"):
        layer.bias_ih_l0  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'weight_hh_l7'$"):
        layer.weight_hh_l7  # noqa: B018
    assert not hasattr(layer, "weight_ih_l0")
