"""Dropout and All-ReLU with dropout: what is drawn, derivatives, compilers, checkpoints, freezing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gossamer as gs
from gossamer import ops
from gossamer.errors import ConfigError
from gossamer.kernels import use
from gossamer.kernels.cpu import available_isas

each_kernel = pytest.mark.parametrize("isa", [*available_isas(), "reference"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)


def philox(key: int, counters: np.ndarray) -> np.ndarray:
    """[4, n] words of Philox4x32-10, in 64-bit arithmetic."""
    c0, c1 = counters & 0xFFFFFFFF, counters >> np.uint64(32)
    c2 = c3 = np.zeros_like(counters)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            b & np.uint64(0xFFFFFFFF),
            (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            a & np.uint64(0xFFFFFFFF),
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def test_the_generator_of_these_tests_gives_the_published_words() -> None:
    """The known answer for zeros."""
    words = philox(0, np.zeros(1, np.uint64))[:, 0]
    assert [f"{word:08x}" for word in words] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("n", [1, 128, 1000])
def test_compiled_draws_are_philox(isa: str, n: int) -> None:
    """Number i of a block of 128 by counter i % 16, word i // 32, lower half before upper half."""
    seed, x = 0x123456789ABCDEF, torch.ones(n)
    with use(isa):
        y, kept = torch.ops.gossamer.leaky_dropout(x, torch.tensor([seed]), 1.0, 0.3)
    i = np.arange(n)
    words = philox(seed, (i // 128 * 16 + i % 16).astype(np.uint64))[i % 128 // 32, i]
    bits = words >> (i % 32 // 16 * 16).astype(np.uint64) & np.uint64(0xFFFF)
    assert (kept.numpy() == (bits >= 19661)).all()
    assert torch.equal(y, kept * np.float32(65536 / (65536 - 19661)))


@each_kernel
@each_dtype
@pytest.mark.parametrize("slope", [1.0, 0.0, -0.6])
def test_values_and_gradients_follow_what_was_kept(isa: str, dtype: torch.dtype, slope: float) -> None:
    """Both are multiplied by 0, the scale, or slope times the scale."""
    x = torch.randn(33, 40, dtype=dtype).t().requires_grad_()
    with use(isa):
        y = ops.leaky_dropout(x, slope, 0.25)
        y.backward(torch.full_like(y, 3.0))
    factor = torch.where(x > 0, 4 / 3, slope * 4 / 3).to(dtype)
    dropped = x.grad == 0
    assert y.dtype is dtype
    assert y.stride() == x.stride() == x.grad.stride()
    torch.testing.assert_close(y, torch.where(dropped, 0.0, x * factor))
    torch.testing.assert_close(x.grad, torch.where(dropped, 0.0, 3 * factor))
    if slope:
        assert 0.15 < dropped.float().mean() < 0.35


@each_kernel
def test_the_share_that_is_dropped_is_p(isa: str) -> None:
    """Within five standard deviations, over every sixteenth number too; the mean stays."""
    torch.manual_seed(3)
    n, x = 1 << 18, torch.ones(1 << 18)
    for p in (0.01, 0.3, 0.9):
        with use(isa):
            y = ops.leaky_dropout(x, 1.0, p)
        assert abs(float((y == 0).double().mean()) - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1 / 131072
        assert abs(float(y.double().mean()) - 1) < 5 * (p / (1 - p) / n) ** 0.5
        lanes = (y == 0).view(-1, 16).double().mean(0) - p
        assert float(lanes.abs().max()) < 5 * (p * (1 - p) / (n / 16)) ** 0.5 + 1 / 131072


@each_kernel
def test_neighbours_and_calls_are_independent(isa: str) -> None:
    """Agreement of two places, or of two calls, is p^2 + (1 - p)^2 within five standard deviations."""
    torch.manual_seed(4)
    n, x = 1 << 18, torch.ones(1 << 18)
    with use(isa):
        first, second = (ops.leaky_dropout(x, 1.0, 0.5) == 0 for _ in range(2))
    pairs = [(first, second), *((first[:-lag], first[lag:]) for lag in (1, 16, 32, 128, 2048))]
    for one, other in pairs:
        assert abs(float((one == other).double().mean()) - 0.5) < 5 * (0.25 / n) ** 0.5 * 1.01


@each_kernel
def test_the_ends(isa: str) -> None:
    """Nothing is dropped at 0, everything at 1; an empty tensor is one; NaN stays where it is kept."""
    x = torch.tensor([1.0, -1.0, float("nan"), float("inf")])
    with use(isa):
        torch.testing.assert_close(
            ops.leaky_dropout(x, 0.5, 0.0), nn.functional.leaky_relu(x, 0.5), equal_nan=True
        )
        assert ops.leaky_dropout(torch.randn(300), 0.5, 1.0).eq(0).all()
        assert ops.leaky_dropout(torch.empty(0, 3), 0.5, 0.5).shape == (0, 3)
        assert ops.leaky_dropout(torch.ones(20, 20)[::2, ::3], 1.0, 0.5).shape == (10, 7)


def test_same_seed_same_numbers_whatever_the_threads_and_sets() -> None:
    """Also after the state of the generator was put back."""
    x, threads = torch.randn(700, 100), torch.get_num_threads()
    torch.manual_seed(7)
    state, results = torch.get_rng_state(), []
    try:
        for count, isa in [(1, isa) for isa in available_isas()] + [
            (3, isa) for isa in available_isas()[-1:]
        ]:
            torch.set_num_threads(count)
            torch.set_rng_state(state)
            with use(isa):
                results.append([ops.leaky_dropout(x, -0.6, 0.3) for _ in range(2)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    assert all(not torch.equal(*pair) for pair in results)


@each_kernel
@pytest.mark.parametrize("slope", [1.0, -0.6])
def test_derivatives_first_and_second_order(isa: str, slope: float) -> None:
    """With the same seed every time."""
    x = torch.randn(5, 7, dtype=torch.float64)
    x = torch.where(x.abs() < 0.05, 0.5, x).requires_grad_()

    def fixed(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return ops.leaky_dropout(x, slope, 0.4)

    with use(isa):
        assert torch.autograd.gradcheck(fixed, (x,))
        assert torch.autograd.gradgradcheck(fixed, (x,))


def test_opcheck() -> None:
    """Schemas, fakes and tracing of both operators."""
    x, seed = torch.randn(6, 10).t(), torch.tensor([5])
    torch.library.opcheck(torch.ops.gossamer.leaky_dropout.default, (x, seed, -0.5, 0.3))
    kept = torch.ops.gossamer.leaky_dropout(x, seed, -0.5, 0.3)[1]
    torch.library.opcheck(torch.ops.gossamer.leaky_dropout_backward.default, (x, kept, -0.5, 0.3))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: gs.Dropout(0.3),
    "all-relu": lambda: gs.AllReLU(0.6, 3, dropout=0.3),
}
each_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


def test_one_pass_is_both_modules() -> None:
    """All-ReLU with dropout equals All-ReLU and then Dropout, drawn alike."""
    x = torch.randn(60, 50)
    torch.manual_seed(0)
    one = gs.AllReLU(0.6, dropout=0.3)(x)
    torch.manual_seed(0)
    two = gs.Dropout(0.3)(gs.AllReLU(0.6)(x))
    torch.testing.assert_close(one, two)
    assert torch.equal(one == 0, two == 0)


def test_only_in_training() -> None:
    """Evaluation is the activation alone, and draws nothing."""
    x, state = torch.randn(5, 6), torch.get_rng_state()
    assert gs.Dropout(0.9).eval()(x) is x
    assert torch.equal(gs.AllReLU(0.6, dropout=0.9).eval()(x), gs.AllReLU(0.6)(x))
    assert gs.Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@each_module
def test_compile_in_one_graph(make: Callable[[], nn.Module]) -> None:
    """The same numbers for the same seed, forward and backward."""
    module, results = make(), []
    for run in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        x = torch.linspace(-1, 1, 90).view(9, 10).requires_grad_()
        torch.manual_seed(2)
        y = run(x)
        y.sum().backward()
        results.append((y, x.grad))
    torch.testing.assert_close(results[0], results[1])
    assert results[0][0].eq(0).any()


@each_module
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_draws_the_same_twice(
    make: Callable[[], nn.Module], reentrant: bool
) -> None:
    """The second forward pass repeats the first one."""
    grads = []
    for checkpointed in (False, True):
        model, x = nn.Sequential(make(), nn.Tanh(), make()), torch.linspace(-1, 1, 300).requires_grad_()
        torch.manual_seed(2)
        y = checkpoint(model, x, use_reentrant=reentrant) if checkpointed else model(x)
        y.square().sum().backward()
        grads.append(x.grad)
    assert torch.equal(*grads)


def test_freezing_leaves_it_out() -> None:
    """Both kinds; the activation becomes part of the layer before it."""
    torch.manual_seed(0)
    layers = [nn.Linear(24, 32), gs.AllReLU(0.6, 2, dropout=0.5), nn.Linear(32, 32), gs.AllReLU(0.6, 3)]
    model = nn.Sequential(*layers, gs.Dropout(0.5), nn.Linear(32, 8))
    gs.sparsify(model, 0.3, gs.Unstructured())
    x = torch.randn(6, 24)
    model.eval()
    frozen = gs.freeze(model, x)
    assert [body.slope for _, body in frozen.graph.layers()][:2] == [-0.6, 0.6]
    torch.testing.assert_close(frozen(x), model(x))


def test_dead_neurons_are_folded_without_dropout() -> None:
    """What a neuron without inputs gives on is its activated bias, in training too."""
    first, second = (gs.SparseLinear(8, 8, density=0.5, pattern=gs.Unstructured()) for _ in range(2))
    model = nn.Sequential(first, gs.AllReLU(0.5, dropout=0.9), second)
    from gossamer.trace.links import links

    (link,) = links(model)
    assert torch.equal(link.constants(torch.tensor([2.0, -2.0])), torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_no_probability_is_refused(p: float) -> None:
    """By both."""
    for make in (lambda: gs.Dropout(p), lambda: gs.AllReLU(0.6, dropout=p)):
        with pytest.raises(ConfigError, match="dropout probability"):
            make()
