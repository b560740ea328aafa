"""Frozen networks on arrays: the bits of Frozen or an error, and no torch."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

import gossamer as gs
from gossamer.errors import (
    ConfigError,
    DtypeError,
    FormatError,
    KernelUnavailable,
    MemoryShortage,
    ShapeError,
)
from gossamer.kernels.cpu import library
from gossamer.network.operators import operators
from gossamer.patterns import parse
from gossamer.runtime import Runtime

FILES = sorted((Path(__file__).parents[2] / "data" / "artifacts").glob("*.safetensors"))
SOURCE = Path(__file__).parents[3] / "src"


def frozen_to(
    path: Path, *layers: nn.Module, keep: str = "csr", shape: tuple[int, ...] = (2, 16), **more: Any
) -> Any:
    """A frozen network, and its file."""
    torch.manual_seed(0)
    frozen = gs.freeze(nn.Sequential(*layers), torch.randn(shape), keep=keep, **more)
    gs.save(frozen, path)
    return frozen


def sparse(pattern: str = "fanin") -> gs.SparseLinear:
    density = 0.25 if pattern == "nm:1:4" else 0.5
    return gs.SparseLinear(16, 16, density=density, pattern=parse(pattern))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Runtime]:
    """One network, frozen and as a runtime."""
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    frozen = frozen_to(path, sparse(), nn.ReLU(), sparse(), nn.LeakyReLU(0.2), sparse())
    return frozen, Runtime(path)


def inputs_of(path: Path, batch: int) -> np.ndarray:
    with safe_open(path, framework="np") as file:
        row = json.loads(file.metadata()["gossamer"])["report"]["inputs"][0]
    return np.random.default_rng(batch).normal(size=(batch, *row["shape"][1:])).astype(row["dtype"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_old_file_has_the_bits_of_frozen(path: Path) -> None:
    """By default, every one: files of each layout, of convolutions, of all operators."""
    frozen, runtime = gs.load(path), Runtime(path)
    assert runtime.rounded == ()
    for batch in (0, 1, 3, 65):
        x = inputs_of(path, batch)
        got, wanted = runtime(x), frozen(torch.from_numpy(x)).numpy()
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("values", ["exact", "bfloat16", "int8"])
@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:4", "nm:1:4", "block:4"])
def test_every_pattern_and_type_of_values_has_the_bits_of_frozen(
    tmp_path: Path, pattern: str, values: str
) -> None:
    """In every layout of the core that holds it, with a residual, a batch norm and a leaky ReLU between."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = sparse(pattern), sparse(pattern), sparse(pattern)
            self.norm = nn.BatchNorm1d(16)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.first(x))
            z = nn.functional.leaky_relu(self.norm(nn.functional.relu6(self.second(y)) + x), 0.1)
            return self.third(z) + y

    torch.manual_seed(0)
    model = Residual().eval()
    tried = 0
    for keep in ("csr", "csr_bands", "fanin", "nm", "nm_lanes", "block"):
        try:
            frozen = gs.freeze(model, torch.randn(2, 16), keep=keep, values=values)
        except gs.GossamerError:
            continue
        gs.save(frozen, tmp_path / keep)
        runtime = Runtime(tmp_path / keep)
        for batch in (0, 1, 2, 33):
            x = torch.randn(batch, 16)
            assert np.array_equal(runtime(x.numpy()), frozen(x).numpy())
        tried += 1
    assert tried >= 2


def test_every_batch_class_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    frozen = gs.freeze(
        nn.Sequential(sparse("nm:1:4"), nn.ReLU(), sparse("nm:1:4")),
        torch.randn(2, 16),
        batch_sizes=(1, 64),
        candidates=["nm", "nm_lanes"],
    )
    gs.save(frozen, tmp_path / "net")
    runtime = Runtime(tmp_path / "net")
    for batch in (1, 8, 9, 100):
        x = torch.randn(batch, 16)
        assert np.array_equal(runtime(x.numpy()), frozen(x).numpy())


def test_inputs_by_position_and_by_name(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = sparse(), sparse()

        def forward(self, x: torch.Tensor, *, more: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.a(x)) + self.b(more)

    frozen = gs.freeze(Two(), {"x": torch.randn(2, 16), "more": torch.randn(2, 16)}, keep="csr")
    gs.save(frozen, tmp_path / "net")
    runtime = Runtime(tmp_path / "net")
    x, more = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32)
    expected = frozen(x=torch.from_numpy(x), more=torch.from_numpy(more)).numpy()
    assert np.array_equal(runtime(x, more), expected)
    assert np.array_equal(runtime(more=more, x=x), expected)
    for given, named in (
        ((x,), {}),
        ((x, more, x), {}),
        ((x,), {"x": x, "more": more}),
        ((x,), {"less": more}),
    ):
        with pytest.raises(ConfigError, match="the inputs it was frozen with: x, more"):
            runtime(*given, **named)
    with pytest.raises(ShapeError, match="values"):
        runtime(x, more[:2])


def test_more_dimensions_than_two(tmp_path: Path) -> None:
    frozen = frozen_to(tmp_path / "net", sparse(), nn.ReLU(), sparse(), shape=(2, 3, 16))
    x = torch.randn(4, 7, 16)
    assert np.array_equal(Runtime(tmp_path / "net")(x.numpy()), frozen(x).numpy())


def test_a_norm_of_a_part_of_an_image(tmp_path: Path) -> None:
    """Numbers that do not lie side by side have the same bits as others."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)
            self.norm.running_mean.normal_(), self.norm.running_var.uniform_(0.5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(x[:, :, :, 1::2]))

    torch.manual_seed(0)
    frozen = gs.freeze(Part().eval(), torch.randn(2, 3, 9, 9), keep="csr")
    gs.save(frozen, tmp_path / "net")
    x = torch.randn(2, 3, 9, 9)
    assert np.array_equal(Runtime(tmp_path / "net")(x.numpy()), frozen(x).numpy())
    assert torch.equal(frozen(x.to(memory_format=torch.channels_last)), frozen(x))


def test_any_order_of_memory(net: tuple[Any, Runtime]) -> None:
    frozen, runtime = net
    x = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    expected = frozen(torch.from_numpy(x)).numpy()
    read_only = x.copy()
    read_only.flags.writeable = False
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    wide = np.zeros((12, 32), np.float32)
    wide[::2, ::2] = x
    given = {
        "by column": np.asfortranarray(x),
        "read-only": read_only,
        "unaligned": unaligned,
        "strided": wide[::2, ::2],
        "backwards": x[::-1].copy()[::-1],
        "repeated": np.broadcast_to(x[:1], x.shape),
    }
    for name, array in given.items():
        before = array.copy()
        wanted = expected if name != "repeated" else frozen(torch.from_numpy(before)).numpy()
        assert np.array_equal(runtime(array), wanted), name
        assert np.array_equal(array, before), name


def test_the_result_is_the_callers_own(tmp_path: Path) -> None:
    """Also where the network computes nothing: the input is not handed out."""
    frozen_to(tmp_path / "net", nn.Flatten(), nn.Flatten(), shape=(2, 4, 4))
    x = np.ones((2, 4, 4), np.float32)
    x.flags.writeable = False
    y = Runtime(tmp_path / "net")(x)
    y[...] = 7
    assert (x == 1).all()
    assert y.flags.c_contiguous


def test_an_empty_batch(net: tuple[Any, Runtime]) -> None:
    assert net[1](np.empty((0, 16), np.float32)).shape == (0, 16)


WRONG = {
    "a tensor": (torch.ones(2, 16), DtypeError, r"torch.Tensor.*x.numpy\(\)"),
    "a list": ([[1.0] * 16], DtypeError, "got list.*np.asarray"),
    "a number": (np.float32(1), DtypeError, "array"),
    "no dimension": (np.array(1, np.float32), ShapeError, r"\[batch"),
    "another type": (np.ones((2, 16)), DtypeError, r"float32.*float64.*astype"),
    "integers": (np.ones((2, 16), np.int32), DtypeError, "astype"),
    "objects": (np.full((2, 16), 1.0, object), DtypeError, "dtype\\('O'\\)"),
    "swapped bytes": (np.ones((2, 16), ">f4"), DtypeError, ">f4"),
    "fields": (np.zeros((2, 16), [("a", "f4")]), DtypeError, "float32"),
    "too wide": (np.ones((2, 17), np.float32), ShapeError, r"\[\.\.\., 16\].*\[2, 17\]"),
    "none": (None, ConfigError, "nothing for"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_does_not_take_is_refused_in_words(net: tuple[Any, Runtime], name: str) -> None:
    given, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        net[1](given)


def test_a_mask_is_not_left_out_in_silence(net: tuple[Any, Runtime], tmp_path: Path) -> None:
    """Subclasses of arrays may mean something by their numbers; one in a file does not."""
    x = np.ones((2, 16), np.float32)
    with pytest.raises(DtypeError, match=r"MaskedArray.*np\.asarray"):
        net[1](np.ma.masked_array(x, x > 0))
    x.tofile(tmp_path / "x")
    assert np.array_equal(net[1](np.memmap(tmp_path / "x", np.float32, "r", shape=(2, 16))), net[1](x))


def test_a_batch_that_does_not_fit_is_refused_before_it_is_copied(net: tuple[Any, Runtime]) -> None:
    with pytest.raises(MemoryShortage, match="a smaller batch"):
        net[1](np.broadcast_to(np.float32(1), (1 << 40, 16)))


def test_features_that_numpy_would_repeat_are_refused(tmp_path: Path) -> None:
    """One number for sixteen means: torch refuses it, and so does this."""
    frozen_to(tmp_path / "net", nn.BatchNorm1d(16))
    with pytest.raises(ShapeError, match=r"\[2, 1\]"):
        Runtime(tmp_path / "net")(np.ones((2, 1), np.float32))


def test_threads_share_one(net: tuple[Any, Runtime]) -> None:
    frozen, runtime = net
    x = [torch.randn(batch, 16) for batch in (1, 2, 3, 64, 65, 7, 8, 1)]
    expected = [frozen(each).numpy() for each in x]
    wrong: list[int] = []
    barrier = threading.Barrier(len(x))

    def run(number: int) -> None:
        barrier.wait()
        results = [runtime(x[number].numpy()) for _ in range(200)]
        wrong.extend(number for each in results if not np.array_equal(each, expected[number]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(x))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_copies_run_in_other_processes(net: tuple[Any, Runtime], tmp_path: Path) -> None:
    """A copy holds the network and not the file; it says the same of what is rounded."""
    x = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    for each in (copy.deepcopy(net[1]), copy.copy(net[1]), pickle.loads(pickle.dumps(net[1]))):  # noqa: S301
        assert np.array_equal(each(x), net[1](x))
        assert repr(each) == repr(net[1])
    rounded_to(tmp_path / "net")
    x = x.astype(np.float64)
    rounded = Runtime(tmp_path / "net", exact=False)
    (tmp_path / "net").unlink()
    again = pickle.loads(pickle.dumps(rounded))  # noqa: S301
    assert again.rounded == rounded.rounded
    assert np.array_equal(again(x), rounded(x))


def rounded_to(path: Path) -> Any:
    """A network of float64 with a batch norm that stays, and its file."""
    model = nn.Sequential(nn.BatchNorm1d(16), nn.Tanh()).double()
    frozen = gs.freeze(model, torch.randn(2, 16, dtype=torch.float64))
    gs.save(frozen, path)
    return frozen


def test_what_is_rounded_is_said(tmp_path: Path) -> None:
    frozen = rounded_to(tmp_path / "net")
    with pytest.raises(KernelUnavailable, match=r"'0' \(batch_norm\); exact=False"):
        Runtime(tmp_path / "net")
    runtime = Runtime(tmp_path / "net", exact=False)
    assert runtime.rounded == ("0: batch_norm",)
    x = torch.randn(5, 16, dtype=torch.float64)
    assert np.allclose(runtime(x.numpy()), frozen(x).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_have_the_bits_of_frozen(tmp_path: Path, dtype: torch.dtype) -> None:
    """Behind a layer, where they are part of it, and behind a sum; the same numbers either way, and near torch's."""
    bent = (
        nn.ReLU6(),
        nn.SiLU(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.ELU(0.7),
        nn.GELU(),
    )

    class Net(nn.Module):
        def __init__(self, function: nn.Module) -> None:
            super().__init__()
            self.layer, self.function = sparse(), function

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(self.layer(x)) + torch.softmax(self.function(x), 1)

    x = 4 * torch.randn(33, 16, dtype=dtype)
    for function in (*bent, nn.GELU("tanh")):
        torch.manual_seed(0)
        model = Net(function).to(dtype).eval()
        frozen = gs.freeze(model, x, keep="csr")
        gs.save(frozen, tmp_path / "net")
        runtime = Runtime(tmp_path / "net")
        for batch in (1, 5, 33):
            assert np.array_equal(runtime(x[:batch].numpy()), frozen(x[:batch]).numpy()), function
        assert (frozen(x) - model(x)).abs().max() <= 64 * torch.finfo(dtype).eps, function


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", ["exact", "bfloat16", "int8"])
@pytest.mark.parametrize("keep", ["dense", "slice"])
def test_dense_layers_have_the_bits_of_frozen(
    tmp_path: Path, keep: str, values: str, dtype: torch.dtype
) -> None:
    """Whole ones and slices, with an activation and a residual; near what torch adds up."""
    if dtype == torch.float64 and values != "exact":
        return
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    with torch.no_grad():
        layer.weight[2], layer.weight[:, 3] = 0, 0

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = layer, nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.tanh(self.layer(x) + x))

    model = Net().to(dtype)
    keeps = {"layer": keep, "last": "dense"}
    frozen = gs.freeze(model, torch.randn(2, 16, dtype=dtype), keep=keeps, values=values)
    gs.save(frozen, tmp_path / "net")
    runtime = Runtime(tmp_path / "net")
    for shape in ((0, 16), (1, 16), (9, 16), (70, 16), (2, 3, 16)):
        x = torch.randn(shape, dtype=dtype)
        assert np.array_equal(runtime(x.numpy()), frozen(x).numpy())
        if values == "exact":
            assert torch.allclose(frozen(x), model(x), rtol=0, atol=64 * torch.finfo(dtype).eps)


def test_types_that_only_torch_computes_with_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 4)).to(torch.bfloat16)
    gs.save(gs.freeze(model, torch.ones(1, 16, dtype=torch.bfloat16), keep="csr"), tmp_path / "net")
    for exact in (True, False):
        with pytest.raises(KernelUnavailable, match=r"bfloat16.*needs torch"):
            Runtime(tmp_path / "net", exact=exact)


def test_without_the_core_it_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen_to(tmp_path / "net", sparse())
    monkeypatch.setattr(library, "find", lambda: None)
    monkeypatch.setattr(library, "why_missing", lambda: "no compiled core")
    with pytest.raises(KernelUnavailable, match="pip install"):
        Runtime(tmp_path / "net")


def changed(path: Path, **node: Any) -> Path:
    """A file with another first node."""
    with safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["gossamer"])
    document["nodes"][0] |= node
    save_file(arrays, path, {"gossamer": json.dumps(document)})
    return path


def test_an_unknown_layout_or_operator_is_named(tmp_path: Path) -> None:
    frozen_to(tmp_path / "a", sparse())
    with pytest.raises(FormatError, match=r"layouts among.*coo"):
        Runtime(changed(tmp_path / "a", layout="coo"))
    frozen_to(tmp_path / "b", nn.BatchNorm1d(16))
    for load in (Runtime, gs.load):
        with pytest.raises(FormatError, match=r"operator among linear.*'lstm'"):
            load(changed(tmp_path / "b", op="lstm"))
    with pytest.raises(FileNotFoundError):
        Runtime(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FormatError, match="safetensors"):
        Runtime(tmp_path / "text")


def test_it_says_what_it_is(net: tuple[Any, Runtime]) -> None:
    assert repr(net[1]) == "Runtime('net.safetensors', input: float32 [batch, 16], 3 nodes)"


BLOCKED = """
    import sys
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "torch":
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Blocked())
    import importlib, pkgutil
    import numpy as np
    import gossamer.layouts, gossamer.network, gossamer.runtime
    for room in (gossamer.layouts, gossamer.network):
        for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
            importlib.import_module(module.name)
    from gossamer.runtime import Runtime
    net = Runtime(sys.argv[1])
    x = np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 16)
    print(net(x).tobytes().hex(), "torch" in sys.modules)
"""


def test_neither_network_nor_layouts_nor_the_runtime_imports_torch(tmp_path: Path) -> None:
    """In a process in which torch cannot be imported; the result has the bits of Frozen."""
    frozen = frozen_to(
        tmp_path / "net", sparse(), nn.ReLU(), nn.BatchNorm1d(16), sparse("block:4"), values="exact"
    )
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), str(tmp_path / "net")]
    environment = {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    x = torch.linspace(-1, 1, 48).view(3, 16)
    wanted = frozen(torch.from_numpy(np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 16))).numpy()
    assert done.stdout.split() == [np.ascontiguousarray(wanted).tobytes().hex(), "False"]
    assert x.shape == wanted.shape


def test_every_operator_runs_on_arrays(tmp_path: Path) -> None:
    """Windows over images too; one that only torch has would be refused by name."""
    assert [name for name, entry in operators.items() if entry.arrays is None and not entry.in_core] == []
    layers = (nn.Conv2d(1, 4, 3, 2), nn.Hardswish(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    frozen = frozen_to(tmp_path / "net", *layers, shape=(2, 1, 11, 9))
    x = torch.randn(3, 1, 11, 9)
    got = Runtime(tmp_path / "net", exact=False)(x.numpy())
    assert np.allclose(got, frozen(x).numpy(), rtol=0, atol=1e-6)
