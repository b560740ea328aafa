"""What reaches a kernel is refused before it, with a message that says what to do; threads change no bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gossamer import ops
from gossamer.errors import DtypeError, ShapeError, TopologyError
from gossamer.kernels import pick
from gossamer.kernels.cpu import Chain, check_index
from kernel_cases import block, csr, dense, fanin, nm

U16, I32 = torch.uint16, torch.int32


def _good() -> dict[str, Any]:
    index = [torch.tensor([0, 2, 3], dtype=I32), torch.tensor([0, 3, 1]).to(U16)]
    return {
        "x": torch.ones(2, 4),
        "values": torch.ones(4),
        "index": index,
        "bias": torch.ones(2),
        "layout": "csr",
        "shape": [2, 4],
    }


REFUSED: list[tuple[str, type[Exception], str, Callable[[dict[str, Any]], Any]]] = [
    ("features", ShapeError, r"x \[..., 4\]", lambda o: o.update(x=torch.ones(2, 5))),
    ("scalar-x", ShapeError, "x ", lambda o: o.update(x=torch.ones(()))),
    ("too-few-values", ShapeError, ">= 3", lambda o: o.update(values=torch.ones(2))),
    ("values-2d", ShapeError, "values", lambda o: o.update(values=torch.ones(2, 2))),
    ("values-strided", ShapeError, "contiguous", lambda o: o.update(values=torch.ones(8)[::2])),
    ("bias-size", ShapeError, "bias", lambda o: o.update(bias=torch.ones(3))),
    ("layout", ShapeError, "csr, csr_bands, csr_halves, dense", lambda o: o.update(layout="coo")),
    ("shape-length", ShapeError, "2 integers", lambda o: o.update(shape=[2, 4, 1])),
    ("index-length", ShapeError, "2 index tensors", lambda o: o.update(index=o["index"][:1])),
    ("row-pointer", ShapeError, "row_ptr", lambda o: o.update(index=[o["index"][0][:2], o["index"][1]])),
    ("pointer-dtype", DtypeError, "int32 or int64", lambda o: o.update(index=[o["index"][1], o["index"][1]])),
    ("column-dtype", DtypeError, "uint16 or int32",
     lambda o: o.update(index=[o["index"][0], o["index"][1].long()])),
    ("column-strided", ShapeError, "contiguous",
     lambda o: o.update(index=[o["index"][0], torch.zeros(6, dtype=I32)[::2]])),
    ("x-dtype", DtypeError, "autocast", lambda o: o.update(x=torch.ones(2, 4, dtype=torch.float64))),
    ("bias-dtype", DtypeError, "bias like values",
     lambda o: o.update(bias=torch.ones(2, dtype=torch.float16))),
    ("integers", DtypeError, "floating",
     lambda o: o.update(x=torch.ones(2, 4, dtype=I32), values=torch.ones(4, dtype=I32), bias=None)),
    ("device", DtypeError, "meta", lambda o: o.update(x=torch.ones(2, 4, device="meta"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "message", "change"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_operands_that_do_not_fit_are_refused(
    error: type[Exception], message: str, change: Callable[..., Any]
) -> None:
    operands = _good()
    ops.linear(**operands)
    change(operands)
    with pytest.raises(error, match=message):
        ops.linear(**operands)


def test_a_row_pointer_past_the_columns_is_refused_by_the_core() -> None:
    operands = _good()
    operands["index"][0] = torch.tensor([0, 2, 900], dtype=I32)
    with pytest.raises(TopologyError, match="check_index"):
        ops.linear(**operands)


BROKEN = [
    (
        "column-out-of-range",
        "csr",
        [2, 4],
        [torch.tensor([0, 2, 3], dtype=I32), torch.tensor([0, 4, 1]).to(U16)],
    ),
    (
        "columns-not-ascending",
        "csr",
        [2, 4],
        [torch.tensor([0, 2, 3], dtype=I32), torch.tensor([3, 0, 1]).to(U16)],
    ),
    ("column-twice", "csr", [2, 4], [torch.tensor([0, 2, 3], dtype=I32), torch.tensor([1, 1, 1]).to(U16)]),
    (
        "negative-column",
        "csr",
        [2, 4],
        [torch.tensor([0, 2, 3], dtype=I32), torch.tensor([-1, 0, 1], dtype=I32)],
    ),
    ("pointer-goes-back", "csr", [2, 4], [torch.tensor([0, 4, 3]), torch.tensor([0, 3, 1]).to(U16)]),
    ("row-group-out-of-range", "fanin", [4, 4, 2], [torch.tensor([2]).to(U16), torch.tensor([[1]]).to(U16)]),
    ("row-group-twice", "fanin", [4, 4, 2], [torch.tensor([1, 1]).to(U16), torch.tensor([[1], [2]]).to(U16)]),
    ("offset-out-of-tile", "nm", [1, 4, 1, 2], [torch.tensor([[[0], [2]]], dtype=torch.uint8)]),
    ("offset-twice", "nm", [1, 4, 2, 4], [torch.tensor([[[1, 1]]], dtype=torch.uint8)]),
]


@pytest.mark.parametrize(("layout", "shape", "index"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_the_full_scan_finds_broken_indices(layout: str, shape: list[int], index: list[torch.Tensor]) -> None:
    with pytest.raises(TopologyError, match="check_index"):
        check_index(torch.zeros(8), index, layout, shape)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,), (2, 0)])
def test_any_leading_dimensions(leading: tuple[int, ...]) -> None:
    case = fanin("f", 3, [0, 2], 2, 5)
    x, values = torch.randn(*leading, 5), torch.randn(case.used)
    y = ops.linear(x, values, case.index, None, "fanin", case.shape)
    assert y.shape == (*leading, 3)
    torch.testing.assert_close(y, x @ case.dense(values).t())


def test_autocast_computes_and_returns_float32() -> None:
    case = nm("n", 4, 2, 1, 4)
    values = torch.randn(case.used, requires_grad=True)
    x = torch.randn(3, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ops.linear(x, values, case.index, None, "nm", case.shape)
    y.sum().backward()
    assert y.dtype == values.grad.dtype == torch.float32
    assert x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(y.detach(), x.detach().float() @ case.dense(values.detach()).t())


def test_other_devices_run_reference_rows() -> None:
    case = csr("c", [[0], [1]], 2)
    assert pick("linear", "csr", torch.float32, "cuda").isa == "reference"
    meta = [t.to("meta") for t in (torch.ones(3, 2), torch.ones(2), *case.index)]
    y = ops.linear(meta[0], meta[1], meta[2:], None, "csr", case.shape)
    assert y.shape == (3, 2)
    assert y.device.type == "meta"


LARGE = [
    csr("csr", [list(range(r % 400)) for r in range(1200)], 400),
    fanin("fanin", 1500, range(1500), 120, 400),
    fanin("fanin4", 300, range(0, 300, 2), 200, 400, 4),
    nm("nm", 1000, 50, 4, 8),
    block("block", [range(0, 120, 2)] * 300, 960, 4, 8),
    nm("nm_lanes", 2001, 50, 3, 8, lanes=True),
    dense("dense", 900, 400),
]


@pytest.mark.parametrize("case", LARGE, ids=lambda c: c.name)
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_threads_change_no_bit(case: Any, batch: int) -> None:
    """Large enough to be split; torch's own pool, honouring set_num_threads."""
    values, x, grad = (
        torch.randn(case.used),
        torch.randn(batch, case.shape[1]),
        torch.randn(batch, case.shape[0]),
    )
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs = [
                pick("linear", case.layout, "float32", "cpu").call(x, values, case.index, None, case.shape)
            ]
            if case.layout in {"csr", "fanin", "nm", "block"}:
                runs.append(
                    pick("linear_grad_input", case.layout, "float32", "cpu").call(
                        grad, values, case.index, case.shape
                    )
                )
                runs.append(
                    pick("linear_grad_values", case.layout, "float32", "cpu").call(
                        grad, x, values, case.index, case.shape
                    )
                )
            results.append(runs)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def _layers() -> list[dict[str, Any]]:
    made = [
        fanin("a", 6, range(6), 5, 20, 4),
        nm("b", 17, 3, 2, 8, lanes=True),
        csr("c", [[0], [], [3, 16]], 17),
        dense("d", 4, 3),
    ]
    return [
        {"layout": c.layout, "shape": c.shape, "values": torch.randn(c.used), "index": c.index,
         "bias": torch.randn(c.shape[0]), "activation": None if c.layout == "dense" else "relu"}
        for c in made
    ]  # fmt: skip


@pytest.mark.parametrize("batch", [0, 1, 2, 40])
def test_a_chain_is_its_layers_one_by_one(batch: int) -> None:
    layers = _layers()
    x = torch.randn(batch, 20)
    step = x
    for layer in layers:
        step = ops.linear(
            step, layer["values"], layer["index"], layer["bias"], layer["layout"], layer["shape"]
        )
        step = step.relu() if layer["activation"] else step
    chain = Chain(layers)
    assert torch.equal(chain(x), step)
    assert torch.equal(chain(x.t().contiguous().t()), step)
    arrays = [{**layer, "values": layer["values"].numpy(), "bias": layer["bias"].numpy(),
               "index": [t.numpy() for t in layer["index"]]} for layer in layers]  # fmt: skip
    assert torch.equal(torch.from_numpy(Chain(arrays)(x.numpy())), step)


@pytest.mark.parametrize("case", LARGE, ids=lambda c: c.name)
@pytest.mark.parametrize("batch", [1, 9])
def test_the_fused_activation_is_torch_relu_nan_included(case: Any, batch: int) -> None:
    layer = {
        "layout": case.layout,
        "shape": case.shape,
        "values": torch.randn(case.used),
        "index": case.index,
    }
    x = torch.randn(batch, case.shape[1])
    x[0, ::7] = float("nan")
    y = Chain([layer])(x).relu()
    assert y.isnan().any()
    torch.testing.assert_close(Chain([{**layer, "activation": "relu"}])(x), y, rtol=0, atol=0, equal_nan=True)


def test_a_chain_refuses_layers_that_do_not_fit() -> None:
    layers = _layers()
    with pytest.raises(ShapeError, match="fit each other"):
        Chain([layers[0], layers[2]])
    with pytest.raises(ShapeError, match="activation"):
        Chain([{**layers[0], "activation": "softplus"}])
    with pytest.raises(ShapeError, match="bias"):
        Chain([{**layers[0], "bias": torch.ones(2)}])
    with pytest.raises(DtypeError, match="bias of float32"):
        Chain([{**layers[0], "bias": layers[0]["bias"].double()}])
    with pytest.raises(TopologyError):
        Chain(
            [
                {
                    **layers[2],
                    "index": (torch.tensor([0, 1, 1, 3], dtype=I32), torch.tensor([0, 3, 99]).to(U16)),
                }
            ]
        )
    with pytest.raises(ShapeError, match=r"\[batch, 20\]"):
        Chain(layers)(torch.ones(2, 21))
    with pytest.raises(DtypeError, match="float32"):
        Chain(layers)(torch.ones(2, 20, dtype=torch.float64))
