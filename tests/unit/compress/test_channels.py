"""Channels that are removed for good: the smaller network is the larger one without them, and nothing else changes."""

from __future__ import annotations

import copy
import dataclasses
import io
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import gossamer as gs
from gossamer import models
from small_networks import NETWORKS, UNet, held_constant, kept, mark, network

IMAGE = (3, 8, 8)


def images(count: int = 2, size: tuple[int, ...] = IMAGE) -> torch.Tensor:
    return torch.randn(count, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def test_by_hand():
    """Norms sqrt(9 + 1), sqrt(1 + 4), sqrt(4 + .25): the last goes; its mean is 4, of which the reader takes half."""
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0], [1.0], [2.0]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, 0.5]]))
        model[2].bias.fill_(7.0)
    report = gs.prune_channels(
        model, torch.ones(1, 1).double(), 2 / 3, data=torch.tensor([[1.0], [3.0]]).double()
    )
    assert model[0].weight.flatten().tolist() == [3.0, 1.0]
    assert (model[2].weight.tolist(), model[2].bias.tolist()) == ([[1.0, 2.0]], [9.0])
    assert (report.channels, report.parameters, report.deviation) == ((3, 1), (10, 7), 0.0)
    assert json.loads(json.dumps(dataclasses.asdict(report)))["layers"][1]["inputs"] == [3, 2]
    assert "1 of 1 inputs folded into its bias" in str(report)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_the_smaller_network_is_the_larger_one_without_the_channels(name, keep):
    before = network(name)
    model = copy.deepcopy(before)
    mark(model)
    report = gs.prune_channels(model, images(), keep)
    assert report.channels[1]
    assert report.parameters[1] == sum(p.numel() for p in model.parameters())
    expected = held_constant(before, model, None)
    torch.testing.assert_close(model(images(3)), expected(images(3)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet"])
def test_means_are_folded_exactly_where_no_border_shows_them(name):
    before, data = network(name), images(16)
    model = copy.deepcopy(before)
    mark(model)
    report = gs.prune_channels(model, images(), 0.5, data=data)
    expected = held_constant(before, model, data)
    torch.testing.assert_close(model(images(3)), expected(images(3)), rtol=1e-9, atol=1e-9)
    assert report.deviation < 1e-9


def test_the_deviation_at_borders_of_zeros_is_said():
    before, data = network("resnet"), images(4, (3, 16, 16))
    model = copy.deepcopy(before)
    mark(model)
    report = gs.prune_channels(model, data, 0.75, data=data)
    difference = (model(data) - held_constant(before, model, data)(data)).detach().abs().max()
    assert report.deviation == pytest.approx(float(difference), rel=1e-6)
    assert report.deviation > 1e-6


def test_counts_of_a_residual_network_by_hand():
    """Half of every width of 16, 32 and 64; behind a border of zeros the channels that it adds stay."""
    model = models.resnet20()
    gs.prune_channels(model, torch.randn(1, 3, 32, 32))
    widths = [
        model.conv1.out_channels,
        model.layer2[1].conv1.out_channels,
        model.layer2[1].conv2.out_channels,
    ]
    assert [*widths, model.layer3[1].conv1.out_channels, model.linear.in_features] == [8, 16, 24, 32, 56]


def test_half_of_a_published_network():
    """ResNet-18 has 11.69 million parameters; half of all channels leave 3.056 million, as published for DepGraph."""
    report = gs.prune_channels(models.resnet18(classes=1000), torch.randn(1, 3, 32, 32))
    assert report.parameters == (11_689_512, 3_055_880)


def test_heads_go_as_a_whole_from_queries_keys_and_values():
    model = network("transformer")
    mark(model)
    gs.prune_channels(model, images())
    for block in model.blocks:
        rows = [kept(layer)[0] for layer in (block.q, block.k, block.v)]
        assert rows[0] == rows[1] == rows[2] == kept(block.o)[1]
        assert len(rows[0]) == 8
        assert all(
            first % 4 == 0 and rows[0][at : at + 4] == list(range(first, first + 4))
            for at, first in enumerate(rows[0])
            if at % 4 == 0
        )


@pytest.mark.parametrize(("name", "same"), [("dense", True), ("unet", True), ("mobile", False)])
def test_as_many_channels_go_as_by_torch_pruning_and_the_same_ones(name, same):
    """It weighs depth-wise convolutions otherwise, so there the channels are others."""
    pruning = pytest.importorskip("torch_pruning", reason="the oracle is an extra of the benchmarks")
    ours, theirs = network(name), network(name)
    for each in (ours, theirs):
        mark(each)
    gs.prune_channels(ours, images())
    last = [module for module in theirs.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    importance = pruning.importance.GroupMagnitudeImportance(p=2)
    pruning.pruner.BasePruner(
        theirs, images(), importance=importance, pruning_ratio=0.5, ignored_layers=[last]
    ).step()
    assert {n: p.shape for n, p in ours.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if same and key.endswith("weight") and mine.dim() > 1:
            torch.testing.assert_close(mine, other, msg=key)


def wide(*scales: float) -> nn.Sequential:
    """Hidden neurons of given sizes, in layers of 10."""
    steps: list[nn.Module] = []
    for scale in scales:
        layer = nn.Linear(10, 10)
        nn.init.constant_(layer.weight, scale)
        steps += [layer, nn.ReLU()]
    model = nn.Sequential(*steps, nn.Linear(10, 2))
    nn.init.constant_(model[-1].weight, 1.0)
    return model


@pytest.mark.parametrize(("keep", "left"), [(0.7, 7), (0.07, 1), (0.75, 8), (1.0, 10)])
def test_counts_are_exact_and_of_equals_the_first_go(keep, left):
    model = wide(1.0)
    marks = model[0].bias.detach().clone()
    gs.prune_channels(model, torch.ones(1, 10), keep)
    assert model[0].bias.tolist() == marks[10 - left :].tolist()


def test_a_multiple_stays():
    model = wide(1.0)
    gs.prune_channels(model, torch.ones(1, 10), 0.3, round_to=4)
    assert model[0].out_features == 4
    assert gs.prune_channels(model, torch.ones(1, 10), 1.0, round_to=8).channels == (4, 0)


def test_a_layer_keeps_its_floor_where_all_channels_compete():
    """Norms are divided by their mean, so layers of alike neurons compete as equals: the first ones go first."""
    model = wide(1.0, 1.0)
    gs.prune_channels(model, torch.ones(1, 10), 0.5, allocation="global", floor=0.2)
    assert (model[0].out_features, model[2].out_features) == (2, 8)


def test_scores_by_hand():
    """Taylor: neuron 0 has the larger weights, but no gradient; scales of norms: the smaller one goes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[-9.0], [1.0]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[9.0, 1.0]]))
    other, pair = copy.deepcopy(model), (torch.ones(4, 1), torch.zeros(4, 1))
    gs.prune_channels(model, torch.ones(1, 1), data=[pair], loss=F.mse_loss, score="taylor")
    gs.prune_channels(other, torch.ones(1, 1))
    assert (model[0].weight.tolist(), other[0].weight.tolist()) == ([[1.0]], [[-9.0]])
    normed = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        normed[1].weight.copy_(torch.tensor([-3.0, 2.0]))
    gs.prune_channels(normed, torch.ones(1, 1), score="batch_norm")
    assert (normed[1].weight.tolist(), normed[2].out_features) == ([-3.0], 2)


def test_a_channel_that_a_norm_multiplies_by_zero_is_folded_without_data():
    model = (
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1)).double().eval()
    )
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([1.0, 0.0]))
        model[1].bias.copy_(torch.tensor([0.0, 3.0]))
    x = torch.randn(2, 1, 4, 4).double()
    before = model(x)
    gs.prune_channels(model, x, score="batch_norm")
    torch.testing.assert_close(model(x), before)


def test_an_optimizer_goes_on_and_everything_that_hung_on_the_model_stays():
    model = network("mobile").train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(images(4)).square().sum().backward()
    adam.step()
    parameters, seen = list(model.parameters()), []
    model[3].register_forward_hook(lambda *_: seen.append(1))
    model[0].weight.requires_grad_(False)
    with pytest.raises(gs.GossamerError, match=r"a Adam that was not given; pass optimizers"):
        gs.prune_channels(model, images())
    assert [p.shape for p in model.parameters()] == [p.shape for p in network("mobile").parameters()]
    moment = adam.state[model[8].weight]["exp_avg"].clone()
    mark(model)
    gs.prune_channels(model, images(), optimizers=[adam])
    torch.testing.assert_close(adam.state[model[8].weight]["exp_avg"], moment[:, kept(model[8])[1]])
    assert all(mine is other for mine, other in zip(model.parameters(), parameters, strict=True))
    assert model.training
    assert not model[0].weight.requires_grad
    adam.zero_grad()
    seen.clear()
    model(images(4)).square().sum().backward()
    adam.step()
    assert seen == [1]


@pytest.mark.parametrize("name", ["mobile", "resnet", "transformer"])
def test_a_pruned_network_is_frozen_pickled_and_loaded(name):
    model = network(name).float()
    x = images().float()
    gs.prune_channels(model, x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(x), model(x))
    torch.testing.assert_close(gs.freeze(model, x, keep="dense")(x), model(x), rtol=1e-4, atol=1e-4)


def test_sharing_and_hooks_keep_channels_and_the_report_says_why():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))

        def forward(self, x):
            return self.d(F.relu(self.c(self.b(F.relu(self.b(F.relu(self.a(x))))))))

    model = Twice()
    rows = {row.name: row for row in gs.prune_channels(model, torch.ones(1, 4)).layers}
    assert (model.a.out_features, model.b.out_features, model.c.out_features) == (4, 4, 2)
    assert "'b' is used more than once" in rows["a"].note
    model.c.register_forward_hook(lambda *_: None)
    with pytest.raises(
        gs.GossamerError, match=r"channels that can go, got none: a: .*; d: the output of the network"
    ):
        gs.prune_channels(model, torch.ones(1, 4))


def test_a_number_of_channels_in_the_code_is_no_way_to_a_wrong_network():
    class Fixed(UNet):
        def forward(self, x):
            return super().forward(x) * x.new_ones(()) + self.head.weight[0, 7].sum() * 0

    model = Fixed().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(gs.GossamerError, match=r"a smaller network that computes .* one that fails: index 7"):
        gs.prune_channels(model, torch.randn(1, *IMAGE))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tied_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    with pytest.raises(gs.GossamerError, match=r"a weight of their own, got 2.weight tied to 0.weight"):
        gs.prune_channels(model, torch.ones(1, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep": 0.0}, r"a share in \(0, 1\], got 0.0"),
        ({"keep": 1.5}, r"a share in \[0, 1\], got 1.5"),
        ({"round_to": 0}, "a whole number of at least 1"),
        ({"score": "magnitud"}, "did you mean 'magnitude'"),
        ({"allocation": "layer"}, "one of uniform, global"),
        ({"score": "taylor"}, r"pairs \(inputs, targets\)"),
        ({"skip": "9"}, "names or types among the modules"),
        ({"data": []}, "at least one batch"),
        ({"data": torch.full((2, 10), torch.nan)}, "finite numbers"),
        ({"data": torch.ones(2, 7)}, r"data=\) batch 0: expected inputs that the model takes"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_changed(given, said):
    model = wide(1.0)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(gs.GossamerError, match=said):
        gs.prune_channels(model, torch.ones(1, 10), **given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_infinite_weights_are_refused_by_name():
    model = wide(1.0)
    nn.init.constant_(model[0].weight, torch.inf)
    with pytest.raises(gs.GossamerError, match=r"finite weights and gradients, got others in 0"):
        gs.prune_channels(model, torch.ones(1, 10))


def hooked(layer: nn.Linear) -> None:
    layer.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (hooked, "not followed: it carries hooks"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 3), "not followed: it carries hooks"),
        (parametrizations.weight_norm, "not followed: another class"),
    ],
)
def test_a_layer_whose_weight_or_output_others_make_keeps_its_channels(change, said):
    model = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(8, 2)
    ).double()
    change(model[2])
    x = torch.randn(3, 4).double()
    before, pair = model[:3](x).detach(), (x, torch.zeros(3, dtype=torch.int64))
    rows = {row.name: row for row in gs.prune_channels(model, x, score="taylor", data=[pair]).layers}
    assert [model[at].out_features for at in (0, 2, 3)] == [4, 6, 4]
    assert said in rows["2"].note
    torch.testing.assert_close(model[:3](x), before, rtol=0, atol=0)


def test_sparse_layers_keep_their_channels_and_dense_ones_beside_them_go():
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    gs.sparsify(model, 0.5, "unstructured", skip=["1", "2", "3"])
    rows = {row.name: row for row in gs.prune_channels(model, torch.randn(2, 8)).layers}
    assert [row.outputs[1] for row in rows.values()] == [8, 4, 4, 8]
    assert "sparse layers keep" in rows["0"].note


def test_what_a_norm_over_all_features_reads_stays():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    rows = {row.name: row for row in gs.prune_channels(model, torch.randn(2, 4)).layers}
    assert [row.outputs for row in rows.values()] == [(8, 8), (6, 3), (2, 2)]
    assert "module '1' (LayerNorm)" in rows["0"].note


def test_a_bias_free_layer_that_nothing_can_shift_says_so():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2, bias=False)).double()
    mark(model)
    before, x = copy.deepcopy(model), torch.randn(5, 4).double()
    rows = gs.prune_channels(model, x, data=[x]).layers
    assert "no bias, and no batch norm behind it" in rows[1].note
    torch.testing.assert_close(model(x), held_constant(before, model, None)(x))
