"""Networks that MediaPipe ships pruned: the outputs of LiteRT on the same image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gossamer.freezing import load, save
from gossamer.importing import Network, frozen_of, read
from gossamer.runtime import Runtime

NETS = {"pose_detection.tflite": (38, 0.25), "face_detection_full_range_sparse.tflite": (46, 0.30)}
FOLDER = Path(os.environ.get("GOSSAMER_MEDIAPIPE", "/nowhere"))
ERROR = 1e-5  # of the largest number of the output


@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_litert(name: str, tmp_path: Path) -> None:
    """Within a hundred-thousandth of the largest; after saving and loading too, and without torch the same bits."""
    pytest.importorskip("flatbuffers")
    engine = pytest.importorskip("ai_edge_litert.interpreter")
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} of MediaPipe 0.10.21 is not in the folder GOSSAMER_MEDIAPIPE")
    found = read(path).content
    assert isinstance(found, Network)
    layers, density = NETS[name]
    sparse = [body.connections.density for _, body in found.graph.linears() if body.connections.density < 0.5]
    assert len(sparse) == layers
    assert np.allclose(sparse, density, atol=0.02)

    x = torch.rand(found.inputs[0].shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    net = engine.Interpreter(str(path), num_threads=1)
    net.allocate_tensors()
    net.set_tensor(net.get_input_details()[0]["index"], x.permute(0, 2, 3, 1).contiguous().numpy())
    net.invoke()
    wanted = np.concatenate([net.get_tensor(each["index"]) for each in net.get_output_details()], -1)
    frozen = frozen_of(found)
    save(frozen, tmp_path / "net.safetensors")
    got = frozen(x).numpy()
    assert np.abs(got - wanted).max() <= ERROR * np.abs(wanted).max()
    assert np.array_equal(load(tmp_path / "net.safetensors")(x).numpy(), got)
    without = Runtime(tmp_path / "net.safetensors", exact=False)(x.numpy())
    assert np.abs(without - wanted).max() <= ERROR * np.abs(wanted).max()
