"""ONNX files: networks with our operators, else weights; zeros and zero points; files that lie."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gossamer as gs
from gossamer.errors import FormatError, GossamerError
from gossamer.importing import Network, Weights, frozen_of, read

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (it needs the package)


def saved(
    path: Path, nodes: list[Any], held: dict[str, Any], size: tuple[Any, ...] = (1, 4), **more: Any
) -> Path:
    """A file with one input x and the output y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, size)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    numbers = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], numbers, **more)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_what_we_export_comes_back(tmp_path: Path) -> None:
    """A network of convolutions, norms, pools and sums, through the file of ONNX and back: the same outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.PReLU(8), nn.PixelShuffle(2), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(2 * 16, 10), nn.Hardswish(), nn.Linear(10, 3),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[9].weight.masked_fill_(torch.rand(10, 32) < 0.8, 0.0)
    gs.export_onnx(gs.freeze(model, torch.randn(1, 3, 16, 16), keep="csr"), tmp_path / "n.onnx")
    found = read(tmp_path / "n.onnx").content
    assert isinstance(found, Network)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(frozen_of(found)(x), model(x), rtol=1e-4, atol=1e-5)


def test_products_and_zero_points(tmp_path: Path) -> None:
    """By hand: MatMul holds [in, out] in bytes whose zero is 128; the sum behind it is its bias."""
    held = {
        "q": np.array([[128, 130], [127, 128], [128, 128], [128, 128]], np.uint8),
        "scale": np.float32(0.5),
        "zero": np.uint8(128),
        "bias": np.array([1.0, 2.0], np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]
    found = read(saved(tmp_path / "n.onnx", nodes, held)).content
    assert isinstance(found, Network)
    ((_, body),) = found.graph.linears()
    assert body.connections.dense().tolist() == [[0, -0.5, 0, 0], [1.0, 0, 0, 0]]
    assert body.connections.positions.tolist() == [1, 4]
    assert body.connections.bias is not None
    assert body.connections.bias.tolist() == [1.0, 2.0]


def test_a_sum_that_others_bypass_is_no_bias(tmp_path: Path) -> None:
    held = {"w": np.eye(4, dtype=np.float32), "bias": np.ones(4, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["s"]),
        helper.make_node("Mul", ["m", "s"], ["y"]),
    ]
    found = read(saved(tmp_path / "n.onnx", nodes, held)).content
    assert isinstance(found, Weights), "a bias would have changed what Mul reads"
    assert torch.equal(found.tensors["w"], torch.eye(4))


def test_an_unknown_operator_leaves_the_weights(tmp_path: Path) -> None:
    """In torch's shapes, and it is said why."""
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Erf", ["m"], ["y"])]
    found = read(saved(tmp_path / "n.onnx", nodes, {"w": weight})).content
    assert isinstance(found, Weights)
    assert torch.equal(found.tensors["w"], torch.from_numpy(weight.T))
    assert found.notes == ("no whole network: operator Erf", "1 weights of products turned to [out, in]")


@pytest.mark.parametrize("places", [[0, 5], [5, 5], [-1, 2], [[0, 0], [9, 9]], [7, 8], [1]])
def test_sparse_initializers_are_checked(places: Any, tmp_path: Path) -> None:
    """By hand, of [4, 2]: places 0 and 5; others lie outside, come twice, or are too few."""
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "w"),
        numpy_helper.from_array(np.array(places, np.int64)),
        [4, 2],
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(tmp_path / "n.onnx", nodes, {}, sparse_initializer=[sparse])
    if places == [0, 5]:
        ((_, body),) = read(path).content.graph.linears()
        assert body.connections.dense().tolist() == [[1, 0, 0, 0], [0, 0, 2, 0]]
        return
    with pytest.raises(FormatError, match="'w'"):
        read(path)


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"w": np.ones(2)}))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../secret")
    model.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match="another file"):
        read(tmp_path / "n.onnx")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "n.onnx"
    held = {"w": np.ones((4, 2), np.float32), "bias": np.ones(2, np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "bias"], ["y"])]
    whole = bytearray(saved(path, nodes, held).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    with suppress(GossamerError):
        read(path)
