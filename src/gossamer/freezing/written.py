"""The layers of a chain as tensors and text, which is what an operator takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gossamer.errors import FormatError
from gossamer.kernels.cpu.pack import Activation
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.arrays import Array
from gossamer.network.chain_step import Operands
from gossamer.network.operators.base import Number, Size
from gossamer.network.schema import Name, Parameters, parse
from gossamer.trace.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from torch import Tensor

OPERATION: Final = "gossamer::chain"


class _Row(BaseModel):
    """One layer, without its numbers."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    layout: Name
    shape: tuple[Size, Size]
    parameters: Parameters
    reads: Literal["float32"] | None
    activation: Activation | None
    slope: Number
    tensors: list[Name]


class _Text(BaseModel):
    layers: Annotated[list[_Row], Field(min_length=1)]


def written(layers: list[Operands]) -> tuple[list[Tensor], str]:
    """Tensors of some layers in order, and JSON that says what each of them is.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> from gossamer.layouts import layout
        >>> import numpy as np
        >>> encoded = layout("csr").encode(Connections((1, 2), np.array([1]), np.ones(1, np.float32)), {})
        >>> tensors, text = written([Operands(encoded, None, "relu")])
        >>> len(tensors), reread(tensors, text)[0].form.shape, reread(tensors, text)[0].activation
        (3, (1, 2), 'relu')
    """
    held: list[Tensor] = []
    rows: list[dict[str, Any]] = []
    for form, bias, activation, slope in layers:
        named = {"values": form.values, **form.index, "scale": form.scale, "bias": bias}
        own = {name: tensor_of(array) for name, array in named.items() if array is not None}
        held += own.values()
        rows.append(
            {
                "layout": form.layout,
                "shape": list(form.shape),
                "parameters": form.parameters,
                "reads": form.reads,
                "activation": activation,
                "slope": slope,
                "tensors": list(own),
            }
        )
    return held, json.dumps(rows)


def reread(held: list[Tensor], text: str) -> list[Operands]:
    """The inverse; raises FormatError for text that is none, or that other tensors go with."""
    rows = described(text)
    if sum(len(row.tensors) for row in rows) != len(held):
        names = [name for row in rows for name in row.tensors]
        raise FormatError(OPERATION, expected=f"one tensor for each of {names}", got=f"{len(held)} tensors")
    left = iter(held)
    return [_operands(row, {name: array_of(next(left)) for name in row.tensors}) for row in rows]


def described(text: str) -> list[_Row]:
    """What the text says of each layer; raises FormatError.

    Example:
        >>> described("")
        Traceback (most recent call last):
        ...
        gossamer.errors.FormatError: gossamer::chain: expected a text that gossamer wrote, got Expecting value: ...
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(OPERATION, expected="a text that gossamer wrote", got=str(error)) from None
    return parse(_Text, {"layers": data}, OPERATION).layers


def _operands(row: _Row, own: dict[str, Array]) -> Operands:
    """One layer of its row and its arrays."""
    if row.layout not in layouts or not layout(row.layout).kernel:
        raise FormatError(OPERATION, expected="a layout that the core runs", got=repr(row.layout))
    if set(row.parameters) != set(layout(row.layout).parameters):
        expected = f"parameters {layout(row.layout).parameters} of {row.layout}"
        raise FormatError(OPERATION, expected=expected, got=f"{row.parameters}")
    if "values" not in own or len(own) != len(row.tensors):
        raise FormatError(
            OPERATION, expected="values among the tensors, and each name once", got=f"{row.tensors}"
        )
    values, scale, bias = own.pop("values"), own.pop("scale", None), own.pop("bias", None)
    form = Encoded(row.layout, row.shape, row.parameters, values, own, scale, row.reads)
    return Operands(form, bias, row.activation, row.slope)
