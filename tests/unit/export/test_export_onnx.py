"""Networks in files of ONNX: what ONNX Runtime computes of them, what is refused, and what is left alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, GossamerError, MemoryShortage, MissingPackage
from gossamer.export import is_export, onnx_file
from gossamer.network.operators import operators
from gossamer.patterns import parse
from gossamer.runtime import Runtime

onnx = pytest.importorskip("onnx")
engine = pytest.importorskip("onnxruntime")

SOURCE = Path(__file__).parents[3] / "src"
FILES = sorted((Path(__file__).parents[2] / "data" / "artifacts").glob("*.safetensors"))
ERROR = 2e-6  # of the largest number of a result: sums in another order


def linear(n_in: int, n_out: int, pattern: str = "unstructured", density: float = 0.25) -> gs.SparseLinear:
    return gs.SparseLinear(n_in, n_out, density=density, pattern=parse(pattern))


def conv(n_in: int, n_out: int, kernel: int = 3, **more: Any) -> gs.SparseConv2d:
    return gs.SparseConv2d(n_in, n_out, kernel, density=0.3, **more)


class Branches(nn.Module):
    """Residuals, parts and joined images, a scale for each channel, and a larger image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = conv(3, 8, padding=1), conv(8, 8, padding=2, dilation=2)
        self.own = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate, self.last = nn.Linear(8, 8), conv(16, 6, 2, stride=2, groups=2)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Any) -> Any:
        stem = torch.relu(self.stem(x))
        deep = self.norm(self.deep(stem)) + stem
        scale = torch.sigmoid(self.gate(deep.mean((2, 3))))
        one, two = nn.functional.hardswish(self.own(deep * scale.reshape(-1, 8, 1, 1))).chunk(2, 1)
        joined = torch.cat([one, nn.functional.interpolate(two[:, :, ::2, 1::2], scale_factor=2), stem], 1)
        return self.last(joined).flatten(1)


def padded(mode: str) -> nn.Module:
    return nn.Sequential(conv(3, 4, padding=(2, 1), padding_mode=mode), nn.ReLU6(), nn.Flatten())


POOLS = [
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d(2, 2, ceil_mode=True),
    nn.AdaptiveAvgPool2d((3, 2)),
]
NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "fan-in": (nn.Sequential(linear(16, 24, "fanin"), nn.LeakyReLU(0.3), linear(24, 5, "fanin")), (16,)),
    "nm": (
        nn.Sequential(linear(16, 24, "nm:1:4"), nn.GELU(), linear(24, 8, "nm:1:4"), nn.Softmax(-1)),
        (16,),
    ),
    "sequence": (nn.Sequential(linear(16, 24), nn.ELU(0.7), linear(24, 6)), (7, 16)),
    "float64": (nn.Sequential(linear(16, 24), nn.Tanh(), nn.Linear(24, 6)).double(), (16,)),
    "branches": (Branches(), (3, 12, 12)),
    "pools": (
        nn.Sequential(conv(3, 6, stride=2), nn.SiLU(), *POOLS, nn.Flatten(), linear(36, 4)),
        (3, 31, 27),
    ),
    **{mode: (padded(mode), (3, 6, 7)) for mode in ("zeros", "circular", "reflect", "replicate")},
}


def frozen_of(model: nn.Module, shape: tuple[int, ...], **more: Any) -> Any:
    """Frozen with statistics and biases that are no zeros."""
    torch.manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            tensor.data.normal_()
    dtype = next(model.parameters()).dtype
    return gs.freeze(model.eval(), torch.randn(2, *shape, dtype=dtype), **{"keep": "csr", **more})


def answers(path: Path, *inputs: Any) -> Any:
    """What ONNX Runtime computes."""
    session = engine.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})[0]


def assert_same(path: Path, frozen: Any, *shape: int, dtype: Any = torch.float32) -> None:
    """For batches of one and three."""
    for batch in (1, 3):
        x = torch.randn(batch, *shape, dtype=dtype)
        wanted = frozen(x).numpy()
        got = answers(path, x)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        error = 1e-14 if dtype == torch.float64 else ERROR
        np.testing.assert_allclose(got, wanted, rtol=0, atol=error * np.abs(wanted).max())


@pytest.mark.parametrize("weights", ["dense", "sparse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_what_frozen_does(name: str, weights: str, tmp_path: Path) -> None:
    """From the network, from its file and from a runtime the same file."""
    model, shape = NETWORKS[name]
    frozen, path = frozen_of(model, shape), tmp_path / "net.onnx"
    gs.export_onnx(frozen, path, weights=weights)
    assert_same(path, frozen, *shape, dtype=next(model.parameters()).dtype)
    written = path.read_bytes()
    gs.save(frozen, tmp_path / "net.safetensors")
    gs.export_onnx(str(tmp_path / "net.safetensors"), path, weights=weights)
    assert path.read_bytes() == written
    gs.export_onnx(Runtime(tmp_path / "net.safetensors", exact=False), path, weights=weights)
    assert path.read_bytes() == written


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_of_every_layout(file: Path, tmp_path: Path) -> None:
    """Old ones too; layers that round their inputs to int8 differ by what that costs."""
    frozen = gs.load(file)
    gs.export_onnx(file, tmp_path / "net.onnx")
    given = [
        torch.randn(
            3, *row.shape[1:], dtype=getattr(torch, row.dtype), generator=torch.Generator().manual_seed(0)
        )
        for row in frozen.report.inputs
    ]
    wanted = frozen(*given).float().numpy()
    got = answers(tmp_path / "net.onnx", *given)
    rounded = (
        0.02
        if file.stem in ("window_bytes", "bitmask_bytes", "nm_bytes", "nm_nibble_bytes", "fanin_bytes")
        else ERROR
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=rounded * np.abs(wanted).max())


def test_the_file_says_what_it_needs_and_has_the_batch_as_a_name(tmp_path: Path) -> None:
    gs.export_onnx(frozen_of(nn.Sequential(linear(16, 24), nn.ReLU()), (16,)), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (9, [("", 20)])
    sizes = [each.type.tensor_type.shape.dim for each in (*model.graph.input, *model.graph.output)]
    assert [(batch.dim_param, size.dim_value) for batch, size in sizes] == [("batch", 16), ("batch", 24)]
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Relu"]


def test_dead_neurons_and_channels_are_gone(tmp_path: Path) -> None:
    """Three of eight channels and four of ten neurons have no connection; the shapes are those without them."""
    model = nn.Sequential(
        conv(3, 8), nn.ReLU(), conv(8, 4), nn.Flatten(), linear(36, 10), nn.ReLU(), nn.Linear(10, 3)
    )
    for layer, dead in ((model[0], 3), (model[4], 4)):
        topology = layer.topology
        keep = topology.positions // topology.shape[1] >= dead
        fewer = type(topology)(topology.pattern, topology.shape, topology.positions[keep])
        layer.assign(fewer, layer.values[: topology.connections][keep].detach())
    frozen = frozen_of(model, (3, 7, 7))
    gs.export_onnx(frozen, tmp_path / "net.onnx")
    shapes = {held.name: list(held.dims) for held in onnx.load(tmp_path / "net.onnx").graph.initializer}
    sizes = [shape for shape in shapes.values() if len(shape) > 1]
    assert sizes == [[5, 3, 3, 3], [4, 5, 3, 3], [6, 36], [3, 6]]
    assert_same(tmp_path / "net.onnx", frozen, 3, 7, 7)


def test_narrow_values_become_wide_ones(tmp_path: Path) -> None:
    """Of bfloat16 the rounded numbers, to the bit; of int8 the products with their scales."""
    layer = linear(16, 24, "fanin")
    for values in ("bfloat16", "int8"):
        frozen = frozen_of(nn.Sequential(layer), (16,), values=values)
        gs.export_onnx(frozen, tmp_path / values)
        assert_same(tmp_path / values, frozen, 16)
    held = next(each for each in onnx.load(tmp_path / "bfloat16").graph.initializer if len(each.dims) == 2)
    wanted = layer.to_dense().detach().bfloat16().float().numpy()
    assert (onnx.numpy_helper.to_array(held) == wanted).all()


def test_networks_of_bfloat16_become_wide(tmp_path: Path) -> None:
    """Inputs and outputs too: the same weights, and sums that are not rounded."""
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).bfloat16()
    gs.export_onnx(gs.freeze(model.eval(), torch.randn(2, 16).bfloat16()), tmp_path / "net.onnx")
    x = torch.randn(3, 16)
    wanted = model.float()(x).detach().numpy()
    np.testing.assert_allclose(
        answers(tmp_path / "net.onnx", x), wanted, rtol=0, atol=ERROR * abs(wanted).max()
    )


def test_sparse_weights_are_smaller_where_a_third_is_left_and_else_dense(tmp_path: Path) -> None:
    """A number and its place take 12 bytes; a weight with half of its numbers stays whole."""
    few, many = linear(200, 100, density=0.1), linear(100, 50, density=0.5)
    frozen = frozen_of(nn.Sequential(few, nn.ReLU(), many), (200,))
    sizes = {}
    for weights in ("dense", "sparse"):
        path = tmp_path / weights
        gs.export_onnx(frozen, path, weights=weights)
        sizes[weights] = path.stat().st_size
    graph = onnx.load(tmp_path / "sparse").graph
    assert [list(held.dims) for held in graph.sparse_initializer] == [[100, 200]]
    assert sizes["dense"] - sizes["sparse"] == pytest.approx(
        4 * 200 * 100 - 12 * few.topology.connections, abs=200
    )


class Sorted(nn.Module):
    """With a call that only torch knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = linear(16, 8)

    def forward(self, x: Any) -> Any:
        return torch.sort(self.first(x))[0]


class Halves(nn.Module):
    """A part of the batch, whose size an export leaves open."""

    def forward(self, x: Any) -> Any:
        return torch.relu(x.chunk(2, 0)[0])


def test_what_has_no_words_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(FormatError, match=r"export_onnx.*sort.*at '"):
        gs.export_onnx(frozen_of(Sorted(), (16,)), path)
    with pytest.raises(ConfigError, match="expected a frozen network"):
        gs.export_onnx(nn.Linear(2, 2), path)
    frozen = frozen_of(nn.Sequential(linear(16, 8)), (16,))
    with pytest.raises(ConfigError, match=r"dense or sparse, got 'packed'"):
        gs.export_onnx(frozen, path, weights="packed")
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", 16 * 8 * 4 - 1)
    with pytest.raises(MemoryShortage, match='512 bytes with the zeros; weights="sparse" leaves'):
        gs.export_onnx(frozen, path)
    gs.export_onnx(frozen, path, weights="sparse")
    assert answers(path, torch.ones(1, 16)).shape == (1, 8)


def test_an_operator_without_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of somebody else may be."""
    frozen = frozen_of(nn.Sequential(linear(16, 8), nn.Softmax(-1)), (16,))
    monkeypatch.setitem(operators._entries, "softmax", replace(operators["softmax"], onnx=None))
    with pytest.raises(FormatError, match="the operator softmax at '1'"):
        gs.export_onnx(frozen, tmp_path / "net.onnx")


def test_equal_parts_of_a_batch_are_refused(tmp_path: Path) -> None:
    """Their sizes would be those of the example."""
    frozen = gs.freeze(Halves(), torch.randn(4, 6))
    with pytest.raises(GossamerError, match="chunk"):
        gs.export_onnx(frozen, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "renamed"])
def test_damaged_files_are_refused_and_an_old_export_stays(damage: str, tmp_path: Path) -> None:
    source, path = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    gs.save(frozen_of(nn.Sequential(linear(16, 8, "fanin")), (16,)), source)
    path.write_bytes(b"old")
    held = source.read_bytes()
    assert held.count(b"linear") == 1
    source.write_bytes(held[:-9] if damage == "cut" else held.replace(b"linear", b"lineer"))
    with pytest.raises(FormatError):
        gs.export_onnx(source, path)
    assert path.read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.onnx", "net.safetensors"]


def test_own_files_are_known(tmp_path: Path) -> None:
    """By the producer that they name."""
    path, other = tmp_path / "net.onnx", tmp_path / "other.onnx"
    gs.export_onnx(frozen_of(nn.Sequential(linear(16, 8)), (16,)), path)
    model = onnx.load(path)
    model.producer_name = "somebody"
    onnx.save(model, other)
    (tmp_path / "text").write_text("a text of mine")
    assert [is_export(each) for each in (path, other, tmp_path / "text")] == [True, False, False]


SCRIPT = """
import sys
sys.modules["onnx"] = None  # as if it were not installed
import gossamer as gs
try:
    gs.export_onnx({source!r}, {path!r})
except gs.GossamerError as error:
    print(type(error).__name__, error, "torch" in sys.modules)
"""


def test_without_onnx_the_extra_is_named_and_torch_is_not_needed(tmp_path: Path) -> None:
    source = tmp_path / "net.safetensors"
    gs.save(frozen_of(nn.Sequential(linear(16, 8)), (16,)), source)
    script = SCRIPT.format(source=str(source), path=str(tmp_path / "net.onnx"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE)},
        check=False,
    )
    assert done.stdout.startswith(MissingPackage.__name__), done.stderr
    assert "gossamer[onnx]" in done.stdout
    assert done.stdout.endswith("False\n")
