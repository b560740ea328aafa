"""The command that writes a frozen file for other engines."""

from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx")


def test_export_beside_the_frozen_file_and_again(call, frozen, tmp_path):
    """Its own file is replaced; JSON says what was written."""
    source = tmp_path / "net.safetensors"
    source.write_bytes(frozen.read_bytes())
    for weights in ("dense", "sparse"):
        answer = call("export", source, "--to", "onnx", "--weights", weights, "--json")
        path = tmp_path / "net.onnx"
        assert answer.document == {
            "file": str(path),
            "bytes": path.stat().st_size,
            "weights": weights,
            "frozen_bytes": source.stat().st_size,
        }
        assert bool(onnx.load(path).graph.sparse_initializer) == (weights == "sparse")


def test_export_replaces_nothing_of_others(call, frozen, tmp_path):
    mine = tmp_path / "mine.onnx"
    mine.write_text("a text of mine")
    answer = call("export", frozen, "--out", mine)
    assert (answer.code, mine.read_text()) == (2, "a text of mine")
    assert "a file of another kind" in answer.stderr
    assert call("export", frozen, "--out", frozen).code == 2


def test_export_says_what_it_takes(call, frozen, tmp_path):
    path = tmp_path / "net.onnx"
    assert call("export", frozen, "--to", "tartan", "-o", path).code == 2
    assert call("export", frozen, "--weights", "packed", "-o", path).code == 2
    assert call("export", tmp_path / "none.safetensors", "-o", path).code == 1
    assert not path.exists()
