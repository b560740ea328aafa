"""Small networks of every kind of connection, in float64, and what they compute without some of their channels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import models

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class Dense(nn.Module):
    """Concatenations: what a layer reads is what all before it give."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.c = nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 6, 1))
        self.norm, self.fc = nn.BatchNorm2d(18), nn.Linear(18 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        for step in (self.b, self.c):
            x = torch.cat([x, step(x)], 1)
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.norm(x)), 2).flatten(1))


class Scaled(nn.Module):
    """Squeeze and excitation: every channel times a number that comes from all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.less, self.more = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.more(F.relu(self.less(x.mean((2, 3), keepdim=True)))))


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """A depth-wise convolution and one of 1 x 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, groups=inputs),
        nn.BatchNorm2d(inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


def mobile() -> nn.Module:
    """As a MobileNet is built."""
    first = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    return nn.Sequential(*first, separable(8, 16), Scaled(16), separable(16, 32), *last)


class UNet(nn.Module):
    """A skip around a pool and what undoes it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1)
        self.up, self.out, self.head = nn.Upsample(scale_factor=2), nn.Conv2d(24, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu(self.down(x))
        deep = F.relu(self.inner(F.max_pool2d(wide, 2)))
        return self.head(F.relu(self.out(torch.cat([wide, self.up(deep)], 1))))


class Block(nn.Module):
    """A transformer layer; the number of heads is left open."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size, self.first, self.second = size, nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        q, k, v = (
            each(y).unflatten(-1, (-1, self.size)).transpose(1, 2) for each in (self.q, self.k, self.v)
        )
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))


class Spelled(Block):
    """The same with attention written out."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        batch, times, _ = y.shape
        q, k, v = (
            each(y).view(batch, times, -1, self.size).permute(0, 2, 1, 3) for each in (self.q, self.k, self.v)
        )
        y = F.softmax(q @ k.transpose(-2, -1) / self.size**0.5, dim=-1) @ v
        return x + self.o(y.transpose(1, 2).contiguous().reshape(batch, times, -1))


class Patches(nn.Module):
    """As a vision transformer is built."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(3, 16, 4, stride=4), nn.Parameter(torch.randn(1, 4, 16))
        self.blocks = nn.Sequential(Block(16, 4), Spelled(16, 4))
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        return self.fc(self.norm(self.blocks(x)).mean(1))


class Gated(nn.Module):
    """Lines, of which one half of the channels says how much of the other passes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.c = (
            nn.Conv1d(3, 16, 3),
            nn.BatchNorm1d(16),
            nn.Conv1d(8, 12, 3),
            nn.Linear(12, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.norm(self.a(x.flatten(2))).chunk(2, 1)
        return self.c(F.relu(self.b(torch.sigmoid(gate) * value)).mean(-1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": Dense,
    "mobile": mobile,
    "unet": UNet,
    "transformer": Patches,
    "gated": Gated,
    "resnet": lambda: models.resnet20(width=0.5),
}


def network(name: str) -> nn.Module:
    """A network in evaluation, every norm with numbers of its own."""
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


def mark(model: nn.Module) -> None:
    """Number every weight by its place, in its gradient, which follows it."""
    for module in model.modules():
        if isinstance(module, LAYERS):
            rows, cols = (torch.arange(size) for size in module.weight.shape[:2])
            place = (rows[:, None] * 1000 + cols).double()
            module.weight.grad = (
                place.view(*place.shape, *(1 for _ in module.weight.shape[2:]))
                .expand_as(module.weight)
                .clone()
            )


def kept(layer: Any) -> tuple[list[int], list[int]]:
    """Which outputs and inputs are left, by the marks."""
    places = layer.weight.grad.flatten(2)[..., 0] if layer.weight.dim() > 2 else layer.weight.grad
    return (places[:, 0] // 1000).int().tolist(), (places[0] % 1000).int().tolist()


def held_constant(before: nn.Module, pruned: nn.Module, data: Tensor | None) -> nn.Module:
    """The network before, in which every layer reads the inputs that are gone as their mean over data, or as zero."""
    model = copy.deepcopy(before)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LAYERS)}
    means = dict[str, Tensor]()

    def look(name: str, axis: int) -> Any:
        def hook(_m: nn.Module, given: tuple[Tensor]) -> None:
            means[name] = given[0].detach().movedim(axis, -1).flatten(0, -2).mean(0)

        return hook

    def hold(name: str, axis: int, gone: list[int]) -> Any:
        def hook(_m: nn.Module, given: tuple[Tensor]) -> Tensor:
            x = given[0].clone()
            x.movedim(axis, -1)[..., gone] = 0.0 if data is None else means[name][gone]
            return x

        return hook

    axes = {name: -1 if isinstance(layer, nn.Linear) else 1 for name, layer in layers.items()}
    handles = [layer.register_forward_pre_hook(look(name, axes[name])) for name, layer in layers.items()]
    if data is not None:
        model(data)
    for handle in handles:
        handle.remove()
    for name, layer in layers.items():
        if getattr(layer, "groups", 1) == 1:
            left = kept(pruned.get_submodule(name))[1]
            gone = [number for number in range(layer.weight.shape[1]) if number not in left]
            layer.register_forward_pre_hook(hold(name, axes[name], gone))
    return model
