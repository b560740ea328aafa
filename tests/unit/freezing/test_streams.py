"""Streams: which networks they take, and copies that go on by themselves."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError
from gossamer.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

X = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))  # [batch, times, features]


class Around(nn.Module):
    """Something before and something behind a recurrent layer."""

    def __init__(self, before: Any, behind: Any, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.behind, self.line = before, behind, nn.Conv1d(6, 6, 1)
        self.rnn, self.out = nn.GRU(8, 8, batch_first=batch_first), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, times, 8] to what is behind."""
        made: Tensor = self.behind(self, self.rnn(self.before(self, x))[0])
        return made


def same(_: Any, x: Tensor) -> Tensor:
    """Nothing."""
    return x


APART: dict[str, tuple[Any, Any]] = {
    "softmax over features": (same, lambda m, y: m.out(y).softmax(-1)),
    "features side by side": (same, lambda m, y: m.out(torch.cat([y, y * 2], 2)[:, :, 4:12])),
    "a sum, a mean of features": (lambda _, x: x.relu() + x, lambda m, y: torch.relu(m.out(y)).mean(2)),
    "flat features": (same, lambda m, y: m.out(y).flatten(2)),
    "the last time": (same, lambda m, y: m.out(y[:, -1]).softmax(0)),
}


@pytest.mark.parametrize("case", APART)
def test_what_acts_on_each_time_by_itself_is_streamed(case: str, tmp_path: Path) -> None:
    """Time by time and in pieces, as the whole sequence gives it; the last time is that of the times so far."""
    frozen = gs.freeze(Around(*APART[case]).eval(), X)
    gs.save(frozen, tmp_path / "net")
    for stream in (frozen.stream(), Runtime(tmp_path / "net", exact=False).stream()):
        done = 0
        for end in (1, 4, 6):
            part = X[:, done:end]
            got = torch.as_tensor(stream(part if stream.source is frozen else part.numpy()))
            wanted = frozen(X[:, :end])
            torch.testing.assert_close(got, wanted if case == "the last time" else wanted[:, done:])
            done = end


MIXED: dict[str, tuple[Any, Any, str]] = {
    "convolution before": (lambda m, x: m.line(x), lambda m, y: m.out(y), r"'line"),
    "convolution over times": (same, lambda m, y: m.line(y), r"'line"),
    "mean over times": (same, lambda m, y: m.out(y.mean(1)), r"'mean'"),
    "softmax over times": (same, lambda m, y: m.out(y).softmax(1), r"'softmax'"),
    "times side by side": (same, lambda m, y: m.out(torch.cat([y, y], 1)), r"'cat'"),
    "the first time": (same, lambda m, y: m.out(y[:, 0]), r"'rnn\.t0:part' \(slice\)"),
    "some times": (same, lambda m, y: m.out(y[:, 1:]), r"'getitem"),
    "the last time beside all": (same, lambda m, y: m.out(y + y[:, -1:]), r"'add'"),
    "times as features": (same, lambda _, y: y.flatten(1), r"'flatten'"),
    "other dimensions": (same, lambda m, y: m.out(y.reshape(-1, 8)), r"'reshape'"),
    "what only torch knows": (same, lambda m, y: m.out(y.cumsum(1)), r"'cumsum'"),
}


@pytest.mark.parametrize("case", MIXED)
def test_what_mixes_times_is_refused_by_its_name(case: str) -> None:
    """A stream of it would give other numbers than the network, and nobody would know."""
    before, behind, named = MIXED[case]
    frozen = gs.freeze(Around(before, behind).eval(), X)
    with pytest.raises(ConfigError, match=f"each time by itself.* got {named}"):
        frozen.stream()


def test_layers_of_both_orders_are_refused() -> None:
    """What is time for one is the batch of the other."""
    both = Around(lambda m, x: m.first(x)[0], lambda m, y: m.out(y), batch_first=False)
    both.first = nn.GRU(8, 8, batch_first=True)
    with pytest.raises(ConfigError, match=r"got 'rnn\.hh_l0' \(recurrent\)"):
        gs.freeze(both.eval(), X).stream()


def test_tokens_are_streamed_through_an_embedding() -> None:
    """It looks up a row for each token, so no times mix."""
    model = Around(lambda m, x: m.embed(x), lambda m, y: m.out(y))
    model.embed = nn.Embedding(5, 8)
    tokens = torch.randint(5, (3, 6))
    frozen = gs.freeze(model.eval(), tokens)
    stream = frozen.stream()
    parts = [stream(tokens[:, t : t + 1]) for t in range(6)]
    torch.testing.assert_close(torch.cat(parts, 1), frozen(tokens))


@pytest.mark.parametrize(
    "make",
    [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))],  # noqa: S301
)
def test_a_copy_of_a_stream_goes_on_from_its_own_state(make: Any, tmp_path: Path) -> None:
    """It and the first one do not know of each other; both can be reset."""
    frozen = gs.freeze(Around(same, lambda m, y: m.out(y)).eval(), X)
    gs.save(frozen, tmp_path / "net")
    whole = frozen(X)
    for net, given in ((frozen, X), (Runtime(tmp_path / "net"), X.numpy())):
        fresh, stream = make(net.stream()), net.stream()
        assert fresh.state == {}
        stream(given[:, :2])
        twin = make(stream)
        for each in (twin, stream):
            parts = [torch.as_tensor(each(given[:, t : t + 2])) for t in (2, 4)]
            torch.testing.assert_close(torch.cat(parts, 1), whole[:, 2:])
        assert np.array_equal(twin.state["rnn.hh_l0"], stream.state["rnn.hh_l0"])
        twin.reset()
        torch.testing.assert_close(torch.as_tensor(twin(given[:, :2])), whole[:, :2])
