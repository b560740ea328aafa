"""freeze, inspect and bench."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import gossamer as gs
from gossamer.freezing.rivals import CSR, DENSE, INT8, LAST, contenders
from gossamer.runs.folder import restored


def test_freeze_writes_a_file_that_computes_the_same(finished, frozen):
    found = restored(finished)
    x = torch.randn(5, 64)
    with torch.no_grad():
        assert torch.allclose(gs.load(frozen)(x), found.model(x), atol=1e-5)


def test_freeze_json(call, finished, tmp_path):
    path = tmp_path / "net.safetensors"
    document = call(
        "freeze", finished, "-o", path, "--best", "--batch", 1, "--keep", "csr", "--json"
    ).document
    assert document["file"] == str(path)
    assert document["bytes"] == path.stat().st_size
    assert {"batches", "layers"} <= document["plan"].keys()


def test_freeze_explains(call, finished, tmp_path):
    answer = call("freeze", finished / "best.safetensors", "-o", tmp_path / "n.safetensors")
    assert answer.code == 0
    assert "fc1" in answer.stdout
    assert "chosen" in answer.stdout


def test_freeze_small_and_again(call, finished, tmp_path):
    first, again = tmp_path / "small.safetensors", tmp_path / "again.safetensors"
    assert call("freeze", finished, "-o", first, "--prefer", "size", "--values", "int8").code == 0
    assert call("freeze", finished, "-o", again, "--plan", first).code == 0
    assert first.read_bytes() == again.read_bytes()
    assert call("freeze", finished, "-o", again, "--plan", first, "--keep", "csr").code == 2
    assert call("freeze", finished, "-o", again, "--prefer", "tiny").code == 2


def test_freeze_of_nothing(call, tmp_path):
    answer = call("freeze", tmp_path)
    assert (answer.code, answer.stdout) == (1, "")
    assert "no run in" in answer.stderr


def test_freeze_with_an_unknown_layout(call, finished, tmp_path):
    assert call("freeze", finished, "--keep", "tartan", "-o", tmp_path / "n").code == 2
    assert not (tmp_path / "n").exists()


def test_freeze_of_a_run_without_a_checkpoint(call, finished, tmp_path):
    shutil.copy(finished / "config.json", tmp_path)
    answer = call("freeze", tmp_path)
    assert answer.code == 1
    assert "train it first" in answer.stderr


def test_freeze_of_nothing_names_what_was_typed(call, finished, tmp_path):
    (tmp_path / "text").write_text("mine")
    for path, said in [
        ("nothere", "no such"),
        (finished / "nope", "no such"),
        (tmp_path / "text", "a file out"),
    ]:
        answer = call("freeze", path)
        assert answer.code == 2
        assert f"open {path}: expected a run folder" in answer.stderr
        assert said in answer.stderr


def test_commands_replace_their_own_files_and_no_others(call, finished, frozen, tmp_path):
    """A network by a network, a report by a report; a checkpoint is no network."""
    notes, net, page = tmp_path / "notes", tmp_path / "net", tmp_path / "page.html"
    notes.write_text("mine")
    shutil.copy(frozen, net)
    shutil.copy(finished / "last.safetensors", checkpoint := tmp_path / "last.safetensors")
    for place in (notes, checkpoint, tmp_path):
        for command in ("freeze", "report"):
            answer = call(command, finished, "--out", place, "--json")
            assert (answer.code, answer.document["kind"]) == (2, "ConfigError")
            assert str(place) in answer.stderr
    assert notes.read_text() == "mine"
    assert checkpoint.read_bytes() == (finished / "last.safetensors").read_bytes()
    assert call("freeze", finished, "--out", net, "--keep", "fanin").code == 0
    for _ in range(2):
        assert call("report", finished, "--out", page).code == 0
    assert call("report", finished, "--out", net).code == 2
    (tmp_path / "empty").touch()
    assert call("report", finished, "--out", tmp_path / "empty").code == 0


def test_demo_keeps_a_foreign_page(call, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    answer = call("demo", "--data", "digits", "--epochs", 1, "--out", tmp_path)
    assert (answer.code, "report.html" in answer.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("kind", ["run", "checkpoint", "frozen"])
def test_inspect_counts_connections_and_bytes(call, finished, frozen, kind):
    source = {"run": finished, "checkpoint": finished / "best.safetensors", "frozen": frozen}[kind]
    document = call("inspect", source, "--json").document
    layers = document["layers"]
    assert document["total"]["connections"] == sum(layer["connections"] for layer in layers)
    assert document["total"]["bytes"] == sum(sum(layer["bytes"].values()) for layer in layers)
    for layer in layers:
        assert (
            sum(int(inputs) * neurons for inputs, neurons in layer["fan_in"].items()) == layer["connections"]
        )
        assert layer["flops"] == 2 * layer["connections"]


def test_inspect_agrees_with_the_summary(call, finished):
    layers = call("inspect", finished, "--json").document["layers"]
    assert layers == json.loads((finished / "summary.json").read_text())["layers"]


def test_inspect_for_people(call, finished):
    answer = call("inspect", finished)
    assert "fc1" in answer.stdout
    assert "inputs of a neuron" in answer.stdout


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_inspect_refuses_what_is_not_ours(call, tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    answer = call("inspect", path)
    assert answer.code == 1
    assert answer.stderr.startswith("error: ")


ROW = {"name", "ours", "bytes", "seconds", "against_dense", "gflops_real", "gflops_dense_equivalent"}


@pytest.mark.parametrize(
    ("pattern", "layout"),
    [
        (["nm:1:8"], "gossamer nm"),
        (["fanin", "--density", "0.1"], "gossamer fanin"),
        (["unstructured", "--density", "0.1"], "gossamer csr"),
    ],
)
def test_bench_layer_races_all_rivals_and_all_layouts(call, pattern, layout):
    arguments = ["--in", 64, "--out", 32, "--pattern", *pattern, "--batch", 3, "--seconds", 0.05, "--json"]
    document = call("bench", "layer", *arguments).document
    names = {row["name"] for row in document["rows"]}
    assert {DENSE, CSR, INT8, "as frozen", layout} <= names
    assert all(row.keys() == ROW for row in document["rows"])
    medians = [row["seconds"]["median"] for row in document["rows"]]
    assert medians == sorted(medians)
    assert document["verdict"]
    assert document["machine"]["cpu"]
    dense = next(row for row in document["rows"] if row["name"] == DENSE)
    assert dense["against_dense"] == 1.0
    assert dense["gflops_real"] == pytest.approx(2 * 64 * 32 * 3 / dense["seconds"]["median"] / 1e9)


def test_bench_of_a_file(call, frozen):
    document = call("bench", frozen, "--seconds", 0.05, "--json").document
    assert {DENSE, CSR, INT8, "as frozen"} <= {row["name"] for row in document["rows"]}
    assert "as frozen" in call("bench", frozen, "--seconds", 0.05).stdout


@pytest.fixture(scope="module")
def images(call, tmp_path_factory):
    """A finished run of a convolutional network on images of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    settings = [
        "--data",
        "digits",
        "--model",
        "resnet20",
        "--set",
        "model.width=0.0625",
        "--pattern",
        "dense",
    ]
    assert call("train", *settings, "--batch", 700, "--epochs", 1, "--threads", 1, "--out", folder).code == 0
    return folder


def test_inspect_counts_the_operations_of_convolutions(call, images, tmp_path):
    """The first one has a kernel of 3 x 3 and gives one channel of 8 x 8 pixels."""
    run = call("inspect", images, "--json").document
    assert run["layers"][0]["flops"] == 2 * 9 * 64
    assert run["layers"] == json.loads((images / "summary.json").read_text())["layers"]
    path = tmp_path / "net.safetensors"
    assert call("freeze", images, "--out", path, "--keep", "dense").code == 0
    kept = {layer["name"]: layer["flops"] for layer in call("inspect", path, "--json").document["layers"]}
    assert kept["conv1"] == 2 * 9 * 64


def test_bench_of_a_convolutional_network_races_both_memory_orders(call, tmp_path):
    """Half of 27 inputs are 13 for each of 8 channels, used once for each of 4 x 3 pixels."""
    model = torch.nn.Sequential(gs.SparseConv2d(3, 8, 3, density=0.5), torch.nn.ReLU())
    gs.save(gs.freeze(model, torch.randn(2, 3, 6, 5), keep="fanin"), path := tmp_path / "net.safetensors")
    rows = call("bench", path, "--batch", 3, "--seconds", 0.05, "--json").document["rows"]
    assert {DENSE, LAST, "as frozen", "gossamer fanin"} <= {row["name"] for row in rows}
    kept = next(row for row in rows if row["name"] == "as frozen")
    assert kept["gflops_real"] == pytest.approx(2 * 13 * 8 * 12 * 3 / kept["seconds"]["median"] / 1e9)


def test_bench_refuses_a_network_of_two_inputs(call, tmp_path):
    class Sum(torch.nn.Module):
        def forward(self, x, y):
            return torch.relu(x + y)

    gs.save(gs.freeze(Sum(), (torch.ones(1, 4), torch.ones(1, 4))), path := tmp_path / "net.safetensors")
    answer = call("bench", path)
    assert (answer.code, "one input, got one of 2" in answer.stderr) == (2, True)


def test_rivals_compute_the_same_network(frozen):
    net, x = gs.load(frozen), torch.randn(7, 64)
    expected = net(x)
    for entry in contenders(net, net, x):
        tolerance = 0.05 * float(expected.abs().max()) if entry.name == INT8 else 1e-4
        assert torch.allclose(entry.run(x), expected, atol=tolerance), entry.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing.safetensors"],
        ["layer", "--pattern", "tartan"],
        ["layer", "--pattern", "fanin", "--density", "2"],
        ["layer", "--pattern", "fanin"],
        ["layer", "--in", "0"],
        ["layer", "--batch", "0"],
        ["layer", "--in", "63", "--pattern", "nm:1:8"],
    ],
)
def test_bench_refuses(call, arguments):
    answer = call("bench", *arguments)
    assert (answer.code, answer.stdout) == (2, "")


def test_freeze_with_narrow_values_shows_what_it_costs(call, finished, tmp_path):
    answer = call("freeze", finished, "-o", tmp_path / "n", "--keep", "csr", "--values", "int8", "--json")
    accuracy = answer.document["accuracy"]
    assert set(accuracy) == {"exact", "int8"}
    assert abs(accuracy["exact"] - accuracy["int8"]) < 0.02
    first, *others = (layer["values"] for layer in answer.document["plan"]["layers"])
    assert first == "int8"
    assert set(others) <= {"int8", "bfloat16"}  # where scales weigh more than they save
    assert call("freeze", finished, "-o", tmp_path / "m", "--values", "int3").code == 2
