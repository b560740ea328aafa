"""The masked convolution against torch's own, with every option, and its growth scores against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.nn import MaskedConv2d
from gossamer.topology import parts

OPTIONS = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": (2, 1)},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 4},
    "depthwise": {"groups": 8},
    "same": {"padding": "same"},
    "same, even kernel": {"padding": "same", "kernel_size": (4, 2)},
    "valid": {"padding": "valid"},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "replicate": {"padding": 1, "padding_mode": "replicate"},
    "same, reflect": {"padding": "same", "padding_mode": "reflect"},
    "1x1": {"kernel_size": 1},
    "wide kernel": {"kernel_size": (1, 5)},
    "no bias": {"bias": False},
    "all": {"groups": 2, "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "kernel_size": (3, 2)},
}
# torch itself warns that it copies its input
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
each = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def gradient_of(layer: MaskedConv2d) -> torch.Tensor:
    """The dense gradient as a matrix, put together from its tiles."""
    whole = torch.full(layer.shape, torch.nan, dtype=layer.weight.dtype)
    for rows, cols, tile in layer.gradient_scores("conv").tiles():
        whole[rows, cols] = tile
    return whole


def pair(
    options: dict, pattern: gs.FanIn | None = None, density: float = 0.5
) -> tuple[MaskedConv2d, nn.Conv2d]:
    """A masked convolution and torch's own with the same weight."""
    conv = nn.Conv2d(8, 16, **{"kernel_size": 3, **options}).double()
    layer = MaskedConv2d(conv, density=density, pattern=pattern or gs.Unstructured())
    with torch.no_grad():
        conv.weight.copy_(layer.effective_weight())
        if conv.bias is not None:
            layer.bias.normal_()
            conv.bias.copy_(layer.bias)
    return layer, conv


@each
@pytest.mark.parametrize("batch", [(2,), ()], ids=["batched", "single"])
def test_forward_and_backward_equal_torchs(options: dict, batch: tuple[int, ...]) -> None:
    """Output, input gradient, bias gradient, and the weight gradient at existing connections."""
    layer, conv = pair(options)
    x = torch.randn(*batch, 8, 9, 7, dtype=torch.float64)
    ends = []
    for module in (layer, conv):
        own = x.clone().requires_grad_()
        y = module(own)
        y.square().sum().backward()
        ends.append((y.detach(), own.grad, None if module.bias is None else module.bias.grad))
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(layer.weight.grad, conv.weight.grad * layer.mask)


@each
@pytest.mark.parametrize("batch", [(2,), ()], ids=["batched", "single"])
def test_growth_scores_are_autograds_dense_gradient(
    options: dict, batch: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every weight, existing or not, with groups, padding modes and strides; for tiles of one row too."""
    layer, conv = pair(options)
    layer.tape.arm(layer.weights, recording=True)
    for _ in range(2):  # two micro-batches
        x = torch.randn(*batch, 8, 9, 7, dtype=torch.float64)
        upstream = torch.randn_like(conv(x))
        (layer(x) * upstream).sum().backward()
        (conv(x) * upstream).sum().backward()
    expected = conv.weight.grad.permute(0, 2, 3, 1).reshape(16, -1).abs()
    for tile in (1 << 22, 1):
        monkeypatch.setattr(parts, "TILE", tile)
        monkeypatch.setattr(parts, "ROWS", 1)
        got = gradient_of(layer).abs()
        torch.testing.assert_close(got, expected)


def test_the_dense_gradient_is_computed_once_for_all_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of dense size anyway; one product a pass over the scores, not one a tile."""
    from gossamer.nn import conv as module

    calls = []
    real = module.conv2d_weight
    monkeypatch.setattr(module, "conv2d_weight", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    monkeypatch.setattr(parts, "TILE", 1)
    monkeypatch.setattr(parts, "ROWS", 1)
    layer, _ = pair({})
    layer.tape.arm(layer.weights, recording=True)
    layer(torch.randn(2, 8, 5, 5).double()).sum().backward()
    scores = layer.gradient_scores("conv")
    assert len(list(scores.tiles())) > 16
    assert len(calls) == 1


def test_growth_scores_under_autocast() -> None:
    """Inputs in float32, output gradients in bfloat16: both are brought to the weight's dtype."""
    conv = nn.Conv2d(8, 16, 3)
    layer = MaskedConv2d(conv, density=0.5, pattern=gs.Unstructured())
    layer.tape.arm(layer.weights, recording=True)
    x = torch.randn(2, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    got = gradient_of(layer).abs()
    weight = layer.effective_weight().detach().requires_grad_()
    F.conv2d(x, weight, layer.bias).square().sum().backward()
    expected = weight.grad.permute(0, 2, 3, 1).reshape(16, -1).abs()
    assert float((got - expected).abs().max()) < 0.05 * float(expected.max())


@pytest.mark.parametrize("pattern", [gs.NM(2, 4), gs.NM(1, 8), gs.FanIn(), gs.FanIn(4)], ids=str)
def test_groups_of_inputs_run_along_channels(pattern: gs.FanIn) -> None:
    """N of M *channels* of one tap, not of spatial neighbours; a constant fan-in counts all taps."""
    density = pattern.n / pattern.m if isinstance(pattern, gs.NM) else 0.25
    layer, _ = pair({}, pattern, density)
    if isinstance(pattern, gs.NM):
        tiles = layer.mask.permute(0, 2, 3, 1).reshape(16, 3, 3, 8 // pattern.m, pattern.m)
        assert tiles.sum(-1).unique().tolist() == [pattern.n]
        spatial = layer.mask.reshape(16, -1, pattern.m).sum(-1)
        assert len(spatial.unique()) > 1  # along the wrong axis nothing holds
    else:
        assert layer.mask.flatten(1).sum(1).unique().tolist() == [18]


def test_matrix_and_weight_are_views_of_each_other() -> None:
    """to_matrix and _from_matrix are inverses, channels last."""
    layer, _ = pair({"kernel_size": (2, 3)})
    weight = torch.randn(16, 8, 2, 3)
    assert torch.equal(layer._from_matrix(layer.to_matrix(weight)), weight)
    assert torch.equal(layer.to_matrix(weight)[3, 8:16], weight[3, :, 0, 1])


@pytest.mark.parametrize("rule", [gs.RigL(every=2), gs.SRigL(every=2), gs.SET(every=2)], ids=lambda r: r.name)
def test_a_convolutional_network_trains_with_every_rule(rule: gs.RigL) -> None:
    """Groups, strides and a padding mode in one network; budgets hold, nothing lives outside the masks."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 8),
    )  # fmt: skip
    gs.sparsify(model, 0.4)
    optim = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    engine = gs.attach(model, optim, rule, total_steps=12)
    x, target = torch.randn(16, 4, 8, 8), torch.randn(16, 8)
    losses = []
    for _ in range(12):
        optim.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optim.step()
        losses.append(float(loss.detach()))
        for layer in (model[0], model[2]):
            assert int(layer.weight[~layer.mask].count_nonzero()) == 0
            assert int(layer.mask.sum()) <= layer.capacity
    assert losses[-1] < losses[0]
    assert {row.layer for row in engine.history if row.grown} == {"0", "2", "5"}
