"""What sparsify takes for its arguments, and in which words it refuses the rest."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, GossamerError


def net() -> nn.Sequential:
    """Two layers that all patterns divide."""
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))


@pytest.mark.parametrize(
    "text", ["fanin", "fanin:4", " FanIn:2 ", "unstructured", "nm:4:8", "block:4", "block:1:4"]
)
def test_patterns_by_their_short_names(text: str) -> None:
    """As the command line takes them; the same as the pattern itself."""
    models = [net(), net()]
    for model, pattern in zip(models, (text, gs.patterns.parse(text)), strict=True):
        gs.sparsify(model, 0.5, pattern, "uniform", generator=torch.Generator().manual_seed(0))
    assert models[0][0].pattern == gs.patterns.parse(text)
    assert torch.equal(models[0][0].values, models[1][0].values)


NUMBERS = [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2), 0.5]


@pytest.mark.parametrize("density", NUMBERS, ids=lambda d: type(d).__name__)
def test_densities_are_numbers_of_any_kind(density: Any) -> None:
    """Alone and in a mapping."""
    model, mapped = net(), net()
    assert gs.sparsify(model, density).density == 0.5
    assert gs.sparsify(mapped, {"0": density, "2": density}).density == 0.5


WRONG: dict[str, tuple[dict[str, Any], type[GossamerError], str]] = {
    "density in quotes": ({"density": "0.1"}, DensityError, "without quotes"),
    "density of another word": ({"density": "fanin"}, DensityError, "'fanin'"),
    "percentage": ({"density": 10}, DensityError, "density=0.1"),
    "yes": ({"density": True}, DensityError, "True"),
    "list": ({"density": [0.1, 0.2]}, DensityError, "0.2"),
    "array": ({"density": np.ones(2)}, DensityError, "array"),
    "tensor": ({"density": torch.ones(2)}, DensityError, "tensor"),
    "complex": ({"density": 0.5 + 0j}, DensityError, "0.5"),
    "beyond floats": ({"density": 10**400}, DensityError, "1000"),
    "quotes in a mapping": ({"density": {"0": "0.1", "2": 0.5}}, DensityError, "for 0"),
    "mapping and allocation": ({"density": {"0": 0.5, "2": 0.5}, "allocation": "erk"}, ConfigError, "erk"),
    "mapping, wrong name": ({"density": {"0": 0.5, "two": 0.5}}, ConfigError, "two"),
    "mapping, a layer left out": ({"density": {"0": 0.5, "2": 0.5}, "skip": "2"}, ConfigError, "2: skip="),
    "sparsity": ({"sparsity": 0.9}, ConfigError, "1 - sparsity"),
    "unknown argument": ({"patern": "fanin"}, ConfigError, "did you mean 'pattern'"),
    "pattern": ({"pattern": "fnin"}, ConfigError, "did you mean 'fanin'"),
    "pattern without numbers": ({"pattern": "nm"}, ConfigError, "nm:1:8"),
    "numbers without pattern": ({"pattern": "2:4"}, ConfigError, "nm:2:4"),
    "class": ({"pattern": gs.FanIn}, ConfigError, r"FanIn\(\)"),
    "class with arguments": ({"pattern": gs.NM}, ConfigError, r"NM\(2, 4\)"),
    "tuple": ({"pattern": (2, 4)}, ConfigError, "nm:2:4"),
    "home": ({"home": "paked"}, ConfigError, "did you mean 'packed'"),
    "home in capitals": ({"home": "Masked"}, ConfigError, "did you mean 'masked'"),
    "no home": ({"home": None}, ConfigError, "None"),
    "init": ({"init": "kep"}, ConfigError, "did you mean 'keep'"),
    "init as a list": ({"init": ["keep"]}, ConfigError, "keep"),
    "law": ({"law": "he_norm"}, ConfigError, "did you mean 'he_normal'"),
    "allocation": ({"allocation": "unifrm"}, ConfigError, "did you mean 'uniform'"),
    "allocation as a number": ({"allocation": 3}, ConfigError, "3"),
    "seed": ({"generator": 42}, ConfigError, r"manual_seed\(42\)"),
    "generator of NumPy": ({"generator": np.random.default_rng(0)}, ConfigError, "torch.Generator"),
    "device": ({"device": "gpu"}, ConfigError, "gpu"),
    "device without numbers": ({"device": "meta"}, ConfigError, "exist"),
    "no device at all": ({"device": object()}, ConfigError, "device"),
    "two first ones": ({"dense_first": 2}, ConfigError, "skip="),
    "skipped by a wrong name": ({"skip": ["fc"]}, ConfigError, "fc"),
    "skipped by a similar name": ({"skip": "22"}, ConfigError, "did you mean '2'"),
    "skipped by a type not there": ({"skip": [nn.Conv2d]}, ConfigError, "Conv2d"),
    "skipped by a number": ({"skip": [0]}, ConfigError, "0"),
    "skipped by none": ({"skip": None}, ConfigError, "None"),
    "skipped by a layer of another model": ({"skip": [nn.Linear(2, 2)]}, ConfigError, "Linear"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_means_nothing_is_refused_in_words(what: str) -> None:
    """With what is right, and nothing is changed."""
    settings, error, words = WRONG[what]
    model = net()
    layers, state = list(model), copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words) as refused:
        gs.sparsify(model, **({"density": 0.5} | settings))
    assert refused.value.expected
    assert all(old is new for old, new in zip(layers, model, strict=True))
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_a_device_that_is_not_there_is_refused() -> None:
    """In words of ours around torch's."""
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ConfigError, match="cuda"):
        gs.sparsify(net(), 0.5, device="cuda")


@pytest.mark.parametrize(
    ("skip", "sparse"),
    [
        ("body", ["head"]),
        (["body.0"], ["body.1", "head"]),
        (nn.ModuleList, ["head"]),
        ([nn.ModuleList, "head.x"], []),
        (nn.Module, []),
    ],
)
def test_what_holds_layers_stands_for_all_of_them(skip: Any, sparse: list[str]) -> None:
    """By name and by type; nothing left is an error that gives the reason."""
    model = nn.ModuleDict(
        {"body": nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)]), "head": nn.Sequential(nn.Linear(8, 8))}
    )
    model["head"] = model["head"][0]
    if not sparse:
        with pytest.raises(ConfigError):
            gs.sparsify(model, 0.5, skip=skip)
        return
    report = gs.sparsify(model, 0.5, skip=skip)
    assert [row.name for row in report.sparse] == sparse
    assert {row.note for row in report.layers if row.home == "dense"} == {"skip="}


def test_layers_can_be_skipped_themselves_and_by_a_second_name() -> None:
    """A module that holds others is neither a function nor a list here."""
    shared = nn.Linear(8, 8)
    for skip in ("b", shared, [shared]):
        model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Linear(8, 8)})
        assert [row.name for row in gs.sparsify(model, 0.5, skip=skip).sparse] == ["c"]
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 8))
    assert [row.name for row in gs.sparsify(model, 0.5, skip=model[0]).sparse] == ["1"]


@pytest.mark.parametrize(
    ("density", "says"),
    [
        ({"0": 0.5}, "got none for 2; leave layers dense with skip="),
        ({"0": 0.5, "2": 0.5, "1": 0.5}, "got one for 1"),
        ({"first": 0.5, "20": 0.5}, "got none for 0, 2 and one for 20, first; did you mean '2'"),
    ],
)
def test_densities_of_layers_say_which_are_missing_and_which_are_none(density: dict, says: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    with pytest.raises(ConfigError, match=says):
        gs.sparsify(model, density=density)
    assert type(model[0]) is nn.Linear
