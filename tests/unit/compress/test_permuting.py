"""An order of channels that a pattern suits better: goldens, what is never lost, and the same network behind it."""

from __future__ import annotations

import copy
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.compress.permuting.demand import Demand, demand
from gossamer.compress.permuting.exchange import INPUTS, OUTPUTS
from gossamer.compress.permuting.reordering import reorder
from gossamer.compress.permuting.search import search
from gossamer.errors import ConfigError, PatternError, StateError
from gossamer.patterns import NM, Block, FanIn, Pattern, parse


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def found(one: Demand, dim: int) -> Tensor:
    """Search one side of a layer by itself, and reorder its scores."""
    count = one.scores.shape[0] if dim == OUTPUTS else one.channels
    order = search([one.side(dim, torch.arange(count))], seeded())
    one.reordered(dim, order)
    return order


def test_the_row_of_the_literature_goes_from_22_over_25_to_26() -> None:
    one = demand(NM(2, 4), torch.tensor([[8.0, 7, 6, 5, 1, 2, 3, 4]]), 8, 0.5)
    side = one.side(INPUTS, torch.arange(8))
    swaps = [one.kept() + side.gain(a, b) for a in range(8) for b in range(8)]
    assert (one.kept(), max(swaps), one.bound()) == (22, 25, 26)
    found(one, INPUTS)
    assert one.kept() == 26


def test_neurons_with_alike_inputs_share_a_group() -> None:
    """Rows read inputs 0 and 1, or 2 and 3, in turn: no pair of neighbours agrees, and the best order keeps all."""
    alike = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(4, 1)
    one = demand(FanIn(4), alike, 4, 0.5)
    assert one.kept() == 8
    order = found(one, OUTPUTS)
    assert one.kept() == one.bound() == 16
    assert {tuple(sorted((order[:4] % 2).tolist())), tuple(sorted((order[4:] % 2).tolist()))} == {
        (0,) * 4,
        (1,) * 4,
    }


@pytest.mark.parametrize("pattern", [FanIn(2), Block(2, 1), Block(2, 2), NM(1, 2)], ids=str)
def test_the_search_finds_what_trying_all_orders_finds(pattern: Pattern) -> None:
    """Four outputs and four inputs: one swap at a time is enough there."""
    scores = torch.rand(4, 4, generator=seeded(3), dtype=torch.float64)
    dim = INPUTS if isinstance(pattern, NM) else OUTPUTS
    best = 0.0
    for order in permutations(range(4)):
        one = demand(pattern, scores, 4, 0.5)
        one.reordered(dim, torch.tensor(order))
        best = max(best, one.kept())
    one = demand(pattern, scores, 4, 0.5)
    found(one, dim)
    assert one.kept() == pytest.approx(best, rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([(FanIn(2), OUTPUTS), (FanIn(4), OUTPUTS), (NM(2, 4), INPUTS), (NM(1, 8), INPUTS)]),
)
def test_no_less_is_kept_no_more_than_possible_and_the_same_every_time(
    seed: int, case: tuple[Pattern, int]
) -> None:
    pattern, dim = case
    scores = torch.rand(8, 3 * 16, generator=seeded(seed), dtype=torch.float64) ** 3
    density = pattern.n / pattern.m if isinstance(pattern, NM) else 0.25
    one, again = (demand(pattern, scores, 16, density) for _ in range(2))
    before = one.kept()
    order = found(one, dim)
    assert before <= one.kept() <= one.bound() * (1 + 1e-12)
    assert torch.equal(found(again, dim), order)
    assert sorted(order.tolist()) == list(range(order.numel()))


def test_a_sample_of_the_features_never_makes_it_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gains are estimated on 256 of 600 features then, and checked on all of them."""
    monkeypatch.setattr("gossamer.compress.permuting.search.WORK", 1)
    scores = torch.rand(16, 600, generator=seeded(1), dtype=torch.float64) ** 4
    one = demand(FanIn(4), scores, 600, 0.1)
    before = one.kept()
    found(one, OUTPUTS)
    assert one.kept() > before


class Residual(nn.Module):
    """Convolutions, norms, a sum, a depth-wise layer, a concatenation, a shortcut of new zeros, and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.back = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 1, bias=False)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.side, self.wide = nn.Conv2d(8, 8, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.flat, self.out = nn.Linear(16 * 4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.back(F.relu(self.inner(x))))
        x = self.depth(x)
        y = torch.cat([x, self.side(x)], 1)
        y = self.wide(y) + F.pad(x, (0, 0, 0, 0, 4, 4))
        return self.out(F.relu(self.flat(F.max_pool2d(y, 2).flatten(1))))


def drawn(model: nn.Module, seed: int) -> nn.Module:
    """The model in float64 with random numbers everywhere, statistics included."""
    generator = seeded(seed)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.1
            if tensor.dim() > 1:
                tensor.data -= 0.6
    return model.eval()


def layers_of(model: nn.Module, pattern: Pattern, density: float) -> dict[str, Demand]:
    """What each layer that suits the pattern is asked for."""
    made = {}
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and getattr(layer, "groups", 1) == 1:
            out, channels = layer.weight.shape[:2]
            if out % pattern.unit[0] == 0 and channels % pattern.neighbours == 0:
                matrix = layer.weight.detach().movedim(1, -1).flatten(1).abs()
                made[name] = demand(pattern, matrix, channels, density)
    return made


NETS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8)), (3, 8)),
    "lines": (
        lambda: nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.GELU(), nn.Conv1d(8, 4, 3)),
        (2, 4, 9),
    ),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, groups=4), nn.Conv2d(8, 4, 1)),
        (2, 4, 3, 3),
    ),
    "residual": (Residual, (2, 2, 4, 4)),
}
PATTERNS = {"fanin:2": 0.5, "fanin:4": 0.3, "block:2:4": 0.5, "block:4": 0.5, "nm:2:4": 0.5, "nm:1:8": 0.125}


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(NETS)), st.sampled_from(sorted(PATTERNS)), st.integers(0, 100))
def test_the_dense_network_computes_the_same_in_its_new_order(net: str, pattern: str, seed: int) -> None:
    make, shape = NETS[net]
    model = drawn(make(), seed)
    before = copy.deepcopy(model)
    asked = layers_of(model, parse(pattern), PATTERNS[pattern])
    kept = sum(one.kept() for one in asked.values())
    x = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    reordered = reorder(model, x, asked)
    with torch.no_grad():
        expected, got = before(x), model(x)
    assert float((expected - got).abs().max()) <= 1e-12 * max(1.0, float(expected.abs().max()))
    assert sum(one.kept() for one in asked.values()) >= kept * (1 - 1e-12)
    for name, one in asked.items():
        matrix = model.get_submodule(name).weight.detach().movedim(1, -1).flatten(1).abs()
        assert torch.equal(one.scores, matrix), f"{name}: what was searched is what the layer holds"
    reordered.undo()
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_every_kind_of_neighbour_really_moves() -> None:
    """Else the test above says nothing of them."""
    model = drawn(Residual(), 1)
    moved = reorder(
        model, torch.randn(2, 2, 4, 4, dtype=torch.float64), layers_of(model, FanIn(4), 0.3)
    ).moves.moved
    assert moved.keys() == {"stem", "norm", "inner", "back", "depth", "side", "wide", "flat", "out"}
    assert moved["out"].keys() == {INPUTS}
    assert torch.equal(moved["stem"][OUTPUTS], moved["back"][OUTPUTS])
    assert torch.equal(moved["stem"][OUTPUTS], moved["depth"][OUTPUTS])
    assert torch.equal(moved["wide"][OUTPUTS][4:12] - 4, moved["stem"][OUTPUTS])
    assert sorted(moved["wide"][OUTPUTS][[0, 1, 2, 3, 12, 13, 14, 15]].tolist()) == [
        0,
        1,
        2,
        3,
        12,
        13,
        14,
        15,
    ]


def test_prune_keeps_more_in_a_better_order_and_says_so() -> None:
    model = drawn(NETS["mlp"][0](), 0)
    x = torch.randn(3, 8, dtype=torch.float64)
    plain, better = copy.deepcopy(model), model
    gs.prune(plain, 0.25, FanIn(4), allocation="uniform")
    report = gs.prune(better, 0.25, FanIn(4), allocation="uniform", permute=x)
    sums = [float(each[0].values.detach().abs().sum()) for each in (plain, better)]
    assert sums[1] > sums[0]
    notes = {row.name: row.note for row in report.layers}
    assert "reordered: " in notes["0"]
    assert "the output of the network" in notes["3"]


def test_an_optimizer_of_a_norm_follows_and_one_that_was_not_given_is_refused() -> None:
    model = drawn(NETS["mlp"][0](), 0)
    sgd = torch.optim.SGD(model[1].parameters(), lr=0.0, momentum=0.9)
    x = torch.randn(3, 8, dtype=torch.float64)
    model(x).square().sum().backward()
    sgd.step()
    pairs = (sgd.state[model[1].weight]["momentum_buffer"], model[1].weight)
    joined = sorted(zip(*(each.tolist() for each in pairs), strict=True))
    held = copy.deepcopy(model.state_dict())
    with pytest.raises(StateError, match="SGD that was not given"):
        gs.prune(model, 0.25, FanIn(4), permute=x)
    assert all(torch.equal(a, b) for a, b in zip(held.values(), model.state_dict().values(), strict=True))
    gs.prune(model, 0.25, FanIn(4), permute=x, optimizers=[sgd])
    pairs = (sgd.state[model[1].weight]["momentum_buffer"], model[1].weight)
    assert sorted(zip(*(each.tolist() for each in pairs), strict=True)) == joined
    assert not torch.equal(model[1].weight, held["1.weight"])


def test_after_an_error_behind_the_search_the_model_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn(NETS["mlp"][0](), 0)
    held = copy.deepcopy(model.state_dict())

    def broken(*_: object) -> None:
        raise StateError("prune 0", expected="nothing", got="a test")

    monkeypatch.setattr("gossamer.compress.pruning._apply", broken)
    with pytest.raises(StateError, match="a test"):
        gs.prune(model, 0.25, FanIn(4), permute=torch.randn(3, 8, dtype=torch.float64))
    assert all(torch.equal(a, b) for a, b in zip(held.values(), model.state_dict().values(), strict=True))


class Twice(nn.Module):
    """One layer called twice, and a value that the code looks into."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.again(self.again(x)).cumsum(1))


def test_what_cannot_be_followed_keeps_its_order_and_the_report_says_why() -> None:
    model = drawn(Twice(), 0)
    held = copy.deepcopy(model.state_dict())
    x = torch.randn(3, 8, dtype=torch.float64)
    notes = reorder(model, x, layers_of(model, FanIn(4), 0.25)).notes
    assert all(torch.equal(a, b) for a, b in zip(held.values(), model.state_dict().values(), strict=True))
    assert "used more than once" in notes["first"]
    assert notes.keys() == {"first", "again", "last"}
    assert all(note.startswith("order kept: ") for note in notes.values())


def test_what_hangs_on_a_module_or_is_tied_is_not_moved() -> None:
    hooked = drawn(NETS["mlp"][0](), 0)
    hooked[1].register_forward_hook(lambda *_: None)
    x = torch.randn(3, 8, dtype=torch.float64)
    notes = reorder(hooked, x, layers_of(hooked, FanIn(4), 0.25)).notes
    assert notes["0"].startswith("order kept: read as a whole")
    tied = drawn(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), 0)
    tied[2].weight = tied[0].weight
    with pytest.raises(PatternError, match="tied"):
        reorder(tied, x, layers_of(tied, FanIn(4), 0.25))


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "block:1"])
def test_a_pattern_that_no_order_helps_is_refused(pattern: str) -> None:
    model = NETS["mlp"][0]()
    with pytest.raises(ConfigError, match="to which neighbours matter"):
        gs.prune(model, 0.5, pattern, permute=torch.zeros(2, 8))
    assert isinstance(model[0], nn.Linear)


def test_a_model_that_cannot_be_traced_is_refused_with_the_reason() -> None:
    model = NETS["mlp"][0]()
    model.register_forward_hook(lambda *_: None)
    with pytest.raises(ConfigError, match="forward hooks"):
        gs.prune(model, 0.5, "fanin:4", permute=torch.zeros(2, 8))
    assert isinstance(model[0], nn.Linear)
