"""A frozen network is called as its model was: by position, by name, with what is optional left out."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError, DtypeError, ShapeError


class Masked(nn.Module):
    """Optional and keyword-only arguments, and code that asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x, mask=None, *, shift=None, scale: float = 2.0):
        h = torch.relu(self.a(x))
        if mask is not None:
            h = h.masked_fill(mask, 0.0)
        if shift is not None:
            h = h + shift
        return self.b(h) * scale


@pytest.fixture
def model() -> Masked:
    made = Masked().eval()
    gs.sparsify(made, 0.5, allocation="uniform")
    return made


X, MASK, SHIFT = torch.randn(4, 32), torch.rand(4, 16) > 0.5, torch.randn(4, 16)
EXAMPLES = {
    "left out": (X, {"x": X}),
    "none": ((X, None), {"x": X}),
    "by position": ((X, MASK), {"x": X, "mask": MASK}),
    "by name": ({"mask": MASK, "x": X}, {"x": X, "mask": MASK}),
    "keyword only": (OrderedDict(shift=SHIFT, x=X, mask=None), {"x": X, "shift": SHIFT}),
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_optional_argument_is_traced_as_the_example_gives_it(model, check_same, name):
    example, named = EXAMPLES[name]
    frozen = gs.freeze(model, example, keep="csr")
    assert "layer by layer" not in frozen.explain()
    assert frozen.graph.inputs == tuple(named)
    expected = model(**named).detach()
    torch.testing.assert_close(frozen(**named), expected)
    torch.testing.assert_close(frozen(*named.values()), expected)
    torch.testing.assert_close(
        frozen(X, **{key: value for key, value in named.items() if key != "x"}), expected
    )
    torch.testing.assert_close(frozen(**named, labels=None), expected)


def test_names_are_kept_in_the_file(tmp_path):
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 4), nn.Linear(6, 4)

        def forward(self, left, right, unread=None):
            return torch.relu(self.a(left)) + self.b(right)

    inputs = {"left": torch.randn(2, 8), "right": torch.randn(2, 6)}
    model = Sum()
    frozen = gs.freeze(model, inputs, keep="csr")
    gs.save(frozen, tmp_path / "net")
    loaded = gs.load(tmp_path / "net")
    assert torch.equal(loaded(right=inputs["right"], left=inputs["left"]), frozen(*inputs.values()))
    unread = gs.freeze(model, inputs | {"unread": torch.ones(2)}, keep="csr")
    gs.save(unread, tmp_path / "unread")
    assert torch.equal(gs.load(tmp_path / "unread")(*inputs.values(), torch.ones(2)), frozen(**inputs))


class Looks(Masked):
    """Cannot be traced."""

    def forward(self, x, mask=None, *more, **named):
        h = super().forward(x, mask, **named)
        return h + sum(more) if float(h.detach().sum()) < 1e9 else h


def test_a_model_frozen_layer_by_layer_is_called_the_same_way(check_same):
    model = Looks().eval()
    gs.sparsify(model, 0.5, allocation="uniform")
    extra = torch.ones(4, 4)
    frozen = gs.freeze(model, (X, MASK, extra, extra), keep="csr")
    assert "layer by layer" in frozen.explain()
    torch.testing.assert_close(frozen(X, MASK, extra, extra), model(X, MASK, extra, extra).detach())
    named = gs.freeze(model, {"x": X, "shift": SHIFT}, keep="csr")
    torch.testing.assert_close(named(x=X, shift=SHIFT), model(X, shift=SHIFT).detach())


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((X,), {}, "frozen with: x, mask, got nothing for 'mask'"),
        ((), {"x": X}, "nothing for 'mask'"),
        ((), {}, "nothing for 'x', nothing for 'mask'"),
        ((X, MASK, SHIFT), {}, "3 inputs by position"),
        ((X, MASK), {"x": X}, "'x' twice"),
        ((X,), {"msk": MASK}, "unknown input 'msk'"),
        ((X, None), {}, "nothing for 'mask'"),
    ],
)
def test_wrong_inputs_get_a_sentence(model, given, named, message):
    frozen = gs.freeze(model, (X, MASK), keep="csr")
    with pytest.raises(ConfigError, match=message):
        frozen(*given, **named)


def test_examples_that_cannot_be_called_get_a_sentence(model):
    for example, message in (
        ({"inputs": X}, "Masked.forward"),
        ((X, MASK, SHIFT), "too many positional"),
        ({"mask": MASK}, "missing a required argument: 'x'"),
    ):
        with pytest.raises(ConfigError, match=message):
            gs.freeze(model, example)
    for example in (np.ones((4, 32), np.float32), [[1.0] * 32], (np.ones((4, 32)), MASK)):
        with pytest.raises(ShapeError, match=r"first input is a tensor.*as_tensor"):
            gs.freeze(model, example)
    with pytest.raises(ShapeError, match="unsqueeze"):
        gs.freeze(model, X[0])


def test_a_batch_of_numbers_is_a_batch():
    model = nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 4))
    gs.sparsify(model, 0.5, allocation="uniform")
    ids = torch.randint(50, (6,))
    frozen = gs.freeze(model, ids, keep="csr")
    torch.testing.assert_close(frozen(ids[:2]), model(ids[:2]).detach())
    measured = gs.freeze(model, ids, batch_sizes=(1, 8))
    torch.testing.assert_close(measured(ids), model(ids).detach())


def test_what_torch_compile_was_given_is_frozen_and_saved(mlp, check_same, tmp_path):
    model = mlp("fanin")
    inside = nn.Sequential(torch.compile(model), nn.ReLU())
    for compiled, names in ((torch.compile(model), ["0", "2", "4"]), (inside, ["0.0", "0.2", "0.4"])):
        frozen = gs.freeze(compiled, torch.randn(4, 32), keep="csr")
        assert [row["name"] for row in frozen.plan["layers"]] == names
        gs.save(frozen, tmp_path / "net")
    assert type(inside[0]) is not nn.Sequential  # the model keeps its compiled part


@pytest.mark.parametrize(
    "noise", [lambda x: x + torch.randn_like(x), lambda x: nn.functional.dropout(x, 0.5)]
)
def test_a_model_with_noise_says_so(noise):
    class Noisy(Masked):
        def forward(self, x):
            return self.b(noise(self.a(x)))

    model = Noisy()
    gs.sparsify(model, 0.5, allocation="uniform")
    frozen = gs.freeze(model, X)
    assert "two runs on the example differ" in frozen.explain()
    assert "looks inside" not in frozen.explain()
    assert frozen(X).shape == (4, 4)


def test_arrays_are_refused_where_images_run_as_a_plan() -> None:
    """The core reads them, so the refusal cannot come from a step."""
    layers = nn.Sequential(gs.SparseConv2d(2, 4, 3, density=0.5), nn.ReLU(), nn.Conv2d(4, 2, 1))
    frozen = gs.freeze(layers, torch.ones(1, 2, 6, 6), keep={"0": "fanin", "2": "dense"})
    with pytest.raises(DtypeError, match=r"Frozen: expected tensors, got an array of NumPy; torch.as_tensor"):
        frozen(np.ones((1, 2, 6, 6), np.float32))
