"""Sparse batches: the dense product's value and gradients, without a dense batch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import DtypeError, ShapeError
from gossamer.nn import sparse_batch
from gossamer.ops import sparse_input
from strategies import PATTERNS, case

LAYERS = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def layer_of(pattern: Any, shape: tuple[int, int] = (24, 40)) -> gs.SparseLinear:
    """A layer in double precision."""
    fitting = case(pattern, shape, 0.3)
    layer = gs.SparseLinear(
        fitting.shape[1], fitting.shape[0], density=fitting.density, pattern=pattern, dtype=torch.float64
    )
    nn.init.normal_(layer.bias)
    return layer


def batch(features: int, size: int = 9) -> Tensor:
    """Dense, mostly zero; one sample is empty."""
    x = torch.randn(size, features, dtype=torch.float64)
    x[torch.rand_like(x) < 0.8] = 0
    x[size // 2] = 0
    return x


def gradients(layer: gs.SparseLinear, x: Any, upstream: Tensor) -> tuple[Tensor, ...]:
    """Output, and gradients of values and bias."""
    layer.zero_grad()
    y = layer(x)
    y.backward(upstream)
    return y.detach(), layer.values.grad, layer.bias.grad


@LAYERS
@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_value_and_gradients_are_those_of_the_dense_batch(
    pattern: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pattern, every container, however small the chunks."""
    monkeypatch.setattr(sparse_input, "CHUNK", chunk)
    layer = layer_of(pattern)
    x = batch(layer.in_features)
    upstream = torch.randn(len(x), layer.out_features, dtype=torch.float64)
    expected = gradients(layer, x, upstream)
    for form in (x.to_sparse_csr(), sparse.csr_array(x.numpy()), sparse.coo_matrix(x.numpy())):
        for got, wanted in zip(gradients(layer, form, upstream), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-13)


def test_an_update_of_the_topology_is_seen() -> None:
    """What is kept for sparse batches does not outlive the index it was made from."""
    layer = layer_of(gs.Unstructured())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    gs.attach(layer, optimizer, gs.SET(every=1), total_steps=9, outputs=[])
    for _ in range(4):
        x = batch(40)
        torch.testing.assert_close(layer(x.to_sparse_csr()), layer(x), rtol=1e-12, atol=1e-13)
        optimizer.zero_grad()
        layer(x.to_sparse_csr()).square().sum().backward()
        optimizer.step()
    other = layer_of(gs.Unstructured())
    other(x.to_sparse_csr())
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x.to_sparse_csr()), layer(x), rtol=1e-12, atol=1e-13)


def test_gradient_growth_works_on_sparse_batches() -> None:
    """The same positions as with the dense batch."""
    grown = []
    for sparse_input_too in (False, True):
        torch.manual_seed(0)
        layer = layer_of(gs.FanIn())
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        gs.attach(layer, optimizer, gs.RigL(every=2, drop=0.5), total_steps=8, outputs=[])
        for _ in range(2):
            x = batch(40)
            optimizer.zero_grad()
            layer(x.to_sparse_csr() if sparse_input_too else x).square().sum().backward()
            optimizer.step()
        grown.append(layer.topology.positions)
    assert torch.equal(*grown)


def test_nothing_of_dense_size_is_made() -> None:
    """A million features; a dense batch would be 4 GB."""
    layer = gs.SparseLinear(1_000_000, 1000, density=1e-4, pattern=gs.Unstructured())
    x = sparse.random_array((1000, 1_000_000), density=1e-5, dtype="float32", format="csr", rng=0)
    y = nn.Sequential(layer, nn.ReLU())(x)
    y.sum().backward()
    assert y.shape == (1000, 1000)
    assert int(layer.values.grad.count_nonzero()) > 0


def test_what_does_not_fit_is_refused() -> None:
    """One sentence each."""
    layer = layer_of(gs.Unstructured())
    with pytest.raises(ShapeError, match="batch, 40"):
        layer(batch(41).to_sparse_csr())
    with pytest.raises(DtypeError, match="float64"):
        layer(batch(40).float().to_sparse_csr())
    with pytest.raises(DtypeError, match="sparse_csr"):
        layer(batch(40).to_sparse_coo())
    with pytest.raises(DtypeError, match="SciPy"):
        layer([1.0, 2.0])


def loose(repeated: bool) -> tuple[Any, Any, Any]:
    """Row pointers, columns and numbers of 3 samples, one empty, out of order; columns repeated, or not."""
    columns = [7, 0, 7, 39, 2, 2] if repeated else [7, 0, 9, 39, 2, 3]
    return np.array([0, 3, 3, 6]), np.array(columns), np.array([1.0, 2.0, -4.0, 0.5, 8.0, 1.0])


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("kind", [float, np.int64, np.uint8])
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_columns_in_any_order_and_repeated_ones_are_what_scipy_says(
    form: Any, kind: Any, repeated: bool
) -> None:
    """And the caller's matrix stays as it was."""
    pointers, columns, numbers = loose(repeated)
    given = form(sparse.csr_array((np.abs(numbers).astype(kind), columns, pointers), (3, 40)))
    kept = {
        name: getattr(given, name).copy() for name in ("data", "indices", "indptr") if hasattr(given, name)
    }
    layer = layer_of(gs.Unstructured())
    upstream = torch.randn(3, layer.out_features, dtype=torch.float64)
    expected = gradients(layer, torch.from_numpy(given.toarray()).double(), upstream)
    for got, wanted in zip(gradients(layer, given, upstream), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-13)
    assert all(np.array_equal(getattr(given, name), before) for name, before in kept.items())


@pytest.mark.parametrize("repeated", [False, True])
def test_a_loose_tensor_is_computed_and_grown_by_as_the_dense_one(repeated: bool) -> None:
    parts = [torch.from_numpy(part) for part in loose(repeated)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.sparse_csr_tensor(*parts, (3, 40), check_invariants=False)
    dense = torch.from_numpy(sparse.csr_array(tuple(reversed(loose(repeated))), (3, 40)).toarray())
    layer = layer_of(gs.Unstructured())
    rows = []
    for given in (x, dense):
        layer.tape.arm(layer.values, recording=True)
        layer(given).square().sum().backward()
        rows.append(layer.gradient_tile(slice(None), slice(None)))
    torch.testing.assert_close(layer(x), layer(dense))
    torch.testing.assert_close(rows[0], rows[1])


@pytest.mark.parametrize("columns", [[0, 40], [-1, 3], [0, 2**40]])
def test_columns_outside_are_refused(columns: list[int]) -> None:
    layer, pointers = layer_of(gs.Unstructured()), torch.tensor([0, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.sparse_csr_tensor(
            pointers, torch.tensor(columns), torch.ones(2).double(), (1, 40), check_invariants=False
        )
    with pytest.raises(ShapeError, match="from 0 to 39"):
        layer(x)


def test_numbers_that_torch_does_not_have_are_refused() -> None:
    layer = layer_of(gs.Unstructured())
    for kind in (np.complex128, np.longdouble):
        with pytest.raises(DtypeError):
            layer(sparse.csr_array(np.ones((1, 40), kind)))
    with pytest.raises(DtypeError):
        layer([[1.0] * 40])


@pytest.mark.parametrize("form", [lambda x: x.to_sparse_csr(), lambda x: sparse.csr_array(x.numpy())])
def test_transforms_refuse_sparse_batches(form: Any) -> None:
    """torch.func cannot lift them."""
    layer = layer_of(gs.FanIn())
    x = form(batch(layer.in_features))
    params = {name: tensor.detach() for name, tensor in layer.named_parameters()}
    with pytest.raises(DtypeError, match="dense batch"):
        torch.func.grad(lambda p: torch.func.functional_call(layer, p, x).square().sum())(params)


@pytest.mark.parametrize("cols", [slice(0, 6), slice(2, 5), slice(1, 6, 2), slice(3, 3)], ids=str)
@pytest.mark.parametrize("width", [1, 3])
def test_gradient_of_some_columns_of_a_sparse_batch(
    cols: slice, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the dense product has it, also where few numbers are multiplied at once."""
    monkeypatch.setattr(sparse_batch, "CHUNK", 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6 * width, generator=generator, dtype=torch.float64)
    x *= torch.rand(x.shape, generator=generator) < 0.4
    outputs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    expected = (outputs.T @ x).view(3, 6, width)[:, cols].flatten(1)
    got = sparse_batch.product_of_columns(outputs, x.to_sparse_csr(), cols, width)
    torch.testing.assert_close(got, expected)
