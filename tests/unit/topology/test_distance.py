"""NNSTD: hand-made cases, published values, an oracle over all permutations, and what must hold for any networks."""

from __future__ import annotations

import sys
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.errors import ConfigError, GossamerError, MemoryShortage, MissingPackage, ShapeError
from gossamer.patterns import NM, Block, FanIn, Unstructured
from gossamer.topology import FullTopology, Topology, distance_matrix, nnstd, null_model, similarity
from gossamer.topology.neurons import Neurons

WAYS = ("hungarian", "greedy")


def layer(*neurons: set[int], width: int) -> Topology:
    """A layer by the inputs of its neurons."""
    places = sorted(number * width + each for number, inputs in enumerate(neurons) for each in inputs)
    return Topology(Unstructured(), (len(neurons), width), torch.tensor(places, dtype=torch.int64))


def sets_of(topology: Topology) -> list[set[int]]:
    return [set(row.nonzero().flatten().tolist()) for row in topology.mask()]


def apart(one: set[int], two: set[int]) -> float:
    return len(one ^ two) / len(one | two) if one | two else 0.0


def drawn(sizes: tuple[int, ...], density: float, seed: int) -> list[Topology]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(out, inp) for inp, out in pairwise(sizes)]
    return [Topology.from_mask(torch.rand(shape, generator=generator) < density) for shape in shapes]


def permuted(network: list[Topology], seed: int) -> list[Topology]:
    """The same network with its hidden neurons in another order."""
    generator, order = torch.Generator().manual_seed(seed), None
    found = []
    for number, each in enumerate(network):
        mask = each.mask() if order is None else each.mask()[:, order]
        hidden = number < len(network) - 1
        order = torch.randperm(each.shape[0], generator=generator) if hidden else torch.arange(each.shape[0])
        found.append(Topology.from_mask(mask[order]))
    return found


@pytest.mark.parametrize("matching", WAYS)
def test_two_neurons_by_hand(matching: str) -> None:
    """{1,2,3} and {4,5} beside {4,5} and {1,2,6}: half of four inputs differ, then none of two."""
    one, two = layer({1, 2, 3}, {4, 5}, width=7), layer({4, 5}, {1, 2, 6}, width=7)
    found = nnstd(one, two, matching=matching)
    assert (found.value, found.unmatched, found.layers[0].matching.tolist()) == (0.25, 1.0, [1, 0])


@pytest.mark.parametrize(
    ("density", "matched", "identity"),
    [(0.006, 0.818, 0.996), (0.02, 0.897, 0.989), (0.05, 0.904, 0.974), (0.2, 0.830, 0.889)],
)
def test_independent_random_layers_are_as_far_apart_as_published_code_says(
    density: float, matched: float, identity: float
) -> None:
    """784 x 784, every connection with the same probability; what chance gives is far below 1."""
    one, two = (drawn((784, 784), density, seed) for seed in (0, 1))
    found = nnstd(one, two, published=True)
    assert found.value == pytest.approx(matched, abs=0.01)  # of one draw; seeds differ by about 0.004
    assert found.unmatched == pytest.approx(identity, abs=0.003)
    near = nnstd(one, two, published=True, matching="greedy").value
    assert found.value <= near + 1e-9 <= 1.01 * found.value


@pytest.mark.parametrize("seed", range(4))
def test_the_hungarian_matching_is_the_best_of_all(seed: int) -> None:
    one, two = (drawn((7, 5), 0.4, 10 * seed + side)[0] for side in (0, 1))
    mine, theirs = sets_of(one), sets_of(two)
    best = min(
        sum(apart(mine[i], theirs[j]) for i, j in enumerate(order)) for order in permutations(range(5))
    )
    assert nnstd(one, two, published=True).value == pytest.approx(best / 5, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_the_nearest_pair_of_those_that_are_left(seed: int) -> None:
    """Checked pair by pair, so that any order of equals is right."""
    one, two = (drawn((12, 30), 0.3, 10 * seed + side)[0] for side in (0, 1))
    order = nnstd(one, two, matching="greedy").layers[0].matching.tolist()
    mine, theirs = sets_of(one), sets_of(two)
    cost = {(i, j): apart(mine[i], theirs[j]) for i in range(30) for j in range(30)}
    for i, j in sorted(enumerate(order), key=cost.__getitem__):
        assert cost[i, j] == min(cost.values())
        cost = {pair: value for pair, value in cost.items() if pair[0] != i and pair[1] != j}
    assert cost == {}


def test_a_matched_neuron_is_followed_into_the_next_layer() -> None:
    """Two neurons change places; what reads them reads their new numbers. Without following, the reader is at 1."""
    one = [layer({0, 1}, {2, 3}, width=4), layer({0}, width=2)]
    two = [layer({2, 3}, {0, 1}, width=4), layer({1}, width=2)]
    assert [each.distance for each in nnstd(one, two).layers] == [0, 0]
    assert [each.distance for each in nnstd(one, two, follow=False).layers] == [0, 1]
    assert [each.unmatched for each in nnstd(one, two).layers] == [1, 1]


networks = st.tuples(
    st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple), st.floats(0, 1), st.integers(0, 10**6)
)


@settings(max_examples=40, deadline=None)
@given(given_=networks, matching=st.sampled_from([*WAYS, "identity"]), published=st.booleans())
def test_what_holds_for_any_two_networks(given_, matching, published) -> None:
    """0 to itself, the same bits in both orders, from 0 to 1; partners are each other's partners."""
    sizes, density, seed = given_
    one, two = drawn(sizes, density, seed), drawn(sizes, density, seed + 1)
    there, back = (nnstd(*pair, matching=matching, published=published) for pair in ((one, two), (two, one)))
    assert nnstd(one, one, matching=matching, published=published).value == 0
    assert there.value == back.value
    assert there.unmatched == back.unmatched
    for each, other in zip(there.layers, back.layers, strict=True):
        assert 0 <= each.distance <= 1
        assert each.matching[other.matching].tolist() == list(range(each.matching.numel()))
    if matching == "hungarian":
        first = nnstd(one[0], two[0], published=True).layers[0]
        assert first.distance <= first.unmatched + 1e-9


@settings(max_examples=60, deadline=None)
@given(given_=networks, matching=st.sampled_from(WAYS), order=st.integers(0, 99))
def test_the_order_of_hidden_neurons_changes_nothing(given_, matching, order) -> None:
    """A network is itself, and its first layer is as far from any other."""
    sizes, density, seed = given_
    one, two = drawn(sizes, density, seed), drawn(sizes, density, seed + 1)
    assert nnstd(one, permuted(one, order), matching=matching).value == 0
    plain, turned = (nnstd(one[0], other[0]).value for other in (two, permuted(two, 3)))
    assert plain == pytest.approx(turned, abs=1e-9)


@pytest.mark.parametrize("matching", WAYS)
def test_readers_that_are_read_alike_are_told_apart_by_their_other_inputs(matching: str) -> None:
    """Neurons 0 and 1 have equal inputs, and the last neuron reads both of their readers."""
    one = [layer({0}, {0}, {1}, {2}, width=3), layer({0, 2}, {1, 3}, width=4), layer({0, 1}, width=2)]
    for seed in range(8):
        assert nnstd(one, permuted(one, seed), matching=matching).value == 0


@pytest.mark.parametrize("matching", WAYS)
def test_two_choices_among_equals_go_together(matching: str) -> None:
    """Neurons 0 and 2, and 1 and 3, play the same part; who exchanges one pair has to exchange the other."""
    one = [layer({0}, {1}, {0}, {1}, width=2), layer({0, 1}, {2, 3}, width=4), layer({0, 1}, width=2)]
    for order in permutations(range(4)):
        place = torch.tensor(order)
        two = [Topology.from_mask(one[0].mask()[place]), Topology.from_mask(one[1].mask()[:, place]), one[2]]
        assert nnstd(one, two, matching=matching).value == 0


@pytest.mark.parametrize("matching", WAYS)
def test_wide_and_thin_networks_are_themselves(matching: str) -> None:
    """Two of a hundred inputs each, some neurons have none: many equals, and choices that depend on each other."""
    for sizes, density, seed in (((100, 100, 100, 10), 0.02, 0), ((300, 300, 300, 10), 0.004, 2)):
        one = drawn(sizes, density, seed)
        assert nnstd(one, permuted(one, 1), matching=matching).value == 0


def test_one_connection_less_is_near() -> None:
    """Neurons that are matched by their surroundings are so still, where something is changed elsewhere."""
    found = []
    for seed in range(6):
        one = drawn((100, 100, 100, 10), 0.02, seed)
        two = [one[0], Topology(one[1].pattern, one[1].shape, one[1].positions[1:]), one[2]]
        found.append(nnstd(one, permuted(two, seed)).value)
    assert 0 < sum(found) / 6 < 0.01  # 0.005; by the colours of the whole network alone 0.02


@pytest.mark.parametrize("matching", WAYS)
def test_neurons_with_equal_inputs_are_told_apart_by_what_reads_them(matching: str) -> None:
    """Three neurons read the same inputs, two read nothing; only their readers say which is which."""
    one = [layer({0, 1}, {0, 1}, {0, 1}, set(), set(), width=3), layer({0, 3}, {1, 4}, {2}, width=5)]
    for seed in range(6):
        assert nnstd(one, permuted(one, seed), matching=matching).value == 0


def test_neurons_of_a_dense_layer_are_told_apart_by_what_reads_them() -> None:
    one = [FullTopology((6, 4)), drawn((6, 8), 0.4, 0)[0]]
    two = permuted(one, 1)
    assert [each.distance for each in nnstd(one, two).layers] == [0, 0]
    assert nnstd(one, two).layers[0].matching.tolist() != list(range(6))


def test_dead_neurons_and_dense_layers_count_as_published_only_if_asked() -> None:
    """One pair of four is at 1, two are dead on both sides; a dense layer at 0 follows."""
    one = [layer({0}, {1}, set(), set(), width=3), FullTopology((2, 4))]
    two = [layer({2}, {1}, set(), set(), width=3), FullTopology((2, 4))]
    own, published = nnstd(one, two), nnstd(one, two, published=True)
    assert (own.value, own.layers[0].neurons) == (0.5, 2)
    assert (published.layers[0].distance, published.value) == (0.25, 0.125)
    assert [each.counted for each in own.layers] == [True, False]


def test_a_layer_that_is_empty_on_both_sides_says_nothing() -> None:
    one, two = ([layer({at}, width=2), layer(set(), width=1)] for at in (0, 1))
    assert (nnstd(one, two).value, nnstd(one, two, published=True).value) == (1, 0.5)


def test_a_dense_layer_beside_a_sparse_one() -> None:
    one, two = FullTopology((2, 4)), layer({0}, {0, 1, 2}, width=4)
    assert nnstd(one, two).value == nnstd(two, one).value == 1 - 4 / 8


@pytest.mark.parametrize("pattern", [FanIn(), FanIn(group=2), NM(1, 4), Block(2, 4), Unstructured()], ids=str)
def test_every_pattern_is_read_as_its_mask(pattern) -> None:
    grid = pattern.grid((8, 16))
    positions = pattern.sample(pattern.budget(0.25, (8, 16)), grid, torch.Generator().manual_seed(0))
    topology = Topology(pattern, (8, 16), positions)
    assert [
        set(each.inputs.tolist()) for each in (Neurons.of(topology).part(i, i + 1) for i in range(8))
    ] == sets_of(topology)
    assert null_model(topology)["0"].connections == topology.connections


def test_pieces_make_no_difference(monkeypatch) -> None:
    one, two = (drawn((40, 33), 0.2, seed) for seed in (0, 1))
    whole = [nnstd(one, two, matching=way).layers[0].matching.tolist() for way in WAYS]
    monkeypatch.setattr(similarity, "TABLE", 40 * 7)
    monkeypatch.setattr(similarity, "PAIRS", 35)
    assert [nnstd(one, two, matching=way).layers[0].matching.tolist() for way in WAYS] == whole


def test_a_matrix_of_distances() -> None:
    nets = [drawn((9, 7, 3), 0.4, seed) for seed in range(3)]
    told: list[tuple[int, int]] = []
    found = distance_matrix(nets, told=lambda *at: told.append(at))
    assert torch.equal(found, found.T)
    assert found.diag().tolist() == [0, 0, 0]
    assert found[0, 2].item() == nnstd(nets[0], nets[2]).value
    assert told == [(1, 3), (2, 3), (3, 3)]


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", [*WAYS, "identity"])
@pytest.mark.parametrize("published", [False, True])
def test_empty_layers_and_single_neurons(matching: str, published: bool) -> None:
    """Nothing beside nothing is 0, nothing beside something is 1."""
    empty, full = layer(set(), width=1), FullTopology((1, 1))
    some, none = layer({0}, {1}, width=2), layer(set(), set(), width=2)
    for one, two, expected in ((empty, empty, 0), (empty, full, 1), (none, none, 0), (some, none, 1)):
        assert nnstd(one, two, matching=matching, published=published).value == expected


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (
            layer({0}, width=2),
            layer({0}, width=3),
            "layer '0': expected two layers of 1 neurons with 2 inputs, got 1 neurons with 3 inputs",
        ),
        (
            {"a": layer({0}, width=2)},
            {"b": layer({0}, width=2)},
            "expected two networks with the layers 'a', got 'b'",
        ),
        ([layer({0}, width=2)] * 2, [layer({0}, width=2)], "expected two networks"),
        (
            [layer({0}, width=2)] * 2,
            [layer({0}, width=2)] * 2,
            "'1' reads the 1 neurons of '0', got 2 inputs; .*follow=False",
        ),
    ],
    ids=["shape", "names", "number", "not in a row"],
)
def test_networks_that_do_not_fit(one, two, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        nnstd(one, two)


@pytest.mark.parametrize("given_", [[], {}, (), None, torch.ones(2, 2), [torch.ones(2, 2)], "net"])
def test_what_is_no_network(given_) -> None:
    with pytest.raises(ConfigError, match=r"nnstd: expected (at least one layer|a Topology)"):
        nnstd(given_, layer({0}, width=2))


def test_settings_that_are_not_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'greedy'"):
        nnstd(layer({0}, width=2), layer({0}, width=2), matching="gredy")
    with pytest.raises(ConfigError, match="at least one network"):
        distance_matrix([])
    with pytest.raises(ShapeError, match="from_mask"):
        Topology.from_mask(torch.ones(3))
    with pytest.raises(ShapeError, match=r"as a tensor, got ndarray; .*torch.from_numpy"):
        Topology.from_mask(torch.ones(3, 3).numpy())


def test_without_scipy_greedy_still_works(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    one, two = layer({0}, width=2), layer({1}, width=2)
    assert nnstd(one, two, matching="greedy").value == 1
    with pytest.raises(MissingPackage, match=r"gossamer\[train\].*greedy") as caught:
        nnstd(one, two)
    assert isinstance(caught.value, GossamerError)


def test_too_many_pairs_are_refused_before_they_are_made() -> None:
    wide = Topology(Unstructured(), (2_000_000, 3), torch.tensor([0]))
    with pytest.raises(MemoryShortage, match="greedy"):
        nnstd(wide, Topology(Unstructured(), (2_000_000, 3), torch.tensor([1])))
