"""Sampling by the strongest phase: worked by hand, under every shift, and what is refused."""

from __future__ import annotations

import copy
import pickle
import threading
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from gossamer import ops
from gossamer.errors import ConfigError, ShapeError, StateError
from gossamer.layouts.planes import Planes
from gossamer.nn import AdaptivePolyphaseDownsample, Subsample
from gossamer.nn.shared_phase import SharedPhase

# Phases by hand: 0 is (5, 0), 1 is (3, 3), 2 is (2, 2), 3 is (0, 4).
IMAGE = torch.tensor([[[[5.0, 3.0, 0.0, 3.0], [2.0, 0.0, 2.0, 4.0]]]])


def moved(x: torch.Tensor, by: tuple[int, int]) -> torch.Tensor:
    """A circular shift."""
    return x.roll(by, (-2, -1))


@pytest.mark.parametrize(("norm", "phase"), [("l1", 1), ("l2", 0), ("linf", 0)])
def test_norms_by_hand(norm: str, phase: int) -> None:
    """Sums 5, 6, 4, 4; squares 25, 18, 8, 16; largest 5, 3, 2, 4."""
    down = AdaptivePolyphaseDownsample(2, norm)
    y, chosen = down(IMAGE, return_phase=True)
    assert chosen.tolist() == [phase]
    assert y.tolist() == [[[[[5.0, 0.0], [3.0, 3.0]][phase]]]]


def test_each_phase_can_be_asked_for_and_the_first_is_the_usual_stride() -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    for number, (row, column) in enumerate(product(range(2), range(3))):
        down = AdaptivePolyphaseDownsample((2, 3))
        assert torch.equal(down(x, torch.tensor([number] * 2)), x[:, :, row::2, column::3])
    mixed = AdaptivePolyphaseDownsample((2, 3))(x, torch.tensor([5, 0]))
    assert torch.equal(mixed, torch.stack([x[0, :, 1::2, 2::3], x[1, :, ::2, ::3]]))
    assert torch.equal(Subsample((2, 3))(x), x[:, :, ::2, ::3])


def test_phases_are_numbered_as_the_planes_of_strided_convolutions_are() -> None:
    x = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    planes = Planes(2, 4, 6, phases=(2, 3))
    memory = torch.zeros(planes.size)
    for channel, y, column in product(range(2), range(4), range(6)):
        memory[planes.at(channel, y, column)] = x[0, channel, y, column]
    held = memory[planes.guard : planes.guard + planes.count * planes.plane].view(6, 1, 2, 2, 2)
    for number in range(6):
        assert torch.equal(ops.take_phase(x, torch.tensor([number]), (2, 3)), held[number])


@given(st.data())
def test_a_shifted_image_gives_the_shifted_result(data: Any) -> None:
    """To the bit, for every shift: whole numbers, whose sums do not depend on their order."""
    down, along = stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    height, width = down * data.draw(st.integers(1, 3)), along * data.draw(st.integers(1, 3))
    norm, blur = data.draw(st.sampled_from(["l1", "l2", "linf"])), data.draw(st.integers(1, 4))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    x = torch.randint(-(2**12), 2**12, (1, 2, height, width), generator=draw).double()
    layer = AdaptivePolyphaseDownsample(stride, norm, blur)
    blurred = ops.circular_blur(x, blur).abs()
    phases = [blurred[..., row::down, column::along] for row in range(down) for column in range(along)]
    norms = {"l1": torch.sum, "l2": lambda phase: (phase**2).sum(), "linf": torch.max}
    strengths = sorted(float(norms[norm](phase)) for phase in phases)
    assume(strengths[-1] > max(strengths[:-1], default=-1.0))
    y = layer(x)
    ways = [moved(y, by) for by in product(range(height // down), range(width // along))]
    for by in product(range(height), range(width)):
        got = layer(moved(x, by))
        assert any(torch.equal(got, way) for way in ways), by


def test_a_fixed_grid_does_not_move_with_the_image() -> None:
    """What the layer is for; a blur makes the difference smaller and does not remove it."""
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for blur in (1, 3):
        layer = Subsample(2, blur)
        ways = [moved(layer(x), by) for by in product(range(4), repeat=2)]
        assert not any(torch.allclose(layer(moved(x, (0, 1))), way) for way in ways)


@pytest.mark.parametrize(
    ("size", "wanted"), [(2, [0, 8, 8, 0]), (3, [0, 4, 8, 4]), (4, [2, 6, 6, 2]), (5, [2, 4, 6, 4])]
)
def test_blurs_by_hand(size: int, wanted: list[float]) -> None:
    """A point of 16 in a row of four: binomial weights over their sum, around the end."""
    blurred = ops.circular_blur(torch.tensor([[0.0, 0.0, 16.0, 0.0]]), size)
    assert blurred.tolist() == [wanted]


def test_ties_take_the_first_phase_and_nan_takes_all() -> None:
    down = AdaptivePolyphaseDownsample(2)
    x = torch.ones(1, 1, 4, 4)
    assert down(x, return_phase=True)[1].tolist() == [0]
    x[..., ::2, ::2] = 0.0
    assert down(x, return_phase=True)[1].tolist() == [1]
    x[..., 1, 0] = torch.nan
    y, phase = down(x, return_phase=True)
    assert phase.tolist() == [2]
    assert y.isnan().any()


def test_phases_that_tie_and_are_the_same_image_move_with_it() -> None:
    x = torch.randn(1, 2, 3, 3).repeat_interleave(2, 2).repeat_interleave(2, 3)
    layer = AdaptivePolyphaseDownsample(2)
    ways = [moved(layer(x), by) for by in product(range(3), repeat=2)]
    assert all(
        any(torch.equal(layer(moved(x, by)), way) for way in ways) for by in product(range(6), repeat=2)
    )


def test_norms_are_added_in_float64() -> None:
    """Half precision would overflow, float32 would round the small difference away."""
    x = torch.full((1, 1, 2, 2), 299.0, dtype=torch.float16)
    x[..., 1, 1] = 300.0
    assert ops.strongest_phase(x).tolist() == [3]
    large = torch.zeros(1, 1, 2, 4)
    large[..., 0, :] = torch.tensor([1e8, 1e8, 0.0, 1.0])
    assert ops.strongest_phase(large, norm="l1").tolist() == [1]


def test_channels_may_be_permuted_and_batches_may_be_empty_or_missing() -> None:
    x = torch.randn(3, 5, 4, 4)
    phases = ops.strongest_phase(x)
    assert torch.equal(phases, ops.strongest_phase(x[:, [4, 2, 0, 1, 3]]))
    layer = AdaptivePolyphaseDownsample(2)
    assert torch.equal(layer(x[1]), layer(x)[1])
    assert layer(x[:0]).shape == (0, 5, 2, 2)


@pytest.mark.parametrize("blur", [1, 3])
def test_gradients_reach_the_phase_that_was_kept_alone(blur: int) -> None:
    layer = AdaptivePolyphaseDownsample(2, blur=blur)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)
    y, phase = layer(x, return_phase=True)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    if blur == 1:
        kept = torch.zeros(2, 4, 4, dtype=torch.float64)
        for image, number in enumerate(phase.tolist()):
            kept[image, number // 2 :: 2, number % 2 :: 2] = 1.0
        assert torch.equal(gradient, kept.unsqueeze(1).expand(2, 2, 4, 4))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1, 1, 1, 4),
        torch.zeros(1, 1, 7, 8),
        torch.zeros(1, 1, 8, 7),
        torch.zeros(1, 1, 0, 4),
        torch.zeros(1, 0, 4, 4),
        torch.zeros(4, 4),
        torch.zeros(1, 1, 1, 4, 4),
        torch.zeros(1, 1, 4, 4, dtype=torch.int64),
    ],
    ids=lambda x: f"{list(x.shape)} {x.dtype}",
)
def test_images_without_phases_of_one_size_are_refused(x: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="expected"):
        AdaptivePolyphaseDownsample(2)(x)


@pytest.mark.parametrize(
    "phase",
    [torch.tensor([4]), torch.tensor([-1]), torch.tensor([0.0]), torch.tensor(0), torch.tensor([0, 0]), 3],
    ids=str,
)
def test_phases_that_there_are_none_of_are_refused(phase: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="phase"):
        AdaptivePolyphaseDownsample(2)(IMAGE, phase)


@pytest.mark.parametrize(
    "given_",
    [
        {"stride": 0},
        {"stride": 1.5},
        {"stride": (2, 2, 2)},
        {"norm": "L2"},
        {"blur": 0},
        {"blur": 8},
        {"stride": True},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        AdaptivePolyphaseDownsample(**given_)


def pair() -> tuple[AdaptivePolyphaseDownsample, AdaptivePolyphaseDownsample]:
    """One that chooses and one that follows."""
    shared, layers = SharedPhase(1), (AdaptivePolyphaseDownsample(), AdaptivePolyphaseDownsample())
    layers[0].share(shared)
    layers[1].share(shared, leads=False)
    return layers


def test_a_shared_phase_is_taken_once_in_each_pass() -> None:
    first, second = pair()
    x, other = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    with pytest.raises(StateError, match="chosen earlier in this pass"):
        second(other)
    y, phase = first(x, return_phase=True)
    assert torch.equal(second(other), first(other, phase))
    with pytest.raises(StateError, match="chosen earlier in this pass"):
        second(other)
    assert torch.equal(first(x), y)


def test_a_phase_of_another_batch_or_size_is_refused() -> None:
    """As after a pass that ended before the branch that follows ran."""
    first, second = pair()
    for other in (torch.randn(1, 5, 4, 4), torch.randn(2, 5, 8, 4), torch.randn(5, 4, 4)):
        first(torch.randn(2, 3, 4, 4))
        with pytest.raises(StateError, match=r"one for \('cpu', 2, 4, 4\), for an input of"):
            second(other)


def test_threads_and_copies_share_among_themselves() -> None:
    first, second = pair()
    first(torch.randn(1, 1, 4, 4))
    seen: list[BaseException | None] = []

    def elsewhere() -> None:
        try:
            second(torch.randn(1, 1, 4, 4))
            seen.append(None)
        except StateError as error:
            seen.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert isinstance(seen[0], StateError)
    both = nn.ModuleList(pair())
    for twin in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):  # noqa: S301 (our own)
        assert twin[0].shared is twin[1].shared
        assert twin[0].shared is not both[0].shared
        x = torch.randn(1, 1, 4, 4)
        assert torch.equal(twin[0](x), twin[1](x))


def test_it_compiles_as_one_graph() -> None:
    layer = AdaptivePolyphaseDownsample(2, blur=3)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))
    assert torch.equal(torch.vmap(layer)(x), layer(x))
