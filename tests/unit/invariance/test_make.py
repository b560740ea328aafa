"""Networks made shift-invariant: the same answer under every circular shift, and nothing lost on the way."""

from __future__ import annotations

import copy
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import models
from gossamer.invariance import anti_alias, shift_consistency
from gossamer.nn import AdaptivePolyphaseDownsample, Subsample
from gossamer.runtime import Runtime

ALL = list(product(range(16), repeat=2))  # of an image of 16 x 16
SOME = [(0, 1), (1, 0), (3, 6), (-5, 2)]


def images(count: int = 2, side: int = 16, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random ones."""
    draw = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, side, side, generator=draw, dtype=torch.float64).to(dtype)


def farthest(model: nn.Module, x: Tensor, shifts: list[tuple[int, int]]) -> float:
    """The largest difference of an answer for a shifted image, by the size of the answers."""
    with torch.no_grad():
        answer = model(x)
        gaps = [float((model(x.roll(by, (2, 3))) - answer).abs().max()) for by in shifts]
    return max(gaps) / float(answer.abs().max())


def trained(model: nn.Module, steps: int = 2, side: int = 16) -> nn.Module:
    """After some steps, in evaluation."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images(4, side)), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    return model.eval()


def thin(name: str = "resnet20", width: float = 0.25) -> nn.Module:
    """A narrow network of ours, in float64."""
    torch.manual_seed(0)
    return models.build({"name": name, "width": width}, channels=3, classes=10).double().eval()


class Block(nn.Module):
    """A residual block as many write it: a convolution with a stride in the shortcut, which runs last or first."""

    def __init__(self, shortcut_first: bool = False, pool: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 8, 1)) if pool else nn.Conv2d(4, 8, 1, 2)
        self.shortcut_first = shortcut_first

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_first:
            added = self.shortcut(x)
            return F.relu(self.conv2(F.relu(self.bn(self.conv1(x)))) + added)
        y = self.conv2(F.relu(self.bn(self.conv1(x))))
        y += self.shortcut(x)
        return F.relu(y)


def network(*layers: nn.Module) -> nn.Sequential:
    """With a classifier behind layers that give 8 channels."""
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers, *head).double().eval()


# --- the promise ----------------------------------------------------------------------------------


def test_every_shift_gives_the_same_answer_before_and_after_training() -> None:
    """All 256 shifts; the network as it was does not hold that."""
    model = thin()
    assert farthest(model, images(), ALL[:20]) > 1e-3
    gs.make_shift_invariant(model)
    assert farthest(model, images(), ALL) < 1e-12
    assert farthest(trained(model), images(), ALL) < 1e-12
    assert farthest(model.train(), images(), SOME) < 1e-12


def test_a_shifted_batch_gives_the_same_gradients() -> None:
    model = network(Block())
    gs.make_shift_invariant(model)
    found = []
    for by in ((0, 0), (3, 5)):
        loss = F.cross_entropy(model(images().roll(by, (2, 3))), torch.tensor([1, 2]))
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    assert all(torch.allclose(*pair, rtol=1e-9) for pair in zip(*found, strict=True))


def test_borders_of_every_mode_become_circular() -> None:
    for mode in ("zeros", "reflect", "replicate"):
        model = network(nn.Conv2d(4, 8, 3, padding=1, padding_mode=mode))
        gs.make_shift_invariant(model)
        assert model[1].padding_mode == "circular"
        assert farthest(model, images(), SOME) < 1e-12


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18", 0.125), ("resnet18-small", 0.125), ("resnet50", 0.125), ("wrn-22-2", 0.25)],
)
def test_every_kind_of_our_networks(name: str, width: float) -> None:
    model = thin(name, width)
    x = images(side=64 if name in ("resnet18", "resnet50") else 16)
    gs.make_shift_invariant(model, x)
    assert farthest(model, x, SOME) < 1e-11
    assert farthest(trained(model, 1, x.shape[-1]), x, SOME) < 1e-11


@pytest.mark.parametrize(("norm", "blur"), [("l1", 1), ("linf", 1), ("l2", 2), ("l2", 3)])
def test_every_norm_and_blur(norm: str, blur: int) -> None:
    model = network(Block())
    gs.make_shift_invariant(model, images(), norm=norm, blur=blur)
    assert farthest(model, images(), ALL) < 1e-12


@pytest.mark.parametrize("sparsify_first", [True, False])
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_sparse_convolutions(home: str, sparsify_first: bool) -> None:
    """Packed and masked, before or after, and after updates of their topology."""
    model = thin()
    draw = torch.Generator().manual_seed(3)
    for now in (sparsify_first, not sparsify_first):
        if now:
            gs.sparsify(model, 0.3, "unstructured", home=home, generator=draw, dense_last=True)
        else:
            gs.make_shift_invariant(model, images())
    assert farthest(model, images(), SOME) < 1e-12
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    engine = gs.attach(model, optimizer, gs.RigL(every=1), total_steps=4)
    model.train()
    for _ in range(3):
        F.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    assert engine.history
    assert farthest(model.eval(), images(), SOME) < 1e-12


def test_packed_and_masked_networks_train_alike() -> None:
    answers = []
    for home in ("packed", "masked"):
        model = thin()
        gs.sparsify(
            model, 0.3, "fanin", home=home, generator=torch.Generator().manual_seed(1), dense_last=True
        )
        gs.make_shift_invariant(model)
        answers.append(trained(model)(images()))
    assert torch.allclose(*answers, rtol=1e-9)


def test_float32_agrees_on_every_shift() -> None:
    """With answers spread over the classes, and no two phases that are equal up to rounding; the grid says others."""
    x = images(8, 8, torch.float32)
    model = network(nn.ReLU(), Block()).float()
    plain = copy.deepcopy(model)
    gs.make_shift_invariant(model)
    for each in (model, plain):
        with torch.no_grad():
            each[-1].bias -= each(x).mean(0)
    assert shift_consistency(model, x) == 1.0
    assert shift_consistency(plain, x) < 0.5


# --- branches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shortcut_first", [False, True])
def test_the_branches_of_a_block_keep_one_phase(shortcut_first: bool, pool: bool) -> None:
    """The branch that runs first chooses. Each by itself, they would not be invariant."""
    model = network(Block(shortcut_first, pool))
    report = gs.make_shift_invariant(model, images())
    samplers = [each for each in model.modules() if isinstance(each, AdaptivePolyphaseDownsample)]
    assert sorted(each.leads for each in samplers) == [False, True]
    shortcut = "1.shortcut.0" if pool else "1.shortcut"
    leader, other = (shortcut, "1.conv1") if shortcut_first else ("1.conv1", shortcut)
    said = {change.name: change.now for change in report.changes}
    assert "strongest of 4 phases" in said[leader]
    assert f"the phase of {leader}" in said[other]
    assert farthest(model, images(8), ALL[:40]) < 1e-12
    for each in samplers:
        each.share(None)
    assert farthest(model, images(8), ALL[:40]) > 1e-3


def test_two_blocks_in_a_row_and_concatenated_branches() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.conv = nn.Conv2d(8, 8, 3, 2, 1)
            self.mix = nn.Conv2d(16, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(torch.cat([self.pool(x), self.conv(x)], 1))

    model = network(Block(), Joined())
    gs.make_shift_invariant(model, images())
    assert farthest(model, images(), ALL) < 1e-12


def test_even_kernels_and_other_strides() -> None:
    """Patches of 4, a pool of 2, a kernel of 5 with stride 2, a pool without a stride, one stride a side."""
    layers = (
        nn.Conv2d(4, 8, 4, 4),
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(8, 8, (5, 3), (2, 1), (2, 1)),
        nn.AvgPool2d((1, 2)),
    )
    model = network(*layers)
    gs.make_shift_invariant(model, images())
    assert farthest(model, images(), ALL) < 1e-12


def test_squeeze_and_excitation_and_a_pool_as_large_as_its_image() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))

    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(x, 8).view(x.size(0), -1)

    torch.manual_seed(0)
    model = (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Squeeze(), Block(), Head(), nn.Linear(8, 5))
        .double()
        .eval()
    )
    with pytest.raises(gs.GossamerError, match=r"avg_pool2d\(\) in '3' \(test_make.py, line"):
        gs.make_shift_invariant(model)
    gs.make_shift_invariant(model, images())
    assert farthest(model, images(), ALL) < 1e-12


def test_a_network_that_gives_images_says_that_they_move() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    assert gs.make_shift_invariant(model).output == "moves"


# --- what stays ----------------------------------------------------------------------------------


def test_layers_stay_the_same_objects_with_all_that_hangs_on_them() -> None:
    model = network(Block(), nn.MaxPool2d(2))
    conv, first = model[1].conv1, model[0]
    model.layers = [conv, model[2]]  # type: ignore[assignment]
    called: list[tuple[int, ...]] = []
    handle = conv.register_forward_hook(lambda _m, _x, y: called.append(tuple(y.shape)))
    conv.weight.requires_grad_(False)
    conv.eval()
    model[1].bn.train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    gs.make_shift_invariant(model, images())
    assert called == []  # not for our own passes
    assert model[0] is first
    assert model[1].conv1.layer is conv
    assert model.layers == [model[1].conv1, model[2]]
    assert not conv.weight.requires_grad
    assert model[1].bn.training
    assert not model[1].conv1.training
    now = {name.replace(".layer.", "."): value for name, value in model.state_dict().items()}
    assert now.keys() == weights.keys()
    assert all(torch.equal(now[name], value) for name, value in weights.items())
    model.eval()(images())
    assert called == [(2, 8, 16, 16)]
    handle.remove()
    model(images())
    assert len(called) == 1


def test_a_fixed_phase_is_the_network_with_circular_borders() -> None:
    """So weights mean what they meant: phase 0 of every choice is the usual stride."""
    model = network(Block())
    usual = copy.deepcopy(model)
    for layer in usual.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    fixed = copy.deepcopy(model)
    anti_alias(fixed, blur=1)
    assert torch.allclose(fixed(images()), usual(images()), atol=1e-12)
    gs.make_shift_invariant(model)
    for each in model.modules():
        if isinstance(each, AdaptivePolyphaseDownsample):
            each.forward = lambda x, down=each, **_: type(down).forward(
                down, x, torch.zeros(len(x), dtype=torch.long)
            )
    assert torch.allclose(model(images()), usual(images()), atol=1e-12)


def test_copies_pickles_states_and_a_second_call() -> None:
    model = thin()
    gs.make_shift_invariant(model)
    answer = model(images())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 (our own)
        assert torch.equal(twin(images()), answer)
    fresh = models.build({"name": "resnet20", "width": 0.25}, channels=3, classes=10).double().eval()
    gs.make_shift_invariant(fresh)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(images()), answer)
    gs.make_shift_invariant(model, images())
    assert torch.equal(model(images()), answer)


def test_a_second_call_keeps_borders_and_what_hung_on_a_sampler() -> None:
    model = network(nn.MaxPool2d(3, 2, 1), Subsample(2), Block())
    model[2].note = "kept"  # type: ignore[assignment]
    gs.make_shift_invariant(model, images())
    answer = model(images())
    gs.make_shift_invariant(model, images())
    assert torch.equal(model(images()), answer)
    assert model[2].note == "kept"


def test_frozen_saved_and_run_without_torch(tmp_path: Path) -> None:
    """With a max pool, whose border is a step of its own, and shared phases."""
    model = network(nn.MaxPool2d(3, 2, 1), Block()).float()
    gs.sparsify(model, 0.5, "unstructured", dense_last=True)
    gs.make_shift_invariant(model, images(), blur=3)
    x = images(3, dtype=torch.float32)
    frozen = gs.freeze(model, x[:1])
    assert torch.allclose(frozen(x), model(x), atol=1e-4)
    assert farthest(frozen, x, SOME) < 1e-4
    gs.save(frozen, tmp_path / "net.safetensors")
    assert torch.equal(gs.load(tmp_path / "net.safetensors")(x), frozen(x))
    runtime = Runtime(tmp_path / "net.safetensors", exact=False)
    assert torch.allclose(torch.from_numpy(runtime(x.numpy())), frozen(x), atol=1e-4)


def test_compiled_networks_keep_one_phase() -> None:
    model = network(Block())
    gs.make_shift_invariant(model)
    compiled = torch.compile(model, backend="eager")
    for shift in SOME:
        assert torch.allclose(compiled(images().roll(shift, (2, 3))), model(images()), atol=1e-12)


# --- refusals ----------------------------------------------------------------------------------


class Calls(nn.Module):
    """Some function between a convolution and a pool over all pixels."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.map = nn.Parameter(torch.arange(128.0).view(1, 8, 4, 4))
        self.places, self.one = nn.AdaptiveMaxPool2d(1, return_indices=True), nn.AdaptiveAvgPool2d(1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda m, x: m.other(x)[:, :, ::2, ::2], "getitem"),
        (lambda m, x: F.pad(m.other(x), (1, 1, 1, 1)), "pad"),
        (lambda m, x: F.interpolate(m.other(x), scale_factor=2), "interpolate"),
        (lambda m, x: F.conv2d(m.other(x), m.other.weight, padding=1), "conv2d"),
        (lambda m, x: F.max_pool2d(m.other(x), 2), "max_pool2d"),
        (lambda m, x: m.other(x).transpose(1, 2), "transpose"),
        (lambda m, x: m.other(x) + torch.ones(4, 4), "numbers of their own for each pixel"),
        (lambda m, x: m.other(x) * torch.sigmoid(m.map), "numbers of their own for each pixel (sigmoid)"),
        (lambda m, x: m.other(x) + m.map * 2, "numbers of their own for each pixel (mul)"),
        (lambda m, x: m.other(x) * torch.arange(x.size(3)), "numbers of their own for each pixel (arange)"),
        (lambda m, x: m.other(x).clamp(m.map), "numbers of their own for each pixel (map_1)"),
        (lambda m, x: m.other(x) + nn.AdaptiveMaxPool2d(1, return_indices=True)(x)[1], "with_indices"),
        (
            lambda m, x: m.other(x) + m.places(x)[1],
            "places (AdaptiveMaxPool2d): places of the largest numbers",
        ),
        (lambda m, x: m.other(x) * m.map.mean() + m.map.mean((2, 3))[0, :, None, None] / x.size(2), None),
        (
            lambda m, x: m.other(x) * m.one(x).flatten(1).view(-1, 8, 1, 1),
            None,
        ),
        (lambda m, x: x[:, :4] + m.other(x).sum(), None),
        (lambda m, x: torch.cat([m.other(x), m.other(x)], 2), "channels of images"),
        (lambda m, x: m.other(m.other(x)), None),
        (lambda m, x: m.other(x) + m.other(x + 1), "other, called 2 times"),
        (lambda _, x: x, "other (Conv2d), which is never called"),
    ],
)
def test_functions_that_do_not_move_with_the_image_are_named(function: Any, said: str | None) -> None:
    """With the line; what is fine is not refused, and what is refused is not changed."""
    model = Calls(function).double()
    if said is None:
        gs.make_shift_invariant(model)
        assert farthest(model.eval(), images(), SOME) < 1e-12
        return
    with pytest.raises(gs.GossamerError, match="make_shift_invariant: expected") as caught:
        gs.make_shift_invariant(model)
    assert said in str(caught.value)
    assert type(model.conv) is nn.Conv2d
    assert (model.conv.stride, model.conv.padding_mode) == ((2, 2), "zeros")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.ConvTranspose2d(4, 8, 2, 2), "1 (ConvTranspose2d)"),
        (nn.Conv2d(4, 8, 3), "its border of 0 pixels in all does not fit its kernel of 3 at stride 1"),
        (nn.Conv2d(4, 8, 5, 2, 1), "its border of 2 pixels in all does not fit its kernel of 5 at stride 2"),
        (nn.LayerNorm((4, 16, 16)), "1 (LayerNorm)"),
        (nn.AdaptiveAvgPool2d(4), "1 (AdaptiveAvgPool2d)"),
        (nn.Upsample(scale_factor=2), "1 (Upsample)"),
        (nn.ZeroPad2d(1), "1 (ZeroPad2d)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(1024, 8)), "1.0 (Flatten)"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3, 2, 1)), "make it plain before"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else "",
)
def test_layers_that_do_not_move_with_the_image_are_named(layer: nn.Module, said: str) -> None:
    model = network(layer)
    with pytest.raises(gs.GossamerError) as caught:
        gs.make_shift_invariant(model)
    assert said in str(caught.value)
    assert model[0].padding_mode == "zeros"


def test_branches_of_other_strides_are_refused_with_both_ways() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 8, 1, 2), nn.Conv2d(8, 8, 1, 2), nn.Conv2d(4, 8, 1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)) + self.c(x)

    with pytest.raises(
        gs.GossamerError, match=r"1.a \(stride 2 x 2\), 1.b .* and 1.c \(stride 4 x 4\) at add in '1'"
    ):
        gs.make_shift_invariant(network(Uneven()))


def test_what_is_no_model_and_settings_out_of_range_are_refused() -> None:
    for model in (
        None,
        nn.Conv2d(3, 4, 3),
        torch.compile(network(Block()), backend="eager"),
        nn.Sequential(nn.LazyConv2d(3, 3)),
    ):
        with pytest.raises(gs.GossamerError, match="make_shift_invariant: expected"):
            gs.make_shift_invariant(model)  # type: ignore[arg-type]
    for settings in ({"norm": "max"}, {"blur": 9}):
        with pytest.raises(gs.GossamerError, match="expected"):
            gs.make_shift_invariant(network(Block()), **settings)
    with pytest.raises(gs.GossamerError, match="each of its phases holds the largest number"):
        gs.make_shift_invariant(network(nn.MaxPool2d(3, 2, 1), Block()), norm="linf")
    with pytest.raises(gs.GossamerError, match=r"behind ReLU each of its phases has the same sum.*l1, for 1"):
        gs.make_shift_invariant(network(nn.AvgPool2d(2), Block()), norm="l1")


def test_layers_held_out_of_reach_and_examples_that_do_not_fit_change_nothing() -> None:
    model = network(Block())
    model.kept = (model[1].conv1,)  # type: ignore[assignment]
    with pytest.raises(gs.GossamerError, match=r"make_shift_invariant: .*Sequential.kept, a tuple"):
        gs.make_shift_invariant(model)
    del model.kept
    for example in (
        torch.zeros(1, 3, 15, 16),
        torch.zeros(1, 4, 16, 16),
        torch.zeros(3, 16, 16),
        images(0),
        (),
    ):
        with pytest.raises(gs.GossamerError, match="make_shift_invariant"):
            gs.make_shift_invariant(model, example)
    assert (model[1].conv1.stride, model[0].padding_mode) == ((2, 2), "zeros")


def test_odd_images_are_refused_at_the_layer_that_cannot_divide_them() -> None:
    model = network(Block())
    gs.make_shift_invariant(model)
    for side in (15, 1):
        with pytest.raises(gs.GossamerError, match=f"{side} x {side} pixels; resize or crop"):
            model(images(side=side))


def test_consistency_counts_images_and_shifts() -> None:
    """A network that looks at one pixel; two images, of which one has the same number everywhere."""

    class Pixel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0, 0, 0], torch.full((len(x),), 0.5)], 1)

    x = torch.zeros(2, 1, 2, 2)
    x[0, 0, 0, 1] = 1.0
    model = Pixel().train()
    assert shift_consistency(model, x, batch=1) == 7 / 8
    assert shift_consistency(model, x, [(0, 1)]) == 1 / 2
    assert model.training
    for wrong in ((x[:0], None), (x, []), (x[0], None)):
        with pytest.raises(gs.GossamerError, match="shift_consistency"):
            shift_consistency(model, *wrong)
