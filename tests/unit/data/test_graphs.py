"""Graphs: read, checked, and refused where they are not what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gossamer import data
from gossamer.data.graph import graphs
from gossamer.errors import ConfigError, DataError, DtypeError, FormatError


@pytest.fixture
def ring(alone: None) -> Iterator[dict[str, np.ndarray]]:
    """Four nodes in a ring, of two classes, one without a class, with two features."""
    recipe = data.GraphRecipe(
        name="ring", nodes=4, edges=8, features=2, entries=3, splits=(1, 1, 1), classes=("a", "b"), licence="CC0"
    )  # fmt: skip
    data.register_graph(lambda: recipe)
    yield {
        "feat_indptr": np.array([0, 1, 1, 3, 3], np.int32),
        "feat_indices": np.array([1, 0, 1], np.int16),
        "feat_data": np.array([1, 1, 2], np.uint8),
        "edge_index": np.array([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]], np.int32),
        "y": np.array([0, 1, 0, -1], np.int8),
        "train_idx": np.array([0]),
        "val_idx": np.array([1]),
        "test_idx": np.array([2]),
    }
    graphs.remove("ring")


def saved(folder: Path, arrays: dict[str, Any]) -> Path:
    np.savez(folder / "ring.npz", **arrays)
    return folder


def test_a_graph_is_read_as_it_was_written(ring: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = data.load_graph("ring", saved(tmp_path, ring))
    x, edges, y = found.tensors(torch.float64)
    assert x.tolist() == [[0, 1], [0, 0], [1, 2], [0, 0]]
    assert edges.tolist() == ring["edge_index"].tolist()
    assert (edges.dtype, x.dtype, y.tolist()) == (torch.int64, torch.float64, [0, 1, 0, -1])
    assert (found.train.tolist(), found.val.tolist(), found.test.tolist()) == ([0], [1], [2])
    assert (found.provenance.kind, found.provenance.verified) == ("root", False)
    with pytest.raises(ValueError, match="read-only"):
        found.y[0] = 1
    with pytest.raises(DtypeError, match="floating-point"):
        found.tensors(torch.int64)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("y", [0, 1, 0], r"shape \(4,\)"),
        ("y", [0, 2, 0, -1], "numbers from -1 to 1"),
        ("y", [0, -1, 0, -1], "without a class"),
        ("edge_index", [[0] * 8, [4] * 8], "numbers from 0 to 3"),
        ("edge_index", [[0] * 8, [-1] * 8], "numbers from 0 to 3"),
        ("edge_index", [[0], [1]], r"shape \(2, 8\)"),
        ("feat_indices", [0, 2, 0], "numbers from 0 to 1"),
        ("feat_indptr", [0, 2, 1, 3, 3], "ascend"),
        ("feat_indptr", [0, 1, 1, 3, 9], "ascend"),
        ("test_idx", [1], "a node twice"),
        ("feat_data", [0.5, 1, 1], "integers"),
        ("feat_data", [1] * 100_000, "bytes"),
    ],
)
def test_a_file_of_another_graph_is_refused(
    ring: dict[str, np.ndarray], tmp_path: Path, name: str, array: list[Any], said: str
) -> None:
    with pytest.raises(FormatError, match=said):
        data.load_graph("ring", saved(tmp_path, {**ring, name: np.array(array)}))


def test_what_is_not_there_is_said(ring: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ring\.npz in a folder that GOSSAMER_DATA"):
        data.load_graph("ring", tmp_path)
    with pytest.raises(ConfigError, match="citeseer"):
        data.load_graph("corra")


@pytest.mark.parametrize(("name", "alone"), [("cora", 0), ("citeseer", 48)])
def test_the_real_graphs_have_their_published_sizes(name: str, alone: int) -> None:
    try:
        found = data.load_graph(name)
    except DataError as error:
        pytest.skip(f"set GOSSAMER_DATA to a folder with {name}.npz: {error}")
    _, edges, _ = found.tensors()
    assert found.nodes - edges.unique().numel() == alone
    assert torch.equal(torch.unique(edges, dim=1), torch.unique(edges.flip(0), dim=1))
    sizes = {
        "cora": {
            "Theory": 351,
            "Reinforcement Learning": 217,
            "Genetic Algorithms": 418,
            "Neural Networks": 818,
            "Probabilistic Methods": 426,
            "Case Based": 298,
            "Rule Learning": 180,
        },
        "citeseer": {"AI": 249, "ML": 590, "IR": 668, "DB": 701, "Agents": 596, "HCI": 508},
    }
    counts = np.bincount(found.y[found.y >= 0]).tolist()
    assert dict(zip(found.classes, counts, strict=True)) == sizes[name]
