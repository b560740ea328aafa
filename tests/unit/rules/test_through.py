"""Rules that let gradients through a mask: the published numbers, training in plain torch as the oracle, restarts."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import ConfigError, FormatError, NonFiniteError, PatternError
from gossamer.patterns.transposable import masks, transposable
from gossamer.rules import LayerView
from gossamer.rules.sste import shortened
from gossamer.topology import Topology
from strategies import OPTIMIZERS, batch, differences, everything

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gossamer.rules import Rule

W = torch.tensor([[0.5, -0.2, 0.1, 0.4]], dtype=torch.float64)


def view(whole: Tensor, positions: list[int], rule: Any, **state: Any) -> LayerView:
    """A layer that remembers the weights of all positions."""
    topology = Topology(gs.NM(2, 4), (whole.shape[0], whole.shape[1]), torch.tensor(positions))
    units = whole.reshape(-1, 1)
    kept = {"whole": units, **state}
    layer = LayerView(
        "layer",
        topology,
        len(positions),
        units[positions],
        None,
        torch.Generator(),
        home="masked",
        state=kept,
    )
    rule.check(topology.pattern)
    return layer


def network(
    pattern: Any = "nm:2:4", density: float | None = None, seed: int = 0, **settings: Any
) -> nn.Sequential:
    """32 -> 24 -> 16, masked, float64."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16)).double()
    drawn = torch.Generator().manual_seed(seed)
    gs.sparsify(model, density, pattern, home="masked", generator=drawn, **settings)
    return model


def step(model: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, number: int) -> None:
    """One step of training."""
    x, target = batch(number, torch.float64)
    optimizer.zero_grad()
    (model(x) - target).square().mean().backward()
    optimizer.step()


# --- transposable masks -------------------------------------------------------------------------------------


def test_there_are_ninety_transposable_masks_and_the_best_is_found() -> None:
    """The published tile keeps 53 of 79, where rows by themselves keep 59."""
    tile = torch.tensor([[9.0, 1, 8, 2], [7, 3, 6, 4], [5, 9, 1, 2], [3, 4, 8, 7]])
    found = transposable(tile)
    assert len(masks()) == 90
    assert found.int().tolist() == [[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert float((tile * found).sum()) == 53
    assert float(tile.topk(2, 1).values.sum()) == 59
    wide = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    both = transposable(wide)
    for mask in (both, both.T):
        assert (mask.reshape(-1, 4).sum(1) == 2).all()
    assert torch.equal(both[4:, 8:], transposable(wide[4:, 8:]))
    with pytest.raises(PatternError, match="divisible by 4"):
        transposable(torch.ones(6, 8))


def test_srste_trains_with_transposable_masks() -> None:
    """Every 2 steps; two of four along inputs and along outputs."""
    model = network()
    optim = OPTIMIZERS["nesterov_wd"](model.parameters())
    gs.attach(model, optim, gs.SRSTE(every=2, transposable=True, fresh=True), total_steps=8)
    for number in range(4):
        step(model, optim, number)
    layer: Any = model[0]
    for mask in (layer.mask, layer.mask.T):
        assert (mask.reshape(-1, 4).sum(1) == 2).all()
    with pytest.raises(PatternError, match=r"NM\(2, 4\)"):
        gs.SRSTE(transposable=True).check(gs.FanIn())
    odd = nn.Sequential(nn.Linear(8, 6))
    gs.sparsify(odd, pattern="nm:2:4", home="masked")
    with pytest.raises(PatternError, match="divisible by 4"):
        gs.attach(odd, torch.optim.SGD(odd.parameters()), gs.SRSTE(transposable=True), total_steps=2)


# --- SR-STE and S-STE ---------------------------------------------------------------------------------------


def test_sste_is_the_published_function() -> None:
    """tau 0.2, S = (.3, 0, 0, .2), beta 1.769231, in use (.530769, 0, 0, .353846)."""
    assert shortened(W.flatten(), gs.NM(2, 4)).tolist() == pytest.approx([0.3, 0, 0, 0.2])
    rule = gs.SSTE()
    layer = view(W, [0, 3], rule)
    state = rule.new_state(LayerView(**{**vars(view(W, [0, 1, 2, 3], gs.SRSTE())), "state": {}}))
    assert state["beta"] == pytest.approx(1.769231, abs=1e-6)
    layer.state.update(state)
    assert rule.update(layer, 0.0).tolist() == [0, 3]
    used = rule.revalued(layer, torch.tensor([0, 3]))
    assert used is not None
    assert used.flatten().tolist() == pytest.approx([0.530769, 0.353846], abs=1e-6)


def test_sste_moves_by_nothing_where_two_sizes_cross_and_srste_jumps() -> None:
    """.4 and .2 + e change places in the mask: the weights in use differ by the order of e."""
    for pattern in (gs.NM(2, 4), gs.NM(1, 4), gs.NM(3, 4)):
        sizes = torch.tensor([0.9, -0.4, 0.6, 0.2], dtype=torch.float64)
        order = sizes.abs().argsort(descending=True)
        inside, outside = order[pattern.n - 1], order[pattern.n]
        close = sizes.clone()
        close[inside] = close[outside].abs() + 1e-9
        other = close.clone()
        other[inside] = close[outside].abs() - 1e-9
        before, after = (shortened(each, pattern) for each in (close, other))
        assert float((before - after).abs().max()) < 1e-8
        assert int((before != 0).sum()) <= pattern.n


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov_wd", "adamw"])
@pytest.mark.parametrize("rule", [gs.SRSTE(fresh=True, lam=0.01), gs.SSTE(fresh=True)], ids=["srste", "sste"])
def test_training_is_that_of_dense_weights_behind_a_mask(rule: Any, optimizer: str) -> None:
    """The oracle holds a dense weight in plain torch, and writes the estimator out; 25 steps in float64."""
    model = network()
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=100)
    step(model, optim, 0)
    dense = [engine.state_dict()["remembered"][name]["whole"].clone() for name in ("0", "2")]
    betas = [engine.state_dict()["remembered"][name].get("beta") for name in ("0", "2")]
    oracle = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16)).double()
    again = OPTIMIZERS[optimizer](oracle.parameters())
    layers: list[Any] = [oracle[0], oracle[2]]
    ours: list[Any] = [model[0], model[2]]
    for theirs, mine, whole in zip(layers, ours, dense, strict=True):
        theirs.weight.data.copy_(whole.view_as(theirs.weight))
        theirs.bias.data.copy_(mine.bias)
        for here, there in ((theirs.weight, mine.weight), (theirs.bias, mine.bias)):
            again.state[here] = {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in optim.state[there].items()
            }
    for number in range(1, 25):
        step(model, optim, number)
        kept = []
        for theirs, beta in zip(layers, betas, strict=True):
            tiles = theirs.weight.detach().reshape(-1, 4)
            mask = torch.zeros_like(tiles).scatter_(1, tiles.abs().topk(2, 1).indices, 1.0)
            used = tiles * mask
            if beta is not None:
                tau = tiles.abs().sort(1).values[:, 1:2]
                used = beta * tiles.sign() * (tiles.abs() - tau).clamp(min=0)
            kept.append((used.view_as(theirs.weight), mask.view_as(theirs.weight)))
        again.zero_grad()
        x, target = batch(number, torch.float64)
        uses = [used.clone().requires_grad_() for used, _ in kept]
        hidden = torch.relu(nn.functional.linear(x, uses[0], layers[0].bias))
        (nn.functional.linear(hidden, uses[1], layers[1].bias) - target).square().mean().backward()
        for theirs, use, (_, mask) in zip(layers, uses, kept, strict=True):
            theirs.weight.grad = use.grad + rule.lam * (1 - mask) * theirs.weight.detach()
        again.step()
    for theirs, name in zip(layers, ("0", "2"), strict=True):
        whole = engine.state_dict()["remembered"][name]["whole"].view_as(theirs.weight)
        torch.testing.assert_close(whole, theirs.weight.detach(), rtol=1e-9, atol=1e-11)


def test_the_pull_is_a_decay_of_absent_weights_alone() -> None:
    """With no gradient at all, absent weights shrink by lr * lam, and existing ones stay."""
    rule = gs.SRSTE(lam=0.1)
    layer = view(W, [0, 3], rule)
    assert rule.before_whole_step(layer, torch.zeros(4, 1).double()).flatten().tolist() == pytest.approx(
        [0, -0.02, 0.01, 0]
    )


def test_the_layer_shows_existing_weights_alone_between_steps_and_the_flip_rate_is_known() -> None:
    """Also while all weights train: what it computes with is its weight, and a plain copy computes the same."""
    model = network()
    optim = OPTIMIZERS["adamw"](model.parameters())
    engine = gs.attach(model, optim, gs.SRSTE(fresh=True), total_steps=30)
    layer: Any = model[0]
    masks_seen = [layer.mask.clone()]
    for number in range(5):
        step(model, optim, number)
        masks_seen.append(layer.mask.clone())
        assert int(layer.weight[~layer.mask].count_nonzero()) == 0
        assert (layer.mask.view(-1, 4).sum(1) == 2).all()
    shares = [float((a != b).double().mean()) for a, b in pairwise(masks_seen)]
    flips = [*enumerate(shares, start=1)]
    assert engine.flip_rates()["0"] == flips
    assert flips[0][1] > 0
    again = network(seed=4)
    again.load_state_dict(model.state_dict())
    x, _ = batch(0, torch.float64)
    assert torch.equal(again(x), model(x))


# --- movement -----------------------------------------------------------------------------------------------


def test_scores_rise_where_weights_move_away_from_zero() -> None:
    """w = 1 with a gradient of 0.2 falls, w = -1 rises; a weight of zero has none."""
    rule = gs.MovementPruning(rate=0.5)
    whole = torch.tensor([[1.0], [-1.0], [0.0]], dtype=torch.float64)
    topology = Topology(gs.Unstructured(), (1, 3), torch.arange(3))
    state = {"whole": whole, "scores": torch.zeros(3).double()}
    layer = LayerView("layer", topology, 3, whole, None, torch.Generator(), state=state)
    gradients = torch.full((3, 1), 0.2).double()
    assert torch.equal(rule.before_whole_step(layer, gradients), gradients)
    assert layer.state["scores"].tolist() == pytest.approx([-0.1, 0.1, 0.0])
    assert rule.plan([layer], 0.4)["layer"].tolist() == [1, 2]
    assert rule.plan([layer], 0.7)["layer"].tolist() == [1]


def test_the_penalty_pulls_scores_down_as_published() -> None:
    """lam * mean(sigmoid(S)): at S = 0 its gradient is lam / 4 of N; it is scaled by the threshold over its end."""
    rule = gs.MovementPruning(soft=True, rate=1.0, lam=8.0, tau=0.4, every=10, until=1.0)
    whole = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    topology = Topology(gs.Unstructured(), (1, 2), torch.arange(2))
    about: dict[str, Any] = {"step": 45, "total_steps": 100}
    layer = LayerView("layer", topology, 2, whole, None, torch.Generator(), **about)
    layer.state.update(rule.new_state(layer))
    rule.before_whole_step(layer, torch.zeros(2, 1).double())
    share = 1 - 0.5**3  # half of the way to step 90
    assert layer.state["scores"].tolist() == pytest.approx([-share, -share])


@pytest.mark.parametrize("optimizer", ["nesterov_wd", "adamw"])
def test_movement_is_that_of_scores_in_plain_torch_and_pruned_weights_stay(optimizer: str) -> None:
    """The oracle's scores at every step; what comes back is, bit for bit, the weight that went."""
    model = network(gs.Unstructured(), 1.0, full="sparse")
    optim = OPTIMIZERS[optimizer](model.parameters())
    rule = gs.MovementPruning(every=1, drop=0.6, until=0.5, rate=0.1)
    engine = gs.attach(model, optim, rule, total_steps=40)
    layer, last = (model[n] for n in (0, 2))
    scores, went, came = torch.zeros(24, 32).double(), torch.zeros(24, 32).double(), 0
    for number in range(19):
        there: Tensor = layer.mask.clone()
        use = layer.weight.detach().clone().requires_grad_()
        x, target = batch(number, torch.float64)
        hidden = torch.relu(nn.functional.linear(x, use, layer.bias.detach()))
        answer = nn.functional.linear(hidden, last.weight.detach(), last.bias.detach())
        (slope,) = torch.autograd.grad((answer - target).square().mean(), use)
        scores -= 0.1 * slope * torch.where(there, use.detach(), went)
        step(model, optim, number)
        kept = {key: value.view(24, 32) for key, value in engine.state_dict()["remembered"]["0"].items()}
        torch.testing.assert_close(kept["scores"], scores, rtol=1e-9, atol=1e-13)
        absent, new = ~layer.mask & ~there, layer.mask & ~there
        assert torch.equal(kept["whole"][absent], went[absent])
        assert torch.equal(layer.weight.detach()[new], went[new])
        went = torch.where(there & ~layer.mask, kept["whole"], went)
        came += int(new.sum())
        best = kept["scores"].flatten().topk(layer.connections).indices.sort().values
        assert torch.equal(best, layer.topology.positions)
    assert layer.connections == 768 - int(0.6 * 768)
    assert came > 20


def test_soft_movement_keeps_what_is_above_the_threshold() -> None:
    """The sigmoid of every score that stays is above it, and of no other."""
    model = network(gs.Unstructured(), 1.0, full="sparse")
    optim = OPTIMIZERS["sgd"](model.parameters())
    rule = gs.MovementPruning(soft=True, every=1, tau=0.4, lam=1.0, rate=5.0, until=1.0)
    engine = gs.attach(model, optim, rule, total_steps=20)
    for number in range(19):
        step(model, optim, number)
    for name, layer in engine.layers.items():
        size = torch.sigmoid(engine.state_dict()["remembered"][name]["scores"])
        above = (size > rule.threshold(19, 20)).nonzero().squeeze(1)
        assert torch.equal(layer.topology.positions, above)
        assert 0 < layer.connections < layer.grid.size


def test_soft_movement_leaves_half_a_percent() -> None:
    """Of 1000 connections with scores far below the threshold the five largest stay."""
    scores = -50.0 - torch.arange(1000.0).double()
    topology = Topology(gs.Unstructured(), (10, 100), torch.arange(1000))
    state = {"whole": torch.ones(1000, 1).double(), "scores": scores}
    about: dict[str, Any] = {"state": state, "step": 90, "total_steps": 100}
    layer = LayerView("layer", topology, 1000, state["whole"], None, torch.Generator(), **about)
    assert gs.MovementPruning(soft=True).plan([layer], 0.9)["layer"].tolist() == [0, 1, 2, 3, 4]


# --- in every rule of the kind ------------------------------------------------------------------------------

RULES = [gs.SRSTE(fresh=True), gs.SSTE(fresh=True), gs.MovementPruning(every=1, until=1.0)]
each = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def start(rule: Any, seed: int = 0) -> tuple[Any, Any, Any]:
    """A model on which the rule is defined, an optimizer and an engine."""
    model = network(seed=seed) if rule.trained else network(gs.Unstructured(), 1.0, seed, full="sparse")
    optim = OPTIMIZERS["adamw"](model.parameters())
    return model, optim, gs.attach(model, optim, rule, total_steps=20)


@each
def test_packed_layers_are_refused_before_anything_is_changed(rule: Any) -> None:
    """Four parts: what, expected, got, what to do."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    gs.sparsify(model, None if rule.trained else 0.5, "nm:2:4" if rule.trained else "unstructured")
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    before = everything(model, optim)
    with pytest.raises(ConfigError, match=r'home="masked"') as error:
        gs.attach(model, optim, rule, total_steps=10)
    assert "packed" in error.value.got
    assert differences(before, everything(model, optim)) == []
    assert not model[0].tape.followed


def test_an_optimizer_around_another_one_is_refused() -> None:
    """Its passes in between would compute with weights that no layer shows."""
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    around: Any = torch.optim.SGD(inner.param_groups, lr=0.1)
    around.base_optimizer = inner
    with pytest.raises(ConfigError, match="around another one"):
        gs.attach(model, around, gs.SRSTE(), total_steps=10)


@each
def test_a_restart_repeats_weights_scores_and_all(rule: Rule, tmp_path: Path) -> None:
    """A checkpoint of step 4 goes on with the same bits; a damaged memory is refused, and changes nothing."""
    first = start(rule)
    for number in range(8):
        if number == 4:
            gs.save_checkpoint(tmp_path / "run", *first)
        step(*first[:2], number)
    again = start(rule, seed=9)
    gs.load_checkpoint(tmp_path / "run", *again)
    for number in range(4, 8):
        step(*again[:2], number)
    assert differences(everything(*first[:2]), everything(*again[:2])) == []
    for name in first[2].layers:
        kept, other = (each[2].state_dict()["remembered"][name] for each in (first, again))
        assert differences(kept, other) == []
        assert set(kept) >= {"whole"}
    state = again[2].state_dict()
    state["remembered"]["0"] = {**state["remembered"]["0"], "whole": torch.full((768, 1), torch.nan)}
    with pytest.raises(FormatError, match="not finite"):
        again[2].load_state_dict(state)
    before = everything(*again[:2])
    state["remembered"]["0"] |= {
        "whole": torch.zeros(7, 1),
        **({} if rule.name != "movement" else {"scores": torch.zeros(7)}),
    }
    again[2].load_state_dict(state)
    with pytest.raises(FormatError, match="one for each position"):
        again[1].step()
    assert differences(before, everything(*again[:2])) == []


def test_a_long_training_has_a_thousand_rows_a_layer_at_most() -> None:
    """A row for every update makes checkpoints of a hundred megabytes; the flips of a thousand say as much."""
    for every, total in ((1, 100), (1, 1000), (1, 40_000), (40, 90_000), (7, 12_345)):
        rule = gs.SRSTE(every=every)
        noted = [step for step in range(total) if rule.due(step, total) and rule.noted(step, total)]
        due = sum(rule.due(step, total) for step in range(total))
        assert min(due, 500) <= len(noted) <= 1000


@each
def test_a_closure_and_plain_calls_train_alike(rule: Rule) -> None:
    """Some trainers compute the gradients inside of ``step``."""
    found = []
    for inside in (False, True):
        model, optim, _ = start(rule)
        for number in range(4):
            x, target = batch(number, torch.float64)

            def closure(
                model: Any = model, optim: Any = optim, x: Tensor = x, target: Tensor = target
            ) -> Tensor:
                optim.zero_grad()
                loss: Tensor = (model(x) - target).square().mean()
                loss.backward()
                return loss

            if inside:
                optim.step(closure)
            else:
                closure()
                optim.step()
        found.append(everything(model, optim))
    assert differences(*found) == []


@each
def test_a_call_that_makes_no_step_leaves_the_layer_as_it_was(rule: Rule) -> None:
    """An optimizer that accumulates writes to nothing."""

    class Waits(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            """Not yet."""

    model, *_ = start(rule)
    model = network(seed=3) if rule.name != "movement" else network(gs.Unstructured(), 1.0, 3, full="sparse")
    optim = Waits(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=20)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for number in range(3):
        step(model, optim, number)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert engine.step == 0


@each
def test_after_detach_gradients_reach_existing_connections_alone(rule: Rule) -> None:
    """A copy, which no engine follows, and the layer itself train on as masked layers do."""
    model, optim, engine = start(rule)
    for number in range(3):
        step(model, optim, number)
    apart = copy.deepcopy(model)
    engine.detach()
    for each_model in (apart, model):
        x, target = batch(0, torch.float64)
        each_model.zero_grad()
        with pytest.warns(UserWarning, match="hooks do not") if each_model is apart else nullcontext():
            (each_model(x) - target).square().mean().backward()
        layer = each_model[0]
        assert int(layer.weight.grad[~layer.mask].count_nonzero()) == 0
        assert int(layer.weight.grad[layer.mask].count_nonzero()) > 0


@each
def test_numbers_that_are_not_finite_are_refused(rule: Rule) -> None:
    """With the layer's name."""
    model, optim, _ = start(rule)
    step(model, optim, 0)
    x, target = batch(1, torch.float64)
    optim.zero_grad()
    ((model(x) - target).square().mean() * torch.nan).backward()
    with pytest.raises(NonFiniteError, match="in 0"):
        optim.step()
