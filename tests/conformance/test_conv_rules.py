"""Every registered rule on every pattern it is defined on, on convolutions: both homes, and after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from strategies import (
    OPTIMIZERS,
    brings_values,
    defined,
    density_near,
    differences,
    everything,
    homes_of,
    pair_id,
    sparse_layers,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.patterns import Pattern
    from gossamer.rules import Rule

SIZES = {"0": (16, 72), "2": (16, 16)}
STEPS, KILLED = 8, 3
INPUTS = torch.randn(STEPS, 4, 8, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
READ_OUT = torch.randn(16, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(home: str, pattern: Pattern, seed: int = 0) -> nn.Sequential:
    """Two convolutions, the second of two groups of channels, and the mean of each plane."""
    torch.manual_seed(seed)
    convolutions = nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.Conv2d(16, 16, (2, 1), groups=2)
    mean = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], *mean).double()
    densities = {name: density_near(pattern, 0.25, size) for name, size in SIZES.items()}
    gs.sparsify(model, densities, pattern, home=home, generator=torch.Generator().manual_seed(seed))
    return model


def start(home: str, rule: Rule, pattern: Pattern, seed: int = 0) -> tuple[Any, Any, Any]:
    """A model, its optimizer, and an engine."""
    model = network(home, pattern, seed)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    return model, optimizer, gs.attach(model, optimizer, rule, total_steps=STEPS, outputs=[])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> float:
    """One step of training."""
    optimizer.zero_grad()
    x = INPUTS[number]
    loss = (model(x) @ READ_OUT - x[:, :4, 0, 0] * x[:, 4:, 1, 1]).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("pair", defined(every=2), ids=pair_id)
def test_convolutions_train_alike_in_both_homes_and_after_a_restart(
    pair: tuple[Rule, Pattern], tmp_path: Path
) -> None:
    """The same topology after every step, the same values to rounding; a resumed run ends with the same bits."""
    rule, pattern = pair
    runs = {home: start(home, rule, pattern) for home in homes_of(rule)}
    for number in range(STEPS):
        if number == KILLED:
            gs.save_checkpoint(tmp_path / "run", *runs[homes_of(rule)[0]])
        losses = [step(model, optimizer, number) for model, optimizer, _ in runs.values()]
        assert losses[0] == pytest.approx(losses[-1], rel=1e-9)
        models = [dict(sparse_layers(model)) for model, _, _ in runs.values()]
        packed, masked = models[0], models[-1]
        for name, layer in packed.items():
            assert torch.equal(layer.topology.positions, masked[name].topology.positions)
            torch.testing.assert_close(layer.to_dense(), masked[name].to_dense())
            if layer.home == "packed":
                assert int(layer.values[layer.connections :].count_nonzero()) == 0
    model, optimizer, engine = runs[homes_of(rule)[0]]
    assert engine.history == runs["masked"][2].history
    assert brings_values(rule) or any(row.grown for row in engine.history) == rule.grows
    again = start(homes_of(rule)[0], rule, pattern, seed=7)
    gs.load_checkpoint(tmp_path / "run", *again)
    for number in range(KILLED, STEPS):
        step(*again[:2], number)
    assert differences(everything(model, optimizer), everything(*again[:2])) == []


def test_a_step_without_an_update_remembers_no_images() -> None:
    """Growth by gradient keeps inputs and output gradients only where the next step updates."""
    model, optimizer, engine = start("packed", gs.RigL(every=3), gs.FanIn())
    held: list[int] = []
    layer: Any = model[0]
    optimizer.register_step_pre_hook(lambda *_: held.append(len(layer.tape.pairs)))
    for number in range(4):
        step(model, optimizer, number)
    assert held == [0, 0, 1, 0]
    del engine


def test_accumulated_gradients_grow_what_the_whole_batch_grows() -> None:
    """Two half batches before a step, and one batch, update to the same topology."""
    topologies: list[Tensor] = []
    for parts in (1, 2):
        model, optimizer, _ = start("packed", gs.RigL(every=1), gs.Unstructured())
        for part in INPUTS[0].chunk(parts):
            (model(part).square().sum() / 4).backward()
        optimizer.step()
        topologies.append(model[0].topology.positions)
    assert torch.equal(*topologies)
