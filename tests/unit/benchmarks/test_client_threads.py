"""The benchmark of many threads on one runtime: a small run of it, and that it would see a wrong answer."""

from __future__ import annotations

from typing import Any

import client_threads
import numpy as np
import pytest
from client_worker import Client, together
from torch import nn

import gossamer as gs


def images() -> tuple[nn.Module, tuple[int, ...]]:
    """Steps of a plan and linear layers behind it."""
    last = gs.SparseLinear(6 * 25, 4, density=0.3)
    conv = gs.SparseConv2d(3, 6, 3, density=0.3, stride=2, padding=1)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), last, nn.Softmax(-1)), (3, 9, 9)


def test_sixteen_threads_have_the_bits_of_one_and_leave_no_memory_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """640 threads in all, of which none may keep a KiB when it ends."""
    monkeypatch.setitem(client_threads.NETWORKS, "images", (images, 4 * 640))
    row = client_threads.asked("images", 1.0, threads=16, rounds=40)
    assert (row["calls"], row["wrong"], row["torch"]) == (4 * 640, 0, False)
    assert row["grown"] < 1024 * 480


def test_a_wrong_answer_is_counted_and_an_error_is_raised() -> None:
    x, y = np.ones((1, 2), np.float32), np.zeros(3, np.float32)
    clients = [Client([x, 2 * x], [y, y]) for _ in range(3)]

    def odd(given: Any) -> Any:
        return y if given[0, 0] == 1 else -y  # the same numbers with another bit

    assert together(odd, clients, 4)[-1] == 6
    with pytest.raises(ZeroDivisionError):
        together(lambda _: 1 // 0, clients, 1)
