"""A stretch of a network as one call over planes: what it computes, what it copies, what it refuses."""

from __future__ import annotations

import threading
from dataclasses import replace
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import gossamer as gs
from gossamer import kernels
from gossamer.errors import GossamerError, KernelUnavailable, MemoryShortage, ShapeError
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.kernels.cpu import library
from gossamer.kernels.cpu.plan import NativePlan
from gossamer.kernels.cpu.steps import Step, View
from gossamer.layouts import Encoded, layout
from gossamer.layouts.connections import Connections
from gossamer.layouts.geometry import Geometry
from gossamer.network.array_steps import ARRAYS
from gossamer.network.graph import Call, Choice, Graph, Layer, Node
from gossamer.network.lowered import Lowered, lowered
from gossamer.network.lowering import Image, Lowering, even_windows, windows
from gossamer.network.operators import operators
from gossamer.network.plan_rows import describe
from gossamer.network.plan_step import PlanStep
from gossamer.network.program import Program
from gossamer.runtime import Runtime


def encoded(weight: np.ndarray[Any, Any], name: str = "csr") -> Encoded:
    """A weight [out, channels of a group, kh, kw] as the matrix of a convolution."""
    matrix = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    positions = np.flatnonzero(matrix)
    connections = Connections(matrix.shape, positions, matrix.reshape(-1)[positions])
    return layout(name).encode(connections, {})


def sparse(random: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return np.asarray(random.standard_normal(shape) * (random.random(shape) < 0.5), np.float32)


def run(made: Lowered, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The one output, flat for each image."""
    plan = NativePlan(made.steps, made.arena, made.sizes, made.inputs)
    y = np.full((len(x), made.sizes[-1]), np.nan, np.float32)
    plan([np.ascontiguousarray(x)], [y], len(x))
    return y


def close(found: np.ndarray[Any, Any], expected: torch.Tensor) -> None:
    wanted = expected.numpy().reshape(found.shape)
    assert np.abs(found - wanted).max(initial=0) <= 2e-6 * max(1.0, np.abs(wanted).max(initial=0))


side = st.integers(1, 4)
pairs = st.tuples(side, side)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 19), st.integers(1, 19)),
    kernel=pairs,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    mode=st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]),
    more=st.integers(0, 3),
    seed=st.integers(0, 1 << 16),
)
def test_two_convolutions_a_residual_and_a_join(
    size: Any, kernel: Any, stride: Any, dilation: Any, padding: Any, mode: str, more: int, seed: int
) -> None:
    """A grouped convolution of any geometry, one that steps, a sum with its input, and both side by side."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((2, 2 * size[0], *size[1:])).astype(np.float32)
    first = Geometry(2 * size[0], kernel, (1, 1), padding, dilation, 2, mode)
    try:
        height, width = first.out_size(*size[1:])
    except ShapeError:
        return
    w, v, bias = sparse(random, 4, size[0], *kernel), sparse(random, 4, 4, 3, 3), sparse(random, 4)
    second, third = (Geometry(4, (3, 3), by, (1, 1, 1, 1)) for by in (stride, (1, 1)))
    lowering = Lowering()
    a = lowering.convolution(lowering.input("x", x.shape[1:]), encoded(w), first, bias, activation="relu")
    b = lowering.convolution(a, encoded(v), third, None, a)
    c = lowering.convolution(
        lowering.join((a, b)), encoded(np.concatenate([v, v], 1)), replace(second, channels=8)
    )
    last = lowering.number_by_number(c, scale=bias, shift=bias, activation="relu")
    made = lowered(lowering, [lowering.join((last, last)) if more == 0 else last])

    wide = [torch.from_numpy(each).double() for each in (x, w, v, bias)]
    t = F.pad(wide[0], padding, mode="constant" if mode == "zeros" else mode)
    ta = F.relu(F.conv2d(t, wide[1], wide[3], dilation=dilation, groups=2))
    tb = F.conv2d(ta, wide[2], padding=1) + ta
    tc = F.conv2d(torch.cat([ta, tb], 1), torch.cat([wide[2]] * 2, 1), stride=stride, padding=1)
    expected = F.relu(tc * wide[3][:, None, None] + wide[3][:, None, None])
    close(run(made, x), torch.cat([expected, expected], 1) if more == 0 else expected)
    assert (height, width) == ta.shape[2:]


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    counted=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_pools(size: Any, kernel: Any, stride: Any, counted: bool, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((1, 3, *size)).astype(np.float32)
    border, wide = (kernel[0] // 2, kernel[1] // 2), torch.from_numpy(x)
    for kind, expected in (
        ("max pool", F.max_pool2d(wide, kernel, stride, border)),
        ("mean pool", F.avg_pool2d(wide, kernel, stride, border, count_include_pad=counted)),
    ):
        lowering = Lowering()
        sides = zip(size, kernel, stride, border, expected.shape[2:], strict=True)
        both = [windows(*side, counted=counted) for side in sides]
        close(
            run(lowered(lowering, [lowering.window(lowering.input("x", (3, *size)), kind, *both)]), x),
            expected,
        )
    lowering = Lowering()
    pooled = lowering.window(
        lowering.input("x", (3, *size)), "mean pool", even_windows(size[0], 2), even_windows(size[1], 3)
    )
    close(run(lowered(lowering, [pooled]), x), F.adaptive_avg_pool2d(wide, (2, 3)))


def test_the_largest_of_a_window_with_nan_is_nan() -> None:
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 4, 16)
    x[0, 0, 1, 9] = np.nan
    lowering = Lowering()
    made = lowering.window(
        lowering.input("x", (1, 4, 16)), "max pool", windows(4, 2, 2, 0, 2), windows(16, 2, 2, 0, 8)
    )
    expected = F.max_pool2d(torch.from_numpy(x), 2).numpy().reshape(1, -1)
    np.testing.assert_array_equal(run(lowered(lowering, [made]), x), expected)


def residual(stride: int) -> tuple[Lowering, Image]:
    """A block of three convolutions behind a sum, as residual networks have it."""
    random, lowering = np.random.default_rng(0), Lowering()
    x = lowering.convolution(
        lowering.input("x", (3, 14, 14)), encoded(sparse(random, 8, 3, 1, 1)), Geometry(3, (1, 1))
    )
    x = lowering.convolution(x, encoded(sparse(random, 8, 8, 1, 1)), Geometry(8, (1, 1)), None, x)
    a = lowering.convolution(x, encoded(sparse(random, 4, 8, 1, 1)), Geometry(8, (1, 1)), activation="relu")
    around = Geometry(4, (3, 3), (stride, stride), (1, 1, 1, 1))
    b = lowering.convolution(a, encoded(sparse(random, 4, 4, 3, 3)), around, activation="relu")
    short = (
        x
        if stride == 1
        else lowering.convolution(
            x, encoded(sparse(random, 8, 8, 1, 1)), Geometry(8, (1, 1), (stride, stride))
        )
    )
    return lowering, lowering.convolution(
        b, encoded(sparse(random, 8, 4, 1, 1)), Geometry(4, (1, 1)), None, short
    )


def test_nothing_is_copied_between_layers_that_go_from_pixel_to_pixel() -> None:
    lowering, out = residual(1)
    made = lowered(lowering, [out])
    assert [step.kind for step in made.steps] == ["move", *["conv"] * 5, "move"]
    assert made.copies == 0  # what enters and what leaves is moved once each
    spans = [len(step.places.spans) for step in made.steps if step.places is not None]
    assert spans == [1] * 5  # each reads and writes a plane in one go


@pytest.mark.parametrize(
    ("side", "kernels", "row"),
    [
        (14, (1, 3, 1), 16),  # 14 pixels and one zero, and one zero more
        (14, (3, 1, 3), 15),  # most taps of a window begin between vectors anyhow
        (9, (1, 3, 1), 10),  # six zeros more of ten would cost more than they save
    ],
)
def test_rows_begin_at_whole_vectors_where_that_pays(side: int, kernels: tuple[int, ...], row: int) -> None:
    random, lowering = np.random.default_rng(0), Lowering()
    x = lowering.input("x", (4, side, side))
    for k in kernels:
        geometry = Geometry(4, (k, k), padding=(k // 2,) * 4)
        x = lowering.convolution(x, encoded(sparse(random, 4, 4, k, k)), geometry)
    made = lowered(lowering, [x])
    assert {step.x.pitch for step in made.steps if step.kind == "conv"} == {row}


def test_a_step_over_pixels_copies_only_those_that_one_tap_reads() -> None:
    """The convolution before a 3 x 3 one that steps stores phases itself; the short cut takes every second pixel."""
    lowering, out = residual(2)
    made = lowered(lowering, [out])
    copies = [step for step in made.steps if step.copies]
    assert [(step.out.height, step.out.width, step.out.channels) for step in copies] == [(7, 7, 8)]
    phases = [(step.out.phases_h, step.out.phases_w) for step in made.steps if step.kind == "conv"]
    assert phases.count((2, 2)) == 1


def test_what_is_joined_is_computed_in_its_place() -> None:
    random, lowering = np.random.default_rng(0), Lowering()
    x = lowering.input("x", (4, 9, 9))
    parts = [
        lowering.convolution(
            x, encoded(sparse(random, 4, 4, k, k)), Geometry(4, (k, k), padding=(k // 2,) * 4)
        )
        for k in (1, 3)
    ]
    joined = lowering.join(tuple(parts))
    made = lowered(
        lowering, [lowering.convolution(joined, encoded(sparse(random, 2, 8, 1, 1)), Geometry(8, (1, 1)))]
    )
    assert made.copies == 0
    again = Lowering()
    y = again.input("x", (4, 9, 9))
    assert lowered(again, [again.number_by_number(again.join((y, y)), activation="relu")]).copies == 1


def layer(weight: np.ndarray[Any, Any], geometry: Geometry, activation: str | None = None) -> Layer:
    form = encoded(weight)
    return Layer(
        form.shape, None, activation, form, {"csr": form}, (Choice("csr", "core"),), geometry=geometry
    )


def network() -> Graph:
    """A stem, a pool, a sum, a mean, and a softmax that the plan leaves to others."""
    random = np.random.default_rng(1)
    around = Geometry(4, (3, 3), padding=(1, 1, 1, 1))
    nodes = (
        Node(
            "stem",
            ("x",),
            layer(sparse(random, 4, 3, 3, 3), Geometry(3, (3, 3), (2, 2), (1, 1, 1, 1)), "relu"),
        ),
        Node(
            "pool",
            ("stem",),
            Call("max_pool2d", operators["max_pool2d"].settings(kernel=(2, 2), stride=(2, 2))),
        ),
        Node("conv", ("pool",), layer(sparse(random, 4, 4, 3, 3), around)),
        Node("sum", ("conv", "pool"), Call("add")),
        Node(
            "mean",
            ("sum",),
            Call("adaptive_avg_pool2d", operators["adaptive_avg_pool2d"].settings(size=(1, 1))),
        ),
        Node("flat", ("mean",), Call("flatten", operators["flatten"].settings())),
    )
    return Graph(("x",), nodes, "flat")


def steps(program: Program) -> list[PlanStep]:
    return [step.run for step in program.steps if isinstance(step.run, PlanStep)]


def test_a_program_has_one_step_for_all_that_lies_between() -> None:
    program = Program(network(), 0, ARRAYS)
    assert [type(step.run).__name__ for step in program.steps] == ["PlanStep", "function"]
    assert [node.name for node in steps(program)[0].stretch.nodes] == ["stem", "pool", "conv", "sum", "mean"]


def test_arrays_and_tensors_have_the_same_bits_at_any_batch_and_number_of_threads() -> None:
    arrays, tensors = Program(network(), 0, ARRAYS), Program(network(), 0, TENSORS)
    x = np.random.default_rng(2).standard_normal((5, 3, 17, 23)).astype(np.float32)
    whole = arrays(x)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            for batch in (0, 1, 3, 5):
                np.testing.assert_array_equal(tensors(torch.from_numpy(x[:batch])).numpy(), whole[:batch])
    finally:
        torch.set_num_threads(before)
    one_by_one = steps(arrays)[0].singles
    value = {"x": x}
    for node, single in zip(steps(arrays)[0].stretch.nodes, one_by_one, strict=True):
        value[node.name] = single(*[value[name] for name in node.inputs])
    assert np.abs(value["mean"].reshape(5, -1) - whole).max() < 3e-7 * np.abs(whole).max()


def test_threads_do_not_meet() -> None:
    program = Program(network(), 0, ARRAYS)
    images = np.random.default_rng(3).standard_normal((8, 2, 3, 15, 15)).astype(np.float32)
    expected = [program(x) for x in images]
    found: list[Any] = [None] * 8

    def call(k: int) -> None:
        for _ in range(20):
            found[k] = program(images[k])

    workers = [threading.Thread(target=call, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_forced_instruction_set_reaches_plans() -> None:
    """The bits of that set; after the block those of the best set again. Arrays have no reference kernels."""
    program = Program(network(), 0, ARRAYS)
    (step,) = steps(program)
    x = np.random.default_rng(6).standard_normal((2, 3, 9, 11)).astype(np.float32)
    best, (made, _) = program(x), step.lowered((x.shape[1:],))
    for isa in library.available_isas():
        plan, y = NativePlan(made.steps, made.arena, made.sizes, made.inputs, isa=isa), np.empty_like(best)
        plan([x], [y], len(x))
        with kernels.use(isa):
            np.testing.assert_array_equal(program(x), y)
    with kernels.use("reference"):
        close(Program(network(), 0, TENSORS)(torch.from_numpy(x)).numpy(), torch.from_numpy(best))
        with pytest.raises(KernelUnavailable, match="reference"):
            program(x)
    np.testing.assert_array_equal(program(x), best)


def test_plans_are_kept_for_a_few_sizes_and_counted() -> None:
    step = steps(program := Program(network(), 0, ARRAYS))[0]
    for height in range(9, 25):
        program(np.ones((1, 3, height, 9), np.float32))
    assert len(step._plans) == 8
    assert step.memory > 0


def test_what_the_core_does_not_take_runs_node_by_node() -> None:
    """A sum whose sizes differ is no step of the core; the stretch then runs as it did without plans."""
    random = np.random.default_rng(4)
    nodes = (
        Node("a", ("x",), layer(sparse(random, 2, 2, 1, 1), Geometry(2, (1, 1)))),
        Node(
            "b", ("a",), Call("adaptive_avg_pool2d", operators["adaptive_avg_pool2d"].settings(size=(1, 1)))
        ),
        Node("c", ("a", "b"), Call("add")),
    )
    x = random.standard_normal((2, 2, 4, 4)).astype(np.float32)
    program = Program(Graph(("x",), nodes, "c"), 0, ARRAYS)
    wide = F.conv2d(torch.from_numpy(x), torch.from_numpy(_dense(nodes[0].body)))
    close(program(x), wide + wide.mean((2, 3), keepdim=True))


def test_a_mean_without_its_dimensions_is_no_image() -> None:
    """A sum with [batch, channels] repeats it along rows and columns, not channel by channel."""
    random = np.random.default_rng(9)
    nodes = (
        Node("a", ("x",), layer(sparse(random, 3, 2, 1, 1), Geometry(2, (1, 1)))),
        Node("b", ("a",), Call("mean", operators["mean"].settings(dims=(2, 3)))),
        Node("c", ("a", "b"), Call("add")),
    )
    x = random.standard_normal((2, 2, 1, 1)).astype(np.float32)
    wide = F.conv2d(torch.from_numpy(x), torch.from_numpy(_dense(nodes[0].body)))
    found = Program(Graph(("x",), nodes, "c"), 0, ARRAYS)(x)
    assert found.shape == (2, 3, 2, 3)
    close(found, wide + wide.mean((2, 3)))


def test_a_quotient_by_a_number_without_a_reciprocal_is_one() -> None:
    settings = operators["scalar"].settings(function="div", number=2.0**-130)
    geometry = Geometry(1, (1, 1))
    nodes = (
        Node("a", ("x",), layer(np.ones((1, 1, 1, 1), np.float32), geometry)),
        Node("b", ("a",), Call("scalar", settings)),
    )
    x = np.array([0.0, 2.0**-130], np.float32).reshape(1, 1, 1, 2)
    assert Program(Graph(("x",), nodes, "b"), 0, ARRAYS)(x).tolist() == [[[[0.0, 1.0]]]]


def _dense(body: Any) -> Any:
    matrix = np.zeros(body.shape, np.float32)
    matrix.reshape(-1)[layout("csr").decode(body.stored).positions] = body.stored.values
    return matrix.reshape(body.shape[0], -1, 1, 1)


def test_a_network_of_two_results() -> None:
    random = np.random.default_rng(5)
    nodes = (
        Node("a", ("x",), layer(sparse(random, 2, 2, 3, 3), Geometry(2, (3, 3), padding=(1, 1, 1, 1)))),
        Node("b", ("a",), Call("relu")),
        Node("c", ("a",), Call("softmax", operators["softmax"].settings(dim=1))),
        Node("d", ("b", "c"), Call("add")),
    )
    program = Program(Graph(("x",), nodes, "d"), 0, ARRAYS)
    x = torch.from_numpy(random.standard_normal((1, 2, 5, 5)).astype(np.float32))
    assert steps(program)[0].stretch.gives == ("a", "b")
    body: Any = nodes[0].body
    weight = torch.from_numpy(_dense(body).reshape(2, 3, 3, 2).transpose(0, 3, 1, 2))
    a = F.conv2d(x, weight, padding=1)
    close(program(x.numpy()), F.relu(a) + a.softmax(1))


HERE = View(0, 0, 4, 2, 0, 1, 2, 2)
BAD = {
    "past the end": Step("map", "", HERE, HERE._replace(at=5)),
    "before the begin": Step("map", "", HERE, HERE._replace(at=-1)),
    "no such memory": Step("map", "", HERE, HERE._replace(memory=2)),
    "a pitch that overflows": Step("map", "", HERE, HERE._replace(pitch=1 << 62)),
    "other sizes": Step("map", "", HERE, HERE._replace(height=1)),
    "a column that is not there": Step("move", "", HERE, HERE, cols=np.array([0, 2], np.int32)),
    "an empty window": Step("max pool", "", HERE, HERE._replace(width=1), windows_h=even_windows(2, 2),
                            windows_w=np.zeros(1, even_windows(1, 1).dtype)),
    "no windows": Step("mean pool", "", HERE, HERE),
    "a scale without a shift": Step("map", "", HERE, HERE, scale=np.ones(1, np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_step_that_leaves_its_memory_is_refused(name: str) -> None:
    NativePlan([Step("map", "", HERE, HERE)], 8, [4], 1)
    with pytest.raises(ShapeError, match="plan"):
        NativePlan([BAD[name]], 8, [4], 1)


def test_a_convolution_that_leaves_its_memory_is_refused() -> None:
    lowering, out = residual(1)
    made = lowered(lowering, [out])
    for number, step in enumerate(made.steps):
        if step.kind != "conv":
            continue
        far = [
            replace(step, x=step.x._replace(at=made.arena)),
            replace(step, out=step.out._replace(at=made.arena - 8)),
        ]
        far += [replace(step, x=step.x._replace(at=0)), replace(step, out=step.out._replace(plane=1 << 40))]
        for bad in far:
            with pytest.raises(GossamerError):
                NativePlan([*made.steps[:number], bad], made.arena, made.sizes, made.inputs)


def test_the_two_results_of_a_plan_are_two_inputs_of_the_next_step() -> None:
    random = np.random.default_rng(10)
    nodes = (
        Node("a", ("x",), layer(sparse(random, 2, 2, 1, 1), Geometry(2, (1, 1)))),
        Node("b", ("a",), Call("sigmoid")),
        Node("c", ("a", "b"), Call("mul")),
    )
    x = random.standard_normal((2, 2, 3, 3)).astype(np.float32)
    a = F.conv2d(torch.from_numpy(x), torch.from_numpy(_dense(nodes[0].body)))
    close(Program(Graph(("x",), nodes, "c"), 0, ARRAYS)(x), a * a.sigmoid())


def test_a_plan_that_does_not_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(network(), 0, ARRAYS)
    monkeypatch.setattr("gossamer.measure.room.available_memory", lambda: 1000)
    with pytest.raises(MemoryShortage, match="plan of 5 nodes"):
        program(np.ones((1, 3, 17, 23), np.float32))
    monkeypatch.undo()
    assert program(np.ones((1, 3, 17, 23), np.float32)).shape == (1, 4)


def test_a_call_that_does_not_fit_is_refused_before_its_images_are_made() -> None:
    """The images are one number, said to be everywhere: their copies, and the results, would take terabytes."""
    program = Program(network(), 0, ARRAYS)
    for shape, error in (((1 << 28, 3, 17, 23), MemoryShortage), ((1, 3, 1 << 20, 1 << 20), ShapeError)):
        with pytest.raises(error, match=r"of memory|2\^31"):
            program(np.broadcast_to(np.float32(1), shape))


def test_images_that_a_node_cannot_take_are_refused_with_its_name() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 2, (1, 2)), torch.nn.MaxPool2d(2))
    frozen = gs.freeze(model.eval(), torch.ones(1, 2, 4, 4), keep="csr")
    with pytest.raises(ShapeError, match=r"Frozen, at 1: .*a window of 2 in 1"):
        frozen(torch.ones(1, 2, 1, 4))
    with pytest.raises(ShapeError, match=r"Frozen, at 0: convolution: expected at least 1 x 2 pixels"):
        frozen(torch.ones(1, 2, 4, 1))


def test_what_reads_each_pixel_at_its_place_hands_phases_on() -> None:
    """A convolution that steps wants phases; 1 x 1 ones before it read and write them."""
    random, lowering = np.random.default_rng(6), Lowering()
    x = random.standard_normal((1, 2, 9, 8)).astype(np.float32)
    weights = [sparse(random, 3, 2, 1, 1), sparse(random, 6, 3, 1, 1), sparse(random, 2, 6, 3, 3)]
    image, tensor = lowering.input("x", (2, 9, 8)), torch.from_numpy(x)
    for weight, stride in zip(weights, (1, 1, 2), strict=True):
        border = weight.shape[-1] // 2
        geometry = Geometry(weight.shape[1], weight.shape[2:], (stride, stride), (border,) * 4)
        image = lowering.convolution(image, encoded(weight), geometry)
        tensor = F.conv2d(tensor, torch.from_numpy(weight), stride=stride, padding=border)
    made = lowered(lowering, [image])
    assert made.copies == 0
    assert [step.out.phases_w for step in made.steps] == [2, 2, 2, 1, 1]
    close(run(made, x), tensor)


def test_rows_of_a_plan_say_what_is_copied() -> None:
    lowering, out = residual(2)
    made = lowered(lowering, [out])
    rows = describe(NativePlan(made.steps, made.arena, made.sizes, made.inputs))
    assert [row.kind for row in rows] == [step.kind if not step.copies else "copy" for step in made.steps]
    (copy,) = (row for row in rows if row.copies)
    assert (copy.reads, copy.makes, copy.bytes) == ((8, 14, 14), (8, 7, 7), 4 * 8 * 49)
    assert all(0 <= row.seconds < 10 for row in rows)  # a step may take less than calls differ in


def test_times_of_steps_are_without_the_call_around_them() -> None:
    """Many small steps together take a fraction of as many calls."""
    lowering = Lowering()
    x = lowering.input("x", (1, 1, 1))
    for _ in range(64):
        x = lowering.number_by_number(x, activation="relu")
    made = lowered(lowering, [x])
    plan = NativePlan(made.steps, made.arena, made.sizes, made.inputs)
    given, taken = np.ones((1, 1), np.float32), [inf]
    for _ in range(20):
        begin = perf_counter()
        plan([given], [np.empty_like(given)], 1)
        taken.append(perf_counter() - begin)
    assert len(plan.seconds()) == 64
    assert sum(plan.seconds(20)) < 24 * min(taken)


def test_explain_prints_the_plan() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)
    )
    frozen = gs.freeze(model, torch.randn(1, 2, 6, 6), keep="csr")
    frozen(torch.randn(1, 2, 6, 6))
    assert "plan of 4 steps, 0 copies" in frozen.explain()


def test_a_network_whose_pools_run_in_the_core_has_the_same_bits_without_torch(tmp_path: Path) -> None:
    """NumPy adds up the numbers of a pool in another order than torch; a plan adds them up for both."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.AvgPool2d(3, 2), torch.nn.SiLU())
    frozen = gs.freeze(model, torch.randn(1, 2, 9, 9), keep="csr")
    gs.save(frozen, tmp_path / "net.safetensors")
    net = Runtime(tmp_path / "net.safetensors")
    assert [type(step).__name__ for step in frozen.programs[0].line or ()] == ["PlanStep"]
    x = np.random.default_rng(7).standard_normal((3, 2, 13, 11)).astype(np.float32)
    np.testing.assert_array_equal(net(x), frozen(torch.from_numpy(x)).numpy())
    assert np.abs(net(x) - model(torch.from_numpy(x)).detach().numpy()).max() < 1e-6


def test_short_cuts_without_weights_are_steps_of_the_plan() -> None:
    """Every second pixel, with channels of zeros around, as the residual networks of CIFAR-10 have it."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 10, 3, stride=2, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 5)))

    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 1), Block())
    x = torch.randn(2, 2, 7, 9)
    frozen = gs.freeze(model, x, keep="csr")
    assert [type(step).__name__ for step in frozen.programs[0].line or ()] == ["PlanStep"]
    close(frozen(x).numpy(), model(x).detach())
    assert [step.kind for plan in frozen.programs[0].line[0].plans for step in plan.steps].count("conv") == 2


def test_around_a_node_that_the_core_has_no_step_for_two_plans_run() -> None:
    random = np.random.default_rng(8)
    around = Geometry(2, (3, 3), padding=(1, 1, 1, 1))
    nodes = (
        Node("a", ("x",), layer(sparse(random, 2, 2, 3, 3), around)),
        Node("b", ("a",), Call("pad", operators["pad"].settings(border=(1, 1, 0, 0), value=1.0))),
        Node("c", ("b",), layer(sparse(random, 2, 2, 3, 3), around)),
        Node("d", ("c",), Call("relu")),
    )
    program = Program(Graph(("x",), nodes, "d"), 0, ARRAYS)
    x = random.standard_normal((2, 2, 5, 6)).astype(np.float32)
    (step,) = steps(program)
    y = program(x)
    assert len(step.plans) == 2
    value = {"x": x}
    for node, single in zip(nodes, step.singles, strict=True):
        value[node.name] = single(value[node.inputs[0]])
    close(y, torch.from_numpy(value["d"]))
