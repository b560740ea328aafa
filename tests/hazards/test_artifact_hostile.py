"""A file from outside is hostile until checked: a clear error, never a crash, no memory without bound."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import textwrap
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import FormatError, GossamerError
from gossamer.patterns import parse

if TYPE_CHECKING:
    from gossamer.freezing import Frozen

LAYOUTS = ("csr", "fanin", "nm", "nm_lanes", "dense", "slice", "block", "convolution", "operators")
INPUT = {"convolution": (1, 4, 4), "operators": (4, 4, 4)}  # of a sample; others take 16 numbers


class Operators(nn.Module):
    """Every operator between images that has settings."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 4, 1), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = torch.chunk(self.first(x), 2, 1)
        x = torch.cat([one[:, :, ::2] * 0.5, F.pad(two, (0, 0, 1, 1))[:, :, :2]], 1)
        x = F.avg_pool2d(F.max_pool2d(x, 2, stride=1, padding=1), 2, stride=1)
        x = F.interpolate(F.interpolate(x, scale_factor=2).clamp(-1, 2), (3, 3))
        x = torch.softmax(x * F.adaptive_avg_pool2d(x, 1), 1)
        return self.last(x.view(x.size(0), 2, -1, 3).mean((1, 3)))


def network(layout: str) -> Frozen:
    torch.manual_seed(0)
    if layout == "operators":
        return gs.freeze(Operators().eval(), torch.randn(2, 4, 4, 4), keep="csr")
    if layout == "convolution":
        images = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4, 2),
        )
        gs.sparsify(images, 0.5, gs.FanIn(2), "uniform")
        return gs.freeze(images.eval(), torch.randn(2, 1, 4, 4), keep="fanin")
    model = nn.Sequential(
        nn.Linear(16, 8),
        nn.Softmax(1),  # between the two: the norm is not folded into the layer, and dead neurons stay
        nn.BatchNorm1d(8),
        nn.LeakyReLU(),
        nn.Linear(8, 4),
        nn.ReLU(),
        nn.Linear(4, 4),
        nn.Tanh(),
    )
    pattern = {"fanin": "fanin:2", "nm": "nm:1:4", "nm_lanes": "nm:1:4", "block": "block:2:4"}.get(layout)
    if pattern is not None:
        gs.sparsify(model, 0.5 if layout in ("fanin", "block") else None, parse(pattern), "uniform")
    elif layout in ("csr", "slice"):
        with torch.no_grad():
            for layer in (model[0], model[4], model[6]):
                layer.weight[1] = 0
                layer.weight[:, 2] = 0
    return gs.freeze(model, torch.randn(2, 16), keep={"0": layout, "4": layout, "6": layout})


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for layout in LAYOUTS:
        gs.save(network(layout), folder / layout)
    return {layout: folder / layout for layout in LAYOUTS}


def opened(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["gossamer"])  # noqa: SIM118


def closed(path: Path, tensors: dict[str, torch.Tensor], document: object) -> Path:
    save_file(
        {name: t.contiguous().clone() for name, t in tensors.items()},
        path,
        {"gossamer": json.dumps(document)},
    )
    return path


def try_load(path: Path, layout: str = "csr") -> bool:
    """Load, and run what loads; anything but a GossamerError is a failure."""
    try:
        net = gs.load(path)
    except GossamerError:
        return False
    # an artifact that describes larger images is a good one, and refuses these
    with suppress(GossamerError) if layout == "convolution" else nullcontext():
        net(torch.ones(3, *INPUT.get(layout, (16,))))
    return True


@pytest.mark.parametrize("layout", LAYOUTS)
def test_intact_files_load(files, layout):
    assert try_load(files[layout], layout)


@given(data=st.data())
def test_flipped_and_truncated_bytes(files, tmp_path_factory, data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    content = bytearray(files[layout].read_bytes())
    head = 8 + struct.unpack("<Q", content[:8])[0]
    zone = data.draw(st.sampled_from([(0, 8), (8, head), (head, len(content))]))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(zone[0], zone[1] - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("bytes") / "f"
    path.write_bytes(bytes(content))
    try_load(path, layout)


NASTY = (
    None,
    True,
    -1,
    0,
    1,
    2,
    255,
    2**31,
    2**63,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "csr",
    "slice",
    "0",
    [],
    {},
    [[]],
    "x" * 3000,
)


def everywhere(tree: object, path: tuple = ()) -> list[tuple]:
    """The way to every value of a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(way for key, child in items for way in everywhere(child, (*path, key)))]


def changed(document: dict, way: tuple, value: object) -> object:
    """The document with one value replaced, or removed where the value is ``...``."""
    if not way:
        return value
    twin = json.loads(json.dumps(document))
    holder = twin
    for key in way[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[way[-1]]
    else:
        holder[way[-1]] = value
    return twin


@given(data=st.data())
def test_changed_documents(files, tmp_path_factory, data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    tensors, document = opened(files[layout])
    network_only = {key: value for key, value in document.items() if key != "report"}
    way = data.draw(st.sampled_from(everywhere(network_only if data.draw(st.booleans()) else document)[1:]))
    value = data.draw(st.sampled_from((..., *NASTY)))
    path = closed(tmp_path_factory.mktemp("document") / "f", tensors, changed(document, way, value))
    try_load(path, layout)


def test_every_value_of_the_graph_replaced_by_every_nasty_one(files, tmp_path):
    tensors, document = opened(files["fanin"])
    accepted = []
    for way in everywhere({"nodes": document["nodes"][:3], "inputs": document["inputs"], "output": ""})[1:]:
        for value in (..., None, True, -1, 2**31, 10**400, float("nan"), "x", []):
            twin = changed(document, way, value)
            if twin != document and try_load(closed(tmp_path / "f", tensors, twin)):
                accepted.append((way, value))
    harmless = {"activation", "slope", "negative_slope", "eps", "dim"}
    assert {way[-1] for way, _ in accepted} <= harmless, accepted


def test_every_setting_of_the_operators_replaced_by_every_nasty_one(files, tmp_path):
    """Refused, or a network that runs: no other error, and no memory that an output of its size does not need."""
    tensors, document = opened(files["operators"])
    ways = [way for way in everywhere({"nodes": document["nodes"]}) if "settings" in way[:-1]]
    assert {document["nodes"][way[1]]["op"] for way in ways} >= {
        *("chunk", "slice", "pad", "reshape", "mean"),
        *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "softmax"),
    }
    outcomes = [
        try_load(closed(tmp_path / "f", tensors, changed(document, way, value)), "operators")
        for way in ways
        for value in (..., None, True, -1, 0, 1, 1024, 2**31, 10**400, float("nan"), "x", [], [[]])
    ]
    assert {True, False} == set(outcomes)


@pytest.mark.parametrize(
    "op", [("upsample_nearest2d", {"scale": [1024, 1024]}), ("pad", {"border": [1024] * 4})]
)
def test_values_that_grow_without_bounds(tmp_path, op):
    """Each step is allowed; all together are not."""
    path = tmp_path / "f"
    save_file({}, path, {"gossamer": json.dumps(calls([1, 3, 2, 2], op))})
    gs.load(path)
    save_file({}, path, {"gossamer": json.dumps(calls([1, 3, 2, 2], *[op] * 16))})
    with pytest.raises(FormatError, match="memory can hold"):
        gs.load(path)


def test_images_so_long_that_lists_of_their_rows_fill_the_memory(tmp_path):
    """Each value could be held; a plan lists the rows of all of them."""
    path = tmp_path / "f"
    for relus in (1, 2):
        save_file({}, path, {"gossamer": json.dumps(calls([1, 1, 2**24 - 2, 2], *[("relu", {})] * relus))})
        with nullcontext() if relus == 1 else pytest.raises(FormatError, match="at most 33,554,432 pixels"):
            gs.load(path)


@given(data=st.data())
def test_changed_tensors(files, tmp_path_factory, data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    tensors, document = opened(files[layout])
    name = data.draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name]
    kind = data.draw(st.sampled_from(["numbers", "dtype", "shape", "missing", "extra", "empty"]))
    if kind == "numbers" and tensor.numel():
        flat = tensor.reshape(-1).clone()
        spot = data.draw(st.integers(0, flat.numel() - 1))
        raw = flat.view(torch.uint8).view(flat.numel(), -1)
        raw[spot] = data.draw(st.sampled_from([0, 1, 3, 127, 128, 255]))
        tensors[name] = flat.view(tensor.shape)
    elif kind == "dtype":
        tensors[name] = tensor.to(
            data.draw(st.sampled_from([torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16]))
        )
    elif kind == "shape":
        tensors[name] = data.draw(
            st.sampled_from([tensor.unsqueeze(0), tensor.reshape(-1)[:-1], tensor.reshape(-1)])
        )
    elif kind == "missing":
        del tensors[name]
    elif kind == "extra":
        tensors["stowaway"] = tensor
    else:
        tensors[name] = tensor.reshape(-1)[:0]
    try_load(closed(tmp_path_factory.mktemp("tensors") / "f", tensors, document), layout)


def refused(tmp_path: Path, tensors: dict, document: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        gs.load(closed(tmp_path / "f", tensors, document))


def test_indices_out_of_range_or_order(files, tmp_path):
    for layout, name, spot, value in (
        ("csr", "0/col", 0, 16),
        ("csr", "0/col", 1, 0),
        ("csr", "0/row_ptr", 1, -1),
        ("csr", "0/row_ptr", -1, 10_000),
        ("fanin", "0/col", 0, 999),
        ("fanin", "0/rows", 0, 3),
        ("nm", "0/offset", 0, 4),
        ("nm_lanes", "6/offset", 7, 3),
        ("slice", "0/cols", 0, 16),
        ("slice", "0/rows", 1, 0),
    ):
        tensors, document = opened(files[layout])
        wide = tensors[name].to(torch.int64).reshape(-1)
        wide[spot] = value
        tensors[name] = wide.to(tensors[name].dtype).view(tensors[name].shape)
        refused(tmp_path, tensors, document, "layout|load|ascending|below|validate|decode")


def test_unknown_version_operator_and_layout(files, tmp_path):
    tensors, document = opened(files["csr"])
    refused(tmp_path, tensors, document | {"version": 3}, "version 1 or 2.*upgrade")
    refused(tmp_path, tensors, document | {"kind": "checkpoint"}, "network")
    nodes = json.loads(json.dumps(document["nodes"]))
    nodes[1]["op"] = "exec"
    refused(tmp_path, tensors, document | {"nodes": nodes}, "operator among linear.*'exec'")
    nodes = json.loads(json.dumps(document["nodes"]))
    nodes[0]["run"][0]["layout"] = "coo"
    refused(tmp_path, tensors, document | {"nodes": nodes}, "layouts among")


def test_cyclic_dangling_and_repeated_nodes(files, tmp_path):
    tensors, document = opened(files["csr"])

    def twist(node: int, **change: object) -> dict:
        nodes = json.loads(json.dumps(document["nodes"]))
        nodes[node].update(change)
        return document | {"nodes": nodes}

    refused(tmp_path, tensors, twist(0, inputs=[document["output"]]), "computed before it")
    refused(tmp_path, tensors, twist(0, inputs=["0"]), "computed before it")
    refused(tmp_path, tensors, twist(1, name="0"), "twice")
    refused(tmp_path, tensors, document | {"output": "0"}, "dangling")
    refused(tmp_path, tensors, document | {"output": "nowhere"}, "dangling")
    refused(tmp_path, tensors, twist(2, tensors=["mean"]), "tensors")
    refused(tmp_path, tensors, document | {"nodes": document["nodes"] * 2}, "twice")


def test_sizes_that_overflow_or_ask_for_too_much(files, tmp_path):
    tensors, document = opened(files["fanin"])
    for shape in ([2**24, 2**24], [2**31, 1], [2**62, 2**62], [8, 2**40]):
        nodes = json.loads(json.dumps(document["nodes"]))
        nodes[0]["shape"] = shape
        refused(tmp_path, tensors, document | {"nodes": nodes}, "load")
    small = {
        "0/rows": torch.zeros(1).to(torch.int32),
        "0/col": torch.zeros(1, 1).to(torch.int32),
        "0/values": torch.ones(1),
    }
    node = {
        "op": "linear",
        "name": "0",
        "inputs": ["x"],
        "shape": [2**24, 2**24],
        "layout": "fanin",
        "parameters": {"group": 1},
        "activation": None,
        "slope": 0.0,
        "values": None,
        "run": [{"layout": "dense", "engine": "torch"}],
        "tensors": ["rows", "col", "values"],
    }
    bomb = {
        "kind": "network",
        "version": 1,
        "inputs": ["x"],
        "nodes": [node],
        "output": "0",
        "report": {"inputs": [{"dtype": "float32", "shape": [1, 2**24]}], "batches": [{"batch": 1}]},
    }
    refused(tmp_path, small, bomb, "of a size that suits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": [1024] * 4}, "border"),
        ({"padding": [1025, 0, 0, 0]}, "1024"),
        ({"padding": [2, 2, 4, 2]}, "a reflect border of 4"),
        ({"groups": 3}, "groups >= 1 divide"),
        ({"channels": 2}, "a column for each tap"),
        ({"kernel": [9, 1]}, "at least 9 x 1 pixels"),
        ({"kernel": [1, 3]}, "a column for each tap"),
        ({"stride": [0, 1]}, "stride"),
        ({"mode": "mirror"}, "mode"),
        ({"dilation": [1024, 1024]}, "at least 2049 x 2049 pixels"),
    ],
)
def test_geometries_that_fit_nothing(files, tmp_path, change, message):
    tensors, document = opened(files["convolution"])
    document["nodes"][0]["geometry"] |= change
    refused(tmp_path, tensors, document, message)


@pytest.mark.parametrize(
    ("size", "message"), [([1, 1, 8, 8], "in proportion"), ([1, 1, 2**20, 2**20], "at most")]
)
def test_planes_that_memory_cannot_hold(files, tmp_path, size, message):
    """1024 pixels around 8 x 8, and an input of 2^40 pixels."""
    tensors, document = opened(files["convolution"])
    document["nodes"][0]["geometry"] |= {"mode": "zeros"} | ({"padding": [1024] * 4} if size[2] == 8 else {})
    document["report"]["inputs"][0]["shape"] = size
    refused(tmp_path, tensors, document, message)


def test_layouts_and_settings_that_convolutions_do_not_have(files, tmp_path):
    tensors, document = opened(files["convolution"])
    for change, message in (
        ({"run": [{"layout": "nm_lanes", "engine": "core"}]}, "nm_lanes|no convolutions"),
        ({"flat": True}, "groups that divide"),
        ({"geometry": None}, "input"),
    ):
        nodes = json.loads(json.dumps(document["nodes"]))
        nodes[0] |= change
        refused(tmp_path, tensors, document | {"nodes": nodes}, message)


def test_nodes_that_do_not_fit_each_other(files, tmp_path):
    tensors, document = opened(files["csr"])
    wide = json.loads(json.dumps(document))
    wide["report"]["inputs"][0]["shape"] = [2, 17]
    refused(tmp_path, tensors, wide, r"\[\.\.\., 16\]")
    wide["report"]["inputs"][0] = {"dtype": "float64", "shape": [2, 16]}
    refused(tmp_path, tensors, wide, "float32")
    wide["report"]["inputs"][0] = {"dtype": "complex256", "shape": [2, 16]}
    refused(tmp_path, tensors, wide, "complex256")


def test_numbers_too_long_for_python_and_nesting_too_deep(files, tmp_path):
    tensors, _ = opened(files["csr"])
    for text in ('{"kind": ' + "9" * 5000 + "}", "[" * 100_000, '{"kind": NaN}', "", "null"):
        save_file(tensors, tmp_path / "f", {"gossamer": text})
        with pytest.raises(GossamerError):
            gs.load(tmp_path / "f")


def test_a_sweep_in_a_process_of_its_own_never_crashes(files, tmp_path):
    """Out-of-range reads need not raise; a process that dies shows them."""
    draw = random.Random(0)
    for number in range(60):
        layout = LAYOUTS[number % len(LAYOUTS)]
        tensors, document = opened(files[layout])
        name = draw.choice([n for n in tensors if tensors[n].numel()])
        raw = tensors[name].reshape(-1).clone().view(torch.uint8)
        for _ in range(draw.randint(1, 8)):
            raw[draw.randrange(raw.numel())] = draw.randrange(256)
        tensors[name] = raw.view(tensors[name].dtype).view(tensors[name].shape)
        closed(tmp_path / f"{number}-{layout}", tensors, document)
    script = f"""
        import pathlib, torch, gossamer as gs
        for path in pathlib.Path({str(tmp_path)!r}).iterdir():
            shape = (300, 1, 4, 4) if path.name.endswith("convolution") else (300, 16)
            try:
                gs.load(path)(torch.ones(shape))
            except gs.GossamerError:
                pass
        print("survived")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "survived"


def calls(shape: list[int], *ops: tuple[str, dict]) -> dict:
    """A document of calls, one behind the other."""
    names = ["x", *(f"n{number}" for number in range(len(ops)))]
    nodes = [
        {"op": op, "name": name, "inputs": [read], "settings": settings, "tensors": []}
        for (op, settings), name, read in zip(ops, names[1:], names, strict=False)
    ]
    report = {"inputs": [{"dtype": "float32", "shape": shape}], "batches": [{"batch": 1}]}
    parts = {"kind": "network", "version": 1, "inputs": ["x"], "nodes": nodes, "output": names[-1]}
    return parts | {"report": report}


@pytest.mark.parametrize("shape", [[1, 2**31, 2**31, 2**31], [2**31] * 8, [1, 2**31, 2**31]])
def test_described_shapes_that_overflow(tmp_path, shape):
    refused(tmp_path, {"n0/unused": torch.ones(1)}, calls(shape, ("relu", {})), "mismatch")
    document = calls(shape, ("relu", {}))
    path = tmp_path / "g"
    save_file({}, path, {"gossamer": json.dumps(document)})
    try:
        gs.load(path)
    except FormatError as error:
        assert "memory can hold" in str(error)  # noqa: PT017 (a shape that torch can describe loads)


def test_a_described_vector_takes_no_memory(tmp_path):
    """In a process of its own, for the largest size that a process ever had is remembered."""
    path = tmp_path / "f"
    save_file({}, path, {"gossamer": json.dumps(calls([2**31], ("relu", {}), ("tanh", {}), ("gelu", {})))})
    script = f"""
        import resource, gossamer as gs
        from gossamer.freezing import load
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        gs.load({str(path)!r})
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120  # megabytes: what torch loads for a first operator; the vector has 8192


@pytest.mark.parametrize("slope", [1e308, -1e308, 3.4e38])
def test_slopes_that_float32_does_not_hold(files, tmp_path, slope):
    tensors, document = opened(files["csr"])
    places = [
        ("negative_slope", part["settings"]) for part in document["nodes"] if part["op"] == "leaky_relu"
    ]
    places += [("slope", document["nodes"][0])]
    for name, holder in places:
        before, holder[name] = holder[name], slope
        refused(tmp_path, tensors, document, name)
        holder[name] = before
    save_file({}, tmp_path / "g", {"gossamer": json.dumps(calls([1, 4], ("elu", {"alpha": slope})))})
    with pytest.raises(FormatError, match="alpha"):
        gs.load(tmp_path / "g")


def test_many_small_layers_do_not_become_many_large_matrices(tmp_path):
    tensors, nodes = {}, []
    for number in range(40):
        name = str(number)
        own = {
            "rows": torch.zeros(1, dtype=torch.uint16),
            "col": torch.zeros(1, 1, dtype=torch.uint16),
            "values": torch.ones(1),
        }
        tensors |= {f"{name}/{key}": tensor for key, tensor in own.items()}
        nodes.append(
            {
                "op": "linear",
                "name": name,
                "inputs": ["x" if not number else str(number - 1)],
                "shape": [4096, 4096],
                "layout": "fanin",
                "parameters": {"group": 1},
                "activation": None,
                "slope": 0.0,
                "values": None,
                "run": [{"layout": "dense", "engine": "torch"}],
                "tensors": list(own),
            }
        )
    document = calls([1, 4096]) | {"nodes": nodes, "output": "39"}
    refused(tmp_path, tensors, document, "of a size that suits.*671,088,640")


def test_a_short_run_of_the_fuzzer():
    script = Path(__file__).parents[2] / "benchmarks" / "fuzz_artifacts.py"
    command = [sys.executable, str(script), "--count", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["raw"] == {}
    assert found["died"] == []
    assert found["load: done"] + found["load: refused"] == 200
    assert (found["runtime load: done"], found["runtime call: done"] > 0) == (found["load: done"], True)
    assert max(found["bytes_more"].values()) < 32 << 20
