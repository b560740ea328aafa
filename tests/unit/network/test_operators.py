"""Every operator on arrays and on tensors: the same bits, or as near as it says; and the shapes that torch gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gossamer.errors import FormatError
from gossamer.export import export_onnx
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.kernels.cpu.plan import NativePlan
from gossamer.network.graph import Call, Graph, Node
from gossamer.network.lowered import lowered
from gossamer.network.lowering import Lowering, NotLowered
from gossamer.network.operators import Settings, operators
from gossamer.network.plan import BatchPlan, InputPlan, Plan
from gossamer.network.shapes import Value, follow

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "adaptive_avg_pool2d": [{"size": (1, 1)}, {"size": (3, 2)}, {"size": (2, 3)}],
    "add": [{}],
    "avg_pool2d": [
        {"kernel": (k, 2), "stride": (s, 1), "padding": (p, 0), "ceil_mode": ceil}
        for k, s, p, ceil in itertools.product((1, 2, 3, 9), (1, 2, 3), (0, 1, 2), (False, True))
    ]
    + [
        {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 1), "ceil_mode": c, "count_include_pad": False}
        for c in (False, True)
    ],
    "batch_norm": [{"features": 2, "eps": 1e-5, "affine": affine} for affine in (False, True)],
    "chunk": [
        {"chunks": c, "dim": dim, "number": n}
        for c, dim, n in itertools.product((1, 2, 3), (1, -1, 2), (0, -1, 1, 2))
    ],
    "circular_blur": [{"size": size} for size in range(2, 8)],
    "circular_pad2d": [
        {"border": each} for each in ((1, 1, 1, 1), (0, 2, 1, 0), (0, 0, 0, 0), (4, 5, 4, 0), (6, 0, 0, 0))
    ],
    "clamp": [
        {"low": 0.0, "high": 6.0},
        {"low": 0.0, "high": None},
        {"low": -1.0, "high": 1.0},
        {"low": None, "high": 0.1},
        {"low": 2.0, "high": 1.0},
    ],
    "concatenate": [{"dim": 1}, {"dim": -2}, {"dim": 0}, {"dim": 3}],
    "elu": [{"alpha": 1.0}, {"alpha": -0.3}],
    "flatten": [
        {"start_dim": a, "end_dim": b} for a, b in itertools.product((-5, -2, 0, 1, 3), (-4, -1, 1, 2))
    ],
    "gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "identity": [{}],
    "leaky_relu": [{"negative_slope": 0.013}, {"negative_slope": -2.0}, {"negative_slope": 0.0}],
    "log_softmax": [{"dim": 1}, {"dim": -1}, {"dim": 3}],
    "max_pool2d": [
        {"kernel": (k, 2), "stride": (s, 1), "padding": (p, 0), "ceil_mode": ceil, "dilation": (d, 1)}
        for k, s, p, ceil, d in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (False, True), (1, 2))
    ],
    "mean": [
        {"dims": dims, "keepdim": keep}
        for dims, keep in itertools.product(((2, 3), (-1,), (1, -3), (0,)), (False, True))
    ],
    "mul": [{}],
    "pad": [
        {"border": (1, 2), "value": 0.5},
        {"border": (0, 1, 2, 0)},
        {"border": (0, 0, 0, 0, 3, 1)},
        {"border": (1, 0, 1)},
    ],
    "permute": [{"dims": dims} for dims in ((0, 2, 3, 1), (0, 3, 1, 2), (0, -1, 1, 2), (0, 1), (0, 1, 1, 2))],
    "pixel_shuffle": [
        {"factor": f, "order": order} for f in (1, 2) for order in ("channel first", "pixel first")
    ],
    "prelu": [{"count": 1}, {"count": 2}],
    "relu": [{}],
    "relu6": [{}],
    "reshape": [
        {"sizes": each}
        for each in (
            (0, -1),
            (0, 2, -1),
            (-1, 5),
            (0, 0, 3, 5),
            (0, -1, 0, 1),
            (0, 0, -1, 1),
            (0, 0),
            (-1, -1),
        )
    ],
    "scalar": [{"function": name, "number": 1 / 3} for name in ("add", "sub", "mul", "div")]
    + [{"function": "div", "number": number} for number in (0.0, -0.25)],
    "sigmoid": [{}],
    "silu": [{}],
    "slice": [
        {"spans": ((None, None, 1), span)} for span in ((0, 1, 1), (1, None, 1), (-1, 2**20, 2), (5, 2, 1))
    ]
    + [{"spans": ((None, None, 1),) * 3 + ((None, None, 2),)}],
    "round_inputs": [{"step": 0.02, "low": 0, "high": 255}, {"step": 0.5, "low": -3, "high": 4}],
    "softmax": [{"dim": 1}, {"dim": -1}, {"dim": -4}],
    "take_strongest": [
        {"stride": stride, "norm": norm}
        for stride, norm in itertools.product(
            ((1, 1), (5, 3), (1, 3), (2, 5), (3, 2), (9, 10)), ("l1", "l2", "linf")
        )
    ],
    "tanh": [{}],
    "upsample_bilinear2d": [
        {"size": size, "align_corners": corners}
        for size in ((7, 2), (1, 11), (10, 6), (18, 24), (18, 20))
        for corners in (False, True)
    ],
    "upsample_nearest2d": [{"scale": (2, 3)}, {"size": (7, 2)}, {"size": (1, 11)}],
}
ONE_IMAGE = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "circular_pad2d", "take_strongest")
CASES = [(name, given) for name, settings in SETTINGS.items() for given in settings]
SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    6.0,
    1e-40,
    -1e-40,
    88.7,
    -88.7,
    -104.0,
    1e-7,
    -1e-7,
    3e38,
    -3e38,
]


def call(name: str, given: dict[str, Any], dtype: Any = np.float32) -> tuple[Call, Call]:
    """The operator with tensors of its own, as NumPy's and as torch's."""
    settings = operators[name].settings(**given)
    rng = np.random.default_rng(1)
    shapes = operators[name].shapes(settings)
    arrays = {each: np.abs(rng.normal(size=shape)).astype(dtype) for each, shape in shapes.items()}
    tensors = {each: torch.from_numpy(array) for each, array in arrays.items()}
    return Call(name, settings, arrays), Call(name, settings, tensors)


def bits(array: Any) -> Any:
    """Numbers as integers, with one NaN for all: which one it is no promise is made of."""
    array = np.ascontiguousarray(array)
    return np.where(np.isnan(array), np.float64(np.nan).astype(array.dtype), array).view(f"u{array.itemsize}")


def test_every_operator_is_tried_here() -> None:
    assert {*SETTINGS, "recurrent"} == set(operators)  # that one in unit/freezing/test_recurrent.py


def test_every_operator_has_words_of_onnx() -> None:
    assert [name for name, entry in operators.items() if entry.onnx is None] == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "given"), [case for case in CASES if operators[case[0]].arrays is not None])
def test_arrays_give_what_tensors_give(name: str, given: dict[str, Any], dtype: Any) -> None:
    """To the bit where the operator says so, else within its units of the last place."""
    on_arrays, on_tensors = call(name, given, dtype)
    entry, rng = operators[name], np.random.default_rng(0)
    exact = entry.same_bits(np.dtype(dtype).name) and not entry.in_core
    x = rng.normal(0, 3, (37, 2, 5, 3)).astype(dtype)
    if exact or entry.elementwise:
        x.reshape(-1)[: len(SPECIAL)] = SPECIAL
    inputs = (x, x[::-1].copy())[: entry.arity or 2]
    value = Value(np.dtype(dtype).name, x.shape)
    graph = Graph(("x", "y"), (Node("n", ("x", "y")[: entry.arity or 2], on_arrays),), "n")
    try:
        expected = follow(graph, {"x": value, "y": value}, "test")["n"]
    except ValueError:
        return  # test_shapes_are_those_of_torch
    with np.errstate(all="ignore"):
        got, wanted = on_arrays(*inputs), on_tensors(*map(torch.from_numpy, inputs)).numpy()
    assert (got.dtype.name, got.shape) == expected == (wanted.dtype.name, wanted.shape)
    if entry.in_core:  # which a Frozen asks as well
        frozen = TENSORS.call(on_tensors)
        for x in inputs:
            assert (bits(frozen(torch.from_numpy(x)).numpy()) == bits(got)).all()
    if exact:
        assert (bits(got) == bits(wanted)).all()
        return
    finite = np.isfinite(wanted)
    assert (np.isfinite(got) == finite).all()
    assert (got[~finite & ~np.isnan(wanted)] == wanted[~finite & ~np.isnan(wanted)]).all()
    size = np.maximum(np.abs(wanted), np.abs(x)) if entry.elementwise else max(1, np.abs(x).max())
    allowed = np.broadcast_to(entry.ulps * np.finfo(dtype).eps * size, wanted.shape)
    assert (np.abs(got[finite] - wanted[finite]) <= allowed[finite]).all()


@pytest.mark.parametrize("name", [name for name, entry in operators.items() if entry.lowers])
def test_steps_of_the_core_give_what_arrays_give(name: str) -> None:
    """Over images, wherever the core has steps for the settings."""
    entry, rng, ran = operators[name], np.random.default_rng(0), 0
    for given in SETTINGS[name]:
        on_arrays, _ = call(name, given)
        inputs = tuple(rng.normal(0, 3, (2, 2, 9, 12)).astype(np.float32) for _ in range(entry.arity or 2))
        lowering = Lowering()
        images = tuple(lowering.input(str(at), x.shape[1:]) for at, x in enumerate(inputs))
        try:
            entry.shape(tuple(x.shape for x in inputs), on_arrays.settings)
            made = entry.lowered(lowering, images, on_arrays.settings, on_arrays.tensors)
            plan = lowered(lowering, [lowering.number_by_number(made)])
        except (ValueError, NotLowered):
            continue
        got = np.full((2, plan.sizes[-1]), np.nan, np.float32)
        NativePlan(plan.steps, plan.arena, plan.sizes, plan.inputs)(list(inputs), [got], 2)
        wanted = on_arrays(*inputs)
        assert (np.abs(got - wanted.reshape(2, -1)) <= 1e-5 * max(1, np.abs(wanted).max(initial=0))).all()
        ran += 1
    assert ran


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SETTINGS)
def test_onnx_runtime_gives_what_arrays_give(name: str, dtype: Any, tmp_path: Path) -> None:
    """An operator in the words of ONNX, for batches of other sizes than the example's, to within rounding."""
    pytest.importorskip("onnx")
    engine = pytest.importorskip("onnxruntime")
    rng, ran, refused = np.random.default_rng(0), 0, []
    names = ("x", "y")[: operators[name].arity or 2]
    row = InputPlan(dtype=np.dtype(dtype).name, shape=[2, 2, 9, 10])
    report = Plan(inputs=[row] * len(names), batches=[BatchPlan(batch=1)])
    for given in SETTINGS[name][:: 5 if dtype is np.float64 and len(SETTINGS[name]) > 5 else 1]:
        on_arrays, _ = call(name, given, dtype)
        graph = Graph(names, (Node("n", names, on_arrays),), "n")
        try:
            export_onnx(SimpleNamespace(graph=graph, report=report), tmp_path / "n.onnx")
        except FormatError:  # settings for other shapes
            continue
        try:
            session = engine.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
        except engine.capi.onnxruntime_pybind11_state.NotImplemented:
            refused.append(given)  # of float64
            continue
        for batch in (1, 3):
            inputs = [rng.normal(0, 3, (batch, 2, 9, 10)).astype(dtype) for _ in names]
            with np.errstate(divide="ignore"):
                wanted = on_arrays(*inputs)
            (got,) = session.run(None, dict(zip(names, inputs, strict=True)))
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            largest = max(1, np.abs(wanted[np.isfinite(wanted)]).max(initial=0))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=40 * np.finfo(dtype).eps * largest)
        ran += 1
    assert ran or (refused and dtype is np.float64)
    assert not refused or dtype is np.float64


@pytest.mark.parametrize("name", SETTINGS)
def test_shapes_are_those_of_torch(name: str) -> None:
    """Also for an empty batch; what torch refuses is refused."""
    entry, outcomes = operators[name], set()
    sizes = [(0, 2, 4, 5), (3, 2, 4, 5), (3, 2, 1, 1), (3, 2, 7, 4), (1, 3, 4, 5), (5, 2), (0, 2, 6), (4,)]
    for given, shape in itertools.product(SETTINGS[name], sizes):
        _, body = call(name, given)
        if name in ONE_IMAGE and len(shape) == 3:
            continue  # torch takes an image without a batch, which no file can describe
        x = torch.zeros(shape)
        try:
            wanted = tuple(body(*(x,) * (entry.arity or 2)).shape)
        except (RuntimeError, ValueError, IndexError, TypeError):
            wanted = None
        graph = Graph(("x",), (Node("n", ("x",) * (entry.arity or 2), body),), "n")
        try:
            got = follow(graph, {"x": Value("float32", shape)}, "test")["n"].shape
        except ValueError:
            got = None
        assert got == wanted, (given, shape)
        if got is not None:
            on_arrays, _ = call(name, given)
            with np.errstate(all="ignore"):
                assert on_arrays(*(np.zeros(shape, np.float32),) * (entry.arity or 2)).shape == got
        outcomes.add(got is None)
    assert False in outcomes


@pytest.mark.parametrize(
    ("first", "second"), [((0, 3), (3,)), ((2, 3), (0, 3)), ((4, 1), (1, 5)), ((), (2,))]
)
@pytest.mark.parametrize(
    "dtypes", list(itertools.product(("float32", "float64", "int64", "uint8", "bool"), repeat=2))
)
def test_sums_of_two_types_and_shapes(first: Any, second: Any, dtypes: tuple[str, str]) -> None:
    xs = [np.ones(shape, dtype) for shape, dtype in zip((first, second), dtypes, strict=True)]
    tensors = [torch.from_numpy(x) for x in xs]
    if () in (first, second):
        tensors = [
            x.reshape(1) if not x.dim() else x for x in tensors
        ]  # torch's numbers have types that give way
    entry = operators["add"]
    try:
        wanted = entry.compute(tuple(tensors), Settings(), {})
    except RuntimeError:
        with pytest.raises(ValueError, match="values"):
            entry.shape((first, second), Settings())
        return
    got = entry.compute(tuple(xs), Settings(), {})
    assert got.shape == tuple(wanted.shape) == entry.shape((first, second), Settings())
    assert got.dtype.name == str(wanted.dtype).removeprefix("torch.") == entry.dtype(dtypes)


def test_every_name_in_torch_is_there() -> None:
    """Each is looked up only when a model is read."""
    for entry in operators.values():
        for path in entry.modules:
            assert issubclass(resolve_name(path), torch.nn.Module)
        for path in entry.calls:
            assert callable(getattr(torch.Tensor, path[1:]) if path.startswith(".") else resolve_name(path))


@pytest.mark.parametrize(
    "name", [n for n, entry in operators.items() if entry.dtype(("float32",) * 2) == "float32"]
)
def test_integers_where_only_floats_go_are_refused(name: str) -> None:
    if name in (
        "add",
        "chunk",
        "concatenate",
        "flatten",
        "identity",
        "mul",
        "permute",
        "pixel_shuffle",
        "reshape",
        "slice",
    ):
        assert operators[name].dtype(("int64",) * 2) == "int64"
        return
    with pytest.raises(ValueError, match="no floating type"):
        operators[name].dtype(("int64",))


def test_numbers_that_torch_alone_has_are_refused_in_words() -> None:
    entry = operators["batch_norm"]
    settings = entry.settings(features=2, eps=0.0, affine=False)
    good = {"mean": np.zeros(2, np.float32), "variance": np.ones(2, np.float32)}
    entry.check(settings, good)
    for wrong in (good | {"mean": np.zeros(3, np.float32)}, good | {"mean": np.zeros(2, np.int8)}, {}):
        with pytest.raises(FormatError, match="batch_norm"):
            entry.check(settings, wrong)
