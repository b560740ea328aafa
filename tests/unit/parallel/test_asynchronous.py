"""WASAP-SGD: the invariants of its phases, and what its messages hold."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, TopologyError
from gossamer.parallel import average, check_wasap, thinned
from gossamer.parallel.messages import Flat, decode, encode
from gossamer.patterns import parse
from gossamer.topology import Topology
from processes import run_ranks
from rank_programs import built, by_itself, first_phase, many, positions, two_phases

HEADER = 7 * 8


PATTERNS = ["unstructured", "fanin", "fanin:4", "nm:1:8", "block:4"]


def by_pattern(answers):
    """Answers of the ranks for each pattern."""
    return dict(zip(PATTERNS, zip(*answers, strict=True), strict=True))


@pytest.fixture(scope="module")
def one_worker():
    """A first phase of every pattern, with one worker."""
    return by_pattern(run_ranks(many, 2, first_phase, [(p, gs.SET(every=4), 22) for p in PATTERNS]))


@pytest.fixture(scope="module")
def two_workers():
    """Two phases of every pattern, with two workers; no sign of life is due within the time limit."""
    cases = [(p, gs.SET(every=4), 8, 13) for p in PATTERNS]
    return by_pattern(run_ranks(many, 3, two_phases, cases, time_limit=200.0))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_worker_is_sequential_training_bit_for_bit(one_worker, pattern):
    server, worker = one_worker[pattern]
    alone = by_itself(pattern, gs.SET(every=4), 22)
    assert server["updates"] == 5
    assert server["losses"] == alone["losses"]
    assert server["bits"] == alone["bits"]
    assert worker["bits"] == {key: value for key, value in alone["bits"].items() if key.startswith("model/")}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_messages_hold_values_and_what_changed_in_the_topology(one_worker, pattern):
    server, worker = one_worker[pattern]
    body, steps, layers = 4 * worker["size"], 22, 2
    assert worker["bytes"][0] == HEADER + steps * (HEADER + body) + HEADER
    differences = 8 * (sum(server["moved"]) + 2 * layers * server["updates"])
    assert worker["bytes"][1] == (steps + 1) * (HEADER + body) + differences
    assert server["bytes"] == worker["bytes"][::-1]


def test_a_rule_that_removes_for_good_acts_on_the_server_and_in_the_second_phase():
    """Penalty, threshold and all: one worker trains as one process; several average to no more than the server had."""
    rule = gs.GroupLasso(every=4, lam=0.4, ramp=gs.RampPruning(every=3))
    server, _ = run_ranks(first_phase, 2, "block:4", rule, 22)
    alone = by_itself("block:4", rule, 22)
    assert server["bits"] == alone["bits"]
    assert server["connections"] == sorted(server["connections"], reverse=True)
    assert server["connections"][-1] < server["connections"][0]
    server, *workers = run_ranks(two_phases, 3, "block:4", rule, 8, 13)
    assert len(server["positions"][0]) <= server["before"][0]
    union = {at for worker in workers for at in worker["positions"][0]}
    assert set(server["positions"][0]) <= union


def test_stale_gradients_keep_the_number_of_connections():
    server, *workers = run_ranks(first_phase, 4, "unstructured", gs.SET(every=5), 20)
    assert server["steps"] == {1: 20, 2: 20, 3: 20}
    assert len(server["losses"]) == 60
    assert server["updates"] == 11  # every 5 of 60, not after the last
    assert set(server["connections"]) == {server["connections"][0]}
    assert sum(server["losses"][-12:]) < 0.6 * sum(server["losses"][:12])
    assert all("model/0.col" in worker["bits"] for worker in workers)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_second_phase_averages_topologies_of_their_own(two_workers, pattern):
    server, *workers = two_workers[pattern]
    first, last = zip(*(worker["positions"] for worker in workers), strict=True)
    assert first[0] != first[1]
    assert last[0] == last[1] == server["positions"][1] == positions(built(pattern))[1]  # the output layer's
    assert [len(layer) for layer in server["positions"]] == server["before"]
    assert set(server["positions"][0]) <= set(first[0]) | set(first[1])
    assert [worker["silent"] for worker in workers] == [0, 0]
    bias = [torch.tensor(worker["bits"]["model/3.bias"]) for worker in workers]
    assert torch.equal(
        torch.tensor(server["bits"]["model/3.bias"]), ((bias[0].double() + bias[1]) / 2).float()
    )


def test_retained_updates_lie_on_existing_connections():
    model = built("unstructured")
    flat = Flat(model)
    old = flat.topologies()
    changed = Topology(
        old[0].pattern, old[0].shape, old[0].pattern.sample(old[0].positions.numel(), old[0].grid)
    )
    gradient = torch.arange(1.0, flat.size + 1)
    before, place = gradient.clone(), flat.places[0]
    flat.retain(gradient, old, [changed, old[1]])
    rest = torch.ones(flat.size, dtype=torch.bool)
    rest[place] = False
    assert torch.equal(gradient[rest], before[rest])
    expected = dict(zip(old[0].positions.tolist(), before[place].tolist(), strict=False))
    retained = [expected.get(position, 0.0) for position in changed.positions.tolist()]
    assert gradient[place][: len(retained)].tolist() == retained
    assert 0 < retained.count(0.0) < len(retained)


@pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:4", "nm:1:8", "block:4"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_averaging_equal_networks_is_the_identity(pattern, count):
    for layer in Flat(built(pattern)).layers:
        topology, values = layer.topology, layer.values.detach()[: layer.connections]
        mean, kept = thinned(*average([(topology, values)] * count), topology)
        assert torch.equal(mean.positions, topology.positions)
        assert torch.equal(kept, values)


def test_connections_whose_mean_is_exactly_zero_stay():
    topology = Topology(parse("unstructured"), (2, 3), torch.tensor([0, 2, 5]))
    values = torch.tensor([1.0, -2.0, 3.0])
    mean, rest = average([(topology, values), (topology, -values)])
    assert mean.positions.tolist() == [0, 2, 5]
    assert rest.tolist() == [0.0, 0.0, 0.0]


def test_thinning_takes_the_same_share_of_each_sign_and_the_weakest_of_it():
    pattern, generator = parse("unstructured"), torch.Generator().manual_seed(3)
    topology, like = (Topology(pattern, (10, 100), torch.arange(n)) for n in (1000, 700))
    values = torch.randn(1000, generator=generator) + 0.3
    kept, rest = thinned(topology, values, like)
    assert kept.connections == 700
    for sign in (1, -1):
        mine, left = sign * values[sign * values > 0], sign * rest[sign * rest > 0]
        assert abs(left.numel() - 0.7 * mine.numel()) <= 1
        assert left.min() >= mine.sort(descending=True).values[left.numel() - 1]


def test_thinning_keeps_the_largest_of_every_neuron():
    pattern = parse("fanin")
    topology = Topology(pattern, (2, 4), torch.arange(8))
    like = Topology(pattern, (2, 4), torch.tensor([0, 1, 4, 5]))
    kept, values = thinned(topology, torch.tensor([1.0, -4.0, 2.0, -3.0, 0.0, 0.5, 0.5, -0.5]), like)
    assert kept.positions.tolist() == [1, 3, 5, 6]
    assert values.tolist() == [-4.0, -3.0, 0.5, 0.5]


def test_differences_of_topologies_come_back_and_damaged_ones_do_not():
    old = Flat(built("unstructured")).topologies()
    new = [Topology(t.pattern, t.shape, t.pattern.sample(t.positions.numel(), t.grid)) for t in old]
    message = encode(old, new)
    assert [t.positions.tolist() for t in decode(old, message)] == [t.positions.tolist() for t in new]
    moved = sum(len({*a.positions.tolist()} ^ {*b.positions.tolist()}) for a, b in zip(old, new, strict=True))
    assert message.numel() == 4 + moved
    for damaged in (message[:-1], message[:1], torch.cat([torch.tensor([-1]), message[1:]])):
        with pytest.raises(TopologyError):
            decode(old, damaged)


def test_what_is_not_for_a_server_is_refused():
    with pytest.raises(ConfigError, match="grows at random"):
        check_wasap(built("fanin"), gs.RigL())
    with pytest.raises(ConfigError, match="packed layers"):
        Flat(built("fanin", home="masked"))
    with pytest.raises(ConfigError, match="without running statistics"):
        Flat(torch.nn.Sequential(built("fanin"), torch.nn.BatchNorm1d(16)))
    with pytest.raises(ConfigError, match=r"one dtype.*float32, torch\.float64"):
        Flat(torch.nn.Sequential(built("fanin"), torch.nn.Linear(2, 2).double()))
