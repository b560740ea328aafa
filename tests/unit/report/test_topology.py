"""What a report says of topologies: where a run kept some, and where they cannot be read or would take long."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gossamer.report import topology as section
from gossamer.report import write_report
from gossamer.report.document import _run
from gossamer.runs.kept import keep, kept
from gossamer.runs.record import read_run
from gossamer.topology import FullTopology, Topology, nnstd

SHAPES = {"fc1": (8, 16), "fc2": (3, 8)}


def drawn(seed: int) -> dict[str, Topology]:
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(shape, generator=generator) < 0.4 for name, shape in SHAPES.items()}
    return {name: Topology.from_mask(mask) for name, mask in masks.items()} | {"out": FullTopology((2, 3))}


@pytest.fixture
def runs(write_run, tmp_path: Path) -> list[Path]:
    """Two runs that kept topologies, and one that kept none."""
    folders = [write_run(tmp_path / name) for name in ("one", "two", "none")]
    for number, folder in enumerate(folders[:2]):
        for step in (0, 5, 15):
            keep(folder, step, drawn(10 * number + step))
    return folders


def test_runs_of_one_shape_are_compared_and_their_ways_are_drawn(runs, tmp_path) -> None:
    write_report(runs, tmp_path / "with.html")
    text = (tmp_path / "with.html").read_text()
    assert text.count("Connections shared with earlier topologies") == 2 * 2  # label and caption
    assert text.count("Distances of topologies (NNSTD)") == 2
    assert f"<td>{nnstd(drawn(15), drawn(25)).value:.3f}</td>" in text
    assert section.topologies_of(runs[2]) == ([], "")
    assert section.apart([]) == section.apart(section.topologies_of(runs[0])[0][-1:]) == ""


def test_a_file_that_cannot_be_read_is_said_and_does_not_stop_the_report(runs) -> None:
    path = kept(runs[0])[1].path
    path.write_bytes(path.read_bytes()[:-9])
    moments, said = section.topologies_of(runs[0])
    assert moments == section.travelled(moments) == []
    assert "read 0000000005.safetensors: expected a complete safetensors file" in said
    html = _run(read_run(runs[0]), (moments, said), unfolded=True)
    assert "Topologies are not shown: read 0000000005.safetensors" in html


def test_what_would_take_long_is_left_to_the_command(runs, monkeypatch) -> None:
    monkeypatch.setattr(section, "MOST", 8**2)
    said = section.apart([section.topologies_of(folder)[0][-1] for folder in runs[:2]])
    assert "2 runs with layers of up to 8 neurons would take long to match: gossamer compare" in said
    assert "svg" not in said
