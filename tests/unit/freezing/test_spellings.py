"""How models spell what they compute: every form becomes the same operators, and what has no operator is placed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import FormatError


class Model(nn.Module):
    """A function of images [batch, 6, height, width] as a model."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def unpacked(x: Tensor) -> Tensor:
    first, second, third = x.chunk(3, 1)
    return first + second * third


def listed(x: Tensor) -> Tensor:
    parts = list(torch.split(x, [1, 2, 3], 1))
    parts.append(parts[-1][:, 1:])
    return torch.cat(parts, 1)


def batch_of_another(x: Tensor) -> Tensor:
    n = x.shape[0]
    return (x * 2).view(n, 2, -1)


SPELLED: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "chunks unpacked": (unpacked, ["add", "chunk", "chunk", "chunk", "mul"]),
    "parts in a list": (listed, ["concatenate", "slice", "slice", "slice", "slice"]),
    "equal parts": (lambda x: torch.split(x, 4, dim=1)[1], ["slice"]),
    "named arguments": (lambda x: torch.cat(tensors=[x, x], dim=1), ["concatenate"]),
    "every second pixel": (lambda x: x[:, :, ::2, 1::2], ["slice"]),
    "the number first": (lambda x: 2 * x + (0.5 + x), ["add", "scalar", "scalar"]),
    "difference and quotient": (lambda x: (x - 0.1) / 3, ["scalar", "scalar"]),
    "rows by size": (lambda x: x.view(x.size(0), -1), ["flatten"]),
    "rows by shape": (lambda x: x.reshape((x.shape[0], -1)), ["flatten"]),
    "a batch of another": (batch_of_another, ["reshape", "scalar"]),
    "means": (lambda x: x.mean([2, 3]) + torch.mean(x, dim=(-1, -2)), ["add", "mean", "mean"]),
    "a mean of lines": (lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1), ["flatten", "mean"]),
    "one mean, kept": (lambda x: x.mean(1, keepdim=True), ["mean"]),
    "a scaled image": (lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), ["mean", "mul", "sigmoid"]),
    "upsampled by a float": (lambda x: F.interpolate(x, scale_factor=2.0), ["upsample_nearest2d"]),
    "upsampled to a size": (lambda x: F.interpolate(x, (9, 4), mode="nearest"), ["upsample_nearest2d"]),
    "padded channels": (lambda x: F.pad(x, (0, 0, 0, 0, 3, 3), "constant", 0), ["pad"]),
    "clamped": (lambda x: x.clamp(min=-0.5) + F.hardtanh(x), ["add", "clamp", "clamp"]),
    "hard": (lambda x: F.hardswish(x) * F.hardsigmoid(x), ["hardsigmoid", "hardswish", "mul"]),
    "in place behind a sum": (lambda x: F.relu(x + x[:, :1], inplace=True), ["add", "relu", "slice"]),
}


@pytest.mark.parametrize(("function", "expected"), SPELLED.values(), ids=SPELLED)
def test_every_spelling_becomes_operators(function, expected, tmp_path):
    """And gives what the model gives, for other batches, too, and the same bits after a file."""
    frozen = gs.freeze(Model(function), torch.randn(2, 6, 4, 6))
    assert sorted(node.body.op for node in frozen.graph.nodes) == expected
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    for batch in (1, 3):
        x = torch.randn(batch, 6, 4, 6)
        torch.testing.assert_close(frozen(x), function(x))
        assert torch.equal(loaded(x), frozen(x))


STAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "an index": lambda x: x[:, 0],
    "a bound that is computed": lambda x: x[:, : x.size(1) // 2],
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "half as large": lambda x: F.interpolate(x, scale_factor=0.5),
    "a mirrored border": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "a size from an image": lambda x: x.view(x.size(0), x.size(1), -1),
}


@pytest.mark.parametrize("function", STAYS.values(), ids=STAYS)
def test_what_no_operator_says_stays_torch(function):
    """Numbers that go by the size of an image are not taken from the example."""
    frozen = gs.freeze(Model(function), torch.randn(2, 6, 4, 6))
    for size in (4, 8):
        x = torch.randn(3, 6, size, 6)
        assert torch.equal(frozen(x), function(x))


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1)


def test_an_unsupported_call_is_named_with_its_place(tmp_path):
    """Its module, its file and its line."""
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Sequential(nn.ReLU(), Odd()))
    frozen = gs.freeze(model, torch.randn(2, 6, 4, 6))
    line = Odd.forward.__code__.co_firstlineno + 1
    where = rf"function 'cumsum' in '1\.1' \(test_spellings\.py, line {line}\)"
    with pytest.raises(FormatError, match=where):
        gs.save(frozen, tmp_path / "net.safetensors")
    assert f"(test_spellings.py, line {line}) stays torch" in frozen.explain()
