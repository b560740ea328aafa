"""The benchmark of whole networks: what it makes sparse, and that everybody computes the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import whole_networks
from network_rivals import NAMES, rivals
from networks import NETWORKS, Network
from networks.mobilenet_v2 import MobileNetV2
from torch import nn

from gossamer.nn import SparseModule


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A narrow MobileNetV2 among the networks."""
    monkeypatch.setitem(NETWORKS, "tiny", Network(partial(MobileNetV2, 0.125, classes=8), 32, 0, 0.0))
    return "tiny"


@pytest.mark.parametrize("form", ["pruned", "unstructured", "fanin:4"])
def test_a_share_of_every_layer_is_kept_and_all_of_depthwise_ones(tiny: str, form: str) -> None:
    whole = dict(whole_networks.dense(tiny).named_modules())
    model = whole_networks.sparse(tiny, form, 0.25, "")
    checked = 0
    for name, layer in model.named_modules():
        full = whole.get(name)
        if not isinstance(full, (nn.Conv2d, nn.Linear)):
            continue
        weight = layer.to_dense() if isinstance(layer, SparseModule) else layer.weight
        kept = int((weight != 0).sum()) / full.weight.numel()
        checked += 1
        if whole_networks.stays_dense(name, full):
            assert torch.equal(weight, full.weight)
        else:
            assert abs(kept - 0.25) < 0.25 * 0.5
    assert checked == 53


def test_rivals_compute_what_the_model_does(tiny: str) -> None:
    make, x = partial(whole_networks.dense, tiny), torch.randn(2, 3, 32, 32)
    calls = rivals(make, x, {name for name in NAMES if "compile" not in name and not name.endswith("int8")})
    assert {"torch eager", "torch channels_last"} <= set(calls)
    wanted = make()(x)
    for name, call in calls.items():
        found = call()
        results = found.values() if hasattr(found, "to_dict") else found  # OpenVINO's, by name
        got = found if isinstance(found, torch.Tensor) else torch.as_tensor(next(iter(results)))
        close = 0.1 if name.endswith("bfloat16") else 1e-5
        assert torch.allclose(got.float(), wanted, atol=close * float(wanted.abs().max())), name


def test_unknown_words_are_refused() -> None:
    with pytest.raises(SystemExit, match="got alexnet"):
        whole_networks.listed("resnet50, alexnet", tuple(NETWORKS))
