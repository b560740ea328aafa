"""A recurrent layer in one direction behind the product with its inputs, from a state of zeros or one that goes on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gossamer.errors import FormatError, GossamerError
from gossamer.kernels.cpu.recurrent import GATES
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.arrays import name_of
from gossamer.layouts.values import narrowed
from gossamer.network.operators.base import Operator, Settings, Shape, Size, Tensors, floating, operator
from gossamer.network.recurrent_step import RecurrentStep
from gossamer.network.spelling import NotSpelled, Spelling

Word = Annotated[str, Field(min_length=1, max_length=64)]


class Cell(Settings):
    """The cell, its size and order, and how its recurrent matrix is held."""

    cell: Literal["tanh", "relu", "lstm", "gru"]
    hidden: Size
    reverse: bool = False
    batch_first: bool = False
    layout: Word
    parameters: Annotated[dict[Word, Annotated[int, Field(ge=1, le=65536)]], Field(max_length=4)]
    values: Literal["bfloat16", "int8"] | None = None

    @property
    def rows(self) -> int:
        """Of the matrix."""
        return GATES[self.cell] * self.hidden


def _shape(shapes: tuple[Shape, ...], s: Cell) -> Shape:
    shape = shapes[0]
    if len(shape) != 3 or shape[2] != s.rows:
        raise ValueError(f"{list(shape)} for [.., .., {s.rows}]")
    return (*shape[:2], s.hidden)


def _dtype(dtypes: tuple[str, ...]) -> str:
    if (dtype := floating(dtypes)) not in ("float32", "float64"):
        raise ValueError(f"an input of {dtype}, not float32 or float64")
    return dtype


def form_of(s: Any, tensors: Tensors) -> Encoded:
    """The recurrent matrix as kernels read it."""
    index = {name: tensors[name] for name in tensors if name not in ("values", "scale", "bias")}
    reads = None if s.values is None else "float32"
    shape = (s.rows, s.hidden)
    return Encoded(s.layout, shape, dict(s.parameters), tensors["values"], index, tensors.get("scale"), reads)


def tensors_of(form: Encoded, bias: Any) -> dict[str, Any]:
    """What the operator holds of a matrix."""
    held = {"values": form.values, **form.index, "scale": form.scale, "bias": bias}
    return {name: array for name, array in held.items() if array is not None}


def narrowed_to(s: Cell, tensors: Tensors, to: str) -> tuple[Cell, dict[str, Any]]:
    """Settings and tensors with values of fewer bits, "bfloat16" or "int8"."""
    form = form_of(s, tensors)
    connections = narrowed(layout(s.layout).decode(form), to)
    made = layout(s.layout).encode(connections, form.parameters)
    return s.model_copy(update={"values": name_of(made.values)}), tensors_of(made, tensors.get("bias"))


def _verify(s: Cell, tensors: Tensors) -> None:
    """Refuse a matrix of a stranger that is none; raises FormatError."""
    refused = "operator recurrent"
    if (
        s.layout not in layouts
        or "values" not in tensors
        or set(s.parameters) != set(layout(s.layout).parameters)
    ):
        raise FormatError(
            refused, expected="values in a layout with its parameters", got=f"{s.layout}, {s.parameters}"
        )
    form = form_of(s, tensors)
    wanted = (s.values,) if s.values else ("float32", "float64")
    vectors = {"bias": form.dtype, **({"scale": "float32"} if s.values == "int8" else {})}
    if name_of(form.values) not in wanted or ("scale" in tensors) != (s.values == "int8"):
        raise FormatError(
            refused,
            expected=f"values of {' or '.join(wanted)}, scales with int8 alone",
            got=name_of(form.values),
        )
    for name, dtype in vectors.items():
        held = tensors.get(name)
        if held is not None and (
            name_of(held) != dtype or held.shape != (s.rows,) or not np.isfinite(held).all()
        ):
            raise FormatError(
                refused, expected=f"{name} [{s.rows}] of {dtype}, finite", got=f"{list(held.shape)}"
            )
    try:
        layout(s.layout).check(form)
    except GossamerError as error:
        raise FormatError(
            refused, expected=error.expected, got=error.got, hint="the file is damaged"
        ) from None


def of_call(s: Any, tensors: Tensors) -> tuple[Encoded, Any, str, bool, bool]:
    """The arguments of a RecurrentStep."""
    return form_of(s, tensors), tensors.get("bias"), s.cell, s.reverse, s.batch_first


def _step(s: Cell, tensors: Tensors) -> RecurrentStep:
    return RecurrentStep(*of_call(s, tensors))


def _onnx(_words: Spelling, _xs: tuple[str, ...], s: Cell, _held: Tensors) -> str:
    raise NotSpelled(f"a recurrent layer ({s.cell})")


operator(
    Operator(
        "recurrent",
        lambda _torch, xs, s, held: _step(s, held)(xs[0]),
        lambda xs, s, held: _step(s, held)(xs[0]),
        settings=Cell,
        shape=_shape,
        times=lambda _shapes, s, times: times[0] if times[0] == s.batch_first else None,
        dtype=_dtype,
        onnx=_onnx,
        verify=_verify,
        typed=lambda s: ("bias",) if s.values else ("values", "bias"),
        step=_step,
        narrow=narrowed_to,
    )
)
