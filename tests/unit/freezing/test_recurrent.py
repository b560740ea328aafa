"""Recurrent layers in frozen networks: as nodes, in files, without torch, time by time, in fewer bits."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, ShapeError
from gossamer.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

KINDS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
kinds = pytest.mark.parametrize("kind", KINDS)


class Reader(nn.Module):
    """Numbers of every time through recurrent layers, and a layer behind them."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = KINDS[kind](8, 16, batch_first=True, **options)
        self.out = nn.Linear(16 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, times, 8] to [batch, times, 5]."""
        y, _ = self.rnn(x)
        made: Tensor = self.out(torch.relu(y))
        return made


def sparse(kind: str, pattern: str = "block:4:4", **options: Any) -> Reader:
    """Its recurrent layers in blocks, with biases that are not zero."""
    model = Reader(kind, **options).eval()
    gs.sparsify(model, 0.5, pattern, "uniform", skip="out", law="xavier_uniform")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    return model


X = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0))


@kinds
@pytest.mark.parametrize("pattern", ["block:4:4", "unstructured", "fanin", "nm:2:4"])
def test_a_frozen_network_runs_with_and_without_torch_and_from_a_file(
    kind: str, pattern: str, tmp_path: Path
) -> None:
    """Nothing stays torch; a file gives the same bits, with torch and with NumPy, for another batch and length."""
    model = sparse(kind, pattern, num_layers=2, bidirectional=True)
    frozen = gs.freeze(model, X, keep="csr")
    assert not [note for note in frozen.plan["notes"] if "stays torch" in note]
    gs.save(frozen, tmp_path / "net")
    read, net = gs.load(tmp_path / "net"), Runtime(tmp_path / "net")
    for x in (X, torch.randn(1, 3, 8), torch.randn(4, 1, 8)):
        torch.testing.assert_close(frozen(x), model(x))
        assert torch.equal(read(x), frozen(x))
        assert np.array_equal(net(x.numpy()), frozen(x).numpy())
    assert torch.equal(pickle.loads(pickle.dumps(read))(X), frozen(X))  # noqa: S301
    counted = {row.name: row.connections for row in gs.nn.count(frozen)}
    assert counted["rnn.hh_l1_reverse"] == model.rnn.hh_l1_reverse.connections


@kinds
def test_streaming_gives_what_whole_sequences_give(kind: str, tmp_path: Path) -> None:
    """Time by time, with a reset, with a state that is taken out and put back; several sequences at once."""
    frozen = gs.freeze(sparse(kind, num_layers=2), X, keep="csr")
    gs.save(frozen, tmp_path / "net")
    whole = frozen(X)
    for net, make in ((frozen, torch.as_tensor), (Runtime(tmp_path / "net"), np.asarray)):
        stream = net.stream()
        for _ in range(2):
            parts = [torch.as_tensor(stream(make(X[:, t : t + 1]))) for t in range(7)]
            torch.testing.assert_close(torch.cat(parts, 1), whole)
            stream.reset()
        stream(make(X[:, :4]))
        state, other = stream.state, net.stream()
        assert state["rnn.hh_l0"].shape == (1 + (kind == "lstm"), 16, 3)
        other.state = state
        torch.testing.assert_close(torch.as_tensor(other(make(X[:, 4:]))), whole[:, 4:])
        with pytest.raises(ShapeError, match="3 in the state"):
            stream(make(X[:1, :1]))


def test_streams_are_refused_where_they_mean_nothing() -> None:
    """Backward layers begin at the end; a network without recurrent layers has no state."""
    with pytest.raises(ConfigError, match=r"rnn\.hh_l0_reverse"):
        gs.freeze(sparse("gru", bidirectional=True), X).stream()
    with pytest.raises(ConfigError, match="got none"):
        gs.freeze(nn.Sequential(nn.Linear(8, 8)), X).stream()
    stream = gs.freeze(sparse("gru"), X).stream()
    with pytest.raises(ConfigError, match="a state for each"):
        stream.state = {"other": np.zeros((1, 16, 1))}
    with pytest.raises(ShapeError, match=r"\[1, 16, sequences\]"):
        stream.state = {"rnn.hh_l0": np.zeros((1, 5, 1))}


@kinds
@pytest.mark.parametrize("values", ["int8", "bfloat16"])
def test_fewer_bits_a_weight_in_both_matrices(kind: str, values: str, tmp_path: Path) -> None:
    """A quarter of the bytes of the recurrent values; the same bits without torch; close to the exact network."""
    model = sparse(kind)
    exact, narrow = gs.freeze(model, X), gs.freeze(model, X, values=values)
    gs.save(narrow, tmp_path / "net")
    torch.testing.assert_close(narrow(X), exact(X), rtol=0.1, atol=0.05)
    assert not torch.equal(narrow(X), exact(X))
    assert np.array_equal(Runtime(tmp_path / "net")(X.numpy()), narrow(X).numpy())
    rows = {
        name: {row.name: row for row in gs.nn.count(net)}
        for name, net in (("exact", exact), ("narrow", narrow))
    }
    mine, right = (rows[name]["rnn.hh_l0"].value_bytes for name in ("narrow", "exact"))
    assert mine < right


def test_dense_recurrent_layers_of_torch_are_nodes_too(tmp_path: Path) -> None:
    """A network without sparse layers can be saved, and runs without torch."""
    model = Reader("lstm").eval()
    frozen = gs.freeze(model, X)
    torch.testing.assert_close(frozen(X), model(X))
    gs.save(frozen, tmp_path / "net")
    assert np.array_equal(Runtime(tmp_path / "net")(X.numpy()), frozen(X).numpy())


class Last(nn.Module):
    """Something of the last time is what is read."""

    def __init__(self, kind: str, reads: Any, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.reads = KINDS[kind](8, 16, 2, **options), reads
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, times, 8] to [batch, 5]."""
        y, state = self.rnn(x)
        made: Tensor = self.out(self.reads(y, state))
        return made


ENDS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "h of a GRU": ("gru", lambda _, h: h[-1], {"batch_first": True}),
    "h of an LSTM": ("lstm", lambda _, state: state[0][-1] + state[0][0], {"batch_first": True}),
    "both directions": ("gru", lambda _, h: h[-1] * h[-2], {"batch_first": True, "bidirectional": True}),
    "the last time": ("rnn", lambda y, _: y[:, -1], {"batch_first": True}),
    "a time and the state": ("gru", lambda y, h: y[:, 2] + h[1], {"batch_first": True}),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_network_may_read_one_time_or_the_last_h_of_a_layer(end: str, tmp_path: Path) -> None:
    """As classifiers of sequences do; for other batches and lengths, with and without torch."""
    kind, reads, options = ENDS[end]
    model = Last(kind, reads, **options).eval()
    gs.sparsify(model, 0.5, skip="out", law="xavier_uniform")
    frozen = gs.freeze(model, X, keep="csr")
    gs.save(frozen, tmp_path / "net")
    for x in (X, torch.randn(1, 4, 8)):
        torch.testing.assert_close(frozen(x), model(x))
        assert np.array_equal(Runtime(tmp_path / "net")(x.numpy()), frozen(x).numpy())


@pytest.mark.parametrize("reads", [lambda _, state: state[1][-1], lambda _, state: state[0].mean(0)])
def test_a_network_that_reads_more_of_the_state_stays_torch_and_says_so(reads: Any, tmp_path: Path) -> None:
    """It computes the same, with the recurrent layer by name in the notes; saving names it, too."""
    model = Last("lstm", reads, batch_first=True).eval()
    gs.sparsify(model, 0.5, skip="out")
    frozen = gs.freeze(model, X)
    torch.testing.assert_close(frozen(X), model(X))
    assert any("'rnn' (LSTM)" in note for note in frozen.plan["notes"])
    with pytest.raises(FormatError, match=r"'rnn' \(LSTM\)"):
        gs.save(frozen, tmp_path / "net")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """An index out of range, missing values, another layout, a scale without int8: before anything runs."""
    frozen = gs.freeze(sparse("gru"), X, keep="csr")
    gs.save(frozen, tmp_path / "net")
    arrays = load_file(tmp_path / "net")
    col = "rnn.hh_l0/col"
    assert col in arrays
    wrong = dict(arrays)
    wrong[col] = np.full_like(arrays[col], 9)
    with safe_open(str(tmp_path / "net"), "np") as file:
        about = file.metadata()
    save_file(wrong, tmp_path / "bad", about)
    with pytest.raises(FormatError):
        gs.load(tmp_path / "bad")
    wrong = {name: array for name, array in arrays.items() if name != "rnn.hh_l0/values"}
    save_file(wrong, tmp_path / "bad", about)
    with pytest.raises(FormatError):
        Runtime(tmp_path / "bad")


def test_a_traced_frozen_network_holds_the_operator() -> None:
    """torch.compile of a network with exact values, without a break in the graph."""
    frozen = gs.freeze(sparse("lstm"), X, keep="csr")
    torch.compiler.reset()
    compiled = torch.compile(frozen, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), frozen(X))


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch_is_refused_by_the_name_of_the_layer(
    batch_first: bool, tmp_path: Path
) -> None:
    """Called, as a stream, in a trace and without torch. With a batch of one it is what torch gives."""
    model = Reader("gru").eval()
    model.rnn = nn.GRU(8, 16, batch_first=batch_first)
    frozen = gs.freeze(model, X)
    gs.save(frozen, tmp_path / "net")
    one, batch = X[:, 0], X[:, :1].transpose(0, 1) if batch_first else X[:, :1]
    torch.testing.assert_close(frozen(batch).squeeze(0 if batch_first else 1), model(one))
    for net in (frozen, frozen.stream(), torch.compile(frozen, backend="eager")):
        with pytest.raises(ShapeError, match=r"rnn\.hh_l0: expected gates .* is a batch of one sequence"):
            net(one)
    net = Runtime(tmp_path / "net")
    for run in (net, net.stream()):
        with pytest.raises(ShapeError, match=r"rnn\.hh_l0"):
            run(one.numpy())


@kinds
def test_vmap_of_a_frozen_network_runs_sample_by_sample(kind: str) -> None:
    """Whatever dimension the samples lie along."""
    frozen = gs.freeze(sparse(kind), X, keep="csr")
    xs = torch.randn(3, 7, 2, 8)
    wanted = torch.stack([frozen(x) for x in xs.unbind(2)])
    torch.testing.assert_close(torch.func.vmap(frozen, 2)(xs), wanted)
