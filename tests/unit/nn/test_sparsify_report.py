"""What sparsify leaves as it is, and what its report says of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import gossamer as gs
from gossamer.errors import ConfigError, PatternError

if TYPE_CHECKING:
    from collections.abc import Callable


class Mine(nn.Linear):
    """A subclass."""


class Product(nn.Module):
    """A linear layer as language models of another family hold it: inputs first."""

    def __init__(self, out: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, out))


class Marked(torch.Tensor):
    """A tensor of another kind."""


def with_weight(weight: torch.Tensor) -> nn.Linear:
    """A layer whose weight is something else than floating-point numbers in rows."""
    layer = nn.Linear(16, 16)
    layer.weight = nn.Parameter(weight, requires_grad=weight.is_floating_point())
    return layer


def hooked(register: str) -> nn.Linear:
    """A layer with a hook that knows its dense weight."""
    layer = nn.Linear(16, 16)
    if register == "state":
        layer.register_state_dict_post_hook(lambda *_: None)
    elif register == "load":
        layer.register_load_state_dict_post_hook(lambda *_: None)
    else:
        layer.get_parameter(register).register_hook(lambda grad: grad)
    return layer


def attributed(**attributes: object) -> nn.Linear:
    """A layer with attributes of a user."""
    layer = nn.Linear(16, 16)
    vars(layer).update(attributes)
    return layer


def pruned(*names: str) -> nn.Linear:
    """A layer that torch prunes."""
    layer = nn.Linear(16, 16)
    for name in names:
        prune.l1_unstructured(layer, name, 0.5)
    return layer


def bias_parametrized() -> nn.Linear:
    """A layer with a bias that is computed."""
    layer = nn.Linear(16, 16)
    parametrize.register_parametrization(layer, "bias", nn.ReLU())
    return layer


def with_bias(bias: torch.Tensor, parameter: bool) -> nn.Linear:
    """A layer whose bias is something else."""
    layer = nn.Linear(16, 16)
    del layer.bias
    if parameter:
        layer.bias = nn.Parameter(bias)
    else:
        layer.register_buffer("bias", bias)
    return layer


LEFT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "subclass": (lambda: Mine(16, 16), "subclass"),
    "weight norm": (lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)), "parametrized"),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(16, 16)), "parametrized"),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(16, 16)), "parametrized"),
    "bias": (bias_parametrized, "bias is computed"),
    "spectral norm by hook": (lambda: nn.utils.spectral_norm(nn.Linear(16, 16)), "SpectralNorm"),
    "norm of a convolution": (lambda: nn.utils.spectral_norm(nn.Conv2d(16, 16, 1)), "SpectralNorm"),
    "pruned weight": (lambda: pruned("weight"), "init='keep'"),
    "pruned bias": (lambda: pruned("bias"), "computed before each use"),
    "bias in a buffer": (lambda: with_bias(torch.ones(16), parameter=False), "not a parameter"),
    "bias of another type": (lambda: with_bias(torch.ones(16).double(), parameter=True), "differ"),
    "complex": (lambda: nn.Linear(16, 16, dtype=torch.complex64), "complex64"),
    "complex convolution": (lambda: nn.Conv2d(16, 16, 1, dtype=torch.complex64), "complex64"),
    "integers": (lambda: with_weight(torch.ones(16, 16, dtype=torch.int8)), "int8"),
    "eight bits": (lambda: nn.Linear(16, 16).to(torch.float8_e4m3fn), "float8"),
    "sparse tensor": (lambda: with_weight(torch.eye(16).to_sparse()), "sparse"),
    "tensor subclass": (lambda: with_weight(torch.ones(16, 16).as_subclass(Marked)), "Marked"),
    "meta": (lambda: nn.Linear(16, 16, device="meta"), "device="),
    "meta convolution": (lambda: nn.Conv2d(16, 16, 1, device="meta"), "meta"),
    "state hook": (lambda: hooked("state"), "state"),
    "load hook": (lambda: hooked("load"), "state"),
    "gradient hook": (lambda: hooked("weight"), "gradient of its weight"),
    "gradient hook of the bias": (lambda: hooked("bias"), "gradient of its bias"),
    "forward replaced": (lambda: attributed(forward=lambda x: x), "forward"),
    "attribute of ours": (lambda: attributed(mask="a", pattern=3), "mask, pattern"),
    "depth-wise": (lambda: nn.Conv1d(4, 4, 3, groups=4), "one channel"),
    "three dimensions": (lambda: nn.Conv3d(3, 4, 3), "no layer"),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), "no layer"),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), "no layer"),
    "embedding": (lambda: nn.Embedding(20, 16), "no layer"),
    "recurrent": (lambda: nn.LSTM(8, 16, proj_size=4), "projections"),
    "recurrent cell": (lambda: nn.LSTMCell(8, 16), "no layer"),
    "inputs first": (lambda: Product(16, 16), "no layer"),
    "scripted": (lambda: torch.jit.script(nn.Linear(16, 16)), "no layer"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_dense_is_in_the_report_with_the_reason(what: str) -> None:
    """The same module as before, its parameters counted; alone it is refused with the same words."""
    make, reason = LEFT[what]
    odd = make()
    model = nn.ModuleDict({"odd": odd, "norm": nn.LayerNorm(16), "plain": nn.Linear(16, 16)})
    before = sum(p.numel() for p in model.parameters())
    report = gs.sparsify(model, 0.5, allocation="uniform")
    assert model["odd"] is odd
    row = next(row for row in report.layers if row.name == "odd")
    assert (row.home, row.connections) == ("dense", row.size)
    assert reason in row.note
    assert reason in str(report)
    assert isinstance(model["plain"], gs.SparseLinear)
    assert report.dense_parameters == before
    assert report.parameters == sum(p.numel() for p in model.parameters())
    with pytest.raises(ConfigError, match="at least one") as error:
        gs.sparsify(nn.Sequential(odd), 0.5)
    assert reason in str(error.value)


def test_the_projection_of_attention_is_in_the_report() -> None:
    """Attention reads it without calling it."""
    model = nn.ModuleDict({"mha": nn.MultiheadAttention(16, 2), "plain": nn.Linear(16, 16)})
    notes = {row.name: row.note for row in gs.sparsify(model, 0.5).layers}
    assert "attention" in notes["mha.out_proj"]
    assert notes["mha"]


def test_shares_and_densities_are_of_the_whole_model() -> None:
    """A text classifier of which the head alone is a linear layer: counted by hand."""
    model = nn.ModuleDict(
        {
            "words": nn.Embedding(100, 8),
            "lstm": nn.LSTMCell(8, 16),
            "norm": nn.LayerNorm(16),
            "head": nn.Linear(16, 4),
        }
    )
    report = gs.sparsify(model, 0.25, allocation="uniform")
    recurrent = 4 * 16 * (8 + 16)
    weights = 800 + recurrent + 64
    assert [row.name for row in report.layers] == ["words", "lstm", "head"]
    assert report.sparse_density == 16 / 64
    assert report.density == (800 + recurrent + 16) / weights
    left = 800 + recurrent + 2 * 4 * 16 + 2 * 16
    assert report.left_share == left / (left + 64 + 4)
    assert report.parameters == left + 16 + 4
    text = str(report)
    assert "left as they were: 3 (1 LayerNorm without a weight matrix)" in text
    assert f"{report.left_share:.1%}" in text
    assert f"density {report.density:.4f}" in text


def test_parameters_of_the_model_itself_have_a_row() -> None:
    """A table of positions, as vision transformers hold it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.scale = nn.Parameter(torch.zeros(1, 4, 16)), nn.Parameter(torch.ones(()))
            self.body = nn.Linear(16, 16)

    report = gs.sparsify(Net(), 0.5)
    row = report.layers[0]
    assert (row.name, row.connections, row.parameters) == ("", 64, 65)
    assert "(the model)" in str(report)


def test_shared_parameters_are_counted_once() -> None:
    """A head tied to its embedding, left out."""
    model = nn.ModuleDict({"words": nn.Embedding(16, 8), "head": nn.Linear(8, 16), "body": nn.Linear(8, 8)})
    model["head"].weight = model["words"].weight
    report = gs.sparsify(model, 0.5, skip=["head"])
    rows = {row.name: row for row in report.layers}
    assert (rows["words"].connections, rows["head"].connections, rows["head"].parameters) == (128, 0, 16)
    assert "shared" in rows["head"].note
    assert report.parameters == sum(p.numel() for p in model.parameters())


def test_weights_in_the_same_memory_are_tied() -> None:
    """Two parameters, one memory; slices of one buffer are not."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    flat = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(flat, model.parameters())
    one = copy.deepcopy(model)
    for weight in (one[0].weight.detach(), one[0].weight.detach().t()):
        one[1].weight = nn.Parameter(weight)
        with pytest.raises(PatternError, match="tied"):
            gs.sparsify(one, 0.5)
        assert type(one[2]) is nn.Linear
    gs.sparsify(model, 0.5)
    assert isinstance(model[0], gs.SparseLinear)


def test_layers_without_sizes_are_refused_until_they_have_some() -> None:
    """Nothing can be counted before."""
    model = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 8))
    with pytest.raises(ConfigError, match="LazyLinear"):
        gs.sparsify(model, 0.5)
    assert type(model[1]) is nn.Linear
    model(torch.ones(2, 4))
    gs.sparsify(model, 0.5)
    assert isinstance(model[0], gs.SparseLinear)
    model.load_state_dict(copy.deepcopy(model).state_dict())


WHOLE: dict[str, tuple[Callable[[], object], str]] = {
    "linear": (lambda: nn.Linear(8, 8), "nn.Sequential"),
    "convolution": (lambda: nn.Conv2d(8, 8, 1), "nn.Sequential"),
    "subclass": (lambda: Mine(8, 8), "nn.Sequential"),
    "parametrized": (lambda: parametrizations.weight_norm(nn.Linear(8, 8)), "nn.Sequential"),
    "dense layer of ours": (lambda: gs.nn.DenseLinear(8, 8), "nn.Sequential"),
    "sparse": (lambda: gs.SparseLinear(8, 8, density=0.5), "sparse already"),
    "masked": (lambda: gs.MaskedLinear(8, 8, density=0.5), "sparse already"),
    "sparse inside": (lambda: nn.Sequential(gs.SparseLinear(8, 8, density=0.5)), "sparse already"),
    "no layer": (nn.ReLU, "at least one"),
    "empty": (nn.Sequential, "at least one"),
    "nothing": (lambda: None, "None"),
    "list": (lambda: [nn.Linear(8, 8)], "list"),
    "class": (lambda: nn.Linear, "Module"),
    "data parallel": (lambda: nn.DataParallel(nn.Sequential(nn.Linear(8, 8))), "DataParallel"),
    "compiled": (lambda: torch.compile(nn.Sequential(nn.Linear(8, 8))), "OptimizedModule"),
    "data parallel inside": (
        lambda: nn.Sequential(nn.DataParallel(nn.Sequential(nn.Linear(8, 8))), nn.Linear(8, 8)),
        "DataParallel",
    ),
}


@pytest.mark.parametrize("what", WHOLE)
def test_models_that_cannot_be_changed_in_place_are_refused(what: str) -> None:
    """With what to do; and they are what they were."""
    make, words = WHOLE[what]
    model = make()
    kinds = [type(m) for m in model.modules()] if isinstance(model, nn.Module) else []
    with pytest.raises(ConfigError, match=words):
        gs.sparsify(model, 0.5)  # type: ignore[arg-type]
    assert kinds == ([type(m) for m in model.modules()] if isinstance(model, nn.Module) else [])


def test_models_that_compile_themselves_are_refused() -> None:
    """``Module.compile`` notes the layers as they are; of a layer too."""
    for part in ("", "0"):
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        model.get_submodule(part).compile(backend="eager")
        with pytest.raises(ConfigError, match="compile"):
            gs.sparsify(model, 0.5)


def test_a_second_time_makes_the_rest_sparse() -> None:
    """Layers left dense with their density of 1 too; and one check of loaded states is enough."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    gs.sparsify(model, {"0": 0.5, "1": 1.0}, skip=["2"])
    first = model[0]
    report = gs.sparsify(model, 0.5)
    assert model[0] is first
    assert all(isinstance(layer, gs.SparseLinear) for layer in model)
    assert [row.note for row in report.layers] == ["sparse already", "", ""]
    assert len(model._load_state_dict_pre_hooks) == 1
