"""A chain keeps what its last call needed: nothing of it may reach a call whose input is not like the last one."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.cpu import Chain
from gossamer.kernels.cpu.workspace import workspace_bytes

WEIGHTS = [torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]]), torch.tensor([[3.0, -2.0], [1.0, 1.0]])]
PLAIN = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 0.25]])


def chain() -> Chain:
    """Two dense layers without activations."""
    return Chain(
        [{"layout": "dense", "shape": list(w.shape), "values": w.flatten(), "index": []} for w in WEIGHTS]
    )


def wanted(x: Tensor) -> Tensor:
    """By definition; every product and sum here is exact."""
    return x @ WEIGHTS[0].T @ WEIGHTS[1].T


LIKE_IT: dict[str, Tensor] = {
    "the same order": PLAIN * 2,
    "feature by feature": (PLAIN * 2).t().contiguous().t(),
    "every second column": torch.stack([PLAIN * 2, PLAIN], 2)[:, :, 0],
    "every second row": torch.stack([PLAIN * 2, PLAIN], 1)[:, 0],
    "reversed": (PLAIN * 2).flip(0).flip(0),
    "one row for all": PLAIN[:1].expand(2, 3),
    "the negative of what lies there": torch._neg_view(PLAIN * -2),
    "another batch size": PLAIN[:1],
    "one that wants a gradient": (PLAIN * 2).requires_grad_(),
    "a parameter": torch.nn.Parameter(PLAIN * 2),
}


@pytest.mark.parametrize("given", LIKE_IT)
def test_inputs_of_every_order_after_a_plain_one(given: str) -> None:
    net, x = chain(), LIKE_IT[given]
    for _ in range(2):
        assert torch.equal(net(PLAIN), wanted(PLAIN))
        assert torch.equal(net(x), wanted(x.detach()))
        assert torch.equal(net(x), wanted(x.detach()))
        assert net(x).stride(1) == x.shape[0]


REFUSED: dict[str, tuple[Tensor, type[Exception]]] = {
    "sparse": (PLAIN.to_sparse(), DtypeError),
    "without memory": (PLAIN.to("meta"), DtypeError),
    "float64": (PLAIN.double(), DtypeError),
    "wider": (torch.ones(2, 4), ShapeError),
    "a vector": (torch.ones(3), ShapeError),
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_refused_at_first_is_refused_after_a_plain_call(given: str) -> None:
    x, error = REFUSED[given]
    net = chain()
    with pytest.raises(error) as at_first:
        net(x)
    assert torch.equal(net(PLAIN), wanted(PLAIN))
    with pytest.raises(error) as later:
        net(x)
    assert str(later.value) == str(at_first.value)
    assert torch.equal(net(PLAIN), wanted(PLAIN))


def test_results_have_memory_of_their_own() -> None:
    net = chain()
    results = [net(PLAIN * n) for n in range(4)]
    del net
    gc.collect()
    for n, y in enumerate(results):
        assert torch.equal(y, wanted(PLAIN * n))
    assert len({y.data_ptr() for y in results}) == 4


def test_a_residual_in_some_calls_is_in_no_other() -> None:
    net, more = chain(), torch.tensor([[8.0, 16.0], [32.0, 64.0]])
    for residual in (more, more.t().contiguous().t(), torch.stack([more, more], 2)[:, :, 1]):
        assert torch.equal(net(PLAIN), wanted(PLAIN))
        assert torch.equal(net(PLAIN, residual), wanted(PLAIN) + more)
    assert torch.equal(net(PLAIN), wanted(PLAIN))
    assert torch.equal(net(PLAIN[:1], more[:1]), (wanted(PLAIN) + more)[:1])


def test_arrays_and_tensors_in_turns() -> None:
    net = chain()
    for _ in range(2):
        y, array = net(PLAIN), net(PLAIN.numpy())
        assert isinstance(y, Tensor)
        assert isinstance(array, np.ndarray)
        assert np.array_equal(array, y.numpy())
        assert np.array_equal(net(PLAIN.numpy()[::-1]), y.numpy()[::-1])


def test_batch_sizes_in_turns() -> None:
    net, rows = chain(), torch.cat([PLAIN] * 20)
    for batch in (1, 40, 0, 2, 40, 1, 0, 1):
        assert torch.equal(net(rows[:batch]), wanted(rows[:batch]))


@pytest.mark.parametrize("first", [True, False])
def test_results_belong_to_the_mode_in_which_they_are_made(first: bool) -> None:
    net = chain()
    for inference in (first, not first, first):
        with torch.inference_mode(inference):
            assert net(PLAIN).is_inference() == inference
    assert torch.equal(net(PLAIN), wanted(PLAIN))


def _chain(widths: tuple[int, ...]) -> Chain:
    """Dense layers that double every sum: a row of ones of width n becomes n * ... * 2."""
    return Chain(
        [
            {"layout": "dense", "shape": [o, i], "values": np.full(o * i, 2.0, np.float32), "index": []}
            for i, o in pairwise(widths)
        ]
    )


def test_the_chains_of_a_thread_share_one_workspace_that_grows() -> None:
    """A program of several chains keeps what its widest layer needs; a call made ready before it grew runs on."""
    kept: list[int] = []

    def run() -> None:
        small, wide = _chain((3, 4, 5, 2)), _chain((3, 40, 50, 2))
        x = torch.ones(7, 3)
        for _ in range(2):
            first = small(x)
            assert first.tolist() == [[3 * 4 * 5 * 8.0] * 2] * 7
            kept.append(workspace_bytes())
            assert small(x).tolist() == first.tolist()  # by the call that is kept
            assert wide(x).tolist() == [[3 * 40 * 50 * 8.0] * 2] * 7
            kept.append(workspace_bytes())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert kept == [2 * 5 * 7 * 4, *[2 * 50 * 7 * 4] * 3]
