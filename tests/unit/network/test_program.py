"""One executor: values take a slot, are read, and are gone; the same on arrays and on tensors."""

from __future__ import annotations

import tracemalloc
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from gossamer.freezing.tensor_steps import TENSORS
from gossamer.network.array_steps import ARRAYS
from gossamer.network.graph import Call, Graph, Node
from gossamer.network.program import Program

KINDS = {"arrays": ARRAYS, "tensors": TENSORS}


def chain(length: int, *, skip: bool) -> Graph:
    """relu, relu, ...; with ``skip`` the first value is added to the last."""
    names = ["x", *(f"n{number}" for number in range(length))]
    nodes = [Node(name, (before,), Call("relu")) for before, name in pairwise(names)]
    if skip:
        nodes.append(Node("sum", (names[-1], "n0"), Call("add")))
    return Graph(("x",), tuple(nodes), nodes[-1].name)


def value(kind: str, size: int) -> Any:
    return np.ones((size,), np.float32) if kind == "arrays" else torch.ones(size)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_gone_once_nobody_reads_them(kind: str) -> None:
    """Of a chain of fifty, two at a time and the one that is read at the end."""
    program = Program(chain(50, skip=True), 0, KINDS[kind])
    alive: list[int] = []
    made: list[Any] = []

    def watched(run: Any) -> Any:
        def step(*values: Any) -> Any:
            result = run(*values)
            made.append(weakref.ref(result))
            alive.append(sum(each() is not None for each in made))
            return result

        return step

    program.steps = [step._replace(run=watched(step.run)) for step in program.steps]
    result = program(value(kind, 4))
    assert result.tolist() == [2.0] * 4
    assert max(alive) == 3
    assert program.size == 2
    del result
    assert not any(each() is not None for each in made)


def test_a_long_chain_takes_the_memory_of_three_values() -> None:
    program, size = Program(chain(50, skip=True), 0, ARRAYS), 1 << 18
    x = np.ones(size, np.float32)
    tracemalloc.start()
    program(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * x.nbytes  # three values, and what one ReLU needs


def test_a_straight_line_needs_no_slots() -> None:
    program = Program(chain(5, skip=False), 0, ARRAYS)
    assert len(program.line or ()) == 5
    assert program.size == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_is_read_twice_and_one_that_is_the_output(kind: str) -> None:
    nodes = (
        Node("a", ("x", "x"), Call("add")),
        Node("b", ("a", "y"), Call("add")),
        Node("c", ("b", "x"), Call("add")),
    )
    program = Program(Graph(("x", "y"), nodes, "c"), 0, KINDS[kind])
    assert program(value(kind, 2), value(kind, 2)).tolist() == [4.0, 4.0]
    x = value(kind, 2)
    assert Program(Graph(("x",), (), "x"), 0, KINDS[kind])(x) is x


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_may_be_read_on_the_way(kind: str) -> None:
    """A slot that holds the result is not given away."""
    nodes = (
        Node("a", ("x", "y"), Call("add")),
        Node("b", ("a",), Call("relu")),
        Node("c", ("a", "b"), Call("add")),
    )
    for output, expected in (("c", 4.0), ("a", 2.0)):
        program = Program(Graph(("x", "y"), nodes, output), 0, KINDS[kind])
        assert program(value(kind, 1), value(kind, 1)).tolist() == [expected]


def test_every_order_of_reads_gives_what_the_definition_gives() -> None:
    """Random graphs, against values that are all kept."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        names, nodes = ["x", "y"], []
        for number in range(12):
            reads = tuple(rng.choice(names, 2))
            names.append(f"n{number}")
            nodes.append(Node(names[-1], reads, Call("add")))
        kept: dict[str, Any] = {"x": np.array([1.0]), "y": np.array([0.5])}
        for node in nodes:
            kept[node.name] = kept[node.inputs[0]] + kept[node.inputs[1]]
        program = Program(Graph(("x", "y"), tuple(nodes), names[-1]), 0, ARRAYS)
        assert program(kept["x"], kept["y"]) == kept[names[-1]]
        assert program.size <= len(names)
