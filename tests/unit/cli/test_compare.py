"""compare: how far runs are apart, how one travelled, and what it does with runs that do not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from gossamer.errors import FormatError
from gossamer.nn import topologies
from gossamer.runs.config import read_config
from gossamer.runs.folder import begin, restored
from gossamer.runs.kept import kept, read_kept
from gossamer.runs.loop import Loop
from gossamer.runs.recorder import Recorder
from gossamer.topology import exploration, nnstd, overlap

SMALL = ["--data", "digits", "--widths", "32,16", "--density", "0.25", "--every", "10", "--threads", "1"]


@pytest.fixture(scope="module")
def other(call, tmp_path_factory):
    """A run of the same shape and another seed, which kept the first topology and the last."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    given = ["--rule", "srigl", "--epochs", "3", "--seed", "1", "--topologies", "1"]
    assert call("train", *SMALL, *given, "--out", folder).code == 0
    return folder


def test_two_runs(call, finished, other):
    """Their last checkpoints, as the library measures them."""
    document = call("compare", finished, other, "--json").document
    nets = [topologies(restored(folder).model) for folder in (finished, other)]
    found = nnstd(*nets)
    assert document["distances"] == [[0, found.value], [found.value, 0]]
    assert document["unmatched"][0][1] == found.unmatched
    assert [layer["distance"] for layer in document["first_and_last"]] == [
        layer.distance for layer in found.layers
    ]
    assert document["by_chance"] == pytest.approx(found.value, abs=0.1)
    first, second = document["topologies"]
    assert (first["run"], first["step"], first["overlap_with_first"]) == (str(finished), 45, 1)
    assert second["overlap_with_first"] == overlap(*nets).jaccard
    assert first["connections"] == sum(layer.connections for layer in nets[0].values())
    assert 0 < first["effective_density"] <= first["density"] <= first["explored"] < 1
    assert first["paths"] > 0
    assert first["degrees"]["fc1"]["neurons"]["mean"] == nets[0]["fc1"].connections / 32


def test_one_run_over_its_training(call, finished):
    document = call("compare", finished, "--json").document
    assert [each["step"] for each in document["topologies"]] == [0, 15, 30, 45]
    assert [each["accuracy"] is None for each in document["topologies"]] == [True, False, False, False]
    nets = [read_kept(each.path) for each in kept(finished)]
    assert [each["explored"] for each in document["topologies"]] == exploration(nets)
    assert document["distances"][0][3] == nnstd(nets[0], nets[3]).value > 0


def test_all_topologies_of_two_runs_in_a_picture(call, finished, other, tmp_path):
    answer = call(
        "compare", finished, other, "--checkpoints", "--matching", "greedy", "-o", tmp_path / "d.svg"
    )
    assert answer.code == 0
    assert "by chance" in answer.stdout
    assert "other @ 45" in answer.stdout
    text = (tmp_path / "d.svg").read_text()
    assert text.startswith("<?xml")
    assert "finished @ 15" in text
    assert text.count("other @") == 4  # at the start and at the end, on both sides
    assert call("compare", finished, other, "-o", tmp_path / "d.svg", "--published").code == 0
    (tmp_path / "mine.svg").write_text("<svg/>")
    answer = call("compare", finished, other, "-o", tmp_path / "mine.svg")
    assert (answer.code, (tmp_path / "mine.svg").read_text()) == (2, "<svg/>")


@pytest.mark.parametrize("name", ["d.png", "d", "svg"])
def test_a_picture_of_another_kind_is_refused(call, finished, tmp_path, name):
    answer = call("compare", finished, "--out", tmp_path / name)
    assert answer.code == 2
    assert f"expected a file that ends in .svg, got {name}" in answer.stderr
    assert not (tmp_path / name).exists()


def test_a_run_that_kept_nothing_is_compared_by_its_checkpoint(call, finished, other, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(other, old)
    shutil.rmtree(old / "topologies")
    assert call("compare", finished, old, "--json").document["distances"][0][1] > 0
    answer = call("compare", old)
    assert answer.code == 2
    assert "expected a run that kept topologies on its way, or two runs" in answer.stderr


def test_a_convolutional_network_is_compared_layer_by_layer(call, tmp_path):
    """Not trained at all: a run folder has a checkpoint from the start."""
    for seed in (0, 1):
        given = {"data": "digits", "model.name": "resnet20", "density": 0.3, "seed": seed}
        config, samples = begin(tmp_path / str(seed), read_config(None, given | {"rule.name": "static"}))
        Recorder(tmp_path / str(seed), Loop(config, samples))
    document = call("compare", tmp_path / "0", tmp_path / "1", "--json").document
    assert document["followed"] is False
    assert document["topologies"][0]["paths"] is None
    assert 0 < document["distances"][0][1] < 1
    assert "inputs are taken as they are numbered" in call("compare", tmp_path / "0", tmp_path / "1").stdout


def test_runs_that_do_not_fit(call, finished, tmp_path):
    narrow = tmp_path / "narrow"
    assert call("train", *SMALL, "--widths", "8", "--epochs", 1, "--out", narrow).code == 0
    answer = call("compare", finished, narrow)
    assert answer.code == 1
    assert "compare finished and narrow: expected two networks with the layers" in answer.stderr
    assert call("compare", finished, tmp_path / "nothing").code == 2
    assert call("compare", finished, finished, "--matching", "best").code == 2


def test_a_fresh_run_deletes_what_was_kept_and_nothing_else(call, tmp_path):
    folder = tmp_path / "run"
    train = ["train", *SMALL, "--epochs", "2", "--out", folder]
    assert call(*train).code == 0
    (folder / "topologies" / "mine.txt").write_text("mine")
    assert call(*train, "--fresh", "--topologies", 0).code == 0
    assert [path.name for path in (folder / "topologies").iterdir()] == ["mine.txt"]
    foreign = tmp_path / "foreign"
    (foreign / "topologies").mkdir(parents=True)
    answer = call("train", *SMALL, "--epochs", "1", "--out", foreign)
    assert answer.code == 2
    assert "got topologies" in answer.stderr


def test_a_dense_run_keeps_nothing(call, tmp_path):
    assert call("train", *SMALL[:4], "--pattern", "dense", "--epochs", 1, "--out", tmp_path / "a").code == 0
    assert not (tmp_path / "a" / "topologies").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, document: tensors.update({"0/col": tensors["0/col"].float()}),
        lambda tensors, document: tensors.update({"0/col": torch.full_like(tensors["0/col"], 4000)}),
        lambda tensors, document: tensors.pop("0/col"),
        lambda tensors, document: document["layers"][0].update(shape=[32, -64]),
        lambda tensors, document: document["layers"][0].update(shape=[1 << 40, 1 << 40]),
        lambda tensors, document: document.pop("layers"),
        lambda tensors, document: document.update(kind="checkpoint"),
    ],
    ids=["floats", "out of range", "missing", "negative", "huge", "no layers", "another kind"],
)
def test_damaged_topologies_are_refused(finished, tmp_path, damage):
    path = kept(finished)[0].path
    tensors = load_file(path)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    document = json.loads(header["__metadata__"]["gossamer"])
    damage(tensors, document)
    save_file(tensors, tmp_path / "bad.safetensors", {"gossamer": json.dumps(document)})
    with pytest.raises(FormatError, match="read bad"):
        read_kept(tmp_path / "bad.safetensors")


def test_kept_topologies_are_those_of_the_model(finished):
    last = read_kept(kept(finished)[-1].path)
    mine = topologies(restored(finished).model)
    assert list(last) == list(mine)
    assert all(torch.equal(last[name].positions, mine[name].positions) for name in mine)
