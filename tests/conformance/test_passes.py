"""Every pass, found by existing: outputs stay, names stay unique, and a second run finds nothing more to do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError
from gossamer.freezing.passes import Rewritten, graph_pass, passes, rewritten
from gossamer.network.graph import Graph
from gossamer.trace.calling import Example
from gossamer.trace.run import run
from gossamer.trace.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable


class Residual(nn.Module):
    """Norms, dropout that is off, a sum, activations, and a neuron without inputs or without readers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)
        self.drop, self.second, self.after = nn.Dropout(), nn.Linear(16, 16), nn.BatchNorm1d(16)
        self.third, self.last = nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.drop(self.first(x))))
        h = nn.functional.leaky_relu(self.after(self.second(h)) + x, 0.2)
        return torch.sigmoid(self.last(self.drop(torch.relu(self.third(h)))))


def plain() -> nn.Sequential:
    """The textbook's order, several times."""
    rows = [(16, 32), (32, 32), (32, 4)]
    return nn.Sequential(*(part for i, o in rows for part in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())))


def made(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = build().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.bias)
    gs.sparsify(model, 0.1, gs.Unstructured(), "uniform", generator=torch.Generator().manual_seed(1))
    return model


def graph_of(model: nn.Module, x: Tensor) -> Graph:
    graph = trace(model, Example.of(model, x), model(x))
    assert isinstance(graph, Graph)
    return graph


MODELS = {"plain": plain, "residual": Residual}


@pytest.mark.parametrize("entry", list(passes()), ids=lambda entry: entry.name)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_pass_changes_no_output(entry, build):
    model, x = made(build), torch.randn(7, 16)
    graph = graph_of(model, x)
    after = entry.apply(graph, (x,)).graph
    reference = copy.deepcopy(model).double()(x.double())
    assert torch.allclose(run(after, (x,)).double(), reference, rtol=1e-5, atol=1e-5)
    names = [*after.inputs, *(node.name for node in after.nodes)]
    assert len(set(names)) == len(names)
    assert after.inputs == graph.inputs


@pytest.mark.parametrize("entry", list(passes()), ids=lambda entry: entry.name)
def test_a_second_run_finds_nothing(entry):
    x = torch.randn(7, 16)
    once = entry.apply(graph_of(made(Residual), x), (x,)).graph
    again = entry.apply(once, (x,))
    assert [(node.name, node.inputs) for node in again.graph.nodes] == [
        (n.name, n.inputs) for n in once.nodes
    ]
    assert not again.removed


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_all_of_them_together_leave_layers_only(build):
    model, x = made(build), torch.randn(7, 16)
    result = rewritten(graph_of(model, x), (x,))
    kinds = [getattr(node.body, "op", "linear") for node in result.graph.nodes]
    assert [kind for kind in kinds if kind not in ("linear", "sigmoid")] == []
    reference = copy.deepcopy(model).double()(x.double())
    assert torch.allclose(run(result.graph, (x,)).double(), reference, rtol=1e-5, atol=1e-5)


def test_their_order_is_stated_and_unique():
    orders = [entry.order for entry in passes()]
    assert orders == sorted(set(orders))
    names = [entry.name for entry in passes()]
    fused = ("add_residual", "fuse_activation")
    assert all(names.index("fold_batch_norm") < names.index(name) for name in ("remove_dead", *fused))
    first = next(passes())
    with pytest.raises(ConfigError, match="an order that no other pass has"):
        graph_pass(first.order)(lambda graph, _inputs: Rewritten(graph))
