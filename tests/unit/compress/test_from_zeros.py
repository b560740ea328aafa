"""from_zeros: zeros and masks of a trained model become layers with exactly those connections."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import parametrize, prune

import gossamer as gs
from gossamer.errors import ConfigError, PatternError
from gossamer.topology.covering import covering


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))


def zeroed(model: nn.Module, share: float = 0.8) -> nn.Module:
    """With that share of zeros in every weight, some of them negative."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.masked_fill_(torch.rand_like(module.weight) < share, -0.0)
    return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: (module.to_dense() if hasattr(module, "to_dense") else module.weight).detach()
        for name, module in model.named_modules()
        if hasattr(module, "weight")
    }


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_zeros_become_missing_connections(home: str) -> None:
    """Exactly those; every other number, and the bias, keeps its bits."""
    model = zeroed(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10)))
    before, x = weights(model), torch.randn(2, 3, 8, 8)
    bias, expected = model[2].bias.detach().clone(), model(x)
    report = gs.from_zeros(model, home=home)
    assert [row.home for row in report.layers] == [home, home]
    for name, weight in weights(model).items():
        assert torch.equal(weight, before[name])
        assert model.get_submodule(name).connections == int(before[name].count_nonzero())
    assert torch.equal(model[2].bias, bias)
    torch.testing.assert_close(model(x), expected)


def test_a_mask_counts_and_not_what_is_under_it() -> None:
    """Of torch's pruning: values below the mask are stale; a zero that the mask keeps is a connection."""
    model = mlp()
    prune.random_unstructured(model[0], "weight", 0.1)
    prune.l1_unstructured(model[0], "weight", 0.5)
    with torch.no_grad():
        model[0].weight_orig += 1.0
        model[0].weight_orig.view(-1)[int(model[0].weight_mask.flatten().argmax())] = 0.0
    mask = model[0].weight_mask.bool()
    expected = model[0].weight_orig.detach() * mask
    report = gs.from_zeros(model)
    assert torch.equal(model[0].topology.mask(), mask)
    assert torch.equal(model[0].to_dense(), expected)
    assert "1 zeros as connections" in report.layers[0].note
    assert report.layers[1].note == "no zeros"
    assert sorted(model[0].state_dict()) == sorted(
        gs.SparseLinear(64, 32, density=0.5, pattern="unstructured").state_dict()
    )


def test_parametrizations_of_torch_ao_are_read() -> None:
    model = mlp()
    tool = WeightNormSparsifier(sparsity_level=0.75, sparse_block_shape=(1, 4), zeros_per_block=4)
    tool.prepare(model, [{"tensor_fqn": "0.weight"}])
    tool.step()
    expected = model[0].weight.detach().clone()
    gs.from_zeros(model, "block:1:4")
    assert not parametrize.is_parametrized(model[0])
    assert torch.equal(model[0].to_dense(), expected)
    assert model[0].connections == 64 * 32 // 4


def test_a_pruned_recurrent_layer_is_read() -> None:
    model = nn.ModuleList([nn.LSTM(16, 32)])
    prune.l1_unstructured(model[0], "weight_hh_l0", 0.9)
    x, expected = torch.randn(5, 2, 16), model[0].weight_hh_l0.detach().clone()
    said = model[0](x)[0]
    gs.from_zeros(model)
    assert torch.equal(model[0].hh_l0.to_dense(), expected)
    torch.testing.assert_close(model[0](x)[0], said)


def test_few_zeros_are_no_mask_and_the_report_says_so() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].weight[:8] = 0.0  # eight dead neurons of 32
    zeroed(model[2], 0.5)
    report = gs.from_zeros(model)
    assert report.layers[0].home == "dense"
    assert report.layers[0].note == "25.0% zeros, below the threshold of 30%"


@pytest.mark.parametrize("pattern", ["nm:2:4", "fanin:4", "block:4"])
def test_a_named_pattern_is_taken_where_the_zeros_fit(pattern: str) -> None:
    """And a layer whose zeros do not is named; the model is as it was."""
    made = mlp()
    gs.sparsify(made, None if "nm" in pattern else 0.5, pattern, "uniform", skip=["2"])
    model = mlp()
    model[0].weight.data.copy_(made[0].to_dense())
    before = weights(model)["0"].clone()
    gs.from_zeros(model, pattern)
    assert str(model[0].pattern) == pattern
    assert torch.equal(model[0].to_dense(), before)
    assert torch.equal(model[0].topology.positions, made[0].topology.positions)

    wrong = zeroed(mlp(), 0.6)
    prune.l1_unstructured(wrong[2], "weight", 0.6)
    first, stale = wrong[0], wrong[2].weight_orig.detach().clone()
    with pytest.raises(PatternError, match="from_zeros 0"):
        gs.from_zeros(wrong, pattern)
    assert wrong[0] is first
    assert torch.equal(wrong[2].weight_orig, stale)
    assert list(wrong[2]._forward_pre_hooks)


def test_what_is_left_out_keeps_its_mask() -> None:
    """A layer of skip= is pruned by torch afterwards as it was before."""
    model = mlp()
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
    stale = model[2].weight_orig.detach().clone()
    gs.from_zeros(model, skip=["2"])
    assert torch.equal(model[2].weight_orig, stale)
    assert dict(model[2].named_buffers()).keys() == {"weight_mask"}
    model(torch.randn(1, 64)).sum().backward()
    assert model[2].weight_orig.grad is not None
    prune.remove(model[2], "weight")


def test_a_model_without_zeros_is_refused() -> None:
    with pytest.raises(ConfigError, match="no zeros"):
        gs.from_zeros(mlp())


def test_a_tile_with_too_few_weights_is_filled_up() -> None:
    """By hand: 2:4 of (0, 0, 0, 7 | 1, 2, 0, 0) stores the zero in front; three in a tile are too many."""
    rows = torch.tensor([[0.0, 0, 0, 7, 1, 2, 0, 0]])
    assert covering(rows, gs.NM(2, 4)).positions.tolist() == [0, 3, 4, 5]
    with pytest.raises(PatternError, match="3 of 4"):
        covering(torch.tensor([[1.0, 1, 1, 0]]), gs.NM(2, 4))
    two = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0]])
    assert covering(two, gs.FanIn()).positions.tolist() == [0, 2], "an empty neuron stays empty"
