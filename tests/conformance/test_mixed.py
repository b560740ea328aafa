"""Blocks under autocast with bfloat16: factors are rounded, sums are not, and no way of running changes a bit."""

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import kernels
from gossamer.errors import StateError
from gossamer.kernels.cpu import library

SHAPES = ((64, 96), (48, 32), (16, 320))
BATCHES = (1, 15, 33, 100, 1100)  # the last is more than gradients of values take at a time


def layer(n_out: int, n_in: int, density: float = 0.4, pattern=None) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(n_in, n_out))
    gs.sparsify(model, density=density, pattern=pattern or gs.Block(16, 32), allocation="uniform")
    return model


def products(model, x, grad, isa=None, dtype=torch.bfloat16):
    """Result and gradients of input, values and bias."""
    x = x.detach().requires_grad_()
    with kernels.use(isa):
        with torch.autocast("cpu", dtype=dtype):
            y = model(x)
        return y, *torch.autograd.grad(y, [x, model[0].values, model[0].bias], grad)


def dense(model: nn.Sequential) -> torch.Tensor:
    return model(torch.eye(model[0].in_features)).detach().t() - model[0].bias.detach()[:, None]


def near(made, wanted, tolerance=1e-5):
    torch.testing.assert_close(
        made.double(), wanted.double(), rtol=tolerance, atol=tolerance * wanted.abs().max().item()
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_rounded_factors_and_sums_that_are_not(shape, batch):
    model = layer(*shape)
    x, grad = torch.randn(batch, shape[1]), torch.randn(batch, shape[0])
    weight = dense(model).bfloat16().double()
    y, dx, dv, db = products(model, x, grad)
    assert y.dtype == dx.dtype == dv.dtype == torch.float32
    near(y, x.bfloat16().double() @ weight.t() + model[0].bias.detach().double())
    near(dx, grad.bfloat16().double() @ weight)
    near(db, grad.sum(0))
    near(dv, products(model, x.bfloat16().float(), grad.bfloat16().float(), dtype=torch.float16)[2])


@pytest.mark.parametrize("feature_major", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_instruction_sets_agree_to_the_bit(batch, feature_major):
    model = layer(64, 96)
    x, grad = torch.randn(batch, 96), torch.randn(batch, 64)
    if feature_major:
        x, grad = x.t().contiguous().t(), grad.t().contiguous().t()
    first = products(model, x, grad)
    for isa in library.available_isas():
        assert all(map(torch.equal, first, products(model, x, grad, isa)))
    for made, other in zip(first, products(model, x, grad, "reference"), strict=True):
        near(made, other)


def test_threads_do_not_change_a_bit():
    model = layer(256, 512)
    x, grad, before = torch.randn(200, 512), torch.randn(200, 256), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(products(model, x, grad))
    finally:
        torch.set_num_threads(before)
    assert all(all(map(torch.equal, found[0], other)) for other in found[1:])


@pytest.mark.parametrize("pattern", [gs.Block(4, 4), gs.FanIn(), gs.Block(16, 16)])
def test_other_patterns_stay_in_float32(pattern):
    model, x = layer(64, 96, pattern=pattern), torch.randn(5, 96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(x)
    assert torch.equal(mixed, model(x))


def test_only_bfloat16_rounds():
    model, x = layer(64, 96), torch.randn(5, 96)
    with torch.autocast("cpu", dtype=torch.float16):
        halves = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(x)
    assert torch.equal(halves, model(x))
    assert not torch.equal(rounded, halves)


def test_compiled_gives_the_same_bits():
    model, x = layer(64, 96), torch.randn(5, 96)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compiled(x), model(x))


def test_leading_dimensions_and_an_empty_batch():
    model, x = layer(64, 96), torch.randn(2, 3, 96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), model(x.reshape(6, 96)).reshape(2, 3, 64))
        assert model(x[:, :0]).shape == (2, 0, 64)
    y, dx, dv, _ = products(model, x[0, :0], torch.randn(0, 64))
    assert y.shape == (0, 64)
    assert dx.shape == (0, 96)
    assert not dv.any()


def test_nan_and_infinity_pass():
    model, x = layer(64, 96), torch.zeros(3, 96)
    x[0, 5], x[1, 7] = torch.inf, torch.nan
    reads = dense(model)[:, 5] != 0
    assert reads.any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert torch.equal(y[0].isinf(), reads)
    assert torch.equal(y[1].isnan(), reads)
    assert torch.equal(y[2], model[0].bias)


def test_transforms_are_refused_and_so_are_second_derivatives():
    model, x = layer(64, 96), torch.randn(5, 96, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(StateError, match="around a product in bfloat16"):
            torch.func.vmap(model)(x)
        y = model(x)
    with pytest.raises(StateError, match="second derivative"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_operators_pass_opcheck():
    model = layer(64, 96)[0]
    x, grad = torch.randn(5, 96), torch.randn(5, 64)
    index, values, shape = list(model.operands()), model.values.detach(), [64, 96, 16, 32]
    run = torch.ops.gossamer
    torch.library.opcheck(run.mixed_linear.default, (x, values, index, None, shape))
    torch.library.opcheck(run.mixed_grad_input.default, (grad, values, index, shape))
    torch.library.opcheck(run.mixed_grad_values.default, (grad, x, values, index, shape))


def test_a_network_trains():
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    target = torch.tanh(x @ torch.randn(64, 16))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    gs.sparsify(model, density=0.5, pattern=gs.Block(16, 32), allocation="uniform")
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    gs.attach(model, optimizer, gs.RigL(every=10, drop=0.3), total_steps=150)
    losses = []
    for _ in range(150):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.mse_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
