"""Averages and copies of sparse models are right or refused, whoever computes them; no index is ever averaged."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

import gossamer as gs
from gossamer.errors import SparseEfficiencyWarning, TopologyError
from strategies import HIDDEN, IN, TRAINED_ON, make_model, train_step

LAYERS = pytest.mark.parametrize("pattern", TRAINED_ON[:7], ids=str)
DECAYS = (0.9, 0.99, 0.9999, 0.99998)

# --- ways to average: (average, model, decay) changes the average ---------------------------------------------


def torchs(buffers: bool, formula: str = "multi") -> Callable[..., nn.Module]:
    """AveragedModel, as trainers use it."""

    def start(model: nn.Module, decay: float) -> AveragedModel:
        how = {
            "multi": {"multi_avg_fn": get_ema_multi_avg_fn(decay)},
            "single": {"avg_fn": get_ema_avg_fn(decay)},
            "mean": {},
        }[formula]
        average = AveragedModel(model, use_buffers=buffers, **how)
        average.update_parameters(model)
        return average

    return start


class ByHand(nn.Module):
    """What people write themselves; ``tensors`` says over what."""

    def __init__(
        self, model: nn.Module, decay: float, tensors: Callable[[nn.Module], list[Tensor]], how: str
    ) -> None:
        super().__init__()
        self.module, self.decay, self.tensors, self.how = copy.deepcopy(model), decay, tensors, how

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        for mine, its in zip(self.tensors(self.module), self.tensors(model), strict=True):
            if self.how == "data":
                mine.data.mul_(self.decay).add_(its.data, alpha=1 - self.decay)
            elif self.how == "lerp":
                mine.lerp_(its, 1 - self.decay)
            elif self.how == "copy":
                mine.copy_(self.decay * mine + (1 - self.decay) * its)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


def by_hand(tensors: Callable[[nn.Module], list[Tensor]], how: str) -> Callable[..., nn.Module]:
    return lambda model, decay: ByHand(model, decay, tensors, how)


@torch.no_grad()
def output(model: nn.Module, x: Tensor) -> Tensor:
    """As in evaluation."""
    return model(x)


def parameters(model: nn.Module) -> list[Tensor]:
    return list(model.parameters())


def everything_registered(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def floats_of_state(model: nn.Module) -> list[Tensor]:
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]


def values_of_state(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


WAYS = {
    "torch, buffers": torchs(True),
    "torch, buffers, one by one": torchs(True, "single"),
    "torch, buffers, mean": torchs(True, "mean"),
    "torch": torchs(False),
    "torch, mean": torchs(False, "mean"),
    "parameters, data": by_hand(parameters, "data"),
    "parameters, lerp": by_hand(parameters, "lerp"),
    "parameters, copy": by_hand(parameters, "copy"),
    "buffers too": by_hand(everything_registered, "lerp"),
    "state, floats": by_hand(floats_of_state, "lerp"),
    "state, all": by_hand(values_of_state, "copy"),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


@EVERY_WAY
@pytest.mark.parametrize("decay", DECAYS)
def test_the_average_of_a_model_that_stays_is_that_model(way: str, decay: float) -> None:
    """Five updates; the index is the same to the bit."""
    model = make_model("packed", gs.Unstructured())
    before = [tensor.clone() for layer in (model[0], model[3]) for tensor in layer.operands()]
    average = WAYS[way](model, decay)
    for _ in range(5):
        average.update_parameters(model)
    x = torch.randn(4, IN)
    torch.testing.assert_close(average(x), model(x), rtol=1e-4, atol=1e-5)
    after = [tensor for layer in (average.module[0], average.module[3]) for tensor in layer.operands()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@LAYERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["torch, buffers", "torch, buffers, mean", "buffers too", "state, all"])
def test_every_pattern_and_dtype_is_averaged_in_its_values_alone(
    pattern: gs.FanIn, dtype: torch.dtype, way: str
) -> None:
    """Against the average of the dense weights, over a training without updates."""
    model = make_model("packed", pattern, dtype)
    dense = make_model("masked", pattern, dtype)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, dense)]
    ours, theirs = WAYS[way](model, 0.9), by_hand(parameters, "lerp")(dense, 0.9)
    if way.endswith("mean"):
        theirs = torchs(False, "mean")(dense, 0.9)
    elif way.startswith("torch"):
        theirs = torchs(False)(dense, 0.9)
    for step in range(4):
        for m, optimizer, average in ((model, optimizers[0], ours), (dense, optimizers[1], theirs)):
            train_step(m, optimizer, step, dtype)
            average.update_parameters(m)
    x = torch.randn(4, IN).to(dtype)
    rough = 0.05 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(ours(x), theirs(x), rtol=rough, atol=rough)


@pytest.mark.parametrize("way", ["torch, buffers", "state, all"])
def test_wide_indices_are_not_averaged_either(way: str) -> None:
    """32-bit columns, beyond 65,536 inputs."""
    layer = gs.SparseLinear(70_000, 8, density=0.001, pattern=gs.Unstructured())
    average = WAYS[way](layer, 0.9)
    for _ in range(3):
        average.update_parameters(layer)
    assert layer.col.dtype == torch.int32
    assert torch.equal(average.module.col, layer.col)
    x = torch.randn(2, 70_000)
    torch.testing.assert_close(average(x), layer(x))


# --- across an update -------------------------------------------------------------------------------------------

RULES = {
    "set": (gs.SET(every=2), gs.Unstructured()),
    "rigl": (gs.RigL(every=2), gs.Unstructured()),
    "rigl on groups": (gs.RigL(every=2), gs.FanIn(4)),
    "rigl on blocks": (gs.RigL(every=2), gs.Block(4)),
    "srigl": (gs.SRigL(every=2, gamma=0.9), gs.FanIn()),
    "srigl on n:m": (gs.SRigL(every=2, gamma=None), gs.NM(1, 8)),
}


def sparse_of(model: nn.Module) -> gs.SparseLinear:
    """The first sparse layer."""
    return next(module for module in model.modules() if isinstance(module, gs.SparseLinear))


def over_an_update(home: str, rule: str, way: str, decay: float = 0.9) -> tuple[nn.Sequential, nn.Module]:
    """A model after four steps and an update, and its average, which saw both topologies."""
    how, pattern = RULES[rule]
    model = make_model(home, pattern)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = gs.attach(model, optimizer, how, total_steps=8)
    average = WAYS[way](model, decay)
    for step in range(4):
        train_step(model, optimizer, step)
        average.update_parameters(model)
    assert sum(row.grown for row in engine.history) > 0
    return model, average


ACROSS = [(rule, 0.9) for rule in RULES] + [("set", 0.99998)]


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("state")])
@pytest.mark.parametrize(("rule", "decay"), ACROSS)
def test_an_average_across_an_update_is_refused(way: str, rule: str, decay: float) -> None:
    """With what to do about it; the trained model itself goes on."""
    model, average = over_an_update("packed", rule, way, decay)
    with pytest.raises(
        TopologyError, match=rf"SparseLinear {IN} -> {HIDDEN}.*average between topology updates"
    ):
        output(average, torch.randn(2, IN))
    with pytest.raises(TopologyError):
        average.state_dict()
    with pytest.raises(TopologyError):
        sparse_of(average).to_dense()
    with pytest.raises(TopologyError), pytest.warns(SparseEfficiencyWarning):
        sparse_of(average).weight.sum()
    with pytest.raises(TopologyError):
        gs.freeze(average.module, torch.randn(2, IN))
    x = torch.randn(2, IN)
    average.module.load_state_dict(model.state_dict())
    assert torch.equal(output(average, x), output(model, x))


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("state")])
@pytest.mark.parametrize(("rule", "decay"), ACROSS)
def test_an_average_of_states_across_an_update_is_refused(way: str, rule: str, decay: float) -> None:
    """In the loop itself: the state of the average is not written any more, or index tensors have other sizes."""
    with pytest.raises((TopologyError, RuntimeError), match=r"averag|size of tensor"):
        output(over_an_update("packed", rule, way, decay)[1], torch.randn(2, IN))


def test_an_average_that_starts_after_an_update_is_right() -> None:
    """The remedy that the error names."""
    model, _ = over_an_update("packed", "set", "torch")
    average = WAYS["torch, buffers"](model, 0.9)
    average.update_parameters(model)
    x = torch.randn(2, IN)
    torch.testing.assert_close(output(average, x), output(model, x))


@pytest.mark.parametrize("way", ["torch", "torch, buffers", "state, all"])
def test_masked_averages_across_an_update_are_by_position(way: str) -> None:
    """Dense weights meet where they are; the mean is that of the dense weights at connections that are left."""
    how, pattern = RULES["rigl"]
    model = make_model("masked", pattern)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, how, total_steps=8)
    average = WAYS[way](model, 0.9)
    shadow = [layer.weight.detach().clone() for layer in (model[0], model[3])]
    for step in range(4):
        train_step(model, optimizer, step)
        average.update_parameters(model)
        for mine, layer in zip(shadow, (model[0], model[3]), strict=True):
            mine.lerp_(layer.weight.detach(), 0.1)
    for mine, layer in zip(shadow, (average.module[0], average.module[3]), strict=True):
        torch.testing.assert_close(layer.effective_weight(), mine * layer.mask)


@pytest.mark.parametrize("way", ["parameters, data", "parameters, lerp"])
def test_masked_weights_under_the_mask_of_other_connections_are_refused(way: str) -> None:
    """Parameters alone do not bring the mask along."""
    model, average = over_an_update("masked", "rigl", way)
    with pytest.raises(TopologyError, match=r"MaskedLinear .* outside of its mask"):
        output(average, torch.randn(2, IN))
    average.module.load_state_dict(model.state_dict())
    x = torch.randn(2, IN)
    assert torch.equal(output(average, x), output(model, x))


# --- what may not be taken for an average -----------------------------------------------------------------------


def test_a_copy_that_is_kept_stays_what_it_was() -> None:
    """The best model so far, while training goes on."""
    model = make_model("packed", gs.Unstructured())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, gs.SET(every=1), total_steps=9)
    best, x = copy.deepcopy(model), torch.randn(3, IN)
    expected = output(best, x)
    for step in range(3):
        train_step(model, optimizer, step)
        assert torch.equal(output(best, x), expected)
    assert torch.equal(output(copy.deepcopy(best).double().float(), x), expected)


@pytest.mark.filterwarnings("ignore:training a copy")
@pytest.mark.parametrize("attached", [False, True])
def test_a_copy_may_be_trained_by_itself(attached: bool) -> None:
    """With an engine of its own, or with connections that stay."""
    model = make_model("packed", gs.Unstructured())
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    gs.attach(model, optimizers[0], gs.SET(every=1), total_steps=9)
    if attached:
        gs.attach(twin, optimizers[1], gs.SET(every=1), total_steps=9, seed=5)
    for step in range(3):
        for m, optimizer in zip((model, twin), optimizers, strict=True):
            train_step(m, optimizer, step)
    assert not torch.equal(model[0].topology.positions, twin[0].topology.positions)


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The half of a step that comes after backward."""
    optimizer.step()
    optimizer.zero_grad()


def left_behind(**frozen: bool) -> nn.Module:
    """A model whose copy has trained on, to other connections."""
    initial = make_model("packed", gs.Unstructured())
    for parameter in initial.parameters():
        parameter.requires_grad_(not frozen)
    moved = copy.deepcopy(initial).requires_grad_(True)
    optimizer = torch.optim.SGD(moved.parameters(), lr=0.1)
    gs.attach(moved, optimizer, gs.SET(every=1), total_steps=9)
    train_step(moved, optimizer, 0)
    assert not torch.equal(moved[0].topology.positions, initial[0].topology.positions)
    return initial


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],  # noqa: S301 (made here)
    ids=["copy", "pickle"],
)
def test_a_copy_of_a_copy_that_was_left_behind_trains(again: Callable[[nn.Module], nn.Module]) -> None:
    """The folds of a cross-validation: the first moved, the next begin with copies of the initial model."""
    fold = again(left_behind())
    optimizer = torch.optim.SGD(fold.parameters(), lr=0.1)
    for step in range(3):
        train_step(fold, optimizer, step)


def test_a_frozen_copy_that_was_left_behind_trains_when_it_is_thawed() -> None:
    """A teacher that is tuned later."""
    teacher = left_behind(frozen=True).requires_grad_(True)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1)
    for step in range(3):
        train_step(teacher, optimizer, step)


def test_gradients_that_are_asked_for_train_a_copy_as_well() -> None:
    """No backward: torch.autograd.grad, and a step by hand."""
    model, x = left_behind(), torch.randn(3, IN)
    for _ in range(3):
        found = torch.autograd.grad(model(x).square().mean(), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), found, strict=True):
                parameter.sub_(0.1 * gradient)


def test_two_copies_may_step_after_both_have_gradients() -> None:
    """The first moves between the gradient of the second and its step."""
    models = [make_model("packed", gs.Unstructured())]
    models.append(copy.deepcopy(models[0]))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in models]
    gs.attach(models[0], optimizers[0], gs.SET(every=1), total_steps=9)
    for _ in range(3):
        for m in models:
            m(torch.randn(3, IN)).square().mean().backward()
        for m, optimizer in zip(models, optimizers, strict=True):
            step_of(m, optimizer)


def test_functional_training_of_a_copy_that_was_left_behind() -> None:
    """Values that are lent for a call are nobody's average; gradients of one sample each go through as well."""
    model, x = left_behind(), torch.randn(3, IN)
    before = [parameter.clone() for parameter in model.parameters()]

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, values, x).square().mean()

    values = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for _ in range(3):
        found = torch.func.grad(loss)(values, x)
        values = {name: value - 0.1 * found[name] for name, value in values.items()}
    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(values, x[:, None])
    torch.testing.assert_close(
        {name: grad.mean(0) for name, grad in each.items()}, torch.func.grad(loss)(values, x)
    )
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_parameters_lent_by_a_layer_that_moved_on_find_its_connections_for_that_call() -> None:
    """The copy stays what it was."""
    model = left_behind()
    moved, x = copy.deepcopy(model), torch.randn(3, IN)
    expected = output(model, x)
    optimizer = torch.optim.SGD(moved.parameters(), lr=0.1)
    gs.attach(moved, optimizer, gs.SET(every=1), total_steps=9)
    train_step(moved, optimizer, 1)
    lent = torch.func.functional_call(model, dict(moved.named_parameters()), x)
    assert torch.equal(lent, moved(x))
    assert torch.equal(output(model, x), expected)


def test_values_written_by_hand_are_taken_as_the_error_says() -> None:
    """Noise in the weights of a copy looks like an average; ``assign`` says that it is none."""
    model, x = left_behind(), torch.randn(3, IN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    with pytest.raises(TopologyError, match=r"without a gradient.*layer\.assign"):
        model(x)
    values = model[0].values.detach().clone()
    for layer in (module for module in model if isinstance(module, gs.SparseLinear)):
        layer.assign(layer.topology, layer.values[: layer.connections])
    model(x)
    assert torch.equal(model[0].values, values)


# --- copies -----------------------------------------------------------------------------------------------------


@LAYERS
@pytest.mark.parametrize("data", [False, True])
def test_a_copy_of_parameters_and_buffers_is_the_other_layer(pattern: gs.FanIn, data: bool) -> None:
    """The loop of target networks; sparse batches too, whose order of connections was made before."""
    a, b = (make_model("packed", pattern, seed=seed) for seed in (0, 1))
    x = torch.randn(6, IN) * (torch.rand(6, IN) < 0.3)
    b[0](x.to_sparse_csr())
    b(x).sum().backward()
    with torch.no_grad():
        for mine, its in zip(everything_registered(b), everything_registered(a), strict=True):
            (mine.data if data else mine).copy_(its)
    assert torch.equal(b(x), a(x))
    torch.testing.assert_close(b[0](x.to_sparse_csr()), a[0](x))
    assert torch.equal(b[0].topology.positions, a[0].topology.positions)
    b.load_state_dict(copy.deepcopy(b.state_dict()))


def test_parameters_alone_are_followed_after_an_update() -> None:
    """A target network that was in step before."""
    model = make_model("packed", gs.Unstructured())
    target = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, gs.SET(every=1), total_steps=9)
    x = torch.randn(3, IN)
    for step in range(3):
        train_step(model, optimizer, step)
        for mine, its in zip(target.parameters(), model.parameters(), strict=True):
            mine.data.copy_(its.data)
        assert torch.equal(output(target, x), output(model, x))


def test_a_copy_whose_source_went_on_is_refused() -> None:
    """Nobody is left who could say what the values are of."""
    a, b = (make_model("packed", gs.Unstructured(), seed=seed) for seed in (0, 1))
    with torch.no_grad():
        for mine, its in zip(everything_registered(b), everything_registered(a), strict=True):
            mine.copy_(its)
        a[0].values.mul_(2)
    with pytest.raises(TopologyError, match="load_state_dict"):
        b(torch.randn(2, IN))


def test_a_call_with_the_state_of_another_layer_computes_that_layer() -> None:
    """torch.func.functional_call lends parameters and buffers; afterwards everything is as before."""
    a, b = (make_model("packed", gs.FanIn(), seed=seed) for seed in (0, 1))
    x = torch.randn(3, IN)
    before = b(x)
    lent = {**dict(a.named_parameters()), **dict(a.named_buffers())}
    assert torch.equal(torch.func.functional_call(b, lent, (x,)), a(x))
    assert torch.equal(b(x), before)


def test_stacked_models_of_other_connections_are_refused() -> None:
    """An ensemble under vmap has one index for all."""
    models = [make_model("packed", gs.FanIn(), seed=seed)[0] for seed in (0, 1)]
    state = torch.func.stack_module_state(models)
    x = torch.randn(3, IN)
    with pytest.raises(TopologyError, match="other connections"):
        torch.vmap(lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)))(*state)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_product_refuses_mixed_values_as_well(backend: str) -> None:
    """By an assertion in the graph: the numbers are not known when it is made."""
    torch.compiler.reset()
    layer, other = (make_model("packed", gs.Unstructured(), seed=seed)[0] for seed in (0, 1))
    compiled, x = torch.compile(layer, backend=backend, fullgraph=True), torch.randn(3, IN)
    torch.testing.assert_close(compiled(x), layer(x))
    with torch.no_grad():
        layer.fingerprint.lerp_(other.fingerprint, 1e-5)
    with pytest.raises(RuntimeError, match="values of other connections"):
        compiled(x)
