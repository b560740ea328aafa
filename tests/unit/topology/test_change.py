"""Index maps between topologies: what is kept, what is grown, and how tensors follow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.patterns import FanIn, Unstructured
from gossamer.topology import Topology, TopologyChange
from strategies import cases


@given(cases(), st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_tensors_follow_their_connections(case, a: int, b: int) -> None:
    """Against dense matrices: kept entries keep their value, grown ones are zero, spares are zero."""
    old, new = case.topology(a), case.topology(b)
    change = TopologyChange.between(old, new)
    spare = 5
    flat = torch.randn(case.units * case.grid.members + spare)
    before = case.pattern.unpack(flat[: old.connections].clone(), old.positions, case.grid)
    change.remap_(flat)
    after = case.pattern.unpack(flat[: new.connections], new.positions, case.grid)
    both = old.mask() & new.mask()
    assert torch.equal(after, torch.where(both, before, 0.0))
    assert int(flat[new.connections :].count_nonzero()) == 0
    assert change.grown == int((new.mask() & ~old.mask()).sum())
    assert change.dropped == int((old.mask() & ~new.mask()).sum())


@given(cases(), st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.booleans())
def test_a_planned_change_is_the_change(case, a: int, b: int, forgetting: bool) -> None:
    """What an edit makes of the old topology, also where a connection that was dropped is grown again."""
    old, new = case.topology(a), case.topology(b)
    change = TopologyChange.between(old, new)
    if forgetting:
        change = change.forgetting(torch.arange(old.positions.numel()) % 2 == 0)
    again = change.edit().of(old)
    assert torch.equal(again.new.positions, new.positions)
    assert torch.equal(again.source, change.source)


@given(cases(), st.integers(0, 1 << 30))
def test_no_change_moves_nothing(case, seed: int) -> None:
    """The identity map."""
    topology = case.topology(seed)
    change = TopologyChange.between(topology, topology)
    flat = torch.randn(topology.connections)
    before = flat.clone()
    change.remap_(flat)
    assert torch.equal(flat, before)
    assert (change.grown, change.dropped) == (0, 0)


def test_from_nothing_and_to_nothing() -> None:
    """An empty topology is a topology."""
    empty = Topology(Unstructured(), (2, 3), torch.empty(0, dtype=torch.int64))
    some = Topology(Unstructured(), (2, 3), torch.tensor([1, 4]))
    flat = torch.tensor([3.0, 4.0])
    assert TopologyChange.between(empty, some).grown == 2
    change = TopologyChange.between(some, empty)
    assert (change.dropped, change.grown) == (2, 0)
    change.remap_(flat)
    assert flat.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_state_of_any_dtype_is_remapped(dtype: torch.dtype) -> None:
    """Optimizers keep counters and flags too."""
    change = TopologyChange.between(
        Topology(Unstructured(), (1, 4), torch.tensor([0, 2])),
        Topology(Unstructured(), (1, 4), torch.tensor([2, 3])),
    )
    flat = torch.tensor([1, 1]).to(dtype)
    change.remap_(flat)
    assert flat.tolist() == torch.tensor([1, 0]).to(dtype).tolist()


def test_groups_move_as_a_whole() -> None:
    """Two neurons that share their inputs: hand-written eight-entry example."""
    old = Topology(FanIn(2), (2, 4), torch.tensor([0, 1, 3]))
    new = Topology(FanIn(2), (2, 4), torch.tensor([1, 2, 3]))
    flat = torch.tensor([10.0, 11.0, 20.0, 21.0, 30.0, 31.0])
    TopologyChange.between(old, new).remap_(flat)
    assert flat.tolist() == [20.0, 21.0, 0.0, 0.0, 30.0, 31.0]


@given(cases(), st.integers(0, 1 << 30))
def test_degrees_are_the_sums_of_the_mask(case, seed: int) -> None:
    """Fan-in, fan-out, connections and density, counted on the dense mask."""
    topology = case.topology(seed)
    mask = topology.mask()
    assert torch.equal(topology.fan_in(), mask.sum(1))
    assert torch.equal(topology.fan_out(), mask.sum(0))
    assert topology.connections == int(mask.sum())
    assert topology.density == int(mask.sum()) / mask.numel()
