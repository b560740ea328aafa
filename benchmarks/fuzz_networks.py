"""The networks whose artifacts ``fuzz_artifacts.py`` damages: every layout, kind of convolution, and operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.patterns import parse


class Kind(NamedTuple):
    """A network: what makes it, the shape of a sample, a pattern or none, and how it is frozen."""

    make: Callable[[], nn.Module]
    sample: tuple[int, ...]
    pattern: str | None
    layout: str
    more: Mapping[str, str] = {}


def _perceptron() -> nn.Module:
    """Linear layers, with a batch norm that is folded and activations that are fused."""
    front = nn.Linear(16, 16), nn.BatchNorm1d(16), nn.LeakyReLU(), nn.Linear(16, 16), nn.ReLU()
    return nn.Sequential(*front, nn.Linear(16, 16), nn.ELU())


def _partly_unread() -> nn.Module:
    """Linear layers with inputs and outputs that a slice leaves out."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Softmax(1), nn.BatchNorm1d(16), nn.Linear(16, 16))
    for layer in (model[0], model[3]):
        layer.weight.data[1], layer.weight.data[:, 2] = 0, 0
    return model


class _Blocks(nn.Module):
    """A residual network with depth-wise and grouped convolutions, squeeze and excitation, pools, and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, (3, 1), dilation=(2, 1), padding=(2, 0), bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.narrow, self.again = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.groups = nn.Conv2d(8, 8, 3, padding=1, groups=2, padding_mode="circular")
        self.mirror = nn.Conv2d(8, 8, 3, padding=2, dilation=2, padding_mode="reflect")
        self.copies = nn.Conv2d(8, 8, 2, stride=2, padding=1, padding_mode="replicate")
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 4, height, width] to [batch, 4]."""
        x = F.silu(self.stem(x))
        x = F.relu(x + self.norm(self.wide(x)))
        y = F.hardswish(self.depth(x))
        gate = F.hardsigmoid(self.again(F.relu6(self.narrow(F.adaptive_avg_pool2d(y, 1)))))
        x = self.groups(y * gate) + x
        x = F.max_pool2d(F.gelu(self.mirror(x)), 3, stride=2, padding=1)
        x = F.avg_pool2d(torch.sigmoid(self.copies(x)), 2, stride=1, padding=1)
        return F.log_softmax(self.head(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)), 1)


class _Between(nn.Module):
    """Whatever stands between convolutions of a detector or a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(4, 8, 3, padding=1),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(12, 4, 1),
        )
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 4, height, width] to [batch, 4]."""
        one, two = torch.chunk(torch.tanh(self.first(x)), 2, 1)
        two = F.interpolate(F.max_pool2d(self.second(two), 2), scale_factor=2)
        three = F.pad(one[:, :, 1:-1], (0, 0, 1, 1)) * 0.5
        y = self.last(torch.cat([one, two, three], 1)).clamp(-2, 2)
        y = self.norm(F.leaky_relu(F.interpolate(y, (5, 5)))) + 0.25
        z = F.gelu(F.elu(F.relu6(torch.tanh(y))))
        y = torch.sigmoid(F.hardswish(F.hardsigmoid(F.silu(z)))) + y
        shares = torch.softmax(y.view(-1, 4, 25), 2)
        return shares.reshape(-1, 4, 5, 5).mean((2, 3))


class _Line(nn.Module):
    """Convolutions of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv1d(4, 8, 3, padding=1, stride=2),
            nn.Conv1d(8, 8, 3, dilation=2, groups=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 4, length] to [batch, 8]."""
        return self.second(F.relu(self.first(x))).mean(2)


LEFT = ("stem", "depth", "narrow", "again", "head")  # layers that not every pattern fits
IMAGES, MATRICES = (
    (4, 10, 8),
    (
        "csr",
        "csr_bands",
        "fanin",
        "nm",
        "nm_lanes",
        "nm_bytes",
        "nm_nibbles",
        "nm_nibble_bytes",
        "bitmask",
        "bitmask_bytes",
        "window_bytes",
        "block",
        "dense",
    ),
)
PATTERNS = {
    "csr": "unstructured",
    "fanin": "fanin:2",
    "nm": "nm:1:4",
    "block": "block:2:2",
    "dense": "unstructured",
}
KINDS: dict[str, Kind] = {
    **{
        name: Kind(
            _perceptron,
            (16,),
            {"fanin": "fanin:2", "block": "block:2:4"}.get(
                name, "nm:1:4" if name.startswith("nm") else "unstructured"
            ),
            name,
            {"values": "int8", "compute": "int8"} if name.endswith("bytes") else {},
        )
        for name in MATRICES
    },
    "slice": Kind(_partly_unread, (16,), None, "slice"),
    **{f"{layout} blocks": Kind(_Blocks, IMAGES, pattern, layout) for layout, pattern in PATTERNS.items()},
    **{f"{layout} between": Kind(_Between, IMAGES, PATTERNS[layout], layout) for layout in ("csr", "dense")},
    "narrow blocks": Kind(_Blocks, IMAGES, "unstructured", "csr", {"values": "int8"}),
    "line": Kind(_Line, (4, 24), "fanin", "fanin"),
}


def network(name: str) -> tuple[gs.Frozen, Tensor]:
    """A small frozen network of a kind, and an input."""
    torch.manual_seed(0)
    kind = KINDS[name]
    model, x = kind.make().eval(), torch.rand(3, *kind.sample)
    keep: dict[str, str] = {}
    if kind.pattern is not None:
        density = None if kind.pattern.startswith("nm") else 0.5
        left = tuple(layer for layer, _ in model.named_children() if layer in LEFT)
        gs.sparsify(model, density, parse(kind.pattern), "uniform", skip=left)
        keep = dict.fromkeys(left, "csr")
    layers = [
        layer
        for layer, module in model.named_modules()
        if hasattr(module, "in_features") or hasattr(module, "in_channels")
    ]
    return gs.freeze(model, x, keep={layer: keep.get(layer, kind.layout) for layer in layers}, **kind.more), x
