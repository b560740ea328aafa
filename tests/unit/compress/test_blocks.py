"""Blocks that are replaced by the identity for good."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from small_networks import network


class Added(nn.Module):
    """x plus a constant direction; what else it is called with is not looked at."""

    def __init__(self, shift: list[float]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor, _mask: Tensor | None = None) -> Tensor:
        return x + self.shift


class Masked(nn.Module):
    """Blocks that are called with a second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Added(shift) for shift in ([0.0, 1.0], [0.0, 3.0], [1.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, None)
        return x


NAMES = ["blocks.0", "blocks.1", "blocks.2"]


def test_by_hand():
    """(1, 0) becomes (1, 1), (1, 4), (2, 5): cosines 1 / sqrt 2, 5 / sqrt 34, 22 / sqrt 493; the last is largest."""
    model = Masked()
    x = torch.tensor([[1.0, 0.0]])
    report = gs.remove_blocks(model, x, NAMES, 1)
    cosines = [row.similarity for row in report.blocks]
    assert cosines == pytest.approx([2**-0.5, 5 / 34**0.5, 22 / 493**0.5])
    assert [row.removed for row in report.blocks] == [False, False, True]
    assert (report.parameters, model(x).tolist()) == ((6, 4), [[1.0, 4.0]])
    assert json.loads(json.dumps(dataclasses.asdict(report)))["parameters"] == [6, 4]
    assert "removed" in str(report)


def test_of_equals_the_first_go_and_data_is_what_is_measured():
    model = Masked()
    with torch.no_grad():
        for block in model.blocks:
            block.shift.zero_()
        model.blocks[2].shift.fill_(1.0)
    gs.remove_blocks(model, torch.ones(1, 2), NAMES, 1)
    assert [type(block).__name__ for block in model.blocks] == ["PassOn", "Added", "Added"]
    report = gs.remove_blocks(Masked(), torch.ones(1, 2), NAMES, 1, data=[torch.tensor([[0.0, -9.0]])])
    assert [row.removed for row in report.blocks] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "block"), [("transformer", "blocks.0"), ("resnet", "layer2.2"), ("resnet", "layer1.0")]
)
def test_a_network_without_a_block_is_frozen(name, block):
    model = network(name).float()
    keys = [key for key in model.state_dict() if not key.startswith(block)]
    gs.remove_blocks(model, torch.randn(1, 3, 8, 8), [block])
    assert list(model.state_dict()) == keys
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(gs.freeze(model, x, keep="dense")(x), model(x), rtol=1e-4, atol=1e-4)


def test_optimizers_let_go_of_what_no_module_has():
    model = Masked().train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    sgd.step()
    with pytest.raises(gs.GossamerError, match="a SGD that was not given"):
        gs.remove_blocks(model, torch.ones(1, 2), ["blocks.1"])
    assert type(model.blocks[1]) is Added
    gs.remove_blocks(model, torch.ones(1, 2), ["blocks.1"], optimizers=[sgd])
    assert [id(p) for p in sgd.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    assert len(sgd.state) == 2
    assert model.training
    assert model.blocks[1].training


class Looking(Masked):
    """Reads what a block holds."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.blocks[0].shift.numel()


def hooked() -> nn.Module:
    model = Masked()
    model.blocks[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("model", "blocks", "more", "said"),
    [
        (Masked(), ["blocks.7"], {}, "modules among blocks, blocks.0"),
        (Masked(), [], {}, "names of modules, got none"),
        (Masked(), ["blocks", "blocks.0"], {}, "blocks beside one another, got blocks.0 in blocks"),
        (Masked(), NAMES, {"count": 4}, "a whole number from 1 to 3"),
        (Masked(), ["blocks"], {}, "blocks that the model calls"),
        (
            Masked(),
            NAMES,
            {"data": [torch.ones(1, 3)]},
            r"data=\) batch 0: expected inputs that the model takes",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(2, 3)),
            ["1"],
            {},
            r"of the shape .* got \[1, 3\] of \[1, 2\]",
        ),
        (Looking(), ["blocks.0"], {}, "a model that runs without these blocks, got AttributeError"),
        (hooked(), ["blocks.0"], {}, "hooks on a Added in it"),
    ],
)
def test_what_cannot_go_is_refused_and_nothing_is_changed(model, blocks, more, said):
    before = [id(module) for module in model.modules()]
    with pytest.raises(gs.GossamerError, match=said):
        gs.remove_blocks(model, torch.ones(1, 2), blocks, **more)
    assert [id(module) for module in model.modules()] == before


def test_numbers_that_are_none_choose_no_block() -> None:
    """A NaN in the example would make every cosine NaN."""
    model = Masked()
    with pytest.raises(gs.GossamerError, match="finite"):
        gs.remove_blocks(model, torch.tensor([[float("nan"), 0.0]]), NAMES, 1)
    assert all(isinstance(block, Added) for block in model.blocks)
