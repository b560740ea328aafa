"""Exported programs call the registered operators themselves: what does not fit is refused there, and never read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gossamer import ops
from gossamer.errors import ConfigError, DtypeError, GossamerError, ShapeError, TopologyError
from gossamer.kernels import use
from gossamer.kernels.cpu import Chain, CompiledSelector, check_index
from kernel_cases import Case, cases

I32, FAR = torch.int32, 2**31 - 1
SMALL = [c for c in cases() if 0 < c.used <= 60 and c.layout in {"csr", "fanin", "nm", "block"}]
ONE_EACH = [next(c for c in SMALL if c.layout == layout) for layout in ("csr", "fanin", "nm", "block")]
each_layout = pytest.mark.parametrize("case", ONE_EACH, ids=lambda c: c.layout)
each_machine = pytest.mark.parametrize("isa", [None, "reference"])
raw = torch.ops.gossamer


def operands(case: Case, op: str) -> dict[str, Any]:
    """What fits: two samples, some room past the values."""
    n_out, n_in = case.shape[:2]
    x, grad = {"x": torch.ones(2, n_in)}, {"grad": torch.ones(2, n_out)}
    rest = {"values": torch.ones(case.used + 2), "index": list(case.index)}
    tail = {"layout": case.layout, "shape": list(case.shape)}
    return {
        "linear": {**x, **rest, "bias": torch.ones(n_out), **tail},
        "linear_grad_input": {**grad, **rest, **tail},
        "linear_grad_values": {**grad, **x, **rest, **tail},
    }[op]


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "narrower": lambda t: t[..., :-1].contiguous(),
    "wider": lambda t: torch.cat([t, t[..., :1]], -1),
    "a scalar": lambda t: t.flatten()[0],
    "one more dimension": lambda t: t[None],
    "double": lambda t: t.double(),
    "integers": lambda t: t.int(),
}
FLAT = {
    "expanded": lambda t: t[:1].expand(t.numel()),
    "strided": lambda t: torch.ones(2 * t.numel())[::2],
    "too few": lambda t: t[:1].clone(),
    "none": lambda t: t[:0].clone(),
}


@each_machine
@each_layout
@pytest.mark.parametrize("op", ["linear", "linear_grad_input", "linear_grad_values"])
def test_operands_that_do_not_fit_are_refused_by_the_operator(op: str, case: Case, isa: str | None) -> None:
    good = operands(case, op)
    with use(isa):
        getattr(raw, op)(**good)
        for name in good.keys() & {"x", "grad", "values", "bias"}:
            changes = CHANGES if name in {"x", "grad"} else {**CHANGES, **FLAT}
            for what, change in changes.items():
                if name == "values" and what in {"narrower", "wider"}:  # there is room for two more
                    continue
                with pytest.raises(GossamerError):
                    getattr(raw, op)(**{**good, name: change(good[name])})
        for shape in ([-1, *case.shape[1:]], [2**40, *case.shape[1:]], [*case.shape, 1], case.shape[:1], []):
            with pytest.raises(ShapeError):
                getattr(raw, op)(**{**good, "shape": list(shape)})
        for layout in ("coo", "", "csr_bands"):
            with pytest.raises(GossamerError):
                getattr(raw, op)(**{**good, "layout": layout})


@each_layout
def test_a_gradient_of_another_batch_is_refused(case: Case) -> None:
    good = operands(case, "linear_grad_values")
    with pytest.raises(ShapeError, match="grad"):
        raw.linear_grad_values(**{**good, "x": good["x"].repeat(3, 1)})


@each_machine
@each_layout
@pytest.mark.parametrize("op", ["linear", "linear_grad_input", "linear_grad_values"])
def test_an_index_out_of_range_is_refused_and_so_is_one_written_to_later(
    op: str, case: Case, isa: str | None
) -> None:
    """The scan is kept for an index until torch counts a write to it."""
    good = operands(case, op)
    good["index"] = [tensor.clone() for tensor in case.index]
    with use(isa):
        getattr(raw, op)(**good)
        for tensor in good["index"]:
            before, largest = tensor.clone(), FAR if tensor.dtype == I32 else torch.iinfo(tensor.dtype).max
            tensor.view(-1)[-1:].fill_(largest)
            with pytest.raises(TopologyError):
                getattr(raw, op)(**good)
            tensor.copy_(before)
            getattr(raw, op)(**good)
            tensor.data = torch.full_like(tensor, largest)  # other memory, which torch does not count
            with pytest.raises(TopologyError):
                getattr(raw, op)(**good)
            tensor.data = before


def test_the_scan_is_not_taken_for_that_of_another_layout_or_shape() -> None:
    """The same tensors, said to be a narrower layer, or single connections instead of groups."""
    index = [torch.tensor([0, 1]).to(torch.uint16), torch.tensor([[0, 7], [1, 5]]).to(torch.uint16)]
    x, values = torch.ones(1, 8), torch.ones(16)
    raw.linear(x, values, index, None, "fanin", [8, 8, 4])
    with pytest.raises(TopologyError):
        raw.linear(x[:, :6].contiguous(), values, index, None, "fanin", [8, 6, 4])
    with pytest.raises(ShapeError, match="at most 1 rows"):
        raw.linear(x, values, index, None, "fanin", [1, 8, 1])
    assert raw.linear(x, values, index, None, "fanin", [8, 8, 4]).tolist() == [[2.0] * 8]


def test_an_index_without_a_count_of_writes_is_scanned_at_every_call() -> None:
    with torch.inference_mode():
        index = [torch.tensor([0, 2], dtype=I32), torch.tensor([0, 3], dtype=I32)]
        x, values = torch.ones(1, 4), torch.ones(2)
        assert raw.linear(x, values, index, None, "csr", [1, 4]).tolist() == [[2.0]]
        index[1][1] = FAR
        with pytest.raises(TopologyError):
            raw.linear(x, values, index, None, "csr", [1, 4])


def test_a_second_derivative_takes_upstream_gradients_that_share_memory() -> None:
    """The gradient of a sum is one number seen many times."""
    case = ONE_EACH[0]
    x, values = torch.randn(3, case.shape[1], requires_grad=True), torch.randn(case.used, requires_grad=True)
    y = ops.linear(x, values, case.index, None, case.layout, case.shape)
    (dv,) = torch.autograd.grad(y.square().sum(), values, create_graph=True)
    (mine,) = torch.autograd.grad(dv.sum(), x)
    dense = case.dense(values.detach())
    x2, w = x.detach().requires_grad_(), dense.requires_grad_()
    (dw,) = torch.autograd.grad((x2 @ w.t()).square().sum(), w, create_graph=True)
    there = torch.zeros_like(dense).index_put((case.row, case.column), torch.ones(case.used))
    (wanted,) = torch.autograd.grad((dw * there).sum(), x2)
    torch.testing.assert_close(mine, wanted)


def test_the_negative_bit_is_heard() -> None:
    """The imaginary part of a conjugate shares memory that holds its opposite."""
    case = ONE_EACH[0]
    imaginary = torch.randn(3, case.shape[1], dtype=torch.cfloat).conj().imag
    values, plain = torch.randn(case.used), imaginary.resolve_neg()
    assert imaginary.is_neg()
    layer = {"layout": "csr", "shape": list(case.shape), "index": case.index}
    wanted = ops.linear(plain, values, case.index, None, "csr", case.shape)
    with torch.no_grad():
        assert torch.equal(ops.linear(imaginary, values, case.index, None, "csr", case.shape), wanted)
    assert torch.equal(Chain([{**layer, "values": values}])(imaginary), wanted)
    assert torch.equal(Chain([{**layer, "values": torch._neg_view(-values)}])(plain), wanted)
    assert torch.equal(
        ops.linear(plain, torch._neg_view(-values), case.index, None, "csr", case.shape), wanted
    )


def _layer(**more: Any) -> dict[str, Any]:
    index = [torch.tensor([0, 1, 2], dtype=I32), torch.tensor([0, 3], dtype=I32)]
    return {"layout": "csr", "shape": [2, 4], "values": torch.tensor([1.0, 2.0]), "index": index, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"values": torch.ones(4)[::2]},
        {"values": torch.ones(1).expand(2)},
        {"values": torch.ones(1)},
        {"values": torch.ones(2, 1)},
        {"values": torch.ones(2, device="meta")},
        {"values": torch.ones(2, dtype=torch.int8), "scale": torch.ones(1).expand(2)},
        {"bias": torch.ones(1).expand(2)},
        {"bias": torch.ones(4)[::2]},
        {"bias": torch.ones(3)},
        {"bias": torch.ones(2, device="meta")},
        {"index": [torch.zeros(1, dtype=I32).expand(3), torch.tensor([0, 3], dtype=I32)]},
        {"index": [torch.tensor([0, 1], dtype=I32), torch.tensor([0, 3], dtype=I32)]},
        {"index": [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 3], dtype=I32)]},
        {"index": [torch.tensor([0, 1, 2], dtype=I32), torch.tensor([0, 3], dtype=torch.int16)]},
        {"index": [torch.tensor([0, 1, 2], dtype=I32), torch.tensor([0, FAR], dtype=I32)]},
        {"index": []},
        {"shape": [-2, 4]},
        {"shape": [2, 2**40]},
        {"shape": [2.0, 4]},
        {"layout": "coo"},
    ],
    ids=str,
)
def test_a_chain_refuses_what_a_kernel_would_read_wrongly(more: dict[str, Any]) -> None:
    with pytest.raises(GossamerError):
        Chain([_layer(**more)])
    with pytest.raises(GossamerError):
        Chain([])


def test_a_chain_reads_inputs_of_any_order() -> None:
    """Reversed, in records, at odd addresses: NumPy allows all of them."""
    arrays = {key: value.numpy() for key, value in _layer().items() if isinstance(value, torch.Tensor)}
    chain = Chain([{**_layer(), **arrays, "index": [tensor.numpy() for tensor in _layer()["index"]]}])
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    wanted = x[:, [0, 3]] * np.array([1, 2], np.float32)
    records = np.zeros(12, np.dtype([("x", np.float32), ("more", np.int16)]))
    records["x"] = x.ravel()
    odd = np.frombuffer(b"." + x.tobytes(), np.float32, offset=1).reshape(3, 4)
    twice = np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2]
    for given in (x, np.asfortranarray(x), records["x"].reshape(3, 4), odd, twice):
        assert np.array_equal(chain(given), wanted)
    assert np.array_equal(chain(x[::-1]), wanted[::-1])
    assert np.array_equal(chain(x[:, ::-1].copy()[:, ::-1]), wanted)
    with pytest.raises(DtypeError, match="dense"):
        Chain([_layer()])(torch.ones(1, 4).to_sparse())


def test_a_chain_keeps_the_memory_it_was_made_of() -> None:
    layer = _layer()
    chain = Chain([layer])
    for tensor in (layer["values"], *layer["index"]):
        tensor.data = torch.zeros_like(tensor)
    assert chain(torch.ones(1, 4)).tolist() == [[1.0, 2.0]]


def test_threads_share_a_chain() -> None:
    """Each has a workspace of its own; batch sizes change under way."""
    torch.manual_seed(0)
    wide = {"layout": "dense", "shape": [64, 64], "index": []}
    chain = Chain([{**wide, "values": torch.randn(64 * 64)} for _ in range(3)])
    inputs = [torch.randn(batch, 64) for batch in (1, 7, 40, 128)]
    wanted, wrong = [chain(x) for x in inputs], []

    def work(start: int) -> None:
        for step in range(60):
            which = (start + step) % len(inputs)
            if not torch.equal(chain(inputs[which]), wanted[which]):
                wrong.append(which)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_check_index_refuses_sizes_that_do_not_fit() -> None:
    index = [np.array([0, 1, 2], np.int32), np.array([0, 3], np.int32)]
    check_index(np.zeros(2), index, "csr", [2, 4])
    for shape, given, values in (
        ([200, 4], index, 2), ([2, 4], index[:1], 2), ([2, 4], index, 1), ([2], index, 2),
        ([2, 4], [index[0][::-1], index[1]], 2),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            check_index(np.zeros(values), given, "csr", shape)
    with pytest.raises(DtypeError):
        check_index(np.zeros(2), [index[0].astype(np.float32), index[1]], "csr", [2, 4])


@each_machine
def test_dropout_refuses_what_does_not_fit(isa: str | None) -> None:
    x, seed = torch.ones(3, 4), torch.tensor([1])
    with use(isa):
        kept = raw.leaky_dropout(x, seed, 0.5, 0.5)[1]
        with pytest.raises(DtypeError):
            raw.leaky_dropout(x.int(), seed, 0.5, 0.5)
        for bad in (torch.tensor([1, 2]), torch.tensor([-1]), torch.tensor([1.0])):
            with pytest.raises(DtypeError):
                raw.leaky_dropout(x, bad, 0.5, 0.5)
        for p in (-0.1, 1.1, float("nan")):
            with pytest.raises(ConfigError):
                raw.leaky_dropout(x, seed, 0.5, p)
        for bad in (kept[:2], kept.int(), kept[0]):
            with pytest.raises(GossamerError):
                raw.leaky_dropout_backward(x, bad, 0.5, 0.5)
        shared, gaps = kept[:1].expand(3, 4), kept.repeat_interleave(2, 1)[:, ::2]
        for given in (shared, gaps, kept.t().contiguous().t()):
            wanted = raw.leaky_dropout_backward(x, given.contiguous(), 0.5, 0.5)
            assert torch.equal(raw.leaky_dropout_backward(x, given, 0.5, 0.5), wanted)
            assert torch.equal(raw.leaky_dropout_backward(x[:1].expand(3, 4), given, 0.5, 0.5), wanted)


def test_growth_passes_refuse_what_does_not_fit() -> None:
    selector, grid, none = CompiledSelector("scalar"), (1, 4, 1, 1), torch.empty(0, dtype=torch.int64)
    tile, want = torch.tensor([[1.0, 9.0, 5.0, 0.0]]), torch.tensor([2])
    scores, positions = torch.empty(4), torch.empty(4, dtype=torch.int64)
    assert selector.in_buckets(tile, grid, none, want, 4).tolist() == [1, 2]
    for bad in (
        lambda: selector.in_buckets(tile.clone(), grid, torch.tensor([1], dtype=I32), want, 4),
        lambda: selector.in_buckets(tile.clone(), grid, torch.tensor([1]).expand(4), want, 4),
        lambda: selector.in_buckets(tile.clone(), grid, none, want, 1),
        lambda: selector.in_buckets(tile.clone(), grid, none, torch.tensor([2**62]), 4),
        lambda: selector.in_buckets(tile.half(), grid, none, want, 4),
        lambda: selector.above(tile.double(), grid, none, 0.0, scores, positions),
        lambda: selector.above(tile.clone(), grid, none, 0.0, scores, positions.int()),
        lambda: selector.above(tile.clone(), grid, none, 0.0, scores[::2], positions),
        lambda: selector.keep(scores, positions[:2], 1),
        lambda: selector.keep(scores.half(), positions, 1),
    ):
        with pytest.raises(GossamerError):
            bad()
