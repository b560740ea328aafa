"""Epochs of the SET network: the contenders are what they say, and foreign code is measured from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import set_epoch
import torch
from torch import nn

import gossamer as gs

CODE = """
import numpy as np
from utils.load_data import load_fashion_mnist_data
from wasap_sgd.train.monitor import Monitor
class AlternatedLeftReLU:
    def __init__(self, slope):
        self.slope = slope
class Softmax: pass
class CrossEntropy: pass
class SET_MLP:
    def __init__(self, dimensions, activations, epsilon):
        assert dimensions == (784, 1000, 1000, 1000, 10) and epsilon == 20
        assert [a.slope for a in activations[:3]] == [-0.6, 0.6, -0.6]
    def fit(self, x, y, x_test, y_test, loss, epochs, batch, **settings):
        assert x.shape == (256, 784) and y.shape == (256, 10) and batch == 128 and not settings["testing"]
        print("published code is noisy")
        for _ in range(epochs):
            np.random.shuffle(np.arange(len(x)))
            np.in1d(np.zeros((3, 1)), np.zeros((2, 1)))[np.array([True, False, True])]
"""


def samples() -> tuple[torch.Tensor, ...]:
    """Two batches, and a test set that nobody reads."""
    torch.manual_seed(0)
    return torch.randn(256, 784), torch.randint(10, (256,)), torch.empty(0, 784), torch.empty(0)


def test_contenders_have_the_same_connections_and_their_dropout() -> None:
    options = SimpleNamespace(prune="")
    running = dict(set_epoch.contenders(options, 2))
    sparse, masked, dense = (running[name].model for name in ("sparse", "masked", "dense"))
    assert [m.connections for m in sparse if isinstance(m, gs.SparseLinear)] == [
        int(m.mask.sum()) for m in masked if isinstance(m, gs.MaskedLinear)
    ]
    assert sum(p.numel() for p in dense.parameters()) == sum(p.numel() for p in masked.parameters())
    torchs = {
        name: [m.p for m in one.model.modules() if isinstance(m, nn.Dropout)] for name, one in running.items()
    }
    ours = {
        name: [m.dropout for m in one.model.modules() if isinstance(m, gs.AllReLU)]
        for name, one in running.items()
    }
    for name in ("sparse", "dense, our dropout", "masked, our dropout"):
        assert (ours[name], torchs[name]) == ([0.3] * 3, [])
    for name in ("dense", "masked"):
        assert (ours[name], torchs[name]) == ([0.0] * 3, [0.3] * 3)


def test_the_parts_of_an_epoch() -> None:
    options = SimpleNamespace(prune="")
    one = set_epoch.contender(set_epoch.network(set_epoch.TASK, 0.6, 0), options, 2)
    assert one.epoch(samples()) > 0
    found = set_epoch.parts(one, samples())
    assert set(found) == {*set_epoch.PARTS, "optimizer", "topology update"}
    assert all(seconds > 0 for seconds in found.values())


def test_the_published_code_is_run_outside(tmp_path: Path) -> None:
    """A stand-in of its interface: two epochs that count, as one compiles and none follows the last."""
    (tmp_path / "set_mlp_sequential.py").write_text(CODE)
    seconds = set_epoch.published(str(tmp_path), sys.executable, samples(), 2)
    assert len(seconds) == 2
    assert all(value > 0 for value in seconds)


@pytest.mark.parametrize("answer", ["[]", "[0.0]", '["fast"]'])
def test_an_answer_without_seconds_is_refused(answer: str) -> None:
    with pytest.raises(SystemExit, match="seconds of epochs"):
        set_epoch.parsed(answer)
