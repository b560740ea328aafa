"""How contenders are timed."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import layer_timing
import numpy as np
import pytest

ENGINE = """
__version__ = "9.9"
class compile_model:
    def __init__(self, path, batch_size, num_cores):
        self.given = (open(path).read(), batch_size, num_cores)
    def run(self, inputs):
        assert self.given == ("a layer", 3, 2) and inputs[0].shape == (3, 4)
        print("engines are noisy")
"""


def test_warm_calls_follow_a_call_of_their_own() -> None:
    seen: list[str] = []
    got = layer_timing.warm({name: lambda name=name: seen.append(name) for name in "ab"}, seconds=0.01)
    changes = sum(one != two for one, two in pairwise(seen))
    assert list(got) == ["a", "b"]
    assert changes < len(seen) / 2


def test_what_takes_too_long_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timing, "PATIENCE", 0.001)
    calls: list[int] = []

    def slow() -> None:
        calls.append(1)
        time.sleep(0.01)

    assert layer_timing.warm({"slow": slow}, seconds=0.01)["slow"] > 0.009
    assert len(calls) == 1


def test_cold_calls_go_round_all_copies() -> None:
    seen: list[int] = []
    copies = [lambda number=number: seen.append(number) for number in range(3)]
    layer_timing.cold({"a": copies, "b": [lambda: None]}, seconds=0.001)
    assert len(seen) >= 6
    assert seen == [turn % 3 for turn in range(len(seen))]


def test_a_worker_answers_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deepsparse.py").write_text(ENGINE)
    (tmp_path / "layer.onnx").write_text("a layer")
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = layer_timing.Worker(sys.executable)
    assert worker.ask("version") == "9.9"
    worker.ask(f"load {tmp_path / 'layer.onnx'} {tmp_path / 'x.npy'} 2")
    assert 0 < layer_timing.Elsewhere(worker)() < 1
    worker.close()
    with pytest.raises((RuntimeError, ValueError)):
        worker.ask("run")
