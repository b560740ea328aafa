"""What runs where: ties, batch sizes nobody asked for, and the memory order that a reader wants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.freezing import guard, race
from gossamer.freezing.candidates import TIE, candidates
from gossamer.freezing.choose import classes_of
from gossamer.freezing.core_step import CoreStep
from gossamer.freezing.race import Race, picked
from gossamer.freezing.wanted import Wanted
from gossamer.layouts import layout
from gossamer.layouts.connections import Connections
from gossamer.measure import Timing
from gossamer.network.chain_step import Operands
from gossamer.network.graph import Choice, Graph, Linear, Node
from gossamer.trace.read import read

CSR, FANIN, DENSE = (Choice(name, "core") for name in ("csr", "fanin", "dense"))


@pytest.fixture
def one(mlp):
    """A graph of one layer, and what may run it."""
    layer = read(mlp("fanin", 0.2, widths=(40, 24))[0])
    graph = Graph(("x",), (Node("fc", ("x",), Linear(layer)),), "fc")
    return graph, {"fc": candidates(layer, None, None)}


def test_of_ways_as_fast_the_smallest_runs(one):
    _, found = one
    each = found["fc"]
    assert each.memory(FANIN) < each.memory(CSR) < each.memory(DENSE)
    each.seconds[1] = {CSR: 1.0, FANIN: 1.0 + (TIE - 1) / 2, DENSE: 1.1}
    assert each.fastest(1) == FANIN
    each.seconds[1] = {CSR: 1.0, FANIN: 1.0 + (TIE - 1) * 2, DENSE: 1.1}
    assert each.fastest(1) == CSR
    assert each.fastest(1, "torch") is None
    assert each.dense == DENSE
    assert each.fastest(2) is None


@pytest.mark.parametrize(("taken", "chosen"), [(1.02, "all csr"), (1.2, "dense")])
def test_a_network_as_fast_as_another_is_the_smaller_one(one, monkeypatch, taken, chosen):
    graph, found = one
    found["fc"].seconds[1] = {CSR: 9.0, FANIN: 9.0, DENSE: 8.9}
    times = {"dense": 1.0, "all csr": taken}

    def alternate(calls, seconds):
        return {way: Timing(*[times.get(way, 5.0)] * 3, 3) for way in calls}

    monkeypatch.setattr(race, "alternate", alternate)
    won = race.race(graph, found, (torch.randn(1, 40),), 1, 0.1)
    assert won.chosen == chosen
    assert won.why == ("fastest" if chosen == "dense" else "as fast as dense, and no larger")


def beyond(one, monkeypatch, slow: set[int], asked=(1,)) -> tuple[dict[int, Race], list[int]]:
    """What is done beyond the sizes asked for, where everything but dense is slow at some sizes."""
    graph, found = one
    measured: list[int] = []

    def alternate(calls, seconds):
        batch = calls["used"].args[0].shape[0]
        return {"used": Timing(*[2.0 if batch in slow else 1.0] * 3, 3), "dense": Timing(1.5, 1.5, 1.5, 3)}

    def measure(batch: int) -> Race:
        measured.append(batch)
        return Race({"fc": FANIN})

    monkeypatch.setattr(guard, "alternate", alternate)
    monkeypatch.setattr(guard, "LEAST_CALLS", 0)
    runs = dict.fromkeys(asked, Race({"fc": CSR}))
    return guard.beyond(graph, found, (torch.randn(1, 40),), runs, measure, Wanted(batches=asked)), measured


def test_nothing_is_added_where_nothing_is_slower_than_dense(one, monkeypatch):
    assert beyond(one, monkeypatch, set()) == ({}, [])


def test_a_size_at_which_dense_is_faster_gets_a_choice_of_its_own(one, monkeypatch):
    made, measured = beyond(one, monkeypatch, {32})
    assert measured == [32]
    assert {size: run.picks["fc"] for size, run in made.items()} == {2: CSR, 8: CSR, 32: FANIN, 128: FANIN}
    rows = classes_of({1: Race({"fc": CSR})} | made, (1,))
    assert [(row.batch, row.up_to, row.run.picks["fc"]) for row in rows] == [(1, 16, CSR), (32, None, FANIN)]


def test_where_that_choice_is_slower_as_well_everything_is_dense(one, monkeypatch):
    made, measured = beyond(one, monkeypatch, {8, 32})
    assert measured == [8]
    assert {size: run.picks["fc"] for size, run in made.items()} == {2: CSR, 8: FANIN, 32: DENSE, 128: DENSE}


def test_a_size_that_was_asked_for_stays_as_it_was_measured(one, monkeypatch):
    made, _ = beyond(one, monkeypatch, {2, 8, 32, 128}, asked=(1, 32))
    assert set(made) == {2, 8, 128}


def test_sizes_are_not_looked_at_where_the_caller_left_dense_out(one):
    graph, found = one
    only = {"fc": candidates(found["fc"].connections, None, frozenset(["csr", "fanin"]))}
    assert guard.beyond(graph, only, (torch.randn(1, 40),), {}, None, Wanted()) == {}


class Tokens(nn.Module):
    """A residual around a normalised pair of layers, over tokens."""

    def __init__(self, last: nn.Module):
        super().__init__()
        self.norm, self.up, self.down, self.last = (
            nn.LayerNorm(16),
            nn.Linear(16, 48),
            nn.Linear(48, 16),
            last,
        )

    def forward(self, x):
        return self.norm(self.last(x + self.down(self.up(self.norm(x)).relu())))


@pytest.mark.parametrize("last", [nn.Identity(), nn.ReLU(), nn.LeakyReLU(0.3)])
@pytest.mark.parametrize("keep", ["csr", "dense"])
def test_residuals_between_layers_of_torch(check_same, keep, last):
    model = Tokens(last)
    gs.sparsify(model, density=0.3)
    frozen = gs.freeze(model, torch.randn(2, 5, 16), keep=keep)
    for shape in ((1, 1, 16), (3, 7, 16), (0, 7, 16)):
        check_same(frozen, model, torch.randn(shape))


@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu"])
@pytest.mark.parametrize("shape", [(1, 9), (6, 9), (2, 3, 9), (0, 9)])
def test_rows_are_the_same_bits_side_by_side(shape, activation):
    values, bias = torch.randn(42).numpy(), torch.randn(14).numpy()
    weight = Connections((14, 9), np.arange(0, 126, 3), values, bias)
    layers = [Operands(layout("csr").encode(weight, {}), weight.bias, activation, 0.2)]
    x, residual = torch.randn(shape), torch.randn(*shape[:-1], 14)
    for more in ((), (residual,), (residual.transpose(0, 1).contiguous().transpose(0, 1),)):
        rows = CoreStep(layers, rows=True, adds=bool(more))(x, *more)
        assert rows.is_contiguous()
        assert CoreStep(layers, rows=None)(x, *more).is_contiguous() or len(shape) == 2
        assert torch.equal(rows, CoreStep(layers)(x, *more))


@pytest.mark.parametrize(
    ("mixed", "chosen", "why"),
    [
        (0.95, "core", "mixed leaves the core, and is not a tenth faster"),
        (0.85, "mixed", "fastest"),
        (1.2, "core", "fastest"),
    ],
)
def test_layers_leave_the_core_for_a_tenth_of_the_time_or_not_at_all(
    mixed: float, chosen: str, why: str
) -> None:
    times = {"core": 1.0, "mixed": mixed, "dense": 3.0}
    assert picked(
        times, {"mixed", "dense"}, {"core": (1, 1), "mixed": (2, 2), "dense": (9, 9)}.__getitem__
    ) == (
        chosen,
        why,
    )


def test_of_ways_as_fast_the_smallest_is_chosen() -> None:
    weights = {"core": (2, 2), "all csr": (1, 1)}
    expected = "all csr", "as fast as core, and no larger"
    assert picked({"core": 1.0, "all csr": 1.01}, set(), weights.__getitem__) == expected
