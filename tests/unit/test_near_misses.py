"""A word that is nearly right is answered with the right one, wherever a word names something."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import data, kernels, rules
from gossamer.errors import ConfigError, GossamerError
from gossamer.estimators import SparseMLPClassifier, SparseMLPRegressor
from gossamer.kernels.cpu import available_isas
from gossamer.measure import training_flops
from gossamer.patterns import parse
from gossamer.registry import did_you_mean, setting_meant
from gossamer.topology import allocate
from gossamer.training import named_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

X, Y = [[0.0, 1.0], [1.0, 0.0]] * 8, [0, 1] * 8
SHAPES = {"fc1": (4, 4), "fc2": (4, 4)}


def net() -> nn.Sequential:
    """One sparse layer behind another."""
    return nn.Sequential(gs.SparseLinear(8, 8, density=0.5), nn.ReLU(), gs.SparseLinear(8, 8, density=0.5))


def attach(**settings: Any) -> object:
    """A rule on that network."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return gs.attach(model, optimizer, **({"rule": "static", "total_steps": 10} | settings))


def freeze(**settings: Any) -> object:
    """That network, frozen."""
    return gs.freeze(net(), torch.ones(1, 8), **settings)


def fit(**settings: Any) -> object:
    """A classifier of two rows."""
    return SparseMLPClassifier((8,), **settings).fit(X, Y)


MISSES: dict[str, tuple[Callable[[], object], str]] = {
    "pattern": (lambda: parse("fan-in:4"), "fanin"),
    "pattern of a layer": (lambda: gs.SparseLinear(8, 8, density=0.5, pattern="blok:4"), "block"),
    "law of a layer": (lambda: gs.SparseLinear(8, 8, density=0.5, law="he-normal"), "he_normal"),
    "fan_in of a layer": (lambda: gs.SparseLinear(8, 8, density=0.5, fan_in="spars"), "sparse"),
    "allocation": (lambda: allocate(SHAPES, 0.5, "ERK "), "erk"),
    "layer of an allocation": (lambda: allocate(SHAPES, 0.5, custom={"fc_1": 0.5}), "fc1"),
    "rule": (lambda: attach(rule="rigl2"), "rigl"),
    "layer with fixed topology": (lambda: attach(fixed=["-2"]), "2"),
    "outputs": (lambda: attach(outputs=["22"]), "2"),
    "setting of a rule": (lambda: rules.build({"name": "rigl", "evry": 5}), "every"),
    "schedule": (lambda: rules.build({"name": "rigl", "drop": {"name": "Cosin", "start": 0.3}}), "cosine"),
    "optimizer": (lambda: named_optimizer("Adam-W", [torch.zeros(1)], lr=0.1), "adamw"),
    "layout to keep": (lambda: freeze(keep="nm-lanes"), "nm_lanes"),
    "no layout to keep": (lambda: freeze(keep="fastet"), "fastest"),
    "layout of a layer": (lambda: freeze(keep={"0": "fan_in"}), "fanin"),
    "layer to keep": (lambda: freeze(keep={"22": "csr"}), "2"),
    "candidates": (lambda: freeze(candidates=["CSR"]), "csr"),
    "values": (lambda: freeze(values="int-8"), "int8"),
    "compute": (lambda: freeze(compute="bfloat 16"), "bfloat16"),
    "prefer": (lambda: freeze(prefer="sized"), "size"),
    "instruction set": (lambda: kernels.use("AVX-2").__enter__(), "avx2"),
    "reference kernels": (lambda: kernels.use("refrence").__enter__(), "reference"),
    "data set": (lambda: data.load("FashionMNIST"), "fashion-mnist"),
    "data set of three words": (lambda: data.load("CIFAR_10 small"), "cifar10-small"),
    "method": (lambda: training_flops("RigL", 1.0, 10.0), "rigl"),
    "activation of an estimator": (lambda: fit(activation="ReLU"), "relu"),
    "pattern of an estimator": (lambda: fit(pattern="fan_in"), "fanin"),
    "rule of an estimator": (lambda: fit(rule="s-rigl"), "srigl"),
    "optimizer of an estimator": (lambda: fit(optimizer="SGD"), "sgd"),
    "class weights": (lambda: fit(class_weight="balance"), "balanced"),
}


@pytest.mark.parametrize("what", MISSES)
def test_a_near_miss_is_answered_with_the_word(what: str) -> None:
    """And with the words there are."""
    call, word = MISSES[what]
    if what == "instruction set" and word not in available_isas():
        pytest.skip(f"without {word} nothing is close")
    with pytest.raises(GossamerError, match=f"did you mean '{word}'") as refused:
        call()
    assert isinstance(refused.value, ConfigError) or what in {"instruction set", "reference kernels"}
    assert word in refused.value.expected


def test_what_is_close_to_nothing_has_no_hint() -> None:
    """And spelling alone makes no distance."""
    assert did_you_mean("magic", ["set", "rigl"]) == did_you_mean(None, []) == ""
    assert did_you_mean("Encoder_FC1", ["encoder.fc1", "EncoderFC1"]) == "did you mean 'EncoderFC1'?"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.9, "density=0.1"),
        (0, "density=1"),
        (90, "density=0.1 for 90 %"),
        ("0.9", "for 90 %"),
        (None, "90 %"),
    ],
)
def test_sparsity_is_answered_with_the_density(value: object, says: str) -> None:
    """A share of zeros, whatever it is called, is no density; elsewhere the words mean what they mean."""
    for name in ("sparsity", "amount", "ratio"):
        assert says in setting_meant(name, value, ["density", "pattern"])
        assert "1 - sparsity" in setting_meant(name, value, ["density", "pattern"])
    assert setting_meant("sparsity", value, ["every"]).endswith(" where layers are made sparse")


LAYERS = {
    "SparseLinear": (8, 8),
    "MaskedLinear": (8, 8),
    "SparseConv1d": (8, 8, 3),
    "SparseConv2d": (8, 8, 3),
    "MaskedConv1d": (8, 8, 3),
    "MaskedConv2d": (8, 8, 3),
}
CALLS: dict[str, Callable[..., object]] = {
    "sparsify": lambda **given: gs.sparsify(nn.Sequential(nn.Linear(8, 8)), **given),
    "attach": attach,
    "SparseMLPClassifier": SparseMLPClassifier,
    "SparseMLPRegressor": SparseMLPRegressor,
    **{name: partial(getattr(gs, name), *sizes) for name, sizes in LAYERS.items()},
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("word", ["sparsity", "amount"])
def test_whoever_makes_layers_sparse_answers_a_sparsity(name: str, word: str) -> None:
    """In one sentence, with the number to pass; attach, which takes no density, says where to pass it."""
    with pytest.raises(ConfigError, match=r"1 - sparsity: pass density=0\.2") as refused:
        CALLS[name](**{word: 0.8})
    assert (refused.value.operation, refused.value.got) == (name, f"{word}=")
    assert ("density" in refused.value.expected) == (name != "attach")
    assert refused.value.hint.endswith("where layers are made sparse") == (name == "attach")


def test_a_missing_argument_stays_the_error_of_python() -> None:
    """Only names that there are not are answered."""
    with pytest.raises(TypeError, match="density"):
        gs.SparseLinear(8, 8)
