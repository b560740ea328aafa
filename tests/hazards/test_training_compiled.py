"""Training gives the same bits from run to run, and the same numbers under torch.compile."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from strategies import OPTIMIZERS, batch, dense_weight, make_model, sparse_layers


def train(rule: gs.RigL, pattern: gs.FanIn, compiled: bool) -> tuple[list[float], list[torch.Tensor], list]:
    """Twelve steps with updates."""
    torch.compiler.reset()
    model = make_model("packed", pattern, torch.float64)
    optim = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=14)
    forward = torch.compile(model, backend="aot_eager") if compiled else model
    losses = []
    for step in range(12):
        x, target = batch(step, torch.float64)
        optim.zero_grad()
        loss = (forward(x) - target).square().mean()
        loss.backward()
        optim.step()
        losses.append(float(loss.detach()))
    return losses, [dense_weight(layer) for _, layer in sparse_layers(model)], engine.history


# torch looks at gradients of graph inputs after a graph break, and keeps the warning to itself by default
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "rule", [gs.SET(every=4), gs.RigL(every=4), gs.SRigL(every=4, gamma=0.9)], ids=lambda r: r.name
)
def test_a_compiled_model_trains_and_rewires_like_an_eager_one(rule: gs.RigL) -> None:
    """Index buffers change content, and with ablation size, under a compiled graph: it must notice."""
    eager, compiled = (train(rule, gs.FanIn(), how) for how in (False, True))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-9)
    for ours, theirs in zip(compiled[1], eager[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert compiled[2] == eager[2]
    assert {row.step for row in compiled[2]} == {4, 8} | ({12} if rule.name == "set" else set())


@pytest.mark.parametrize("pattern", [gs.Unstructured(), gs.FanIn(), gs.NM(1, 8)], ids=str)
def test_ten_runs_give_the_same_bits(pattern: gs.FanIn) -> None:
    """Same seed, same machine, same threads: nothing depends on the state of a pool or a cache."""
    runs = [train(gs.RigL(every=3), pattern, compiled=False) for _ in range(10)]
    assert all(run[0] == runs[0][0] for run in runs)
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run[1], runs[0][1], strict=True))
