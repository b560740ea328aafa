"""Dead channels leave convolutions, and everything that a channel passes through, for good and exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from small_networks import network


def kill(conv: nn.Conv2d, channels: list[int], bias: float) -> None:
    """Channels without inputs, which give a constant."""
    with torch.no_grad():
        conv.weight[channels] = 0
        conv.bias[channels] = bias


def shapes(frozen: gs.freezing.Frozen) -> dict[str, tuple[int, int]]:
    return {row["name"]: tuple(row["shape"]) for row in frozen.plan["layers"]}


def channels(frozen: gs.freezing.Frozen) -> dict[str, int]:
    return {n.name: n.body.geometry.channels for n, b in frozen.graph.layers() if b.geometry is not None}


def chain(padding: int, mode: str = "zeros") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=padding, padding_mode=mode),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * (2 + 2 * padding) ** 2, 3),
    )


def test_by_hand():
    """Channel 1 is always 3: it moves into the bias of a layer without a border, 2 * 3 + 1."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([5.0, 0.0]).view(2, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.0, 3.0]))
        model[1].weight.copy_(torch.tensor([7.0, 2.0]).view(1, 2, 1, 1))
        model[1].bias.fill_(1.0)
    frozen = gs.freeze(model, torch.ones(1, 1, 2, 2), keep="dense")
    (_, first), (_, second) = frozen.graph.layers()
    assert (first.stored.values.tolist(), second.stored.values.tolist()) == ([5.0], [7.0])
    assert second.bias.tolist() == [7.0]


@pytest.mark.parametrize(
    ("padding", "mode", "bias", "left"),
    [
        (0, "zeros", 0.5, 4),
        (1, "zeros", 0.5, 6),  # the border shows where the constant ends
        (1, "zeros", -0.5, 4),  # ReLU makes it zero, as the border is
        (1, "reflect", 0.5, 4),
        (1, "circular", 0.5, 4),
    ],
)
def test_a_constant_channel_goes_where_no_border_shows_it(check_same, padding, mode, bias, left):
    model = chain(padding, mode).eval()
    kill(model[0], [1, 4], bias)
    frozen = gs.freeze(model, torch.randn(2, 2, 8, 8), keep="csr")
    assert shapes(frozen)["0"][0] == channels(frozen)["3"] == left
    check_same(frozen, model, torch.randn(3, 2, 8, 8))


def test_flatten_takes_a_channel_for_all_its_pixels(check_same):
    model = chain(0).eval()
    kill(model[3], [2], 1.5)
    frozen = gs.freeze(model, torch.randn(2, 2, 8, 8), keep="csr")
    assert (shapes(frozen)["3"][0], shapes(frozen)["6"][1]) == (3, 3 * 4)
    check_same(frozen, model, torch.randn(3, 2, 8, 8))


def test_a_channel_that_nothing_reads_goes_with_what_it_read(check_same):
    model = chain(1).eval()
    with torch.no_grad():
        model[3].weight[:, 2] = 0
    frozen = gs.freeze(model, torch.randn(1, 2, 8, 8), keep="csr")
    assert (shapes(frozen)["0"][0], channels(frozen)["3"]) == (5, 5)
    check_same(frozen, model, torch.randn(3, 2, 8, 8))


class Residual(nn.Module):
    """Two branches of which the sum, and nothing else, is read."""

    def __init__(self, *, joined: bool = False) -> None:
        super().__init__()
        self.joined = joined
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(12 if joined else 6)
        self.end = nn.Conv2d(12 if joined else 6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        y = torch.cat((a, b), 1) if self.joined else torch.relu(a + b)
        return self.end(torch.relu(self.norm(y))).mean((2, 3))


@pytest.mark.parametrize("joined", [False, True])
def test_a_channel_of_a_sum_goes_if_it_is_dead_on_both_sides(check_same, joined):
    torch.manual_seed(0)
    model = Residual(joined=joined)
    model(torch.randn(8, 3, 5, 5))
    model.eval()
    kill(model.a, [0, 1], 0.3)
    kill(model.b, [1, 2], 0.2)
    frozen = gs.freeze(model, torch.randn(2, 3, 5, 5), keep="csr")
    got = shapes(frozen)
    assert (got["a"][0], got["b"][0], got["end"][1]) == ((4, 4, 8) if joined else (5, 5, 5))
    check_same(frozen, model, torch.randn(3, 3, 5, 5))


def test_a_depth_wise_channel_goes_from_end_to_end(check_same):
    """What expands, filters by itself, and projects: whole groups leave."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(16, 4, 1),
    ).eval()
    kill(model[0], [1, 5], -1.0)
    kill(model[0], [6], 1.0)  # no zero: the border shows it
    frozen = gs.freeze(model, torch.randn(2, 3, 6, 6), keep="csr")
    assert (shapes(frozen)["0"][0], shapes(frozen)["2"][0], channels(frozen)["4"]) == (6, 12, 12)
    assert dict(frozen.graph.layers()[1][1].geometry.__dict__)["groups"] == 6
    check_same(frozen, model, torch.randn(3, 3, 6, 6))


def test_one_channel_stays_where_all_are_dead(check_same):
    model = chain(0).eval()
    kill(model[0], [0, 1, 2, 3, 4, 5], 1.0)
    frozen = gs.freeze(model, torch.randn(2, 2, 8, 8), keep="csr")
    check_same(frozen, model, torch.randn(3, 2, 8, 8))


class Bordered(nn.Module):
    """The shortcut of thin residual networks: every second pixel, and channels of zeros around those that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.c(torch.relu(self.b(x) + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))))


class Halved(nn.Module):
    """One half of the channels times the other, and the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 12), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.a(x).chunk(2, -1)
        return self.b((torch.sigmoid(first) * second).mean(1))


def test_dead_channels_go_through_borders_of_channels_and_slices(check_same):
    """Channel 1 is dead, and so is channel 3 behind the border of two; channel 0 behind it is added by the border."""
    model = Bordered().eval()
    kill(model.a, [1], -0.5)
    kill(model.b, [0, 3], 0.25)
    frozen = gs.freeze(model, torch.randn(2, 1, 8, 8), keep="csr")
    assert [shapes(frozen)[name] for name in ("a", "b", "c")] == [(3, 1), (7, 3), (2, 7)]
    check_same(frozen, model, torch.randn(3, 1, 8, 8))


def test_neurons_of_equal_parts_go_from_both(check_same):
    """Neuron 2 is dead in both halves; neuron 4 in one of them alone."""
    model = Halved().eval()
    with torch.no_grad():
        model.a.weight[[2, 8, 4]] = 0
    frozen = gs.freeze(model, torch.randn(2, 5, 3), keep="csr")
    assert (shapes(frozen)["a"], shapes(frozen)["b"]) == ((10, 3), (2, 5))
    check_same(frozen, model, torch.randn(3, 5, 3))


def test_a_head_of_attention_that_nothing_reads_goes(check_same):
    model = network("transformer").float()
    with torch.no_grad():
        model.blocks[0].o.weight[:, 4:8] = 0
    frozen = gs.freeze(model, torch.randn(2, 3, 8, 8), keep="csr")
    sizes = [shapes(frozen)[f"blocks.0.{name}"] for name in "qkvo"]
    assert sizes == [(12, 16), (12, 16), (12, 16), (16, 12)]
    check_same(frozen, model, torch.randn(3, 3, 8, 8))
