"""Blocks and wide groups under autocast: factors are rounded, sums are not, and no way of running changes a bit."""

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import kernels
from gossamer.errors import ShapeError, StateError
from gossamer.kernels.cpu import library

PATTERNS = (gs.Block(16, 32), gs.FanIn(group=16), gs.FanIn(group=32))
SHAPES = ((64, 96), (32, 64), (32, 320))
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


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_rounded_factors_and_sums_that_are_not(pattern, shape, batch):
    model = layer(*shape, pattern=pattern)
    x, grad = torch.randn(batch, shape[1]), torch.randn(batch, shape[0])
    weight = dense(model).bfloat16().double()
    y, dx, dv, db = products(model, x, grad)
    assert y.dtype == dx.dtype == dv.dtype == torch.float32
    near(y, x.bfloat16().double() @ weight.t() + model[0].bias.detach().double())
    near(dx, grad.bfloat16().double() @ weight)
    near(db, grad.sum(0))
    near(dv, products(model, x.bfloat16().float(), grad.bfloat16().float(), dtype=torch.float16)[2])


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("feature_major", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_instruction_sets_agree_to_the_bit(pattern, batch, feature_major):
    model = layer(64, 96, pattern=pattern)
    x, grad = torch.randn(batch, 96), torch.randn(batch, 64)
    if feature_major:
        x, grad = x.t().contiguous().t(), grad.t().contiguous().t()
    first = products(model, x, grad)
    for isa in library.available_isas():
        assert all(map(torch.equal, first, products(model, x, grad, isa)))
    for made, other in zip(first, products(model, x, grad, "reference"), strict=True):
        near(made, other)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_threads_do_not_change_a_bit(pattern):
    model = layer(256, 1472, pattern=pattern)
    x, grad, before = torch.randn(200, 1472), torch.randn(200, 256), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(products(model, x, grad))
    finally:
        torch.set_num_threads(before)
    assert all(all(map(torch.equal, found[0], other)) for other in found[1:])


@pytest.mark.parametrize("pattern", [gs.Block(4, 4), gs.FanIn(), gs.FanIn(group=8), gs.Block(16, 16)])
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


@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=str)
def test_compiled_gives_the_same_bits(pattern):
    model, x, grad = layer(64, 96, pattern=pattern), torch.randn(5, 96), torch.randn(5, 64)
    plain = products(model, x, grad)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = compiled(x)
    assert torch.equal(y, plain[0])
    made = torch.autograd.grad(y, [x, model[0].values, model[0].bias], grad)
    assert all(map(torch.equal, made, plain[1:]))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_leading_dimensions_and_an_empty_batch(pattern):
    model, x = layer(64, 96, pattern=pattern), torch.randn(2, 3, 96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), model(x.reshape(6, 96)).reshape(2, 3, 64))
        assert model(x[:, :0]).shape == (2, 0, 64)
    y, dx, dv, db = products(model, x[0, :0], torch.randn(0, 64))
    assert y.shape == (0, 64)
    assert dx.shape == (0, 96)
    assert not dv.any()
    assert not db.any()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_inputs_of_any_strides(pattern):
    model, x, grad = layer(64, 96, pattern=pattern), torch.randn(7, 2, 192), torch.randn(7, 64, 3)
    plain = products(model, x[:, 0, ::2].contiguous(), grad[..., 1].contiguous())
    assert all(map(torch.equal, plain, products(model, x[:, 0, ::2], grad[..., 1])))
    y, dx, _, db = products(model, x[:1, 0, :96].expand(7, 96), torch.ones(1, 1).expand(7, 64))
    assert torch.equal(db, torch.full((64,), 7.0))
    assert all(torch.equal(made[0], made[6]) for made in (y, dx))


@pytest.mark.parametrize("isa", [None, "reference"])
def test_groups_without_connections(isa):
    model, x, grad = layer(64, 96, pattern=gs.FanIn(group=16)), torch.randn(40, 96), torch.randn(40, 64)
    index, values = [tensor[1:].contiguous() for tensor in model[0].operands()], model[0].values.detach()
    weight = dense(model).bfloat16().double()
    weight[model[0].operands()[0][0].item() * 16 :][:16] = 0
    k = index[1].shape[1] * 16
    run = torch.ops.gossamer
    with kernels.use(isa):
        y, *made = run.mixed_linear(x, values[k:], index, None, "fanin", [64, 96, 16])
        dx, dv, db = run.mixed_gradients(
            grad, *made, values[k:], index, "fanin", [64, 96, 16], [True, True, False]
        )
    near(y, x.bfloat16().double() @ weight.t())
    near(dx, grad.bfloat16().double() @ weight)
    assert torch.equal(dv[-k:], products(model, x, grad, isa)[2][-k:])
    assert not db.numel()


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


@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=str)
def test_operators_pass_opcheck(pattern):
    model = layer(64, 96, pattern=pattern)[0]
    x, grad = torch.randn(5, 96), torch.randn(5, 64)
    index, values, shape = list(model.operands()), model.values.detach(), pattern.dims((64, 96))
    run, layout = torch.ops.gossamer, pattern.layout
    _, *made = run.mixed_linear(x, values, index, None, layout, shape)
    torch.library.opcheck(run.mixed_linear.default, (x, values, index, None, layout, shape))
    for wanted in ([True, True, True], [False, True, False]):
        operands = (grad, *made, values, index, layout, shape, wanted)
        torch.library.opcheck(run.mixed_gradients.default, operands)


def test_operands_of_another_product_are_refused():
    model, x = layer(64, 96)[0], torch.randn(40, 96)
    index, values, shape = list(model.operands()), model.values.detach(), [64, 96, 16, 32]
    run = torch.ops.gossamer
    _, inputs, weights = run.mixed_linear(x, values, index, None, "block", shape)
    tail = (values, index, "block", shape, [True, True, True])
    for wrong in ((inputs[:, :32], weights), (inputs, weights[1:]), (inputs.float(), weights)):
        with pytest.raises(ShapeError, match="of mixed_linear"):
            run.mixed_gradients(torch.randn(40, 64), *wrong, *tail)


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        (gs.Block(16, 32), gs.RigL(every=10, drop=0.3)),
        (gs.FanIn(group=16), gs.SRigL(every=10, drop=0.3)),
    ],
    ids=["block", "fanin"],
)
def test_a_network_trains(pattern, rule):
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    target = torch.tanh(x @ torch.randn(64, 16))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    gs.sparsify(model, density=0.5, pattern=pattern, allocation="uniform")
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    gs.attach(model, optimizer, rule, total_steps=150)
    losses = []
    for _ in range(150):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.mse_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
