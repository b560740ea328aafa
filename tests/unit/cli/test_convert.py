"""The command that converts files of other libraries."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tests import tflite_files as tf
from torch import nn

import gossamer as gs


def test_weights_beside_the_file_and_again(call, tmp_path):
    """JSON says what was written, and its own file is replaced."""
    torch.save({"fc.weight": torch.eye(8), "fc.bias": torch.ones(8)}, tmp_path / "net.pt")
    for _ in range(2):
        answer = call("convert", tmp_path / "net.pt", "--json")
        path = tmp_path / "net-gossamer.safetensors"
        assert (answer.document["result"], answer.document["format"]) == ("weights", "torch")
        assert answer.document["rows"] == [
            {"name": "fc.weight", "shape": [8, 8], "connections": 8, "bytes": 256, "zeros": 0.875}
        ]
        model = nn.ModuleDict({"fc": nn.Linear(8, 8)})
        model.load_state_dict(load_file(path))
        gs.from_zeros(model)
        assert model["fc"].connections == 8
    assert "87.50" in call("convert", tmp_path / "net.pt").stdout


def test_a_network_that_the_runtime_loads(call, tmp_path):
    pytest.importorskip("flatbuffers")
    model = tf.Model(1, 4)
    weight = model.constant(torch.eye(4).numpy()[:2])
    (tmp_path / "net.tflite").write_bytes(model.bytes(model.add(tf.FULLY_CONNECTED, [0, weight], (1, 2))))
    answer = call("convert", tmp_path / "net.tflite", "-o", tmp_path / "net.safetensors", "--json")
    assert answer.document["result"] == "network"
    assert answer.document["inputs"] == [{"name": "x", "shape": [1, 4]}]
    x = torch.randn(3, 4)
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), x[:, :2])


def test_what_cannot_be_converted_is_said(call, tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    mine = tmp_path / "mine.safetensors"
    mine.write_text("a text of mine")
    answer = call("convert", tmp_path / "net.pt", "-o", tmp_path / "out")
    assert answer.code == 1
    assert "state_dict" in answer.stderr
    torch.save({"w": torch.eye(2)}, tmp_path / "net.pt")
    assert call("convert", tmp_path / "net.pt", "-o", mine).code == 2
    assert mine.read_text() == "a text of mine"
    assert call("convert", tmp_path / "none.pt", "-o", tmp_path / "out").code == 1
    assert not (tmp_path / "out").exists()
