"""Programs that were exported call gossamer::chain themselves: what does not fit is refused there, and never read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
import gossamer.freezing.core_step  # registers the operator
from gossamer.errors import FormatError, GossamerError, ShapeError
from gossamer.freezing.written import written
from gossamer.network.chain_step import Operands

chain = torch.ops.gossamer.chain
X = torch.linspace(-1, 1, 64).view(2, 32)


def step(keep: str = "csr", values: str = "exact") -> tuple[list[torch.Tensor], str]:
    """One layer 32 -> 16 as the operator takes it."""
    frozen = gs.freeze(nn.Sequential(gs.SparseLinear(32, 16, density=0.5)), X, keep=keep, values=values)
    body = frozen.graph.nodes[0].body
    held, text = written([Operands(body.stored, body.bias)])
    return [tensor.clone() for tensor in held], text


@pytest.mark.parametrize("values", ["exact", "int8"])
@pytest.mark.parametrize("number", [1, 2])
def test_an_index_that_is_written_to_after_a_call_is_scanned_again(values: str, number: int) -> None:
    held, text = step(values=values)
    chain(X, None, held, text)
    held[number].copy_(torch.full_like(held[number], 60000 if number == 2 else 2**30))
    with pytest.raises(GossamerError, match="index"):
        chain(X, None, held, text)


def test_values_that_are_written_to_after_a_call_count() -> None:
    held, text = step()
    before = chain(X, None, held, text)
    held[0].mul_(2)
    held[3].mul_(2)
    assert torch.equal(chain(X, None, held, text), 2 * before)


def test_another_view_of_the_same_memory_is_another_tensor() -> None:
    held, text = step()
    chain(X, None, held, text)
    with pytest.raises(GossamerError):
        chain(X, None, [held[0].view(torch.int32), *held[1:]], text)
    with pytest.raises(ShapeError, match="contiguous"):
        chain(X, None, [held[0][:1].expand(held[0].shape), *held[1:]], text)


def test_tensors_that_count_no_writes_are_scanned_at_every_call() -> None:
    held, text = step()
    with torch.inference_mode():
        own = [tensor.clone() for tensor in held]
        expected = chain(X, None, held, text).clone()
        assert torch.equal(chain(X, None, own, text), expected)
        own[2].fill_(60000)
        with pytest.raises(GossamerError, match="index"):
            chain(X, None, own, text)


def change(**fields: Any) -> Callable[[str], str]:
    return lambda text: json.dumps([json.loads(text)[0] | fields])


def without(field: str) -> Callable[[str], str]:
    return lambda text: json.dumps([{key: v for key, v in json.loads(text)[0].items() if key != field}])


TEXTS: dict[str, Callable[[str], str]] = {
    "nothing": lambda _: "",
    "half": lambda text: text[:-3],
    "no layers": lambda _: "[]",
    "a number": lambda _: "[1]",
    "twice": lambda text: json.dumps(json.loads(text) * 2),
    "no shape": without("shape"),
    "no slope": without("slope"),
    "short shape": change(shape=[16]),
    "negative": change(shape=[-1, 32]),
    "huge": change(shape=[2**62, 32]),
    "unknown layout": change(layout="coo"),
    "not of the core": change(layout="slice"),
    "parameters": change(parameters={"group": 1}),
    "activation": change(activation="softplus"),
    "slope": change(slope="a"),
    "reads": change(reads="load"),
    "no tensors": change(tensors=[]),
    "one name": change(tensors=["values"] * 4),
    "another shape": change(shape=[17, 32]),
}


@pytest.mark.parametrize("damage", TEXTS)
def test_a_text_that_does_not_fit_is_refused_in_words(damage: str) -> None:
    held, text = step()
    with pytest.raises(GossamerError):
        chain(X, None, held, TEXTS[damage](text))


def test_tensors_of_another_number_are_refused() -> None:
    held, text = step()
    for wrong in ([], held[:-1], held * 2):
        with pytest.raises(FormatError, match="one tensor for each"):
            chain(X, None, wrong, text)


def test_what_the_core_does_not_compute_is_checked_before_the_reference_follows_it() -> None:
    held, text = step(values="int8")
    names = json.loads(text)[0]["tensors"]
    held[names.index("scale")] = torch.ones(1)
    held[names.index("bias")] = held[names.index("bias")].double()
    with pytest.raises(GossamerError, match="scale"):
        chain(X, None, held, text)


@pytest.mark.parametrize("residual", [torch.zeros(3, 16), torch.zeros(2, 15), torch.zeros(2, 16).double()])
def test_a_residual_that_does_not_fit_is_refused(residual: torch.Tensor) -> None:
    held, text = step()
    with pytest.raises(GossamerError, match=r"residual|strided|x \["):
        chain(X, residual, held, text)
