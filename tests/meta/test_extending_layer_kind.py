"""A new kind of layers costs its file: everything that looks at layers finds it in the table of kinds."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.compress import compact
from gossamer.errors import ConfigError
from gossamer.nn import count
from gossamer.nn.kinds import kind, kind_of, kinds
from gossamer.trace.links import links
from gossamer.training import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOY = '''
"""Convolutions of three dimensions, masked."""

from math import prod

from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv3d_weight

from gossamer.nn.kinds import Kind, kind
from gossamer.nn.masked import Masked


class MaskedConv3d(Masked):
    def __init__(self, dense, density, pattern=None, generator=None, fan_in="sparse", law="he_normal"):
        out, *rest = dense.weight.shape
        super().__init__((out, prod(rest)), pattern, density, fan_in, law, dense.weight.dtype)
        self.around = (dense.stride, dense.padding, dense.dilation, dense.groups)
        self.bias = None if dense.bias is None else nn.Parameter(dense.bias.detach() * 0)
        self._make_home((out, *rest), dense.weight.device, dense.weight.dtype)
        self.reset_parameters(generator)

    @classmethod
    def of(cls, dense, device=None, **drawn):
        return cls(dense, **drawn)

    def to_matrix(self, weight):
        return weight.flatten(1)

    def _from_matrix(self, matrix):
        return matrix.view(self.weight.shape)

    def compute(self, x):
        return F.conv3d(x, self.effective_weight(), self.bias, *self.around)

    def gradient_tile(self, rows, cols):
        whole = sum(conv3d_weight(x, self.weight.shape, dy, *self.around) for x, dy in self.tape.pairs)
        return self.to_matrix(whole)[rows, cols].clone().cpu()


kind(Kind("conv3d", (nn.Conv3d,), MaskedConv3d, None, lambda: nn.Conv3d(1, 1, 1)))
'''


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Any]:
    """The only file that was written, imported; the table is put back."""
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_kind", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del kinds["conv3d"]


def model() -> nn.Sequential:
    """A convolution, then linear layers."""
    torch.manual_seed(0)
    layers = [
        nn.Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 8),
        nn.ReLU(),
        nn.Linear(8, 2),
    ]
    return nn.Sequential(*layers)


def test_without_its_file_the_layer_is_left_and_named() -> None:
    """The test below sees something."""
    report = gs.sparsify(model(), 0.5, allocation="uniform")
    assert report.layers[0].note == "no layer that has a sparse form"


def test_sparsify_counting_rules_checkpoints_and_freezing_find_it(toy: Any, tmp_path: Path) -> None:
    """One file, no edit elsewhere."""
    network = model()
    report = gs.sparsify(
        network, 0.5, gs.Unstructured(), "uniform", generator=torch.Generator().manual_seed(1)
    )
    assert isinstance(network[0], toy.MaskedConv3d)
    assert (report.sparse[0].kind, report.sparse[0].home) == ("MaskedConv3d", "masked")
    assert report.layers[0].connections == 48

    x = torch.randn(5, 4, 6, 1, 1)
    rows = count(network, x)
    assert (rows[0].kind, rows[0].shape, rows[0].connections) == ("MaskedConv3d", (8, 12), 48)
    assert rows[0].flops == 2 * 48 * 6

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    engine = gs.attach(network, optimizer, gs.RigL(every=1, drop=0.5), total_steps=4)
    for _ in range(2):
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
    moved = [row for row in engine.history if row.layer == "0"]
    assert moved[0].dropped == moved[0].grown > 0
    assert network[0].connections == 48
    assert [(each.source, each.reader) for each in links(network)] == [("3", "5")]
    assert engine.outputs == {"5"}

    save_checkpoint(tmp_path / "run.safetensors", network, optimizer, engine)
    before = network(x)
    with torch.no_grad():
        network[0].weight.mul_(2)
    load_checkpoint(tmp_path / "run.safetensors", network, optimizer, engine)
    assert torch.equal(network(x), before)

    compact(network, optimizer)
    frozen = gs.freeze(network, x)
    torch.testing.assert_close(frozen(x), network(x))
    assert "module '0' (MaskedConv3d) stays torch" in frozen.explain()
    assert [row.kind for row in count(frozen)].count("MaskedConv3d") == 1


def test_layers_of_the_kind_are_refused_as_others_are(toy: Any) -> None:
    """By themselves, as subclasses, and a second time."""
    with pytest.raises(ConfigError, match="or build a MaskedConv3d"):
        gs.sparsify(nn.Conv3d(4, 8, 3), 0.5)

    class Own(nn.Conv3d):
        """Of a user."""

    report = gs.sparsify(nn.Sequential(Own(4, 8, 3), nn.Conv3d(8, 8, 3)), 0.5, allocation="uniform")
    assert report.layers[0].note == "a subclass may use its weight in another way"
    with pytest.raises(ConfigError, match="a new name and new classes, got 'conv3d'"):
        kind(kinds["conv3d"])


def test_every_kind_says_what_it_is() -> None:
    """Its example is of its first class, each class is in one row, and each sparse class is made from the example."""
    for row in kinds.values():
        example = row.example()
        assert type(example) is row.dense[0]
        assert kind_of(example) is row
        for cls in row.sparse:
            layer = cls.of(example, None, density=1.0)
            assert kind_of(layer) is row
            assert layer.home == ("masked" if cls is row.masked else "packed")
