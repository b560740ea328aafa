"""Every registered rule on every pattern it is defined on, on the matrices of a GRU: both homes; after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.nn import GRU
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

HIDDEN, STEPS, KILLED = 32, 8, 3
INPUTS = torch.randn(STEPS, 3, 4, HIDDEN, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Model(nn.Module):
    """A GRU of which the last output is read."""

    def __init__(self, home: str, pattern: Pattern, seed: int) -> None:
        super().__init__()
        density = density_near(pattern, 0.25, (3 * HIDDEN, HIDDEN))
        drawn = {"home": home, "generator": torch.Generator().manual_seed(seed)}
        self.rnn = GRU(HIDDEN, HIDDEN, density=density, pattern=pattern, dtype=torch.float64, **drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[times, batch, inputs] to [batch, outputs]."""
        y: torch.Tensor = self.rnn(x)[0][-1]
        return y


def start(home: str, rule: Rule, pattern: Pattern, seed: int = 0) -> tuple[Any, Any, Any]:
    """A model, its optimizer, and an engine."""
    torch.manual_seed(seed)
    model = Model(home, pattern, seed)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    return model, optimizer, gs.attach(model, optimizer, rule, total_steps=STEPS, outputs=[])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> float:
    """One step of training: the outputs are to repeat the first inputs."""
    optimizer.zero_grad()
    loss = (model(INPUTS[number]) - INPUTS[number, 0]).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("pair", defined(every=2), ids=pair_id)
def test_recurrent_layers_train_alike_in_both_homes_and_after_a_restart(
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
    model, optimizer, engine = runs[homes_of(rule)[0]]
    assert engine.history == runs["masked"][2].history
    assert brings_values(rule) or any(row.grown for row in engine.history) == rule.grows
    again = start(homes_of(rule)[0], rule, pattern, seed=7)
    gs.load_checkpoint(tmp_path / "run", *again)
    for number in range(KILLED, STEPS):
        step(*again[:2], number)
    assert differences(everything(model, optimizer), everything(*again[:2])) == []
