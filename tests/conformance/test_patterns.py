"""Every registered pattern on every shape that bites: what it draws, how it stores it, what it refuses."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gossamer as gs
from gossamer.errors import (
    ConfigError,
    DensityError,
    GossamerError,
    NonFiniteError,
    PatternError,
    ShapeError,
    TopologyError,
)
from gossamer.layouts.grid import narrow
from gossamer.patterns import Grid, Index, Pattern, parse, patterns
from gossamer.patterns.base import Shape
from gossamer.topology import Topology, TopologyChange
from gossamer.trace.tensors import dtype_named
from strategies import CASES, PATTERNS, Case, case, cases, density_near, fit, make_model, train_step

INTEGERS = {torch.uint8: 1 << 8, torch.uint16: 1 << 16, torch.int32: 1 << 31, torch.int64: 1 << 63}
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=str)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def complains(error: pytest.ExceptionInfo[GossamerError], *words: str) -> None:
    """The message has all its parts: operation, expected, got."""
    refused = error.value
    assert refused.operation
    assert refused.expected
    assert refused.got
    text = str(refused)
    assert f"expected {refused.expected}, got {refused.got}" in text
    for word in words:
        assert word in text, f"{word!r} not in {text!r}"


def test_every_registered_pattern_is_tested() -> None:
    """A new pattern joins this suite by existing."""
    assert {pattern.name for pattern in PATTERNS} == set(patterns)


# --- drawing ------------------------------------------------------------------------------------------------


@each_case
def test_sample_meets_every_quota_exactly(case: Case) -> None:
    """Ascending, in range, within budget, each bucket at its quota: never a Bernoulli count."""
    positions, grid = case.sample(), case.grid
    case.pattern.validate(positions, grid)
    assert positions.tolist() == sorted(set(positions.tolist()))
    assert torch.equal(case.pattern.count(positions, grid), case.pattern.quotas(case.units, grid))
    assert positions.numel() <= case.units
    assert grid.size % case.pattern.bucket(grid) == 0


@each_case
def test_budget_is_the_density_to_within_one_unit(case: Case) -> None:
    """No drift between what is asked for and what is counted."""
    grid = case.grid
    wanted = case.density * case.shape[0] * case.shape[1]
    assert abs(case.units * grid.members - wanted) < grid.members + 1e-6
    assert case.units <= grid.size


@each_case
def test_full_density_keeps_every_connection(case: Case) -> None:
    """At density 1, where the pattern has it, nothing is missing."""
    try:
        units = case.pattern.budget(1.0, case.shape)
    except DensityError:
        assert case.pattern.name == "nm"
        return
    assert torch.equal(case.pattern.sample(units, case.grid), torch.arange(case.grid.size))


@each_pattern
@pytest.mark.parametrize("density", [0.1, 0.6])
def test_sampling_is_uniform_over_positions(pattern: Pattern, density: float) -> None:
    """Chi-square over all positions, for the branch that rejects repeats and the one that shuffles all."""
    layer = case(pattern, (20 * pattern.unit[0], 40), density)
    grid, generator, draws = layer.grid, torch.Generator().manual_seed(3), 100
    hits = torch.zeros(grid.size)
    for _ in range(draws):
        hits[pattern.sample(layer.units, grid, generator)] += 1
    share = pattern.quotas(layer.units, grid)[0].item() / pattern.bucket(grid)
    chi2 = float(((hits - draws * share) ** 2 / (draws * share * (1 - share))).sum())
    freedom = grid.size - grid.size // pattern.bucket(grid)
    scale = freedom / grid.size  # draws without replacement vary less by this factor
    assert 1e-4 < stats.chi2.sf(chi2 * scale, freedom) < 1 - 1e-4


@each_pattern
def test_sampling_is_uniform_over_sets(pattern: Pattern) -> None:
    """Not only each position: each *pair* within a bucket is equally likely."""
    layer = case(pattern, (pattern.unit[0], 5 * pattern.unit[1]), 0.4)
    grid, generator, draws = layer.grid, torch.Generator().manual_seed(4), 400
    bucket = pattern.bucket(grid)
    quota = int(pattern.quotas(layer.units, grid)[0])
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        first = tuple(p for p in pattern.sample(layer.units, grid, generator).tolist() if p < bucket)
        seen[first] = seen.get(first, 0) + 1
    possible = comb(bucket, quota)
    counts = [*seen.values(), *[0] * (possible - len(seen))]
    assert stats.chisquare(counts).pvalue > 1e-4


@each_case
def test_random_growth_adds_exactly_what_is_wanted_and_keeps_the_rest(case: Case) -> None:
    """Occupied positions are never drawn, and none is lost."""
    grid, generator = case.grid, torch.Generator().manual_seed(1)
    taken = case.sample()
    keep = taken[torch.rand(taken.numel(), generator=generator) < 0.5]
    free = case.pattern.bucket(grid) - case.pattern.count(keep, grid)
    want = (free * torch.rand(free.numel(), generator=generator)).long()
    grown = case.pattern.grow_random(keep, want, grid, generator)
    assert set(keep.tolist()) <= set(grown.tolist())
    assert torch.equal(case.pattern.count(grown, grid), case.pattern.count(keep, grid) + want)
    assert bool((grown.diff() > 0).all())


@each_pattern
def test_random_growth_is_uniform_over_free_positions(pattern: Pattern) -> None:
    """Chi-square over what is left free when some positions are taken."""
    layer = case(pattern, (pattern.unit[0], 24), 0.25)
    grid, generator, draws = layer.grid, torch.Generator().manual_seed(9), 400
    taken = layer.sample(seed=2)
    bucket = pattern.bucket(grid)
    want = torch.zeros(grid.size // bucket, dtype=torch.int64)
    want[0] = 1
    hits = torch.zeros(bucket)
    for _ in range(draws):
        new = set(pattern.grow_random(taken, want, grid, generator).tolist()) - set(taken.tolist())
        hits[new.pop()] += 1
    free = [p for p in range(bucket) if p not in set(taken.tolist())]
    assert int(hits.sum()) == draws
    assert int(hits[free].sum()) == draws
    assert stats.chisquare(hits[free].tolist()).pvalue > 1e-4


@each_pattern
def test_sampling_costs_memory_of_connections_not_of_the_layer(pattern: Pattern) -> None:
    """A layer of 2^42 positions: anything of dense size could not be allocated."""
    shape = fit(pattern, (4 * pattern.unit[0], 1 << 40))
    try:
        units = pattern.budget(2.0 / shape[1], shape)
    except DensityError:
        pytest.skip("the pattern fixes a density: its connections are of dense size")
    positions = pattern.sample(units, pattern.grid(shape), torch.Generator().manual_seed(0))
    pattern.validate(positions, pattern.grid(shape))
    assert positions.numel() == units == 8 // pattern.unit[1]
    assert torch.equal(
        pattern.decode(pattern.encode(positions, pattern.grid(shape)), pattern.grid(shape)), positions
    )
    grown = pattern.grow_random(positions, pattern.count(positions, pattern.grid(shape)), pattern.grid(shape))
    assert grown.numel() == 2 * units


@each_pattern
def test_same_seed_same_topology(pattern: Pattern) -> None:
    """And another seed gives another one."""
    layer = case(pattern, (16, 64), 0.25)
    assert torch.equal(layer.sample(1), layer.sample(1))
    assert not torch.equal(layer.sample(1), layer.sample(2))


# --- storing ------------------------------------------------------------------------------------------------


@given(cases(), st.integers(0, 2**31))
def test_encode_and_decode_are_inverses(case: Case, seed: int) -> None:
    """No position is lost in the narrow index tensors, whatever the shape."""
    positions, grid = case.sample(seed), case.grid
    index = case.pattern.encode(positions, grid)
    assert torch.equal(case.pattern.decode(index, grid), positions)
    again = Topology.from_index(case.pattern, case.shape, index)
    assert torch.equal(again.positions, positions)
    assert again.connections == positions.numel() * grid.members


@given(cases(), st.integers(0, 2**31))
def test_pack_and_unpack_are_inverses(case: Case, seed: int) -> None:
    """Values go to their positions and nowhere else, and come back in the same order."""
    positions, grid = case.sample(seed), case.grid
    values = torch.arange(1.0, positions.numel() * grid.members + 1)
    dense = case.pattern.unpack(values, positions, grid)
    assert tuple(dense.shape) == case.shape
    assert torch.equal(case.pattern.pack(dense, positions, grid), values)
    assert int(dense.count_nonzero()) == values.numel()
    assert torch.equal(dense != 0, Topology(case.pattern, case.shape, positions).mask())


@given(cases())
def test_flat_order_is_by_row_of_units_then_column_then_member(case: Case) -> None:
    """The order decision record 1 promises, written out as loops."""
    positions, grid = case.sample(), case.grid
    dense = torch.arange(float(case.shape[0] * case.shape[1])).view(case.shape)
    expected = [
        dense[(p // grid.cols) * grid.h + i, (p % grid.cols) * grid.w + j].item()
        for p in positions.tolist()
        for i in range(grid.h)
        for j in range(grid.w)
    ]
    assert case.pattern.pack(dense, positions, grid).tolist() == expected


@each_pattern
@pytest.mark.parametrize("inputs", [60, 65_536, 65_537])
def test_indices_are_as_narrow_as_the_layer_allows(pattern: Pattern, inputs: int) -> None:
    """Two bytes a connection up to 65,536 inputs, four beyond; the last input is reachable."""
    shape = fit(pattern, (pattern.unit[0], inputs))
    density = density_near(pattern, 4 * pattern.unit[1] / shape[1], shape)
    grid = pattern.grid(shape)
    positions = pattern.sample(pattern.budget(density, shape), grid)
    index = pattern.encode(positions, grid)
    largest = max(index.values(), key=torch.Tensor.numel)
    assert all(tensor.dtype in INTEGERS for tensor in index.values())
    per_entry = [t.dtype.itemsize for t in index.values() if t.numel() >= positions.numel()]
    assert max(per_entry) <= (2 if shape[1] <= 1 << 16 else 4), largest.dtype
    assert torch.equal(pattern.decode(index, grid), positions)


@each_pattern
def test_the_first_and_last_position_survive_encoding(pattern: Pattern) -> None:
    """The corners of a layer of 65,536 and of 65,537 inputs: where a narrow index would wrap."""
    for inputs in (65_536, 65_537):
        shape = fit(pattern, (pattern.unit[0], inputs))
        grid = pattern.grid(shape)
        quota = pattern.quotas(pattern.budget(density_near(pattern, 2 / shape[1], shape), shape), grid)
        bucket = pattern.bucket(grid)
        starts = torch.arange(quota.numel()) * bucket
        last = torch.cat(
            [
                start + torch.arange(bucket - int(q), bucket)
                for start, q in zip(starts[-2:], quota[-2:], strict=True)
            ]
        )
        first = pattern.sample(int(quota.sum()), grid)
        positions = torch.cat([first[first < starts[-2:][0]], last])
        assert torch.equal(pattern.decode(pattern.encode(positions, grid), grid), positions)
        assert int(positions[-1]) == grid.size - 1


@each_pattern
def test_name_and_pattern_are_inverses(pattern: Pattern) -> None:
    """What is written to a file finds its way back; patterns are values: equal and hashable."""
    assert parse(str(pattern)) == pattern
    assert hash(parse(str(pattern))) == hash(pattern)
    assert parse(f" {str(pattern).upper()} ") == pattern


@each_pattern
def test_kernel_arguments_start_with_the_shape(pattern: Pattern) -> None:
    """``dims`` is plain integers, output first."""
    shape = fit(pattern, (8, 48))
    assert tuple(pattern.dims(shape)[:2]) == shape
    assert all(type(d) is int for d in pattern.dims(shape))
    assert isinstance(pattern.layout, str)


# --- projecting ---------------------------------------------------------------------------------------------


@given(cases(), st.integers(0, 2**31))
def test_projection_is_the_best_topology_and_the_first_of_equals(case: Case, seed: int) -> None:
    """Against a plain sort in every bucket; scores are small integers, so there are many ties."""
    grid = case.grid
    scores = torch.randint(0, 4, case.shape, generator=torch.Generator().manual_seed(seed)).float()
    units = (
        case.pattern.pack(scores, torch.arange(grid.size), grid).view(grid.size, grid.members).sum(1).tolist()
    )
    bucket, quotas = case.pattern.bucket(grid), case.pattern.quotas(case.units, grid).tolist()
    expected: list[int] = []
    for number, quota in enumerate(quotas):
        members = range(number * bucket, (number + 1) * bucket)
        expected += sorted(sorted(members, key=lambda p: (-units[p], p))[:quota])
    projected = case.pattern.project(scores, case.units, grid)
    case.pattern.validate(projected, grid)
    assert projected.tolist() == expected


@each_pattern
def test_projection_refuses_scores_of_another_shape_and_nan(pattern: Pattern) -> None:
    """Neither is silently accepted."""
    layer = case(pattern, (16, 24), 0.3)
    scores = torch.rand(layer.shape)
    with pytest.raises(ShapeError) as error:
        pattern.project(scores[:, 1:], layer.units, layer.grid)
    complains(error, "project", str(layer.shape[0]))
    for bad in (float("nan"), float("inf")):
        scores[0, 0] = bad
        with pytest.raises(NonFiniteError) as refused:
            pattern.project(scores, layer.units, layer.grid)
        complains(refused, "finite")


# --- refusing -----------------------------------------------------------------------------------------------


@each_pattern
@pytest.mark.parametrize("density", [0.0, -0.1, 1.0001, 7.0, float("nan"), float("inf"), -float("inf")])
def test_impossible_densities_are_refused_with_the_possible_ones(pattern: Pattern, density: float) -> None:
    """The message says which densities can be met and what was asked for."""
    shape = fit(pattern, (16, 24))
    with pytest.raises(DensityError) as error:
        pattern.budget(density, shape)
    complains(error, "density", str(density), str(pattern), str(shape))


@each_pattern
def test_there_is_never_a_layer_without_connections(pattern: Pattern) -> None:
    """A density too small for one connection is refused, or (zeros are rounded down) gives a single one."""
    shape = fit(pattern, (16, 24))
    if pattern.name == "unstructured":
        assert pattern.budget(1e-9, shape) == 1
        return
    with pytest.raises(DensityError) as error:
        pattern.budget(1e-9, shape)
    complains(error, "1e-09", str(pattern))


@each_pattern
def test_densities_with_an_exact_count_give_exactly_it(pattern: Pattern) -> None:
    """No connection is lost or won to binary fractions: 90 % of 100 inputs is 90, not 89 or 91."""
    counted, step = {}, getattr(pattern, "m", pattern.unit[1])
    for percent in range(1, 100):
        with suppress(DensityError, PatternError):
            counted[percent] = pattern.budget(percent / 100, (pattern.unit[0], 100))
    assert counted == {percent: percent // pattern.unit[1] for percent in counted}
    assert counted or 100 % step


@each_pattern
@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (0, 0), (-8, 8)])
def test_empty_layers_are_refused(pattern: Pattern, shape: tuple[int, int]) -> None:
    """A layer needs an input and an output."""
    with pytest.raises(PatternError) as error:
        pattern.grid(shape)
    complains(error, str(pattern))


@each_pattern
def test_shapes_the_pattern_does_not_divide_are_refused(pattern: Pattern) -> None:
    """With the divisor in the message."""
    out, inputs = fit(pattern, (16, 24))
    step = getattr(pattern, "m", pattern.unit[1])
    for shape, divisor in (((out + 1, inputs), pattern.unit[0]), ((out, inputs + 1), step)):
        if divisor == 1:
            assert pattern.grid(shape).size
            continue
        with pytest.raises(PatternError) as error:
            pattern.grid(shape)
        complains(error, f"by {divisor}", "skip=")


@each_pattern
def test_validate_refuses_every_kind_of_broken_topology(pattern: Pattern) -> None:
    """Order, repeats, range, dtype, dimensions, size; and the checker changes nothing."""
    layer = case(pattern, (16, 24), 0.5)
    good, grid = layer.sample(), layer.grid
    doubled = good.clone()
    doubled[1] = doubled[0]
    negative = good.clone()
    negative[0] = -1
    beyond = good.clone()
    beyond[-1] = grid.size
    broken = {
        "unsorted": good.flip(0),
        "repeated": doubled,
        "negative": negative,
        "out of range": beyond,
        "int32": good.int(),
        "float": good.double(),
        "2-D": good.view(1, -1),
        "too many": torch.arange(grid.size + 1),
    }
    for what, positions in broken.items():
        before = positions.clone()
        with pytest.raises(TopologyError) as error:
            pattern.validate(positions, grid)
        complains(error, f"{pattern}.validate")
        assert torch.equal(positions, before), what
    pattern.validate(good, grid)


@each_pattern
def test_validate_refuses_buckets_that_break_the_pattern(pattern: Pattern) -> None:
    """One unit moved to another bucket: refused by every pattern that has more than one bucket."""
    layer = case(pattern, (32, 24), 0.3)
    good, grid = layer.sample(), layer.grid
    if grid.size == pattern.bucket(grid):
        assert pattern.check_counts(pattern.count(good[1:], grid), grid) == ""
        return
    with pytest.raises(TopologyError) as error:
        pattern.validate(good[1:], grid)
    complains(error, str(pattern))
    with pytest.raises(TopologyError) as error:
        pattern.encode(good[1:], grid)
    complains(error, "encode")


@settings(max_examples=400)
@given(cases(), st.data())
def test_hostile_index_tensors_are_refused_or_harmless(case: Case, data: st.DataObject) -> None:
    """One index tensor damaged in any way: an error with a message, or a topology that passes every check."""
    index = case.pattern.encode(case.sample(), case.grid)
    name = data.draw(st.sampled_from(sorted(index)))
    tensor = index[name].clone()
    kind = data.draw(
        st.sampled_from(["entry", "truncate", "extend", "flatten", "unsqueeze", "empty", "scalar", "expand"])
    )
    limit = INTEGERS[tensor.dtype] - 1
    low = 0 if tensor.dtype in (torch.uint8, torch.uint16) else -limit
    if kind == "entry" and tensor.numel():
        value = data.draw(st.one_of(st.integers(low, limit), st.sampled_from([low, limit, 0])))
        wide = tensor.to(torch.int64)
        wide.view(-1)[data.draw(st.integers(0, tensor.numel() - 1))] = value
        tensor = wide.to(tensor.dtype)
    elif kind == "truncate":
        tensor = tensor[:-1]
    elif kind == "extend":
        tensor = torch.cat([tensor.to(torch.int64), tensor[-1:].to(torch.int64)]).to(tensor.dtype)
    elif kind == "flatten":
        tensor = tensor.reshape(-1)
    elif kind == "unsqueeze":
        tensor = tensor.unsqueeze(data.draw(st.integers(0, 1)))
    elif kind == "empty":
        tensor = tensor.reshape(-1)[:0]
    elif kind == "scalar":
        tensor = tensor.reshape(-1)[0] if tensor.numel() else tensor.sum()
    elif kind == "expand":
        tensor = tensor.unsqueeze(0).repeat(2, *[1] * tensor.dim())
    index[name] = tensor
    try:
        topology = Topology.from_index(case.pattern, case.shape, index)
    except TopologyError:
        return
    case.pattern.validate(topology.positions, case.grid)
    assert topology.connections <= case.shape[0] * case.shape[1]


@each_pattern
def test_decode_says_which_index_is_out_of_range(pattern: Pattern) -> None:
    """A column (or offset) beyond the layer is named."""
    layer = case(pattern, (16, 24), 0.3)
    index = pattern.encode(layer.sample(), layer.grid)
    name = max(
        index, key=lambda key: index[key].numel() * index[key].dtype.itemsize if key != "row_ptr" else 0
    )
    index[name] = torch.full_like(index[name], 200)
    with pytest.raises(TopologyError) as error:
        pattern.decode(index, layer.grid)
    complains(error, "200", f"{pattern}.decode")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat",
        "fanin:3",
        "fanin:x",
        "fanin:4:4",
        "nm",
        "nm:1",
        "nm:0:4",
        "nm:5:4",
        "nm:1:1",
        "nm:1:257",
        "unstructured:2",
    ],
)
def test_bad_pattern_names_are_refused(text: str) -> None:
    """An unknown name, a wrong number of arguments or one out of range: a ConfigError with what was got."""
    with pytest.raises(ConfigError) as error:
        parse(text)
    complains(error)


# --- counting -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WholeNeurons(Pattern):
    """A pattern from outside: a neuron has all its inputs or none; stored as a fan-in of everything."""

    name = "whole"
    layout = "fanin"

    def grid(self, shape: Shape) -> Grid:
        """A unit is a row."""
        return Grid(shape[0], 1, 1, shape[1])

    def bucket(self, grid: Grid) -> int:
        """The layer."""
        return grid.size

    def budget(self, density: float, shape: Shape) -> int:
        """Neurons."""
        return max(1, int(density * shape[0]))

    def quotas(self, units: int, grid: Grid) -> torch.Tensor:
        """One bucket."""
        return torch.tensor([units])

    def encode(self, positions: torch.Tensor, grid: Grid) -> Index:
        """Every input of every neuron that is there."""
        every = torch.arange(grid.w).expand(positions.numel(), -1)
        types = [dtype_named(narrow(limit)) for limit in (grid.rows, grid.w)]
        return {"rows": positions.to(types[0]), "col": every.to(types[1])}

    def decode(self, index: Index, grid: Grid) -> torch.Tensor:
        """The neurons."""
        return index["rows"].to(torch.int64)

    @property
    def parameters(self) -> dict[str, int]:
        """Of a fan-in."""
        return {"group": 1}


@pytest.mark.parametrize("pattern", [*PATTERNS, WholeNeurons()], ids=str)
def test_layers_count_their_connections_whatever_a_unit_is(pattern: Pattern) -> None:
    """What the index says, what the mask says and what the weights hold is one number, after an update as well."""
    shape = fit(pattern, (16, 32))
    density = density_near(pattern, 0.25, shape)
    masked = gs.MaskedLinear(shape[1], shape[0], density=density, pattern=pattern)
    packed = gs.SparseLinear(shape[1], shape[0], density=density, pattern=pattern)
    packed.assign(masked.topology, masked.unit_values().reshape(-1))
    for _ in range(2):
        assert packed.connections == int(masked.mask.sum()) == masked.connections
        assert torch.equal(packed.unit_values(), masked.unit_values())
        x = torch.randn(3, shape[1])
        torch.testing.assert_close(packed(x), masked(x))
        fewer = packed.topology
        kept = torch.arange(fewer.positions.numel()) % 2 == 0
        if fewer.pattern.check_counts(fewer.pattern.count(fewer.positions[kept], fewer.grid), fewer.grid):
            break  # this pattern has one count only
        change = TopologyChange.between(fewer, replace(fewer, positions=fewer.positions[kept]))
        packed.carry(change)
        masked.carry(change)


def test_whole_neurons_on_the_fan_in_layout_by_hand() -> None:
    """Four neurons of six inputs: 24 connections."""
    layer = gs.SparseLinear(6, 8, density=0.5, pattern=WholeNeurons())
    assert (layer.connections, layer.unit_values().shape) == (24, (4, 6))
    assert f"connections={24}" in layer.extra_repr()


def test_whole_neurons_train_the_same_in_both_homes() -> None:
    """Growth by gradient included: a neuron is scored as a whole."""
    ends = []
    for home in ("packed", "masked"):
        model = make_model(home, WholeNeurons(), torch.float64)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        engine = gs.attach(model, optimizer, gs.RigL(every=2), total_steps=12)
        losses = [train_step(model, optimizer, step, torch.float64) for step in range(12)]
        assert sum(row.grown for row in engine.history) > 0
        ends.append((losses, [row.connections for row in engine.history]))
    assert ends[0][0] == pytest.approx(ends[1][0])
    assert ends[0][1] == ends[1][1]
