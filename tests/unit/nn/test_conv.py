"""Sparse convolutions of both homes against torch's own, with every option; growth scores against autograd."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError, PatternError, ShapeError, TopologyError
from gossamer.measure import memory, threads
from gossamer.nn.conv import _Conv
from gossamer.topology import parts
from gossamer.trace.convolved import convolution

OPTIONS = {
    "plain": {},
    "stride": {"stride": 2},
    "stride beyond the plane": {"stride": 10**6, "padding": 1},
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
    "lines": {"dims": 1, "stride": 2, "padding": 1},
    "lines, circular": {"dims": 1, "padding": 2, "padding_mode": "circular", "groups": 2},
    "lines, reflect": {"dims": 1, "padding": "same", "padding_mode": "reflect", "kernel_size": 4},
    "all": {"groups": 2, "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "kernel_size": (3, 2)},
}
# torch itself warns that it copies its input
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
each = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
homes = pytest.mark.parametrize("home", ["packed", "masked"])
CLASSES = {
    ("packed", 1): gs.SparseConv1d,
    ("masked", 1): gs.MaskedConv1d,
    ("packed", 2): gs.SparseConv2d,
    ("masked", 2): gs.MaskedConv2d,
}
SIZES = {1: (9,), 2: (9, 7)}


def gradient_of(layer: _Conv) -> Tensor:
    """The dense gradient as a matrix, put together from its tiles."""
    whole = torch.full(layer.shape, torch.nan, dtype=layer.weights.dtype)
    for rows, cols, tile in layer.gradient_scores("conv").tiles():
        whole[rows, cols] = tile
    return whole


def pair(
    options: dict[str, Any], home: str = "packed", pattern: Any = None, density: float = 0.5
) -> tuple[_Conv, Any]:
    """A sparse convolution and torch's own with the same weight."""
    given = {"kernel_size": 3, **options}
    dims = given.pop("dims", 2)
    conv = (nn.Conv1d if dims == 1 else nn.Conv2d)(8, 16, **given).double()
    layer = CLASSES[home, dims].of(conv, density=density, pattern=pattern or gs.Unstructured())
    with torch.no_grad():
        conv.weight.copy_(layer.to_dense())
        if conv.bias is not None:
            layer.bias.normal_()
            conv.bias.copy_(layer.bias)
    return layer, conv


@each
@homes
def test_forward_and_backward_equal_torchs(options: dict[str, Any], home: str) -> None:
    """Output, input gradient, bias gradient, and the weight gradient at existing connections; without a batch too."""
    layer, conv = pair(options, home)
    for batch in ((2,), ()):
        x = torch.randn(*batch, 8, *SIZES[conv.weight.dim() - 2], dtype=torch.float64)
        ends = []
        for module in (layer, conv):
            own = x.clone().requires_grad_()
            y = module(own)
            y.square().sum().backward()
            ends.append((y.detach(), own.grad, None if module.bias is None else module.bias.grad))
        for ours, theirs in zip(*ends, strict=True):
            torch.testing.assert_close(ours, theirs)
    got = layer.weight.grad
    assert got.shape == conv.weight.shape
    mask = layer._from_matrix(layer.topology.mask())
    torch.testing.assert_close(got + 0, conv.weight.grad * mask)


@each
def test_growth_scores_are_autograds_dense_gradient(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every weight, existing or not, with groups, padding modes and strides; for tiles of one row too."""
    layer, conv = pair(options)
    layer.tape.arm(layer.weights, recording=True)
    for batch in ((2,), (3,), ()):  # micro-batches, and one image
        x = torch.randn(*batch, 8, *SIZES[conv.weight.dim() - 2], dtype=torch.float64)
        upstream = torch.randn_like(conv(x))
        (layer(x) * upstream).sum().backward()
        (conv(x) * upstream).sum().backward()
    expected = layer.to_matrix(conv.weight.grad).abs()
    torch.testing.assert_close(gradient_of(layer).abs(), expected)
    if layer.groups == 4:  # tiles of one row and a few columns
        monkeypatch.setattr(parts, "TILE", 1)
        monkeypatch.setattr(parts, "ROWS", 1)
        torch.testing.assert_close(gradient_of(layer).abs(), expected)


@pytest.mark.parametrize("pattern", [gs.FanIn(4), gs.Block(4, 2)], ids=str)
def test_parts_of_the_gradient_are_those_of_the_whole(pattern: Any) -> None:
    """Rows and columns of units that begin inside of a group of channels and of a tap, and samples with steps."""
    layer, _ = pair({"groups": 2, "kernel_size": (2, 3)}, pattern=pattern)
    layer.tape.arm(layer.weights, recording=True)
    layer(torch.randn(3, 8, 5, 5, dtype=torch.float64)).square().sum().backward()
    grid = layer.grid
    whole = layer.gradient_tile(slice(0, grid.rows), slice(0, grid.cols))
    units = whole.view(grid.rows, grid.h, grid.cols, grid.w)
    for rows, cols in ((slice(1, 3), slice(1, 8)), (slice(0, 4, 3), slice(1, 12, 5))):
        expected = units[rows][:, :, cols].flatten(2).flatten(0, 1)
        torch.testing.assert_close(layer.gradient_tile(rows, cols), expected)


@homes
def test_growth_scores_under_autocast(home: str) -> None:
    """Inputs in float32, output gradients in bfloat16: both are brought to the weight's dtype."""
    layer = CLASSES[home, 2](8, 16, 3, density=0.5, pattern=gs.Unstructured())
    layer.tape.arm(layer.weights, recording=True)
    x = torch.randn(2, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    got = gradient_of(layer).abs()
    weight = layer.to_dense().detach().requires_grad_()
    F.conv2d(x, weight, layer.bias).square().sum().backward()
    expected = layer.to_matrix(weight.grad).abs()
    assert float((got - expected).abs().max()) < 0.05 * float(expected.max())


@pytest.mark.parametrize(
    "pattern", [gs.NM(2, 4), gs.NM(1, 8), gs.FanIn(), gs.FanIn(4), gs.Block(4, 4)], ids=str
)
def test_groups_of_inputs_run_along_channels(pattern: Any) -> None:
    """N of M *channels* of one tap, not of spatial neighbours; a constant fan-in counts all taps."""
    density = pattern.n / pattern.m if isinstance(pattern, gs.NM) else 0.25
    layer, _ = pair({}, pattern=pattern, density=density)
    there = layer.to_dense() != 0
    if isinstance(pattern, gs.NM):
        tiles = there.permute(0, 2, 3, 1).reshape(16, 3, 3, 8 // pattern.m, pattern.m)
        assert tiles.sum(-1).unique().tolist() == [pattern.n]
        spatial = there.reshape(16, -1, pattern.m).sum(-1)
        assert len(spatial.unique()) > 1  # along the wrong axis nothing holds
    elif isinstance(pattern, gs.Block):
        assert there.reshape(4, 4, 2, 4, 3, 3).sum((1, 3)).unique().tolist() == [0, 16]
    else:
        assert there.flatten(1).sum(1).unique().tolist() == [18]


@pytest.mark.parametrize(
    ("conv", "pattern", "words"),
    [
        (nn.Conv2d(3, 8, 2), gs.Block(2, 4), "divisible by 4"),  # 12 inputs are divisible, 3 channels are not
        (nn.Conv2d(4, 8, (1, 2)), gs.NM(1, 8), "divisible by 8"),
        (nn.Conv2d(8, 12, 3, groups=2), gs.FanIn(4), "output channels by 4, in each of 2 groups"),
    ],
    ids=["block", "n:m", "grouped"],
)
def test_what_would_cross_a_tap_or_a_group_of_channels_is_refused(
    conv: Any, pattern: Any, words: str
) -> None:
    """The divisors are named, before anything is changed; by the layer too."""
    density = pattern.n / pattern.m if isinstance(pattern, gs.NM) else 0.5
    model = nn.Sequential(nn.Conv2d(8, 8, 1), conv)
    with pytest.raises(PatternError, match=words) as error:
        gs.sparsify(model, None if density == 1 / 8 else density, pattern, allocation="uniform")
    assert "sparsify 1" in str(error.value)
    assert type(model[0]) is nn.Conv2d
    with pytest.raises(PatternError, match=words):
        gs.SparseConv2d.of(conv, density=density, pattern=pattern)


def test_depthwise_convolutions_stay_dense_and_the_report_says_why() -> None:
    """One reason, in both homes."""
    for home in ("packed", "masked"):
        model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1), nn.Conv2d(1, 8, 3))
        report = gs.sparsify(model, 0.5, allocation="uniform", home=home)
        assert [row.home for row in report.layers] == ["dense", home, home]
        assert "depth-wise" in report.layers[0].note


@homes
def test_matrix_and_weight_are_views_of_each_other(home: str) -> None:
    """to_matrix and _from_matrix are inverses, channels innermost."""
    layer, _ = pair({"kernel_size": (2, 3)}, home)
    weight = torch.randn(16, 8, 2, 3)
    assert torch.equal(layer._from_matrix(layer.to_matrix(weight)), weight)
    assert torch.equal(layer.to_matrix(weight)[3, 8:16], weight[3, :, 0, 1])


@pytest.mark.parametrize("kernel", [1, (1, 3), 3])
def test_a_dense_weight_has_the_strides_of_torchs(kernel: Any) -> None:
    """By others torch takes images for channels last; with a group and a border its kernels crash on one pixel."""
    theirs = nn.Conv2d(12, 8, kernel, groups=4).weight
    for layer in CLASSES["packed", 2], CLASSES["masked", 2]:
        ours = layer(12, 8, kernel, groups=4, density=0.5)
        assert ours.to_dense().stride() == theirs.stride()
    matrix, geometry = ours.to_matrix(ours.to_dense()), ours.geometry
    assert convolution(matrix, None, geometry).keywords["weight"].stride() == theirs.stride()


def test_any_memory_order_gives_the_same() -> None:
    """channels_last, a slice, a batch that is expanded."""
    layer, conv = pair({"padding": 1})
    x = torch.randn(4, 8, 6, 5, dtype=torch.float64)
    gap = torch.zeros(4, 9, 8, 5, dtype=torch.float64)[:, 1:, ::2][:, :, :3]
    gap.copy_(x[:, :, :3])
    for given in (x.contiguous(memory_format=torch.channels_last), gap, x[:1].expand(4, -1, -1, -1)):
        own = given.detach().requires_grad_()
        y = layer(own)
        torch.testing.assert_close(y, conv(given))
        assert y.is_contiguous()
        y.backward(torch.randn_like(y).contiguous(memory_format=torch.channels_last))
        assert own.grad.shape == given.shape


@homes
def test_an_empty_batch_passes(home: str) -> None:
    """Forward, backward and growth, as torch's own."""
    layer, _ = pair({"padding": 1}, home)
    layer.tape.arm(layer.weights, recording=True)
    x = torch.zeros(0, 8, 5, 5, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 16, 5, 5)
    y.sum().backward()
    assert int(layer.weights.grad.count_nonzero()) == 0
    assert int(gradient_of(layer).count_nonzero()) == 0


REFUSED = {
    "other channels": (
        lambda: gs.SparseConv2d(8, 4, 3, density=0.5)(torch.ones(2, 4, 5, 5)),
        ShapeError,
        r"\[batch, 8",
    ),
    "a line": (lambda: gs.SparseConv2d(8, 4, 3, density=0.5)(torch.ones(8, 5)), ShapeError, "height, width"),
    "an image for lines": (
        lambda: gs.SparseConv1d(8, 4, 3, density=0.5)(torch.ones(2, 8, 5, 5)),
        ShapeError,
        "length",
    ),
    "a plane below the kernel": (
        lambda: gs.SparseConv2d(8, 4, 3, padding=1, dilation=4, density=0.5)(torch.ones(2, 8, 9, 6)),
        ShapeError,
        "9.*8",
    ),
    "a masked one's plane": (
        lambda: gs.MaskedConv2d(8, 4, 3, padding_mode="reflect", padding=2, density=0.5)(
            torch.ones(2, 8, 9, 2)
        ),
        ShapeError,
        "reflect",
    ),
    "a border beyond the plane": (
        lambda: gs.SparseConv2d(8, 4, 3, padding=3, padding_mode="reflect", density=0.5)(
            torch.ones(2, 8, 3, 9)
        ),
        ShapeError,
        "reflect",
    ),
    "other numbers": (
        lambda: gs.SparseConv2d(8, 4, 3, density=0.5)(torch.ones(2, 8, 5, 5).double()),
        DtypeError,
        "float32",
    ),
    "another device": (
        lambda: gs.SparseConv2d(8, 4, 3, density=0.5)(torch.ones(2, 8, 5, 5, device="meta")),
        DtypeError,
        "meta",
    ),
    "groups": (lambda: gs.SparseConv2d(8, 4, 3, groups=3, density=0.5), ConfigError, "groups"),
    "a padding that is none": (
        lambda: gs.SparseConv2d(8, 4, 3, padding="all", density=0.5),
        ConfigError,
        "all",
    ),
    "a border that is none": (
        lambda: gs.SparseConv2d(8, 4, 3, padding_mode="mirror", density=0.5),
        ConfigError,
        "mirror",
    ),
    "no kernel": (lambda: gs.MaskedConv2d(8, 4, 0, density=0.5), ConfigError, "at least 1"),
    "half a step": (lambda: gs.SparseConv2d(8, 4, 3, 1.5, density=0.5), ConfigError, "whole numbers"),
    "a step of a lightyear": (
        lambda: gs.SparseConv2d(8, 4, 3, 10**18, density=0.5),
        ConfigError,
        "2147483647",
    ),
    "no step": (lambda: gs.SparseConv2d(8, 4, 3, 0, density=0.5), ConfigError, "at least 1|non-positive"),
}


@pytest.mark.parametrize(("call", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], words: str) -> None:
    """With what was expected, before a kernel runs."""
    with pytest.raises(error, match=words):
        call()


def test_copies_pickles_and_states() -> None:
    """All say the same, and a state of another topology brings it along."""
    layer, _ = pair({}, pattern=gs.FanIn(4))
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    expected = layer(x)
    other = gs.SparseConv2d(8, 16, 3, density=0.5, pattern=gs.FanIn(4), dtype=torch.float64)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(layer.state_dict())
    unpickled = pickle.loads(pickle.dumps(layer))  # noqa: S301 (our own bytes)
    for twin in (copy.deepcopy(layer), unpickled, other):
        assert torch.equal(twin(x), expected)
    state = layer.state_dict()
    del state["rows"]
    with pytest.raises(gs.GossamerError):
        other.load_state_dict(state)


def test_a_state_of_another_kernel_is_refused() -> None:
    """Its matrix has the same size, and the same numbers would be other weights."""
    lying, standing = (gs.SparseConv2d(4, 4, kernel, density=0.5) for kernel in ((1, 3), (3, 1)))
    before = standing.to_dense()
    with pytest.raises(TopologyError, match=r"for a weight \(4, 4, 3, 1\), got .* of another weight"):
        standing.load_state_dict(lying.state_dict())
    assert torch.equal(standing.to_dense(), before)


def test_a_model_without_memory_gets_convolutions_that_exist() -> None:
    """``device=``, as for linear layers."""
    model = nn.Sequential(nn.Conv2d(8, 8, 3, device="meta"), nn.Conv1d(8, 8, 3, device="meta"))
    gs.sparsify(model, 0.5, device="cpu")
    assert model[1](model[0](torch.ones(1, 8, 6, 5)).flatten(2)).device.type == "cpu"


def test_channels_without_connections_give_their_bias() -> None:
    """Ablated ones take part in nothing else."""
    layer, _ = pair({}, pattern=gs.FanIn())
    topology = layer.topology
    keep = topology.positions // layer.grid.cols > 1
    values = layer.values.detach()[: layer.connections][keep]
    layer.assign(type(topology)(topology.pattern, topology.shape, topology.positions[keep]), values)
    y = layer(torch.randn(2, 8, 5, 5, dtype=torch.float64))
    torch.testing.assert_close(y[:, :2], layer.bias[None, :2, None, None].expand(2, 2, 3, 3))
    y.sum().backward()
    assert int(layer.values.grad.count_nonzero()) == values.numel()


def test_values_are_kept_where_a_pruned_convolution_is_taken_over() -> None:
    """``init="keep"``: the largest weights of each kernel, in the order of the matrix."""
    conv = nn.Conv2d(4, 4, 3)
    nn.utils.prune.l1_unstructured(conv, "weight", 0.5)
    model = nn.Sequential(conv)
    weight = conv.weight.detach().clone()
    gs.sparsify(model, 0.5, gs.Unstructured(), allocation="uniform", init="keep")
    assert type(model[0]) is gs.SparseConv2d
    assert torch.equal(model[0].to_dense(), weight)


@pytest.mark.parametrize("rule", [gs.RigL(every=2), gs.SRigL(every=2), gs.SET(every=2)], ids=lambda r: r.name)
def test_a_convolutional_network_trains_the_same_in_both_homes(rule: Any) -> None:
    """Groups, strides, a padding mode, lines: budgets hold, and packed and masked agree step by step."""
    homes = {}
    for home in ("packed", "masked"):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.ReLU(),
            nn.Flatten(2), nn.Conv1d(8, 8, 3), nn.Flatten(), nn.Linear(56, 8),
        ).double()  # fmt: skip
        gs.sparsify(model, 0.4, home=home, generator=torch.Generator().manual_seed(1))
        optim = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
        engine = gs.attach(model, optim, rule, total_steps=12)
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(16, 4, 8, 8, dtype=torch.float64, generator=generator)
        target = torch.randn(16, 8, dtype=torch.float64, generator=generator)
        losses = []
        for _ in range(12):
            optim.zero_grad()
            loss = (model(x) - target).square().mean()
            loss.backward()
            optim.step()
            losses.append(float(loss.detach()))
        assert {row.layer for row in engine.history if row.grown} == {"0", "2", "5", "7"}
        homes[home] = model, losses
    (packed, ours), (masked, theirs) = homes["packed"], homes["masked"]
    assert type(packed[5]) is gs.SparseConv1d
    assert ours[-1] < ours[0]
    assert ours == pytest.approx(theirs, rel=1e-9)
    for mine, other in zip(packed, masked, strict=True):
        if hasattr(mine, "topology"):
            assert torch.equal(mine.topology.positions, other.topology.positions)
            torch.testing.assert_close(mine.to_dense(), other.to_dense())


def test_memory_of_lost_connections_comes_back() -> None:
    """``compact``: values, gradient and state of the size of what is left, and the same output."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    gs.sparsify(model, {"0": 0.5, "2": 0.5}, gs.Unstructured())
    optimizer, layer, x = torch.optim.Adam(model.parameters()), model[0], torch.randn(2, 4, 5, 5)
    model(x).sum().backward()
    optimizer.step()
    topology = layer.topology
    few = type(topology)(topology.pattern, topology.shape, topology.positions[::2])
    layer.assign(few, layer.values.detach()[: layer.connections][::2])
    expected = model(x)
    gs.compact(model, optimizer)
    assert layer.values.numel() == layer.connections == 72
    assert optimizer.state[layer.values]["exp_avg"].shape == (72,)
    assert torch.equal(model(x), expected)


def test_the_memory_of_a_step_is_told_before() -> None:
    """Values, index and images of a packed convolution, on shapes alone."""
    model = nn.Sequential(gs.SparseConv2d(8, 16, 3, density=0.5, padding=1), nn.ReLU())
    needed = memory(model, torch.empty(64, 8, 10, 10, device="meta"))
    layer = model[0]
    assert needed.values == 4 * (layer.values.numel() + 16)
    assert needed.index == sum(t.nbytes for t in layer.index.values()) + layer.fingerprint.nbytes
    assert needed.activations == 4 * 64 * 100 * (8 + 16)


def test_the_last_convolution_is_never_ablated() -> None:
    """It is found as the model's output, as a linear layer is."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
    gs.sparsify(model, 0.25, allocation="uniform")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert gs.attach(model, optimizer, gs.SRigL(every=2), total_steps=8).outputs == {"2"}


def test_why_its_products_run_as_they_do_is_told() -> None:
    """One product, or the three of a training step; the reference kernel is there in any case."""
    layer = gs.SparseConv1d(8, 4, 3, density=0.5)
    assert layer.explain().splitlines()[0] == "conv"
    told = layer.explain(training=True)
    for name in ("conv", "conv_grad_input", "conv_grad_values"):
        assert f"\n  {name}:fanin:any:reference: " in "\n" + told.replace("\n\n", "\n")
    assert "chosen" in told


@pytest.mark.parametrize("count", [1, 2])
def test_images_larger_than_a_cache(count: int) -> None:
    """Where outputs outweigh inputs a few planes are written from end to end; the numbers are torch's all the same."""
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(16, 96, 1), nn.ReLU6(), nn.Conv2d(96, 96, 3, padding=1, groups=96)).eval()
    gs.sparsify(wide, 0.125, "fanin")
    x = torch.randn(2, 16, 50, 47)
    with threads(count), torch.no_grad():
        hidden = F.relu6(F.conv2d(x, wide[0].to_dense(), wide[0].bias))
        expected = F.conv2d(hidden, wide[2].weight, wide[2].bias, padding=1, groups=96)
        torch.testing.assert_close(wide(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gs.freeze(wide, x, keep="csr")(x), expected, rtol=1e-5, atol=1e-5)
