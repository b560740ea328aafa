"""The layers of a chain as tensors and text, which is what an operator takes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.deploy.layouts import Packed


class Operands(NamedTuple):
    """One linear layer as it runs: what it holds, and what follows its sums."""

    form: Packed
    bias: Tensor | None = None
    activation: str | None = None
    slope: float = 0.0


def written(layers: list[Operands]) -> tuple[list[Tensor], str]:
    """Tensors of some layers in order, and JSON that says what each of them is.

    Example:
        >>> from gossamer.deploy.connections import Connections
        >>> from gossamer.deploy.layouts import layout
        >>> packed = layout("csr").pack(Connections((1, 2), torch.tensor([1]), torch.ones(1)), {})
        >>> tensors, text = written([Operands(packed, None, "relu")])
        >>> len(tensors), reread(tensors, text)[0].form.shape, reread(tensors, text)[0].activation
        (3, (1, 2), 'relu')
    """
    held: list[Tensor] = []
    rows: list[dict[str, Any]] = []
    for form, bias, activation, slope in layers:
        named = {"values": form.values, **form.index, "scale": form.scale, "bias": bias}
        own = {name: tensor for name, tensor in named.items() if tensor is not None}
        held += own.values()
        rows.append(
            {
                "layout": form.layout,
                "shape": list(form.shape),
                "parameters": form.parameters,
                "reads": None if form.reads is None else str(form.reads).removeprefix("torch."),
                "activation": activation,
                "slope": slope,
                "tensors": list(own),
            }
        )
    return held, json.dumps(rows)


def reread(held: list[Tensor], text: str) -> list[Operands]:
    """The inverse."""
    left = iter(held)
    layers = []
    for row in json.loads(text):
        own = {name: next(left) for name in row["tensors"]}
        values, scale, bias = own.pop("values"), own.pop("scale", None), own.pop("bias", None)
        reads = None if row["reads"] is None else getattr(torch, row["reads"])
        shape = (row["shape"][0], row["shape"][1])
        form = Packed(row["layout"], shape, row["parameters"], values, own, scale, reads)
        layers.append(Operands(form, bias, row["activation"], row["slope"]))
    return layers
