"""Sparse batches: the dense product's value and gradients, without a dense batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import sparse
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import DtypeError, ShapeError
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
    for sparse_batch in (False, True):
        torch.manual_seed(0)
        layer = layer_of(gs.FanIn())
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        gs.attach(layer, optimizer, gs.RigL(every=2, drop=0.5), total_steps=8, outputs=[])
        for _ in range(2):
            x = batch(40)
            optimizer.zero_grad()
            layer(x.to_sparse_csr() if sparse_batch else x).square().sum().backward()
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
