"""TFLite files: sparse tensors in every form, operators against torch, and files that lie."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tflite_files as tf
from tests.tflite_files import Model, sparsity
from torch.nn import functional as F

from gossamer.errors import FormatError, GossamerError
from gossamer.importing.converting import frozen_of
from gossamer.importing.network import Network
from gossamer.trace.run import run

pytest.importorskip("flatbuffers")
from gossamer.importing.tflite import File, build


def read(data: bytes) -> Network:
    return build(File("net.tflite", data))


def values(data: bytes, number: int) -> Any:
    """The dense numbers of a value."""
    found = File("net.tflite", data).constant(number)
    assert found is not None
    return found.dense()


def convolution(weight: Any, size: tuple[int, int] = (6, 5), **options: int) -> tuple[Model, int]:
    """One CONV_2D over [1, height, width, in]."""
    out, *_, inner = weight.shape
    model = Model(1, *size, inner)
    held, bias = model.constant(weight), model.constant(np.arange(out, dtype=np.float32))
    fields = {0: ("int8", 0), 1: ("int32", 1), 2: ("int32", 1), 3: ("int8", 1)}
    fields |= {
        {"padding": 0, "width": 1, "height": 2}[name]: ("int32" if name != "padding" else "int8", v)
        for name, v in options.items()
    }
    high, wide = (-(-s // options.get(name, 1)) for s, name in zip(size, ("height", "width"), strict=True))
    return model, model.add(tf.CONV_2D, [model.input, held, bias], (1, high, wide, out), fields)


def test_compressed_rows_are_read_with_empty_ones() -> None:
    """By hand: [3, 1, 1, 4] with two numbers in the first row, none in the second, one in the last."""
    model = Model(1, 2, 2, 4)
    held = np.array([1.0, 2.0, 3.0], np.float16)
    where = sparsity([0, 1, 2, 3], [3, 1, 1, ([0, 2, 2, 3], [1, 3, 0])])
    number = model.value("w", (3, 1, 1, 4), tf.FLOAT16, data=held, sparsity=where)
    wanted = [[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]]
    assert values(model.bytes(0), number).reshape(3, 4).tolist() == wanted


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32"])
def test_a_block_map_is_read(kind: str) -> None:
    """By hand: [4, 2] in blocks of 2 x 1; the upper right and the lower left one, numbers of a block side by side."""
    model = Model(1, 2)
    where = sparsity([0, 1, 2], [2, ([0, 1, 2], [1, 0]), 2], (0,), kind)
    number = model.value("w", (4, 2), data=np.arange(1, 5, dtype=np.float32), sparsity=where)
    assert values(model.bytes(0), number).tolist() == [[0, 1], [0, 2], [3, 0], [4, 0]]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_order_of_traversal_counts(order: list[int]) -> None:
    """Column by column, or row by row; positions ascend all the same."""
    model = Model(1, 2)
    where = sparsity(order, [2, ([0, 1, 2], [1, 0])])
    number = model.value("w", (2, 2), data=np.array([5, 7], np.float32), sparsity=where)
    wanted = [[0, 5], [7, 0]] if order == [0, 1] else [[0, 7], [5, 0]]
    assert values(model.bytes(0), number).tolist() == wanted


LIES: dict[str, Any] = {
    "an index behind the end": sparsity([0, 1], [2, ([0, 1, 2], [1, 2])]),
    "an index twice": sparsity([0, 1], [2, ([0, 2, 2], [1, 1])]),
    "segments that go back": sparsity([0, 1], [2, ([0, 3, 2], [0, 1])]),
    "segments beyond the indices": sparsity([0, 1], [2, ([0, 1, 9], [0, 1])]),
    "a segment too few": sparsity([0, 1], [2, ([0, 2], [0, 1])]),
    "an entry too many": sparsity([0, 1], [2, ([0, 1, 3], [1, 0, 1])]),
    "a dimension twice": sparsity([0, 0], [2, ([0, 1, 2], [1, 0])]),
    "a level too few": sparsity([0], [2]),
    "levels without end": sparsity(list(range(40)), [2] * 40),
    "a size that is another one": sparsity([0, 1], [1 << 30, ([0, 1, 2], [1, 0])]),
    "dense levels that nothing is stored for": sparsity([0, 1], [2, 2]),
    "a block of no size": sparsity([0, 1, 2], [2, ([0, 1, 2], [1, 0]), 0], (0,)),
    "a block of a dimension that there is not": sparsity([0, 1, 2], [2, ([0, 1, 2], [1, 0]), 1], (7,)),
}


@pytest.mark.parametrize("where", LIES.values(), ids=LIES)
def test_a_sparse_tensor_that_lies_is_refused(where: dict[int, Any]) -> None:
    model = Model(1, 2)
    number = model.value("w", (2, 2), data=np.array([5, 7], np.float32), sparsity=where)
    with pytest.raises(FormatError, match="convert net"):
        values(model.bytes(0), number)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_is_that_of_torch(stride: int, padding: int) -> None:
    """ "Same" has its odd pixel to the right and below; the bias and a ReLU follow."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    model, out = convolution(weight, padding=padding, height=stride, width=stride)
    if padding:
        model.tensors[out][0] = np.array([1, (6 - 3) // stride + 1, (5 - 2) // stride + 1, 4], np.int32)
    network, x = read(model.bytes(out)), torch.randn(3, 2, 6, 5)
    high, wide = ((-(-size // stride) - 1) * stride + k - size for size, k in ((6, 3), (5, 2)))
    around = (
        (0, 0, 0, 0)
        if padding
        else (max(wide, 0) // 2, -(-max(wide, 0) // 2), max(high, 0) // 2, -(-max(high, 0) // 2))
    )
    kernel = torch.from_numpy(weight).permute(0, 3, 1, 2)
    wanted = F.conv2d(F.pad(x, around), kernel, torch.arange(4.0), stride).relu()
    torch.testing.assert_close(run(network.graph, (x,)), wanted)


def test_operators_together_give_what_torch_gives() -> None:
    """A depth-wise convolution, an unpadded pool, sums, learnt slopes, borders, pixels and channels, two outputs."""
    rng = np.random.default_rng(0)
    model = Model(1, 4, 4, 4)
    depthwise = rng.normal(size=(1, 3, 3, 8)).astype(np.float32)
    fields = {0: ("int8", 0), 1: ("int32", 1), 2: ("int32", 1), 3: ("int32", 2)}
    y = model.add(tf.DEPTHWISE, [model.input, model.constant(depthwise)], (1, 4, 4, 8), fields)
    slopes = rng.uniform(size=(1, 1, 8)).astype(np.float32)
    y = model.add(tf.PRELU, [y, model.constant(slopes)], (1, 4, 4, 8))
    y = model.add(tf.ADD, [y, model.constant(slopes)], (1, 4, 4, 8), {0: ("int8", 3)})
    borders = model.constant(np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32), tf.INT32)
    padded = model.add(tf.PAD, [y, borders], (1, 5, 6, 8))
    shuffled = model.add(tf.DEPTH_TO_SPACE, [padded], (1, 10, 12, 2), {0: ("int32", 2)})
    resized = model.add(tf.RESIZE, [padded, borders], (1, 10, 12, 8), {3: ("bool", True)})
    both = model.add(tf.CONCATENATION, [shuffled, resized], (1, 10, 12, 10), {0: ("int32", 3)})
    rows = model.add(tf.RESHAPE, [both, borders], (1, 120, 10))
    few = model.add(tf.RESHAPE, [shuffled, borders], (1, 120, 2))
    network = read(model.bytes(rows, few))
    assert [(port.shape, port.first) for port in network.outputs] == [((1, 120, 10), 0), ((1, 120, 2), 10)]

    x = torch.randn(2, 4, 4, 4)
    kernel = torch.from_numpy(depthwise[0]).permute(2, 0, 1)[:, None]
    y = F.prelu(F.conv2d(x, kernel, padding=1, groups=4), torch.from_numpy(slopes).flatten())
    padded = F.pad(F.relu6(y + torch.from_numpy(slopes).reshape(-1, 1, 1)), (0, 2, 1, 0))
    shuffled = padded.reshape(2, 2, 2, 2, 5, 6).permute(0, 3, 4, 1, 5, 2).reshape(2, 2, 10, 12)
    resized = F.interpolate(padded, (10, 12), mode="bilinear")
    wanted = torch.cat([shuffled, resized, shuffled], 1).permute(0, 2, 3, 1).reshape(2, 120, 12)
    frozen = frozen_of(network)
    torch.testing.assert_close(frozen(x), wanted, rtol=1e-5, atol=1e-5)


def test_a_zero_point_is_a_zero() -> None:
    """Quantized weights stand for (number - zero point) * scale, channel by channel."""
    model = Model(1, 4)
    quantization = {2: np.array([0.5, 2.0], np.float32), 3: np.array([3, -1], np.int64), 6: ("int32", 0)}
    weight = np.array([[3, 4, 3, 1], [-1, -1, 0, -1]], np.int8)
    held = model.add(tf.DEQUANTIZE, [model.constant(weight, tf.INT8, quantization=quantization)], (2, 4))
    y = model.add(tf.FULLY_CONNECTED, [model.input, held], (1, 2))
    ((_, body),) = read(model.bytes(y)).graph.linears()
    assert body.connections.dense().tolist() == [[0, 0.5, 0, -1.0], [0, 0, 2.0, 0]]
    assert body.connections.positions.tolist() == [1, 3, 6]


def test_an_operator_that_is_not_ours_is_named() -> None:
    model = Model(1, 4)
    with pytest.raises(FormatError, match="operator 77 at"):
        read(model.bytes(model.add(77, [model.input], (1, 4))))


def test_constants_out_of_proportion_are_refused() -> None:
    """A thousand values that share one buffer would be a thousand copies of it."""
    model = Model(1, 4)
    data = np.zeros(50_000, np.float16)
    shared = [model.value(f"c{n}", (50_000,), tf.FLOAT16, data=data) for n in range(600)]
    for number in shared:
        model.tensors[number][2] = ("uint32", 1)
    model.buffers[2:] = []
    made = [model.add(tf.DEQUANTIZE, [number], (50_000,)) for number in shared]
    with pytest.raises(FormatError, match="in proportion"):
        read(model.bytes(made[-1]))


def small() -> bytes:
    """A file with a bit of everything that offsets lead to."""
    model = Model(1, 4, 4, 2)
    where = sparsity([0, 1, 2, 3], [3, 1, 1, ([0, 1, 1, 2], [1, 0])])
    held = model.value("w", (3, 1, 1, 2), tf.FLOAT16, data=np.array([1, 2], np.float16), sparsity=where)
    dense = model.add(tf.DENSIFY, [held], (3, 1, 1, 2))
    wide = model.add(tf.DEQUANTIZE, [dense], (3, 1, 1, 2))
    fields = {0: ("int8", 0), 1: ("int32", 1), 2: ("int32", 1)}
    y = model.add(tf.CONV_2D, [model.input, wide], (1, 4, 4, 3), fields)
    return model.bytes(model.add(tf.RESHAPE, [y], (1, 48)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever bits are flipped, and wherever it is cut: a sentence, and no memory beyond a small multiple."""
    whole = bytearray(small())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = (
            data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            if data.draw(st.booleans())
            else whole[at] ^ (1 << data.draw(st.integers(0, 7)))
        )
    cut = data.draw(st.one_of(st.none(), st.integers(8, len(whole))))
    tracemalloc.start()
    try:
        read(bytes(whole[:cut]))
    except GossamerError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 << 20
